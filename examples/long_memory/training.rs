//! The one loop that trains every network.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use steadygrad::Error;
use steadygrad::clip::{ClipNorm, NonFinite};
use steadygrad::optim::{Adam, Clipped, Gradients};
use steadygrad::recurrent::{Gru, Lstm, Rnn};

use crate::network::{self, Network};
use crate::tasks::Task;

/// Of the first step; it falls along a cosine to 0 after the last.
pub(crate) const LEARNING_RATE: f64 = 5e-3;
/// What all gradients together are clipped to, but those of [`Cell::Rnn`].
const MAX_NORM: f64 = 1.0;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Cell {
    Rnn,
    RnnClipped,
    Lstm,
    Gru,
}

pub(crate) const CELLS: [Cell; 4] = [Cell::Rnn, Cell::RnnClipped, Cell::Lstm, Cell::Gru];

impl Cell {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rnn => "RNN",
            Self::RnnClipped => "RNN, clipped",
            Self::Lstm => "LSTM",
            Self::Gru => "GRU",
        }
    }
}

/// What all networks share.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) hidden: usize,
    pub(crate) seed: u64,
}

/// How the training of a network went.
pub(crate) struct History {
    /// Of each step.
    pub(crate) losses: Vec<f64>,
    /// Norm of the loss's gradient at each step of a sequence, before training and after it.
    pub(crate) before: Vec<f64>,
    pub(crate) after: Vec<f64>,
    /// On the test set.
    pub(crate) score: f64,
    /// The first step whose loss or gradients were not finite; training ended there.
    pub(crate) diverged_at: Option<u64>,
}

/// Trains one network; `progress` is called after each step.
pub(crate) fn train(cell: Cell, task: &Task, plan: Plan, progress: impl Fn()) -> Result<History, Error> {
    let (inputs, hidden) = (task.inputs(), plan.hidden);
    match cell {
        Cell::Rnn | Cell::RnnClipped => {
            train_layer(Rnn { inputs, hidden, ..Rnn::default() }, cell, task, plan, progress)
        }
        Cell::Lstm => train_layer(Lstm { inputs, hidden, ..Lstm::default() }, cell, task, plan, progress),
        Cell::Gru => train_layer(Gru { inputs, hidden, ..Gru::default() }, cell, task, plan, progress),
    }
}

fn train_layer<L: network::Cell>(
    layer: L,
    cell: Cell,
    task: &Task,
    plan: Plan,
    progress: impl Fn(),
) -> Result<History, Error> {
    let stream = |number| {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
        rng.set_stream(number);
        rng
    };
    let mut network = Network::new(layer, plan.hidden, task, &mut stream(1))?;
    let test = task.test(&mut stream(2));
    let mut samples = stream(3);
    let mut state = [network.parameters.clone(), network.parameters.clone()];
    state.iter_mut().flatten().for_each(|tensor| tensor.fill(0.0));
    let max_norm = if cell == Cell::Rnn { f64::INFINITY } else { MAX_NORM };
    let mut history = History {
        losses: Vec::new(),
        before: network.gradients_by_step(task, &test[0])?,
        after: Vec::new(),
        score: 0.0,
        diverged_at: None,
    };
    let steps = task.steps();
    'training: while history.losses.len() < steps {
        for batch in task.epoch(&mut samples) {
            let done = history.losses.len() as f64 / steps as f64;
            let lr = LEARNING_RATE * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
            let loss = network.gradients(task, &batch)?;
            history.losses.push(loss);
            let step = history.losses.len() as u64;
            let optimizer = Clipped {
                optimizer: Adam { lr, ..Adam::default() },
                clip: ClipNorm { max_norm, non_finite: NonFinite::Skip, ..ClipNorm::default() },
            };
            let gradients = network.gradients.each_ref().map(Vec::as_slice);
            let mut parameters = network.parameters.each_mut().map(Vec::as_mut_slice);
            let [first, second] = &mut state;
            let (mut first, mut second) =
                (first.each_mut().map(Vec::as_mut_slice), second.each_mut().map(Vec::as_mut_slice));
            let gradients = Gradients::new(&gradients);
            let report = optimizer.step(step, &mut parameters, gradients, &mut [&mut first, &mut second])?;
            if !loss.is_finite() || report.non_finite.is_some() {
                history.diverged_at = Some(step);
                break 'training;
            }
            network.repack()?;
            progress();
        }
    }
    history.after = network.gradients_by_step(task, &test[0])?;
    let mut score = 0.0;
    for batch in &test {
        score += task.score(batch, network.forward(task, batch)?);
    }
    history.score = score / test.iter().map(|batch| batch.len()).sum::<usize>() as f64;
    Ok(history)
}
