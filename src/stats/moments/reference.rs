//! Moments in two passes, and their merge.

use num_traits::Float;

/// (mean, m2): Σxᵢ / n, and Σ(xᵢ − mean)².
///
/// # Panics
/// Where the type cannot hold the count.
pub fn moments<T: Float>(x: &[T]) -> (T, T) {
    let count = T::from(x.len()).expect("a length");
    let mean = x.iter().fold(T::zero(), |sum, &x| sum + x) / count;
    let m2 = x.iter().fold(T::zero(), |sum, &x| sum + (x - mean) * (x - mean));
    (mean, m2)
}

/// (n, mean, m2) of two sets of values from those of each.
pub fn merge<T: Float>((n_a, mean_a, m2_a): (T, T, T), (n_b, mean_b, m2_b): (T, T, T)) -> (T, T, T) {
    let n = n_a + n_b;
    let delta = mean_b - mean_a;
    (n, mean_a + delta * n_b / n, m2_a + m2_b + delta * delta * n_a * n_b / n)
}
