//! The numbers of a strip's channels: plain loops over arrays, which become vectors because a kernel holds them. Channel after
//! channel outside of one, they took an eighth of a forward of 256 rows and a third of one of 32.

use crate::Element;
use crate::norm::Affine;
use crate::simd::{self, Isa, Kernel, STRIP, Slots, inlined};

/// Numbers of each channel of a strip; past its channels they are 0.
#[derive(Clone, Copy, Debug)]
pub(in crate::norm::batch_norm) struct Numbers {
    pub(in crate::norm::batch_norm) mean: Slots,
    /// rstd; γ · rstd once [`Prepare`] has run.
    pub(in crate::norm::batch_norm) scale: Slots,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { mean: [0.0; STRIP], scale: [0.0; STRIP] }
    }
}

/// Moves running statistics towards the means and `m2 / divisor` of a batch: `momentum·new + (1 − momentum)·old`, where a weight of
/// 0 takes no part.
pub(in crate::norm::batch_norm) struct Track<'a, T> {
    pub(in crate::norm::batch_norm) momentum: f64,
    pub(in crate::norm::batch_norm) means: &'a [f64],
    pub(in crate::norm::batch_norm) m2: &'a [f64],
    pub(in crate::norm::batch_norm) divisor: f64,
    pub(in crate::norm::batch_norm) running: (&'a mut [T], &'a mut [T]),
}

impl<T: Element> Kernel for Track<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Self { momentum, means, m2, divisor, running: (running_mean, running_variance) } = self;
        if momentum == 0.0 {
            return;
        }
        let kept = 1.0 - momentum;
        let blend = inlined(
            #[inline(always)]
            |new: f64, old: T| {
                let kept = if kept == 0.0 { 0.0 } else { kept * old.to_f64() };
                T::from_f64(momentum * new + kept)
            },
        );
        for (old, &new) in running_mean.iter_mut().zip(means) {
            *old = blend(new, *old);
        }
        for (old, &m2) in running_variance.iter_mut().zip(m2) {
            *old = blend(m2 / divisor, *old);
        }
    }
}

/// `1/√(m2 / count + eps)`, in place of `m2`.
pub(in crate::norm::batch_norm) struct InverseDeviations<'a> {
    pub(in crate::norm::batch_norm) eps: f64,
    pub(in crate::norm::batch_norm) count: f64,
    pub(in crate::norm::batch_norm) m2: &'a mut [f64],
}

impl Kernel for InverseDeviations<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        for m2 in self.m2 {
            *m2 = 1.0 / num_traits::Float::sqrt(*m2 / self.count + self.eps);
        }
    }
}

/// What normalises a strip: `y = (x − shift)·scale + offset`, with the mean as a shift and what that lost, in offset.
#[derive(Clone, Copy, Debug)]
pub(in crate::norm::batch_norm) struct Normalizing<T>([[T; STRIP]; 3]);

impl<T: Element> Normalizing<T> {
    pub(in crate::norm::batch_norm) fn new() -> Self {
        Self([[T::zero(); STRIP]; 3])
    }

    /// By channel: shift, scale and offset.
    pub(super) fn coefficients(&self) -> [&[T; STRIP]; 3] {
        self.0.each_ref()
    }
}

/// The scale of each of the first `channels`, in place of rstd, and what makes `y = (x − mean)·scale + beta`.
pub(in crate::norm::batch_norm) struct Prepare<'a, T> {
    pub(in crate::norm::batch_norm) channels: usize,
    /// Of these channels.
    pub(in crate::norm::batch_norm) affine: Affine<'a, T>,
    pub(in crate::norm::batch_norm) numbers: &'a mut Numbers,
    pub(in crate::norm::batch_norm) by: &'a mut Normalizing<T>,
}

