//! Weights to start from: the variance that neither shrinks nor grows a signal on its way through a deep network.
//!
//! | init | weights | source |
//! |---|---|---|
//! | [`Xavier`](Init::Xavier) | variance 2·gain²/(`fan_in` + `fan_out`) | Glorot & Bengio 2010 |
//! | [`Kaiming`](Init::Kaiming) | variance gain²/fan | He et al. 2015 |
//! | [`LeCun`](Init::LeCun) | variance 1/`fan_in` | `LeCun` et al. 1998; Klambauer et al. 2017 |
//! | [`Orthogonal`](Init::Orthogonal) | rows or columns of length gain, at right angles | Saxe et al. 2013 |
//! | [`Lsuv`] | orthogonal, then scaled on your data | Mishkin & Matas 2016 |
//! | [`Branch`] | any of these, scaled by the number of residual branches | Radford et al. 2019; Zhang et al. 2019 |
//!
//! The generator is the caller's. Every weight takes exactly one `next_u64` of it, in row-major order, and is computed
//! without a fused multiply-add or a function of the platform: the same generator gives the same bits on every machine
//! and at any number of threads, and for `f32` the rounded weights of `f64`.

mod lsuv;
mod orthogonal;
mod residual;
mod sampler;

pub use lsuv::{Lsuv, LsuvReport};
pub use residual::{Branch, BranchLayer};

use rand_core::Rng;

use crate::element::compiled_once;
use crate::shape::{WeightShape, check_len, check_range};
use crate::{Activation, Element, Error};

/// Standard deviation of a standard normal cut off at ±2.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

/// How to fill a weight tensor.
///
/// ```
/// use rand::SeedableRng;
/// use rand_chacha::ChaCha8Rng;
/// use steadygrad::{Activation, Init, RowShape, init};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut weights = vec![0.0_f32; 200 * 50];
/// let he = Init::Kaiming {
///     gain: init::gain(Activation::Relu)?,
///     fan: init::Fan::In,
///     distribution: init::Distribution::Normal,
/// };
/// he.fill(RowShape { rows: 200, cols: 50 }, &mut rng, &mut weights)?;
/// let variance = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
/// assert!((variance - 2.0 / 50.0).abs() < 0.002);
/// # Ok::<(), steadygrad::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every weight the same.
    Constant {
        /// The weight; finite.
        value: f64,
    },
    /// `gain` on the diagonal, 0 elsewhere; for shapes without a receptive field.
    Identity {
        /// The diagonal; finite, usually 1.
        gain: f64,
    },
    /// U(low, high).
    Uniform {
        /// Lower bound; finite.
        low: f64,
        /// Upper bound, at least `low`.
        high: f64,
    },
    /// N(mean, std²).
    Normal {
        /// Mean; finite.
        mean: f64,
        /// Standard deviation; finite and at least 0.
        std: f64,
    },
    /// N(mean, std²), drawn again until it lies in `[low, high]`: `PyTorch`'s `trunc_normal_`, whose bounds are weights and
    /// not multiples of `std`.
    TruncatedNormal {
        /// Mean before the cut; finite.
        mean: f64,
        /// Standard deviation before the cut; positive and finite.
        std: f64,
        /// Lower bound; −∞ for none.
        low: f64,
        /// Upper bound, at least `low`.
        high: f64,
    },
    /// Standard deviation gain·√(2/(`fan_in` + `fan_out`)): keeps the variance of activations and of gradients, where f is
    /// linear near 0.
    Xavier {
        /// Factor for the activation, as of [`gain`]; finite and at least 0, usually 1.
        gain: f64,
        /// Shape of the distribution around 0.
        distribution: Distribution,
    },
    /// Standard deviation gain/√fan: keeps the variance through an activation that halves it, such as `ReLU`.
    Kaiming {
        /// Factor for the activation, as of [`gain`]; finite and at least 0, √2 for `ReLU`.
        gain: f64,
        /// Which direction keeps its variance.
        fan: Fan,
        /// Shape of the distribution around 0.
        distribution: Distribution,
    },
    /// Standard deviation 1/√`fan_in`: what [`Selu`](Activation::Selu) expects.
    LeCun {
        /// Shape of the distribution around 0.
        distribution: Distribution,
    },
    /// gain·Q·sign(diag R) of the QR decomposition of a Gaussian matrix: uniformly distributed over the matrices whose
    /// rows (`outputs ≤ inputs`) or columns are orthonormal, within 1e-13 for `f64` and 1e-6 for `f32`.
    ///
    /// A receptive field counts as further inputs. Takes a work buffer of `f64` as large as the weights.
    Orthogonal {
        /// Length of every row or column; finite, usually 1 or [`gain`].
        gain: f64,
    },
}

