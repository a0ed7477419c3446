//! The two sums of a strip, and the gradients that follow from them.

use core::ops::Range;

use super::gradient_strip::{InputRows, ResidualRows, Strip, Sums, Through};
use super::kernel::{self, Differentiating, Normalizing, Numbers};
use super::parts::{
    BackwardInputs, EpilogueBackward, FrozenStatistics, GradientSums, Gradients, SavedStatistics,
};
use super::schedule::{Common, for_each_strip};
use crate::parallel::{self, Offset, Split};
use crate::simd::{self, Active, MatrixMut, STRIP, Slots};
use crate::strips::Strips;
use crate::{ChannelShape, Element};

/// A backward whose arguments have been checked.
#[derive(Debug)]
pub struct Backward<'a, T> {
    pub(super) shape: ChannelShape,
    pub(super) eps: f64,
    pub(super) inputs: BackwardInputs<'a, T>,
    pub(super) statistics: Statistics<'a, T>,
    pub(super) gradients: Gradients<'a, T>,
    /// To be written: the sums of this part of the batch.
    pub(super) sums: Option<&'a mut [GradientSums]>,
}

/// What a backward knows of mean and variance.
#[derive(Clone, Copy, Debug)]
pub(super) enum Statistics<'a, T> {
    /// Of the batch at hand.
    Saved(SavedStatistics<'a>),
    /// Of the batch of which this is a part, with the sums over all of it.
    Merged(SavedStatistics<'a>, &'a [GradientSums]),
    /// Of earlier batches.
    Frozen(FrozenStatistics<'a, T>),
}

/// What a backward writes for some channels.
struct BackwardPart<'a, T> {
    channels: Range<usize>,
    inner: usize,
    dx: Option<MatrixMut<'a, T>>,
    dresidual: Option<MatrixMut<'a, T>>,
    dgamma: Option<&'a mut [T]>,
    dbeta: Option<&'a mut [T]>,
    sums: Option<&'a mut [GradientSums]>,
}

/// Both parts of the columns of what may not be there.
fn split_cols<T>(
    data: Option<MatrixMut<'_, T>>,
    mid: usize,
) -> (Option<MatrixMut<'_, T>>, Option<MatrixMut<'_, T>>) {
    match data {
        Some(data) => {
            let (first, second) = data.split_cols(mid);
            (Some(first), Some(second))
        }
        None => (None, None),
    }
}

impl<T: Element> Split for BackwardPart<'_, T> {
    fn len(&self) -> usize {
        Split::len(&self.channels)
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let inner = self.inner;
        let channels = Split::split_at(self.channels, mid);
        let (dx, dresidual) = (split_cols(self.dx, mid * inner), split_cols(self.dresidual, mid * inner));
        let (dgamma, dbeta) = (self.dgamma.split_at(mid), self.dbeta.split_at(mid));
        let sums = self.sums.split_at(mid);
        (
            Self {
                channels: channels.0,
                inner,
                dx: dx.0,
                dresidual: dresidual.0,
                dgamma: dgamma.0,
                dbeta: dbeta.0,
                sums: sums.0,
            },
            Self {
                channels: channels.1,
                inner,
                dx: dx.1,
                dresidual: dresidual.1,
                dgamma: dgamma.1,
                dbeta: dbeta.1,
                sums: sums.1,
            },
        )
    }
}

pub(super) fn backward<T: Element>(job: Backward<'_, T>) {
    let Backward { shape, eps, inputs, statistics, gradients, sums } = job;
    if inputs.x.is_empty() {
        if let Some(sums) = sums {
            sums.fill(GradientSums::default());
        }
        return;
    }
    let strips = Strips::new(shape);
    let common = Common { active: Active::current(), strips, eps, x: inputs.x, affine: inputs.affine };
    let head = strips.head(gradients.input.as_deref().unwrap_or(inputs.x));
    let matrix = |data| MatrixMut::new(data, shape.outer, strips.stride(), strips.stride());
    let part = BackwardPart {
        channels: 0..shape.channels,
        inner: shape.inner,
        dx: gradients.input.map(matrix),
        dresidual: gradients.residual.map(matrix),
        dgamma: gradients.gamma,
        dbeta: gradients.beta,
        sums,
    };
    let task = BackwardStrips {
        common,
        dy: inputs.dy,
        epilogue: inputs.epilogue,
        gate: Through::new(inputs.epilogue),
        statistics,
    };
    for_each_strip(strips, head, part, |part| task.run(part));
}

