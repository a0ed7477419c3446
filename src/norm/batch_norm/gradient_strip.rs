//! One strip of a backward: its tiles through the gate, to sums and to gradients.

use core::ops::Range;

use super::backward::{BackwardStrips, Statistics};
use super::kernel::{self, Differentiating, Gate, Normalizing};
use super::parts::EpilogueBackward;
use super::schedule::{Common, each_span, each_tile};
use crate::activation::{self, kernel::Rectifier};
use crate::parallel::Split;
use crate::simd::{self, Active, InOut, MatrixMut, STRIP, Slots, Store, Tile};
use crate::strips::TILE;
use crate::{Activation, Element, Epilogue};

/// What stands between dy and dz.
#[derive(Clone, Copy)]
pub(super) enum Through<'a, T> {
    Nothing,
    /// An activation of the norm's output.
    Input(Rectifier<T>),
    /// An activation with this output.
    Output(Rectifier<T>, &'a [T]),
}

impl<'a, T: Element> Through<'a, T> {
    pub(super) fn new(epilogue: EpilogueBackward<'a, T>) -> Option<Self> {
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

/// Rows of a strip, with the gradient of the residual where that is wanted.
pub(super) struct ResidualRows<'a, T> {
    pub(super) rows: Range<usize>,
    pub(super) dresidual: Option<MatrixMut<'a, T>>,
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

/// Rows of dx, with the gradient of the residual where that is wanted.
pub(super) struct InputRows<'a, T> {
    pub(super) dx: MatrixMut<'a, T>,
    pub(super) dresidual: Option<MatrixMut<'a, T>>,
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

/// Σdz and Σdz·(x − mean) of each channel.
pub(super) struct Sums(pub(super) [Slots; 2]);

impl Default for Sums {
    fn default() -> Self {
        Self([[0.0; STRIP]; 2])
    }
}

impl Sums {
    /// Adds the sums of other rows, of so many channels.
    pub(super) fn add(&mut self, other: &Self, channels: usize) {
        for (sums, other) in self.0.iter_mut().zip(&other.0) {
            for (sum, other) in sums[..channels].iter_mut().zip(other) {
                *sum += other;
            }
        }
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
pub(super) struct Strip<'a, T> {
    pub(super) task: &'a BackwardStrips<'a, T>,
    pub(super) channels: Range<usize>,
    pub(super) mean: &'a Slots,
    pub(super) normalizing: &'a Normalizing<T>,
}

impl<T: Element> Strip<'_, T> {
    /// The two sums of each channel over some rows, in place of zeros; writes the gradient of the residual.
    pub(super) fn sums(
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
    pub(super) fn input(
        &self,
        by: &Differentiating<T>,
        first: usize,
        InputRows { dx, dresidual }: InputRows<'_, T>,
    ) {
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