/// Shape of a distribution of mean 0 and given standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Between ±√3·std.
    Uniform,
    /// The whole bell.
    Normal,
    /// A bell that is cut off at twice its own deviation std/0.87962566, which makes the deviation of what is left std, as
    /// in JAX and Keras.
    TruncatedNormal,
}

/// Which side of a layer scales its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fan {
    /// Values that one output sums: keeps the variance of activations.
    In,
    /// Values that one input reaches: keeps the variance of gradients.
    Out,
}

/// The factor by which an activation wants its weights scaled: `PyTorch`'s `calculate_gain`.
///
/// ```text
/// 1             Identity, Sigmoid
/// 5/3           Tanh
/// √2            Relu
/// √(2/(1+a²))   LeakyRelu of slope a, RRelu of mean slope a
/// 3/4           Selu
/// ```
///
/// # Errors
/// [`Error::Unsupported`] for the others, as in `PyTorch`: choose the factor of the nearest one above, such as √2 for `Elu`,
/// `Gelu` and `Silu`. [`Error::OutOfRange`] where a parameter of the activation is.
///
/// # Examples
/// ```
/// use steadygrad::{Activation, init};
///
/// assert_eq!(init::gain(Activation::LeakyRelu { slope: 1.0 }), Ok(1.0));
/// ```
pub fn gain(activation: Activation) -> Result<f64, Error> {
    activation.check::<f64>()?;
    let leaky = |slope: f64| libm::sqrt(2.0 / (1.0 + slope * slope));
    match activation {
        Activation::Identity | Activation::Sigmoid => Ok(1.0),
        Activation::Tanh => Ok(5.0 / 3.0),
        Activation::Relu => Ok(core::f64::consts::SQRT_2),
        Activation::LeakyRelu { slope } => Ok(leaky(slope)),
        Activation::RRelu { lower, upper } => Ok(leaky((lower + upper) / 2.0)),
        Activation::Selu => Ok(0.75),
        _ => Err(Error::Unsupported { operation: "the gain of this activation" }),
    }
}

impl Init {
    /// Fills `weights` from the caller's generator.
    ///
    /// | argument  | elements                        | access                      |
    /// |-----------|---------------------------------|-----------------------------|
    /// | `shape`   |                                 | a [`RowShape`] or a [`WeightShape`] |
    /// | `rng`     |                                 | one `next_u64` a weight, none for `Constant` and `Identity` |
    /// | `weights` | `outputs · inputs · field`      | overwritten                 |
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where a parameter is, or is not finite in `T`, [`Error::Overflow`] where the shape's product
    /// is, and [`Error::Length`] where `weights` is not of the shape. For `Orthogonal`, [`Error::OutOfRange`] naming `rng`
    /// where its numbers are linearly dependent. Then nothing was written.
    ///
    /// # Examples
    /// ```
    /// use rand::SeedableRng;
    /// use steadygrad::{Init, RowShape};
    ///
    /// let mut weights = [9.0_f32; 6];
    /// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    /// Init::Identity { gain: 2.0 }.fill(RowShape { rows: 2, cols: 3 }, &mut rng, &mut weights)?;
    /// assert_eq!(weights, [2.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    ///
    /// [`RowShape`]: crate::RowShape
    pub fn fill<T: Element>(
        &self,
        shape: impl Into<WeightShape>,
        rng: &mut impl Rng,
        weights: &mut [T],
    ) -> Result<(), Error> {
        let shape = shape.into();
        check_len("weights", weights.len(), shape.elements()?)?;
        self.check::<T>(shape)?;
        if weights.is_empty() { Ok(()) } else { <T as Compiled>::fill(*self, shape, rng, weights) }
    }

