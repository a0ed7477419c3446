//! What is measured of values, gradients and weights.

use num_traits::Float;

/// The 2-norm.
pub fn norm<T: Float>(x: &[T]) -> T {
    x.iter().fold(T::zero(), |sum, &x| sum + x * x).sqrt()
}

/// How many are NaN or infinite.
pub fn non_finite<T: Float>(x: &[T]) -> usize {
    x.iter().filter(|x| !x.is_finite()).count()
}

/// Whether an activation with output `y` has next to no slope; an infinite bound is none.
pub fn is_flat<T: Float>(y: T, [low, high]: [T; 2]) -> bool {
    low.is_finite() && y <= low || high.is_finite() && y >= high
}

/// How many values are flat.
pub fn flat<T: Float>(y: &[T], region: [T; 2]) -> usize {
    y.iter().filter(|&&y| is_flat(y, region)).count()
}

/// How many of `units` are flat in every row.
pub fn dead_units<T: Float>(units: usize, y: &[T], region: [T; 2]) -> usize {
    (0..units).filter(|&unit| y.chunks(units).all(|row| is_flat(row[unit], region))).count()
}

/// The 2-norms of what was and of what was added to it.
pub fn change<T: Float>(before: &[T], after: &[T]) -> [T; 2] {
    let update: alloc::vec::Vec<T> =
        before.iter().zip(after).map(|(&before, &after)| after - before).collect();
    [norm(before), norm(&update)]
}
