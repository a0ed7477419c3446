//! Two tasks whose answer lies far back in a sequence, and what is made of a network's last output.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use steadygrad::loss::{CrossEntropy, PointwiseLoss, Reduction, Targets};
use steadygrad::{Error, RowShape};

use crate::digits::{CLASSES, Digits, PIXELS, Samples};

/// Sequences of a step of training.
pub(crate) const BATCH: usize = 32;
/// Sequences of the adding problem's test set.
const ADDING_TEST: usize = 32 * BATCH;

pub(crate) enum Task {
    /// The class of an image whose pixels come one a step.
    Digits { digits: Digits, epochs: usize },
    /// The sum of the two numbers that are marked, of `length` in [0, 1].
    Adding { length: usize, steps: usize },
}

/// Sequences, step by step, and what is to be said after the last.
pub(crate) struct Batch {
    /// `steps · sequences · inputs`.
    pub(crate) x: Vec<f32>,
    pub(crate) classes: Vec<i64>,
    pub(crate) sums: Vec<f32>,
}

impl Task {
    pub(crate) fn digits(epochs: usize, seed: u64) -> Self {
        Self::Digits { digits: Digits::load(seed), epochs }
    }

    pub(crate) fn adding(length: usize, steps: usize) -> Self {
        Self::Adding { length, steps }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Digits { .. } => format!("digits, a pixel a step ({PIXELS} steps)"),
            Self::Adding { length, .. } => format!("adding problem over {length} steps"),
        }
    }

    /// Steps of training.
    pub(crate) fn steps(&self) -> usize {
        match self {
            Self::Digits { digits, epochs } => epochs * digits.train.len().div_ceil(BATCH),
            Self::Adding { steps, .. } => *steps,
        }
    }

    /// Steps of a sequence.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Digits { .. } => PIXELS,
            Self::Adding { length, .. } => *length,
        }
    }

    /// Features of a step.
    pub(crate) fn inputs(&self) -> usize {
        match self {
            Self::Digits { .. } => 1,
            Self::Adding { .. } => 2,
        }
    }

    /// Numbers that the network shall say.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Digits { .. } => CLASSES,
            Self::Adding { .. } => 1,
        }
    }

    pub(crate) fn goal(&self) -> &'static str {
        match self {
            Self::Digits { .. } => "90 % of the test digits",
            Self::Adding { .. } => "a mean squared error below 0.02 (always 1: 0.167)",
        }
    }

    pub(crate) fn is_solved(&self, score: f64) -> bool {
        match self {
            Self::Digits { .. } => score >= 0.9,
            Self::Adding { .. } => score < 0.02,
        }
    }

    pub(crate) fn show(&self, score: f64) -> String {
        match self {
            Self::Digits { .. } => format!("{:.1} % right", 100.0 * score),
            Self::Adding { .. } => format!("mean squared error {score:.4}"),
        }
    }

    /// Batches to learn from: all digits in a new order, or as many new sums.
    pub(crate) fn epoch(&self, rng: &mut ChaCha8Rng) -> Vec<Batch> {
        match self {
            Self::Digits { digits, .. } => {
                let mut order: Vec<usize> = (0..digits.train.len()).collect();
                order.shuffle(rng);
                order.chunks(BATCH).map(|places| Batch::of_digits(&digits.train, places)).collect()
            }
            Self::Adding { length, .. } => vec![Batch::of_sums(*length, rng)],
        }
    }

    /// Batches to be tested on.
    pub(crate) fn test(&self, rng: &mut ChaCha8Rng) -> Vec<Batch> {
        match self {
            Self::Digits { digits, .. } => {
                let places: Vec<usize> = (0..digits.test.len()).collect();
                places.chunks(BATCH).map(|places| Batch::of_digits(&digits.test, places)).collect()
            }
            Self::Adding { length, .. } => {
                (0..ADDING_TEST / BATCH).map(|_| Batch::of_sums(*length, rng)).collect()
            }
        }
    }

    /// The loss of what was said, and its gradient.
    pub(crate) fn loss(&self, batch: &Batch, said: &[f32], gradient: &mut [f32]) -> Result<f64, Error> {
        match self {
            Self::Digits { .. } => {
                let shape = RowShape { rows: batch.classes.len(), cols: CLASSES };
                let targets = Targets::Classes(&batch.classes);
                CrossEntropy::default().forward_backward(shape, said, targets, None, gradient)
            }
            Self::Adding { .. } => {
                PointwiseLoss::Squared.forward_backward(Reduction::Mean, said, &batch.sums, gradient)
            }
        }
    }

    /// The sum over a batch of what [`show`](Self::show) shows the mean of.
    pub(crate) fn score(&self, batch: &Batch, said: &[f32]) -> f64 {
        match self {
            Self::Digits { .. } => {
                let is_right = |(row, &class): (&[f32], &i64)| {
                    let best = (0..CLASSES).max_by(|&a, &b| row[a].total_cmp(&row[b]));
                    row.iter().all(|x| x.is_finite()) && best == Some(class as usize)
                };
                said.chunks_exact(CLASSES).zip(&batch.classes).filter(|&pair| is_right(pair)).count() as f64
            }
            Self::Adding { .. } => {
                said.iter().zip(&batch.sums).map(|(said, sum)| f64::from(said - sum).powi(2)).sum()
            }
        }
    }
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.classes.len().max(self.sums.len())
    }

    fn of_digits(samples: &Samples, places: &[usize]) -> Self {
        let pixel = |step: usize| places.iter().map(move |&place| samples.images[place * PIXELS + step]);
        Self {
            x: (0..PIXELS).flat_map(pixel).collect(),
            classes: places.iter().map(|&place| samples.classes[place]).collect(),
            sums: Vec::new(),
        }
    }

    /// One number of each half of a sequence is marked.
    fn of_sums(length: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut x = vec![0.0; length * BATCH * 2];
        let mut sums = vec![0.0; BATCH];
        for (sequence, sum) in sums.iter_mut().enumerate() {
            let marked = [rng.random_range(0..length / 2), rng.random_range(length / 2..length)];
            for step in 0..length {
                let at = (step * BATCH + sequence) * 2;
                x[at] = rng.random_range(0.0..1.0);
                if marked.contains(&step) {
                    x[at + 1] = 1.0;
                    *sum += x[at];
                }
            }
        }
        Self { x, classes: Vec::new(), sums }
    }
}
