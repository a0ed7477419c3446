//! The two sums of a strip, and the gradients that follow from them.

use core::ops::Range;

use super::kernel::{self, Differentiating, Gate, Normalizing, Numbers};
use super::parts::{
    BackwardInputs, EpilogueBackward, FrozenStatistics, GradientSums, Gradients, SavedStatistics,
};
use super::schedule::{Common, each_span, each_tile, for_each_strip};
use crate::activation::{self, kernel::Rectifier};
use crate::parallel::{self, Offset, Split};
use crate::simd::{self, Active, InOut, MatrixMut, STRIP, Slots, Store, Tile};
use crate::strips::{Strips, TILE};
use crate::{Activation, ChannelShape, Element, Epilogue};

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

/// Rows of a strip, with the gradient of the residual where that is wanted.
struct ResidualRows<'a, T> {
    rows: Range<usize>,
    dresidual: Option<MatrixMut<'a, T>>,
}

impl<T: Element> Split for ResidualRows<'_, T> {
    fn len(&self) -> usize {
        Split::len(&self.rows)
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let (first, second) = Split::split_at(self.rows, mid);
        let (dresidual, other) = self.dresidual.split_at(mid);
        (Self { rows: first, dresidual }, Self { rows: second, dresidual: other })
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
struct BackwardStrips<'a, T> {
    common: Common<'a, T>,
    dy: &'a [T],
    epilogue: EpilogueBackward<'a, T>,
    /// How dz follows from dy within other loops; none where the activation needs its own.
    gate: Option<Through<'a, T>>,
    statistics: Statistics<'a, T>,
}

/// What stands between dy and dz.
#[derive(Clone, Copy)]
enum Through<'a, T> {
    Nothing,
    /// An activation of the norm's output.
    Input(Rectifier<T>),
    /// An activation with this output.
    Output(Rectifier<T>, &'a [T]),
}

impl<'a, T: Element> Through<'a, T> {
    fn new(epilogue: EpilogueBackward<'a, T>) -> Option<Self> {
        let (activation, from) = match epilogue {
            EpilogueBackward::FromInput(Epilogue { activation, residual }) => (activation, residual),
            EpilogueBackward::FromOutput { activation, y } => (Some(activation), Some(y)),
        };
        match (Rectifier::of(activation)?, epilogue, from) {
            (Rectifier::Identity, ..) => Some(Self::Nothing),
            (rectifier, EpilogueBackward::FromOutput { y, .. }, _) => Some(Self::Output(rectifier, y)),
            (rectifier, EpilogueBackward::FromInput(_), None) => Some(Self::Input(rectifier)),
            (_, EpilogueBackward::FromInput(_), Some(_)) => None,
        }
    }
}

impl<T: Element> BackwardStrips<'_, T> {
    /// Whether dz is written beside dx. It is where it follows from dy within a loop; else it is computed once, for the sums, and so
    /// it is of channels side by side that stay in L2: 256x1024 would take 1.1 of the time.
    fn writes_both(&self) -> bool {
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

/// Σdz and Σdz·(x − mean) of each channel.
struct Sums([Slots; 2]);

impl Default for Sums {
    fn default() -> Self {
        Self([[0.0; STRIP]; 2])
    }
}

impl Sums {
    /// Adds the sums of other rows, of so many channels.
    fn add(&mut self, other: &Self, channels: usize) {
        for (sums, other) in self.0.iter_mut().zip(&other.0) {
            for (sum, other) in sums[..channels].iter_mut().zip(other) {
                *sum += other;
            }
        }
    }
}

/// Rows of dx, with the gradient of the residual where that is wanted.
struct InputRows<'a, T> {
    dx: MatrixMut<'a, T>,
    dresidual: Option<MatrixMut<'a, T>>,
}

impl<T: Element> Split for InputRows<'_, T> {
    fn len(&self) -> usize {
        self.dx.rows()
    }
    fn split_at(self, mid: usize) -> (Self, Self) {
        let (dx, other_dx) = self.dx.split_rows(mid);
        let (dresidual, other) = self.dresidual.split_at(mid);
        (Self { dx, dresidual }, Self { dx: other_dx, dresidual: other })
    }
}

/// What is done with the tiles of a gate.
trait Visitor<T: Element> {
    fn visit<G: Gate<T, N>, const N: usize>(self, active: Active, gated: kernel::Gated<'_, T, G, N>);
}

struct GradientSumsOf<'a> {
    mean: &'a Slots,
    sums: &'a mut [Slots; 2],
}