    /// Whether every parameter is in its range.
    fn check<T: Element>(&self, shape: WeightShape) -> Result<(), Error> {
        let finite = |argument, value: f64| {
            check_range(argument, "finite in the type of the weights", T::from_f64(value).is_finite())
        };
        match *self {
            Self::Constant { value } => finite("value", value),
            Self::Identity { gain } => {
                finite("gain", gain)?;
                check_range("shape", "without a receptive field for `Identity`", shape.field == 1)
            }
            Self::Orthogonal { gain } => finite("gain", gain),
            Self::Uniform { low, high } => {
                finite("low", low)?;
                finite("high", high)?;
                check_range("high", "at least `low`, and not further than the largest number", {
                    high >= low && (high - low).is_finite()
                })
            }
            Self::Normal { mean, std } => {
                finite("mean", mean)?;
                finite("std", std)?;
                check_range("std", "at least 0", std >= 0.0)
            }
            Self::TruncatedNormal { mean, std, low, high } => {
                finite("mean", mean)?;
                finite("std", std)?;
                check_range("std", "positive", std > 0.0)?;
                check_range("low", "a number below infinity", low < f64::INFINITY)?;
                check_range("high", "at least `low`, and above −infinity", {
                    high >= low && high > f64::NEG_INFINITY
                })
            }
            Self::Xavier { gain, .. } | Self::Kaiming { gain, .. } => {
                // The furthest bounds are less than five gains apart.
                finite("gain", 8.0 * gain)?;
                check_range("gain", "at least 0", gain >= 0.0)
            }
            Self::LeCun { .. } => Ok(()),
        }
    }
}

compiled_once! {
    fn fill(init: Init, shape: WeightShape, rng: &mut dyn Rng, weights: &mut [Self]) -> Result<(), Error> = fill_all;
}

fn fill_all<T: Element>(
    init: Init,
    shape: WeightShape,
    rng: &mut dyn Rng,
    weights: &mut [T],
) -> Result<(), Error> {
    let (fan_in, fan_out) = (shape.fan_in()? as f64, shape.fan_out()? as f64);
    match init {
        Init::Constant { value } => weights.fill(T::from_f64(value)),
        Init::Identity { gain } => {
            weights.fill(T::zero());
            for (i, row) in weights.chunks_exact_mut(shape.inputs).enumerate().take(shape.inputs) {
                row[i] = T::from_f64(gain);
            }
        }
        Init::Uniform { low, high } => fill_with(weights, || sampler::uniform(rng, low, high)),
        Init::Normal { mean, std } => fill_with(weights, || mean + std * sampler::normal(rng)),
        Init::TruncatedNormal { mean, std, low, high } => {
            let bell = sampler::Truncated::new(mean, std, low, high);
            fill_with(weights, || bell.sample(rng));
        }
        Init::Xavier { gain, distribution } => {
            let std = gain * libm::sqrt(2.0 / (fan_in + fan_out));
            return fill_all(distribution.of_deviation(std), shape, rng, weights);
        }
        Init::Kaiming { gain, fan, distribution } => {
            let fan = match fan {
                Fan::In => fan_in,
                Fan::Out => fan_out,
            };
            return fill_all(distribution.of_deviation(gain / libm::sqrt(fan)), shape, rng, weights);
        }
        Init::LeCun { distribution } => {
            return fill_all(distribution.of_deviation(1.0 / libm::sqrt(fan_in)), shape, rng, weights);
        }
        Init::Orthogonal { gain } => return orthogonal::fill(gain, shape, rng, weights),
    }
    Ok(())
}

fn fill_with<T: Element>(weights: &mut [T], mut draw: impl FnMut() -> f64) {
    for weight in weights {
        *weight = T::from_f64(draw());
    }
}

impl Distribution {
    /// The distribution of mean 0 with this standard deviation.
    fn of_deviation(self, std: f64) -> Init {
        match self {
            Self::Uniform => {
                let bound = libm::sqrt(3.0) * std;
                Init::Uniform { low: -bound, high: bound }
            }
            Self::Normal => Init::Normal { mean: 0.0, std },
            Self::TruncatedNormal if std > 0.0 => {
                let std = std / TRUNCATED_STD;
                Init::TruncatedNormal { mean: 0.0, std, low: -2.0 * std, high: 2.0 * std }
            }
            Self::TruncatedNormal => Init::Constant { value: 0.0 },
        }
    }
}
