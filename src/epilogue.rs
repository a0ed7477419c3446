//! [`Epilogue`]: what an op does to its result before it leaves the cache.

use crate::shape::check_len;
use crate::simd::{self, Active, InOut, Isa, Kernel};
use crate::{Activation, Element, Error, activation};

/// `y = f(result + residual)`, done while the result is in cache; by default `y = result`.
///
/// The backward is a composition: [`Activation::backward`] first (of `result + residual`, or from the output `y`), whose
/// `dx` is then the gradient of both the result and the residual.
///
/// ```
/// use steadygrad::{Activation, Epilogue};
///
/// let relu = Epilogue::<f32> { activation: Some(Activation::Relu), ..Epilogue::default() };
/// assert_eq!(relu.residual, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue<'a, T> {
    /// Added to the result, as many elements as that has; the skip connection of a residual block. Default none.
    pub residual: Option<&'a [T]>,
    /// Applied last. Default none.
    pub activation: Option<Activation>,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Self { residual: None, activation: None }
    }
}

impl<T: Element> Epilogue<'_, T> {
    /// Whether the residual has `elements` elements and the activation's parameters are in range.
    pub(crate) fn check(&self, elements: usize) -> Result<(), Error> {
        if let Some(residual) = self.residual {
            check_len("residual", residual.len(), elements)?;
        }
        self.activation.map_or(Ok(()), |activation| activation.check::<T>())
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_none(&self) -> bool {
        self.residual.is_none() && self.activation.is_none()
    }

    /// Finishes `result`, which are the elements from `start` on, on this thread.
    pub(crate) fn apply(&self, active: Active, start: usize, result: &mut [T]) {
        if let Some(residual) = self.residual {
            let residual = &residual[start..start + result.len()];
            simd::dispatch(active, Add { residual, data: InOut::in_place(result) });
        }
        if let Some(activation) = self.activation {
            activation::apply(active, activation, result);
        }
    }
}

/// `data += residual`.
struct Add<'a, T> {
    residual: &'a [T],
    data: InOut<'a, T>,
}

impl<T: Element> Kernel for Add<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::map2(
            isa,
            self.residual,
            self.data,
            #[inline(always)]
            |residual, result| result + residual,
        );
    }
}
