//! Zoneout: units that keep their value for a step, at random; where dropout would forget it.
//!
//! Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", 2017.

mod kernel;
pub mod reference;

use super::sequence::{Part, Walk};
use crate::Element;
use crate::element::compiled_once;
use crate::parallel::{self, Offset, PARALLEL_BLOCK};
use crate::random::Philox;
use crate::simd::{self, Active, InOut};

/// How often units keep their value from one step to the next.
///
/// ```text
/// h = d∘h_before + (1 − d)∘h_new,   d = 1 with probability p, each unit and step by a draw of its own
/// ```
///
/// At inference d is p. Of an LSTM the output is that of the new cell, whether the cell is kept or not. Masks are drawn again by
/// the backward, and never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Zoneout {
    /// Probability that a feature of the output stays what it was, in [0, 1]; 0 by default.
    pub output: f64,
    /// Probability that a cell does, in [0, 1]; 0 by default. Of an LSTM without peepholes and norms only.
    pub cell: f64,
}

/// What decides whether a value is kept.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Probability that it is.
    pub(super) p: f64,
    /// The draws of a training; at inference there are none.
    pub(super) stream: Option<Philox>,
}

/// Values of a layer that may keep what they were, and room for their gradients of a step.
#[derive(Debug)]
pub(super) struct Keep<'a, T> {
    pub(super) rate: Option<Rate>,
    pub(super) width: usize,
    /// What of the gradient goes past the step.
    pub(super) kept: &'a mut [T],
    /// Zeros of a step.
    pub(super) zeros: &'a [T],
}

impl<T> Default for Keep<'_, T> {
    fn default() -> Self {
        Self { rate: None, width: 0, kept: &mut [], zeros: &[] }
    }
}

impl<T: Element> Keep<'_, T> {
    pub(super) fn is_on(&self) -> bool {
        self.rate.is_some()
    }

    /// Gives the values of the step that comes as number `turn` a part of those before.
    pub(super) fn forward(&self, walk: Walk<'_>, turn: usize, data: &mut [T], initial: &[T]) {
        let Some(rate) = self.rate else { return };
        for part in walk.parts(turn) {
            let first = (part.rows.start * self.width) as u64;
            let (x, before) = part.with_before(data, self.width, initial);
            <T as Compiled>::forward(rate, first, before, x);
        }
    }

    /// Takes from the gradient `dx + dy` of rows what goes past the step, and returns what of `dy` is still to be added.
    pub(super) fn backward<'b>(&'b mut self, part: &Part, dy: &'b [T], dx: &mut [T]) -> &'b [T] {
        let Some(rate) = self.rate else { return dy };
        let first = (part.rows.start * self.width) as u64;
        let place = part.sequences.start * self.width..part.sequences.end * self.width;
        <T as Compiled>::backward(rate, first, dy, dx, &mut self.kept[place]);
        &self.zeros[..dy.len()]
    }

    /// Adds to the gradient of the values before what went past the step of the first `batch` sequences.
    pub(super) fn add_kept(&self, batch: usize, dx: &mut [T]) {
        if self.rate.is_some() {
            let kept = &self.kept[..batch * self.width];
            <T as super::lstm::Compiled>::add(kept, InOut::in_place(&mut dx[..kept.len()]));
        }
    }
}

compiled_once! {
    fn forward(rate: Rate, first: u64, before: &[Self], x: &mut [Self]) = forward_all;
    fn backward(rate: Rate, first: u64, dy: &[Self], dx: &mut [Self], kept: &mut [Self]) = backward_all;
}

fn forward_all<T: Element>(rate: Rate, first: u64, before: &[T], x: &mut [T]) {
    let active = Active::current();
    parallel::for_each(
        Offset { first: 0, data: (before, x) },
        PARALLEL_BLOCK,
        |Offset { first: at, data }| {
            let (first, (before, x)) = (first.wrapping_add(at as u64), data);
            simd::dispatch(active, kernel::Forward { rate, first, before, x });
        },
    );
}

fn backward_all<T: Element>(rate: Rate, first: u64, dy: &[T], dx: &mut [T], kept: &mut [T]) {
    let active = Active::current();
    parallel::for_each(
        Offset { first: 0, data: (dy, (dx, kept)) },
        PARALLEL_BLOCK,
        |Offset { first: at, data }| {
            let (first, (dy, (dx, kept))) = (first.wrapping_add(at as u64), data);
            simd::dispatch(active, kernel::Backward { rate, first, dy, dx, kept });
        },
    );
}