impl<T: Element> Visitor<T> for GradientSumsOf<'_> {
    fn visit<G: Gate<T, N>, const N: usize>(self, active: Active, gated: kernel::Gated<'_, T, G, N>) {
        simd::dispatch(active, kernel::GradientSums { gated, mean: self.mean, sums: self.sums });
    }
}

struct GradientOf<'a, T> {
    dz: MatrixMut<'a, T>,
}

impl<T: Element> Visitor<T> for GradientOf<'_, T> {
    fn visit<G: Gate<T, N>, const N: usize>(self, active: Active, gated: kernel::Gated<'_, T, G, N>) {
        simd::dispatch(active, kernel::Gradient { gated, dz: self.dz });
    }
}

struct InputOf<'a, T> {
    strip: &'a Strip<'a, T>,
    by: &'a Differentiating<T>,
    dx: MatrixMut<'a, T>,
    dz: Option<MatrixMut<'a, T>>,
}

impl<T: Element> Visitor<T> for InputOf<'_, T> {
    fn visit<G: Gate<T, N>, const N: usize>(self, _active: Active, gated: kernel::Gated<'_, T, G, N>) {
        self.strip.input_from(self.by, gated, self.dx, self.dz);
    }
}

/// One strip of a backward.
struct Strip<'a, T> {
    task: &'a BackwardStrips<'a, T>,
    channels: Range<usize>,
    mean: &'a Slots,
    normalizing: &'a Normalizing<T>,
}

