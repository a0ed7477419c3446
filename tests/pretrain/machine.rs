//! A machine with its parameters, for tests to evaluate and to train.

use steadygrad::pretrain::{Rbm, RbmTensors, RbmWeights, VisibleUnits};
use steadygrad::{Element, Philox};

use crate::common::numbers;

#[derive(Clone, Debug)]
pub(crate) struct Machine<T> {
    pub(crate) rbm: Rbm,
    pub(crate) weights: Vec<T>,
    pub(crate) visible_bias: Vec<T>,
    pub(crate) hidden_bias: Vec<T>,
}

impl<T: Element> Machine<T> {
    /// A machine of random parameters.
    pub(crate) fn new(visible: usize, hidden: usize, units: VisibleUnits, seed: u64, deviation: f64) -> Self {
        Self {
            rbm: Rbm { visible, hidden, units },
            weights: numbers(seed, visible * hidden, deviation),
            visible_bias: numbers(seed + 1, visible, deviation),
            hidden_bias: numbers(seed + 2, hidden, deviation),
        }
    }

    /// Zeros in place of parameters.
    pub(crate) fn zeros(&self) -> Self {
        let zeros = |x: &[T]| vec![T::zero(); x.len()];
        Self {
            rbm: self.rbm,
            weights: zeros(&self.weights),
            visible_bias: zeros(&self.visible_bias),
            hidden_bias: zeros(&self.hidden_bias),
        }
    }

    /// The same in `f64`.
    pub(crate) fn widened(&self) -> Machine<f64> {
        let widened = |x: &[T]| x.iter().map(|&x| x.to_f64()).collect();
        Machine {
            rbm: self.rbm,
            weights: widened(&self.weights),
            visible_bias: widened(&self.visible_bias),
            hidden_bias: widened(&self.hidden_bias),
        }
    }

    pub(crate) fn weights(&self) -> RbmWeights<'_, T> {
        let Self { weights, visible_bias, hidden_bias, .. } = self;
        RbmWeights { weights, visible_bias, hidden_bias }
    }

    pub(crate) fn tensors(&mut self) -> RbmTensors<'_, T> {
        let Self { weights, visible_bias, hidden_bias, .. } = self;
        RbmTensors { weights, visible_bias, hidden_bias }
    }

    /// All parameters, one after the other.
    pub(crate) fn all(&self) -> Vec<T> {
        [&self.weights[..], &self.visible_bias, &self.hidden_bias].concat()
    }

    pub(crate) fn scratch(&self, batch: usize) -> Vec<T> {
        vec![T::nan(); self.rbm.scratch_len::<T>(batch)]
    }
}

/// Rows that the visible units may have.
pub(crate) fn data<T: Element>(units: VisibleUnits, seed: u64, len: usize) -> Vec<T> {
    match units {
        VisibleUnits::Gaussian => numbers(seed, len, 1.0),
        VisibleUnits::Bernoulli => {
            let mut words = vec![0; len];
            Philox { key: seed, counter: 99 }.fill(0, &mut words);
            words.iter().map(|&word| T::from_f64(f64::from(word % 17) / 16.0)).collect()
        }
    }
}
