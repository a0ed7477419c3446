//! Weights of residual branches, scaled by how many there are.

use rand_core::Rng;

use super::Init;
use crate::shape::{WeightShape, check_len, check_range};
use crate::{Element, Error};

/// How weights of residual branches shrink with depth, so that the sum of all branches neither explodes nor swamps the way
/// around them.
///
/// With L branches `x + f(x)` that each keep the variance, that of their sum doubles L times.
///
/// # Examples
/// ```
/// use rand::SeedableRng;
/// use steadygrad::init::{Branch, BranchLayer, Distribution, Fan};
/// use steadygrad::{Init, RowShape};
///
/// // 12 transformer blocks of two branches each: the last layer of a branch is divided by √24.
/// let gpt2 = Branch::Scaled { branches: 24 };
/// assert!((gpt2.factor(BranchLayer::Last)? - 1.0 / 24.0_f64.sqrt()).abs() < 1e-15);
/// assert_eq!(gpt2.factor(BranchLayer::Inner)?, 1.0);
///
/// let fixup = Branch::Fixup { branches: 16, layers: 3 };
/// assert_eq!(fixup.factor(BranchLayer::Inner)?, 0.5); // 16^(−1/4)
/// let he = Init::Kaiming { gain: 2.0_f64.sqrt(), fan: Fan::In, distribution: Distribution::Normal };
/// let (mut rng, mut weights) = (rand_chacha::ChaCha8Rng::seed_from_u64(1), [1.0_f32; 6]);
/// fixup.fill(BranchLayer::Last, he, RowShape { rows: 2, cols: 3 }, &mut rng, &mut weights)?;
/// assert_eq!(weights, [0.0; 6]);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Branch {
    /// The last layer of each branch is divided by √branches: GPT-2, Radford et al. 2019, where a transformer of L blocks
    /// has 2·L branches. The sum of all branches then has the variance of one.
    Scaled {
        /// Residual branches of the network, at least 1.
        branches: usize,
    },
    /// The last layer of each branch is 0, and the others are multiplied by `branches^(−1/(2·layers − 2))`: Fixup, Zhang et
    /// al. 2019, which trains deep residual networks without a norm. Its scalar biases and multipliers are yours.
    Fixup {
        /// Residual branches of the network, at least 1.
        branches: usize,
        /// Layers of a branch, at least 2.
        layers: usize,
    },
    /// The last layer of each branch is 0, so that the network starts as its ways around: Goyal et al. 2017 (there by the last
    /// norm's γ), De & Smith 2020.
    ZeroLast,
}

/// Where in its branch a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BranchLayer {
    /// Before the last.
    Inner,
    /// The one whose outputs are added to the way around.
    Last,
}

impl Branch {
    /// What a layer's weights are multiplied by.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where `branches` or `layers` is.
    pub fn factor(&self, layer: BranchLayer) -> Result<f64, Error> {
        let at_least_one = |branches: usize| check_range("branches", "at least 1", branches >= 1);
        match *self {
            Self::Scaled { branches } => {
                at_least_one(branches)?;
                Ok(if layer == BranchLayer::Last { 1.0 / libm::sqrt(branches as f64) } else { 1.0 })
            }
            Self::Fixup { branches, layers } => {
                at_least_one(branches)?;
                check_range("layers", "at least 2", layers >= 2)?;
                let exponent = -0.5 / (layers as f64 - 1.0);
                Ok(if layer == BranchLayer::Last { 0.0 } else { libm::pow(branches as f64, exponent) })
            }
            Self::ZeroLast => Ok(if layer == BranchLayer::Last { 0.0 } else { 1.0 }),
        }
    }

    /// Fills `weights` by `init`, times [`factor`](Self::factor); where that is 0, without a draw.
    ///
    /// | argument  | elements                   | access                                |
    /// |-----------|----------------------------|---------------------------------------|
    /// | `weights` | `outputs · inputs · field` | overwritten                           |
    /// | the others |                           | as [`Init::fill`]                     |
    ///
    /// # Errors
    /// As [`factor`](Self::factor) and [`Init::fill`]; then nothing was written.
    pub fn fill<T: Element>(
        &self,
        layer: BranchLayer,
        init: Init,
        shape: impl Into<WeightShape>,
        rng: &mut impl Rng,
        weights: &mut [T],
    ) -> Result<(), Error> {
        let (factor, shape) = (self.factor(layer)?, shape.into());
        check_len("weights", weights.len(), shape.elements()?)?;
        if factor == 0.0 {
            init.check::<T>(shape)?;
            weights.fill(T::zero());
            return Ok(());
        }
        init.fill(shape, rng, weights)?;
        weights.iter_mut().for_each(|w| *w = T::from_f64(w.to_f64() * factor));
        Ok(())
    }
}
