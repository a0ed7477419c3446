//! What the machine refuses: errors name the argument, and nothing is written.

use steadygrad::pretrain::{
    ContrastiveDivergence, Rbm, RbmState, RbmTensors, RbmWeights, Sparsity, VisibleUnits,
};
use steadygrad::{Error, Philox};

use super::machine::{Machine, data};
use crate::common::argument;

const STREAM: Philox = Philox { key: 1, counter: 1 };

#[test]
fn rbm_evaluation_names_the_bad_argument() {
    let machine = Machine::<f32>::new(4, 3, VisibleUnits::Bernoulli, 1, 0.1);
    let (rbm, v, h) = (machine.rbm, [0.5; 8], [0.5; 6]);
    let mut out = [f32::NAN; 9];
    let scratch = &mut machine.scratch(2);
    let good = machine.weights();
    let mut names = Vec::new();
    let mut refuse = |result: Result<(), Error>| names.push(argument(result.unwrap_err()));
    refuse(rbm.hidden_means(2, &v[1..], good, scratch, &mut out[..6]));
    refuse(rbm.hidden_means(2, &v, good, scratch, &mut out[..5]));
    refuse(rbm.hidden_means(2, &v, good, &mut [], &mut out[..6]));
    refuse(rbm.hidden_means(2, &v, RbmWeights { weights: &h, ..good }, scratch, &mut out[..6]));
    refuse(rbm.hidden_means(2, &v, RbmWeights { visible_bias: &h, ..good }, scratch, &mut out[..6]));
    refuse(rbm.hidden_means(2, &v, RbmWeights { hidden_bias: &h, ..good }, scratch, &mut out[..6]));
    refuse(rbm.visible_means(2, &v, good, scratch, &mut out[..8]));
    refuse(rbm.visible_means(2, &h, good, scratch, &mut out[..9]));
    refuse(rbm.sample_visible(2, &h, good, STREAM, scratch, &mut out[..7]));
    refuse(rbm.hidden_means(usize::MAX, &v, good, scratch, &mut out[..6]));
    let empty = Rbm { hidden: 0, ..rbm };
    refuse(empty.hidden_means(2, &v, good, scratch, &mut out[..6]));
    let (first, second) = out.split_at_mut(4);
    refuse(rbm.sample_hidden(1, &v[..4], good, STREAM, scratch, (&mut first[..3], &mut second[..2])));
    let expected = [
        "v",
        "means",
        "scratch",
        "weights.weights",
        "weights.visible_bias",
        "weights.hidden_bias",
        "h",
        "means",
        "samples",
        "shape",
        "hidden",
        "samples",
    ];
    assert_eq!(names, expected);
    assert!(out.iter().all(|x| x.is_nan()));
    let mut energies = [f64::NAN; 3];
    let refused = rbm.free_energy(2, &v, good, scratch, &mut energies);
    assert_eq!(argument(refused.unwrap_err()), "energies");
    assert!(energies.iter().all(|x| x.is_nan()));
    let gaussian = Rbm { units: VisibleUnits::Gaussian, ..rbm };
    let refused = gaussian.pseudo_likelihood(2, &v, good, scratch);
    assert!(matches!(refused, Err(Error::Unsupported { .. })));
}

/// The argument that a step is refused for, after a look that nothing was written.
#[track_caller]
fn refused(
    op: ContrastiveDivergence,
    v: &[f64],
    chain: Option<usize>,
    activity: Option<usize>,
) -> &'static str {
    let mut machine = Machine::<f64>::new(4, 3, VisibleUnits::Bernoulli, 1, 0.1);
    let before = machine.all();
    let (mut chain, mut activity) = (chain.map(|len| vec![7.0; len]), activity.map(|len| vec![7.0; len]));
    let state =
        RbmState { chain: chain.as_deref_mut(), activity: activity.as_deref_mut(), ..RbmState::default() };
    let mut scratch = vec![0.0; op.scratch_len::<f64>(2, 2)];
    let result = op.step(2, v, STREAM, machine.tensors(), state, &mut scratch);
    assert_eq!(machine.all(), before);
    assert!(chain.into_iter().chain(activity).flatten().all(|x| x == 7.0));
    argument(result.unwrap_err())
}