/// A backward, for any strip.
pub(super) struct BackwardStrips<'a, T> {
    pub(super) common: Common<'a, T>,
    pub(super) dy: &'a [T],
    pub(super) epilogue: EpilogueBackward<'a, T>,
    /// How dz follows from dy within other loops; none where the activation needs its own.
    pub(super) gate: Option<Through<'a, T>>,
    pub(super) statistics: Statistics<'a, T>,
}

impl<T: Element> BackwardStrips<'_, T> {
    /// Whether dz is written beside dx. It is where it follows from dy within a loop; else it is computed once, for the sums, and so
    /// it is of channels side by side that stay in L2: 256x1024 would take 1.1 of the time.
    pub(super) fn writes_both(&self) -> bool {
        let strips = &self.common.strips;
        self.gate.is_some() && (strips.shape.inner > 1 || strips.outgrow_l2::<T>())
    }

    /// Sums, and what follows from them, of one strip.
    fn run(&self, mut part: BackwardPart<'_, T>) {
        let (Common { strips, eps, affine, .. }, channels) = (&self.common, part.channels.clone());
        let (active, width) = (self.common.active, channels.end - channels.start);
        let (mut numbers, mut by) = (Numbers::default(), Normalizing::new());
        let (mean, scale) = (&mut numbers.mean[..width], &mut numbers.scale[..width]);
        let mut of_frozen: Slots;
        let rstd = match self.statistics {
            Statistics::Saved(saved) | Statistics::Merged(saved, _) => {
                mean.copy_from_slice(&saved.mean[channels.clone()]);
                &saved.rstd[channels.clone()]
            }
            Statistics::Frozen(frozen) => {
                of_frozen = [0.0; STRIP];
                for (at, channel) in channels.clone().enumerate() {
                    mean[at] = frozen.mean[channel].to_f64();
                    of_frozen[at] = frozen.variance[channel].to_f64();
                }
                let rstd = &mut of_frozen[..width];
                simd::dispatch(active, kernel::InverseDeviations { eps: *eps, count: 1.0, m2: rstd });
                rstd
            }
        };
        scale.copy_from_slice(rstd);
        let affine = affine.part(channels.start, width);
        simd::dispatch(
            active,
            kernel::Prepare { channels: width, affine, numbers: &mut numbers, by: &mut by },
        );
        let strip = Strip { task: self, channels: channels.clone(), mean: &numbers.mean, normalizing: &by };

        let depends = matches!(self.statistics, Statistics::Saved(_)) && part.dx.is_some();
        let wants_sums = part.dgamma.is_some() || part.dbeta.is_some() || part.sums.is_some() || depends;
        let is_late = part.dx.is_some() && self.writes_both();
        let dresidual = part.dresidual.as_mut().filter(|_| !is_late).map(MatrixMut::reborrow);
        let Sums(totals) = if wants_sums || dresidual.is_some() {
            let rows = ResidualRows { rows: 0..strips.shape.outer, dresidual };
            parallel::reduce_in_place(
                rows,
                strips.rows(),
                |rows, sums| strip.sums(rows, wants_sums, sums),
                |sums: &mut Sums, other| sums.add(other, width),
            )
        } else {
            Sums::default()
        };
        let count = (strips.shape.outer * strips.shape.inner) as u64;
        let own = [&totals[0][..width], &totals[1][..width]];
        if let Some(sums) = part.sums {
            for (at, sums) in sums.iter_mut().enumerate() {
                *sums = GradientSums { count, dy: own[0][at], dy_deviation: own[1][at] };
            }
        }
        let mut means: [Slots; 2];
        let (all, count) = match self.statistics {
            // By frozen statistics dx is dz·scale, and what follows from `all` is not read.
            Statistics::Saved(_) | Statistics::Frozen(_) => (own, count as f64),
            Statistics::Merged(_, sums) => {
                means = [[0.0; STRIP]; 2];
                for (at, sums) in sums[channels].iter().enumerate() {
                    let count = sums.count as f64;
                    (means[0][at], means[1][at]) = (sums.dy / count, sums.dy_deviation / count);
                }
                (means.each_ref().map(|means| &means[..width]), 1.0)
            }
        };
        let mut differentiating = Differentiating::new();
        let (numbers, dgamma, dbeta, by) = (&numbers, part.dgamma, part.dbeta, &mut differentiating);
        simd::dispatch(active, kernel::FinishSums { own, all, count, numbers, rstd, dgamma, dbeta, by });
        if let Some(dx) = part.dx {
            let rows = Offset { first: 0, data: InputRows { dx, dresidual: part.dresidual } };
            parallel::for_each(rows, strips.rows(), |Offset { first, data }| {
                strip.input(&differentiating, first, data);
            });
        }
    }
}
