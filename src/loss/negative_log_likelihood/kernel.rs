//! One element a row: nothing here is worth a vector but the zeros of the gradient.

use crate::loss::softmax::kernel::each_row;
use crate::parallel::Rows;
use crate::simd::Source;
use crate::{Element, Error};

/// The weight of a class: 1 where there are no weights.
#[inline(always)]
pub(crate) fn weight_of<T: Element>(class_weights: Option<&[T]>, class: usize) -> f64 {
    class_weights.map_or(1.0, |weights| weights[class].to_f64())
}

/// Σ of the classes' weights over the rows that are not ignored, in order; an error for the first class that is none.
pub(crate) fn total_weight<T: Element>(
    targets: &[i64],
    ignore_index: i64,
    classes: usize,
    class_weights: Option<&[T]>,
) -> Result<f64, Error> {
    let mut sum = 0.0;
    for (row, &class) in targets.iter().enumerate() {
        if class == ignore_index {
            continue;
        }
        match usize::try_from(class) {
            Ok(class) if class < classes => sum += weight_of(class_weights, class),
            _ => return Err(Error::ClassIndex { argument: "targets", row, class, classes }),
        }
    }
    Ok(sum)
}

/// Σ −w · x at the rows' classes; writes the gradient where there is a place for it.
pub(super) fn pick<T: Element, S: Source<T>>(
    ignore_index: i64,
    divisor: f64,
    class_weights: Option<&[T]>,
    targets: &[i64],
    rows: Rows<S>,
) -> f64 {
    let (mut sum, mut targets) = (0.0, targets.iter());
    each_row(rows, |mut row| {
        // Classes were checked, so that one outside `usize` is one to ignore.
        let class = targets.next().filter(|&&class| class != ignore_index).map(|&class| class as usize);
        if let Some(class) = class {
            sum -= weight_of(class_weights, class) * row.input()[class].to_f64();
        }
        if let Some(dx) = row.output() {
            dx.fill(T::zero());
            if let Some(class) = class {
                dx[class] = T::from_f64(-weight_of(class_weights, class) / divisor);
            }
        }
    });
    sum
}
