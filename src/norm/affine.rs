//! [`Affine`] and [`NormGradients`]: what every norm learns.

use crate::shape::check_len;
use crate::{Element, Error};

/// What a normalised value is multiplied by, then what is added to it: learned, each of them optional.
///
/// ```
/// use steadygrad::norm::Affine;
///
/// let gain = Affine { gamma: Some(&[2.0, 0.5]), ..Affine::default() };
/// assert_eq!(gain.beta, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine<'a, T> {
    /// γ, PyTorch's `weight`; default none, as if all were 1.
    pub gamma: Option<&'a [T]>,
    /// β, PyTorch's `bias`; default none, as if all were 0.
    pub beta: Option<&'a [T]>,
}

impl<T> Default for Affine<'_, T> {
    fn default() -> Self {
        Self { gamma: None, beta: None }
    }
}

impl<'a, T> Affine<'a, T> {
    /// Whether each that is there has `len` elements.
    pub(super) fn check(&self, len: usize) -> Result<(), Error> {
        check_optional("affine.gamma", self.gamma, len)?;
        check_optional("affine.beta", self.beta, len)
    }

    /// Elements `from..from + len` of both.
    #[inline(always)]
    pub(super) fn part(&self, from: usize, len: usize) -> Self {
        let part = |slice: &'a [T]| &slice[from..from + len];
        Self { gamma: self.gamma.map(part), beta: self.beta.map(part) }
    }
}

impl<T: Element> Affine<'_, T> {
    /// γ of one of them.
    pub(super) fn gamma(&self, at: usize) -> f64 {
        self.gamma.map_or(1.0, |gamma| gamma[at].to_f64())
    }

    /// β of one of them.
    pub(super) fn beta(&self, at: usize) -> f64 {
        self.beta.map_or(0.0, |beta| beta[at].to_f64())
    }
}

/// Where a norm's backward puts its gradients.
#[derive(Debug)]
pub struct NormGradients<'a, T> {
    /// Of the input: overwritten.
    pub input: &'a mut [T],
    /// Of γ: accumulated.
    pub gamma: Option<&'a mut [T]>,
    /// Of β: accumulated.
    pub beta: Option<&'a mut [T]>,
}

impl<T> NormGradients<'_, T> {
    /// Whether each that is there is as long as it must be.
    pub(super) fn check(&self, elements: usize, parameters: usize) -> Result<(), Error> {
        check_len("gradients.input", self.input.len(), elements)?;
        check_optional("gradients.gamma", self.gamma.as_deref(), parameters)?;
        check_optional("gradients.beta", self.beta.as_deref(), parameters)
    }

    /// Whether there is a parameter whose gradient is asked for.
    pub(super) fn has_parameters(&self) -> bool {
        self.gamma.is_some() || self.beta.is_some()
    }
}

/// `Ok` where `slice` is missing or has `expected` elements.
pub(super) fn check_optional<T>(
    argument: &'static str,
    slice: Option<&[T]>,
    expected: usize,
) -> Result<(), Error> {
    slice.map_or(Ok(()), |slice| check_len(argument, slice.len(), expected))
}