#[test]
fn rbm_step_names_the_bad_argument() {
    let rbm = Rbm { visible: 4, hidden: 3, units: VisibleUnits::Bernoulli };
    let op = ContrastiveDivergence::new(rbm);
    let v = [0.5; 8];
    assert_eq!(refused(ContrastiveDivergence { steps: 0, ..op }, &v, None, None), "steps");
    for lr in [-0.1, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(ContrastiveDivergence { lr, ..op }, &v, None, None), "lr");
    }
    for momentum in [-0.1, 1.0, f64::NAN, 0.5] {
        // The last is in range, but there is no velocity.
        assert_eq!(refused(ContrastiveDivergence { momentum, ..op }, &v, None, None), "momentum");
    }
    assert_eq!(refused(ContrastiveDivergence { weight_decay: -1.0, ..op }, &v, None, None), "weight_decay");
    let sparsity = Sparsity { target: 0.1, cost: 0.1, decay: 0.9 };
    let sparse = |sparsity| ContrastiveDivergence { sparsity: Some(sparsity), ..op };
    assert_eq!(refused(sparse(sparsity), &v, None, None), "sparsity");
    for target in [0.0, 1.0, f64::NAN] {
        assert_eq!(refused(sparse(Sparsity { target, ..sparsity }), &v, None, Some(3)), "sparsity.target");
    }
    assert_eq!(refused(sparse(Sparsity { cost: -1.0, ..sparsity }), &v, None, Some(3)), "sparsity.cost");
    assert_eq!(refused(sparse(Sparsity { decay: 1.0, ..sparsity }), &v, None, Some(3)), "sparsity.decay");
    assert_eq!(refused(sparse(sparsity), &v, None, Some(4)), "activity");
    assert_eq!(refused(op, &v[..7], None, None), "v");
    assert_eq!(refused(op, &v, Some(4), None), "chain");
    assert_eq!(refused(op, &v, Some(0), None), "chain");
    // A chain longer than the scratch was made for.
    assert_eq!(refused(op, &v, Some(300), None), "scratch");
}

#[test]
fn rbm_step_names_the_bad_tensor() {
    let machine = Machine::<f64>::new(4, 3, VisibleUnits::Bernoulli, 1, 0.1);
    let op = ContrastiveDivergence { momentum: 0.5, ..ContrastiveDivergence::new(machine.rbm) };
    let v = [0.5; 8];
    let mut scratch = vec![0.0; op.scratch_len::<f64>(2, 2)];
    let (mut parameters, mut velocity) = (machine.clone(), machine.zeros());
    let short = RbmTensors { hidden_bias: &mut [0.0; 2], ..velocity.tensors() };
    let state = RbmState { velocity: Some(short), ..RbmState::default() };
    let result = op.step(2, &v, STREAM, parameters.tensors(), state, &mut scratch);
    assert_eq!(argument(result.unwrap_err()), "velocity.hidden_bias");
    let short = RbmTensors { weights: &mut [0.0; 11], ..velocity.tensors() };
    let result = op.gradient(2, &v, STREAM, (machine.weights(), short), RbmState::default(), &mut scratch);
    assert_eq!(argument(result.unwrap_err()), "gradient.weights");
    assert_eq!(parameters.all(), machine.all());
}

#[test]
fn rbm_without_rows_does_nothing() {
    let mut machine = Machine::<f32>::new(4, 3, VisibleUnits::Bernoulli, 1, 0.1);
    let before = machine.all();
    let op = ContrastiveDivergence::new(machine.rbm);
    let mut scratch = vec![0.0; op.scratch_len::<f32>(0, 2)];
    let mut chain = [0.5; 6];
    let state = RbmState { chain: Some(&mut chain), ..RbmState::default() };
    op.step(0, &[], STREAM, machine.tensors(), state, &mut scratch).unwrap();
    assert_eq!((machine.all(), chain), (before, [0.5; 6]));
    let scratch = &mut machine.scratch(0);
    assert!(machine.rbm.reconstruction_error(0, &[], machine.weights(), scratch).unwrap().is_nan());
    assert!(machine.rbm.pseudo_likelihood(0, &[], machine.weights(), scratch).unwrap().is_nan());
}

#[test]
fn rbm_check_data_finds_what_units_cannot_be() {
    let rbm = Rbm { visible: 2, hidden: 2, units: VisibleUnits::Bernoulli };
    let gaussian = Rbm { units: VisibleUnits::Gaussian, ..rbm };
    assert_eq!(rbm.check_data(&data::<f32>(VisibleUnits::Bernoulli, 1, 100)), Ok(()));
    assert_eq!(rbm.check_data(&[0.0, 1.0, -0.0]), Ok(()));
    assert_eq!(gaussian.check_data(&[-3.0, 3.0]), Ok(()));
    for bad in [-1e-6, 1.000_001] {
        assert_eq!(argument(rbm.check_data(&[0.5, bad]).unwrap_err()), "data");
    }
    for bad in [f64::NAN, f64::INFINITY] {
        let error = Error::NonFinite { argument: "data", index: 2 };
        assert_eq!(rbm.check_data(&[0.5, 0.5, bad]), Err(error));
        assert_eq!(gaussian.check_data(&[0.5, 0.5, bad]), Err(error));
    }
}