impl<T: Element> Kernel for Prepare<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Self { channels, affine, numbers: Numbers { mean, scale }, by } = self;
        let ([shifts, scales, offsets], scale) = (&mut by.0, &mut scale[..channels]);
        if let Some(gamma) = affine.gamma {
            for (scale, &gamma) in scale.iter_mut().zip(gamma) {
                *scale *= gamma.to_f64();
            }
        }
        for (to, &scale) in scales.iter_mut().zip(&*scale) {
            *to = T::from_f64(scale);
        }
        for (to, &mean) in shifts[..channels].iter_mut().zip(&*mean) {
            *to = T::from_f64(mean);
        }
        let offset = inlined(
            #[inline(always)]
            |mean: f64, scale: f64, beta: f64| {
                let lost = mean - T::from_f64(mean).to_f64();
                // Where nothing was lost, an infinite scale must not make it NaN.
                T::from_f64(if lost == 0.0 { beta } else { beta - lost * scale })
            },
        );
        let means = mean.iter().zip(&*scale);
        match affine.beta {
            Some(beta) => {
                for ((to, (&mean, &scale)), &beta) in offsets.iter_mut().zip(means).zip(beta) {
                    *to = offset(mean, scale, beta.to_f64());
                }
            }
            None => {
                for (to, (&mean, &scale)) in offsets.iter_mut().zip(means) {
                    *to = offset(mean, scale, 0.0);
                }
            }
        }
    }
}

/// Replaces the sums of vectors by the two totals of each channel.
pub(in crate::norm::batch_norm) struct Totals<'a> {
    pub(in crate::norm::batch_norm) inner: usize,
    pub(in crate::norm::batch_norm) channels: usize,
    pub(in crate::norm::batch_norm) sums: &'a mut [Slots; 2],
}

impl Kernel for Totals<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        simd::totals_of_channels(isa, self.inner, self.channels, self.sums);
    }
}

/// What makes dx of a strip: `dx = dz·scale + (x − shift)·slope + offset`, with the shift of [`Normalizing`].
#[derive(Clone, Copy, Debug)]
pub(in crate::norm::batch_norm) struct Differentiating<T>([[T; STRIP]; 3]);

impl<T: Element> Differentiating<T> {
    pub(in crate::norm::batch_norm) fn new() -> Self {
        Self([[T::zero(); STRIP]; 3])
    }

    /// By channel: scale, slope and offset.
    pub(super) fn coefficients(&self) -> [&[T; STRIP]; 3] {
        self.0.each_ref()
    }
}

/// The gradients of γ and β out of Σdz and Σdz·(x − mean) of these channels, and what makes
/// `dx = (dz − mean_dz − (x − mean)·k)·scale` out of those over all of the batch.
pub(in crate::norm::batch_norm) struct FinishSums<'a, T> {
    pub(in crate::norm::batch_norm) own: [&'a [f64]; 2],
    pub(in crate::norm::batch_norm) all: [&'a [f64]; 2],
    /// Values of which each of `all` is a sum; 1 where they are means already.
    pub(in crate::norm::batch_norm) count: f64,
    pub(in crate::norm::batch_norm) numbers: &'a Numbers,
    pub(in crate::norm::batch_norm) rstd: &'a [f64],
    pub(in crate::norm::batch_norm) dgamma: Option<&'a mut [T]>,
    pub(in crate::norm::batch_norm) dbeta: Option<&'a mut [T]>,
    pub(in crate::norm::batch_norm) by: &'a mut Differentiating<T>,
}

impl<T: Element> Kernel for FinishSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, _isa: I) {
        let Self { own, all: [sum, along], count, numbers, rstd, dgamma, dbeta, by } = self;
        if let Some(dgamma) = dgamma {
            for ((gradient, &along), &rstd) in dgamma.iter_mut().zip(own[1]).zip(rstd) {
                *gradient = T::from_f64(gradient.to_f64() + along * rstd);
            }
        }
        if let Some(dbeta) = dbeta {
            for (gradient, &sum) in dbeta.iter_mut().zip(own[0]) {
                *gradient = T::from_f64(gradient.to_f64() + sum);
            }
        }
        let [scales, slopes, offsets] = &mut by.0;
        let channels = rstd.len();
        let (mean, scale) = (&numbers.mean[..channels], &numbers.scale[..channels]);
        let (sum, along) = (&sum[..channels], &along[..channels]);
        for (to, &scale) in scales.iter_mut().zip(scale) {
            *to = T::from_f64(scale);
        }
        let slope = inlined(
            #[inline(always)]
            |at: usize| -scale[at] * (along[at] / count * rstd[at] * rstd[at]),
        );
        for (at, to) in slopes[..channels].iter_mut().enumerate() {
            *to = T::from_f64(slope(at));
        }
        for (at, to) in offsets[..channels].iter_mut().enumerate() {
            let lost = mean[at] - T::from_f64(mean[at]).to_f64();
            let of_lost = if lost == 0.0 { 0.0 } else { slope(at) * lost };
            *to = T::from_f64(-scale[at] * (sum[at] / count) - of_lost);
        }
    }
}