impl<T: Element> Strip<'_, T> {
    /// The two sums of each channel over some rows, in place of zeros; writes the gradient of the residual.
    fn sums(
        &self,
        ResidualRows { rows, dresidual }: ResidualRows<'_, T>,
        wants_sums: bool,
        Sums(sums): &mut Sums,
    ) {
        let (common, inner) = (&self.task.common, self.task.common.strips.shape.inner);
        let width = (self.channels.end - self.channels.start) * inner;
        let mut gradient = [T::zero(); TILE];
        let (first, height) = (rows.start, rows.end - rows.start);
        if let Some(dresidual) = dresidual {
            // Sums of a tile follow while it is in cache.
            each_tile(first, dresidual, |place, mut dz| {
                self.gradient(place, dz.reborrow());
                if wants_sums {
                    self.sums_of(place, &dz, sums);
                }
            });
        } else if let (true, Some(gate)) = (wants_sums, self.task.gate) {
            let mean = self.mean;
            self.visit(gate, (first, 0), [height, width], GradientSumsOf { mean, sums });
        } else if wants_sums {
            let tile_rows = (TILE / width).clamp(1, height);
            for row in (0..height).step_by(tile_rows) {
                for col in (0..width).step_by(TILE) {
                    let size = [tile_rows.min(height - row), TILE.min(width - col)];
                    let mut dz =
                        MatrixMut::new(&mut gradient[..size[0] * size[1]], size[0], size[1], size[1]);
                    self.gradient((first + row, col), dz.reborrow());
                    self.sums_of((first + row, col), &dz, sums);
                }
            }
        }
        let channels = self.channels.end - self.channels.start;
        simd::dispatch(common.active, kernel::Totals { inner, channels, sums });
    }

    /// Adds the sums of a tile whose dz has been computed.
    fn sums_of(&self, place: (usize, usize), dz: &MatrixMut<'_, T>, sums: &mut [Slots; 2]) {
        let gated = self.computed(place, dz);
        simd::dispatch(self.task.common.active, kernel::GradientSums { gated, mean: self.mean, sums });
    }

    /// The tile of x at a place, with its dz.
    fn computed<'b>(
        &'b self,
        place: (usize, usize),
        dz: &'b MatrixMut<'_, T>,
    ) -> kernel::Gated<'b, T, kernel::Open, 2> {
        let common = &self.task.common;
        let x = common.tile(common.x, place, &self.channels, [dz.rows(), dz.cols()]);
        let (inner, from_memory) = (common.strips.shape.inner, common.strips.outgrow_l2::<T>());
        let tiles = [x, Tile::of(dz)];
        kernel::Gated { inner, by: self.normalizing, gate: kernel::Open, from_memory, tiles }
    }

    /// dx of some rows, the first of which is `first`.
    fn input(&self, by: &Differentiating<T>, first: usize, InputRows { dx, dresidual }: InputRows<'_, T>) {
        match (self.task.gate, dresidual) {
            (Some(gate), dz) if self.task.writes_both() || dz.is_none() => {
                let size = [dx.rows(), dx.cols()];
                return self.visit(gate, (first, 0), size, InputOf { strip: self, by, dx, dz });
            }
            (_, Some(dz)) => return self.input_from(by, self.computed((first, 0), &dz), dx, None),
            _ => {}
        }
        let mut gradient = [T::zero(); TILE];
        each_tile(first, dx, |place, dx| {
            let (rows, width) = (dx.rows(), dx.cols());
            let mut dz = MatrixMut::new(&mut gradient[..rows * width], rows, width, width);
            self.gradient(place, dz.reborrow());
            self.input_from(by, self.computed(place, &dz), dx, None);
        });
    }

    /// dx of a tile, and dz where that is wanted.
    fn input_from<G: Gate<T, N>, const N: usize>(
        &self,
        by: &Differentiating<T>,
        gated: kernel::Gated<'_, T, G, N>,
        dx: MatrixMut<'_, T>,
        dz: Option<MatrixMut<'_, T>>,
    ) {
        let Common { active, strips, .. } = self.task.common;
        let store = strips.store::<T>(N + 1 + usize::from(dz.is_some()));
        let outputs = kernel::Outputs { dx, dz, store };
        match self.task.statistics {
            Statistics::Frozen(_) => {
                simd::dispatch(active, kernel::Scale { gated, differentiating: by, outputs })
            }
            _ => simd::dispatch(active, kernel::Differentiate { gated, differentiating: by, outputs }),
        }
    }

    /// Calls `visitor` with the backward's gate and the tiles of this size at a place.
    fn visit(&self, gate: Through<'_, T>, place: (usize, usize), size: [usize; 2], visitor: impl Visitor<T>) {
        let (common, by) = (&self.task.common, self.normalizing);
        let (active, inner) = (common.active, common.strips.shape.inner);
        let from_memory = common.strips.outgrow_l2::<T>();
        let tile = |data| common.tile(data, place, &self.channels, size);
        let (x, dy) = (tile(common.x), tile(self.task.dy));
        match gate {
            Through::Nothing => {
                let (gate, tiles) = (kernel::Open, [x, dy]);
                visitor.visit(active, kernel::Gated { inner, by, gate, from_memory, tiles });
            }
            Through::Input(rectifier) => {
                let gate = kernel::FromInput(rectifier);
                visitor.visit(active, kernel::Gated { inner, by, gate, from_memory, tiles: [x, dy] });
            }
            Through::Output(rectifier, y) => {
                let gate = kernel::FromOutput(rectifier);
                let tiles = [x, dy, tile(y)];
                visitor.visit(active, kernel::Gated { inner, by, gate, from_memory, tiles });
            }
        }
    }

    /// Overwrites a tile with the gradient of the norm's output: `dy` through the activation.
    fn gradient(&self, place: (usize, usize), mut out: MatrixMut<'_, T>) {
        if let Some(gate) = self.task.gate {
            return self.visit(gate, place, [out.rows(), out.cols()], GradientOf { dz: out });
        }
        let common = &self.task.common;
        let (active, stride, dy) = (common.active, common.strips.stride(), self.task.dy);
        let first = common.at(place, &self.channels);
        match self.task.epilogue {
            EpilogueBackward::FromOutput { activation, y } => {
                each_span(first, stride, &mut out, |at, out| {
                    let (y, dy) = (&y[at..at + out.len()], &dy[at..at + out.len()]);
                    activation::apply_backward_from_output(active, activation, y, InOut::new(dy, out));
                });
            }
            EpilogueBackward::FromInput(Epilogue { residual, activation }) => {
                let (rows, width) = (out.rows(), out.cols());
                let mut before = [T::zero(); TILE];
                let before = &mut before[..rows * width];
                let x = common.tile(common.x, place, &self.channels, [rows, width]);
                let y = MatrixMut::new(before, rows, width, width);
                let inner = common.strips.shape.inner;
                let (by, rectifier) = (self.normalizing, Rectifier::Identity);
                let (from_memory, store) = (common.strips.outgrow_l2::<T>(), Store::Cached);
                let kernel = kernel::Normalize { inner, by, rectifier, from_memory, x, y, store };
                simd::dispatch(active, kernel);
                let add = Epilogue { residual, activation: None };
                each_span(first, stride, &mut out, |at, out| {
                    // The tile's own rows lie side by side.
                    let place = (at - first) / stride * width;
                    let before = &mut before[place..place + out.len()];
                    add.apply(active, at, before);
                    let dy = &dy[at..at + out.len()];
                    let activation = activation.unwrap_or(Activation::Identity);
                    activation::apply_backward(active, activation, before, InOut::new(dy, out));
                });
            }
        }
    }
}
