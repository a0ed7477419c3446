//! An optimizer beside its formula, and what holds for all of them.

use std::fmt::Debug;

use steadygrad::clip::{ClipNorm, NonFinite};
use steadygrad::optim::{Gradients, Optimizer, WeightDecay};
use steadygrad::reference::optim::{coupled_decay, decoupled_decay};
use steadygrad::{Element, Error, Level};

use crate::common::{self, Guarded, assert_same_bits, each_level, each_pool};

/// A parameter and its state, as many as an optimizer keeps at most.
pub(crate) type Place = [f64; 4];

/// Learning rate and decay of every subject: binary fractions, so that `f32` holds what the formula is given.
pub(crate) const LR: f64 = 0.125;
pub(crate) const DECAYS: [WeightDecay; 3] =
    [WeightDecay::NONE, WeightDecay::Coupled(0.25), WeightDecay::Decoupled(0.25)];

/// Numbers of steps that reach every case of the bias corrections.
const STEPS: [u64; 4] = [1, 2, 9, 5000];

/// Lengths of a list that reach tails, block edges and the cuts between tasks.
const LIST: [usize; 9] = [0, 64, 150_001, 1, 70_000, 16_384, 0, 5, 200_003];

/// What an element's change depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Its own gradient.
    Element,
    /// The gradients of its tensor.
    Tensor,
}

/// The formula of a tensor: number of the step, gradients after scale and coupled decay, parameters and state.
type Formula = dyn Fn(u64, &[f64], &mut [Place]);

/// An optimizer and its formula.
pub(crate) struct Subject {
    label: String,
    single: Box<dyn Optimizer<f32> + Send + Sync>,
    double: Box<dyn Optimizer<f64> + Send + Sync>,
    weight_decay: WeightDecay,
    formula: Box<Formula>,
    reach: Reach,
    state: Box<dyn Fn(usize, f64) -> f64 + Send + Sync>,
}

/// An element type's optimizer of a subject.
pub(crate) trait Of: Element {
    fn of(subject: &Subject) -> &(dyn Optimizer<Self> + Send + Sync);
}

impl Of for f32 {
    fn of(subject: &Subject) -> &(dyn Optimizer<Self> + Send + Sync) {
        &*subject.single
    }
}

impl Of for f64 {
    fn of(subject: &Subject) -> &(dyn Optimizer<Self> + Send + Sync) {
        &*subject.double
    }
}

impl Subject {
    pub(crate) fn new<O>(
        op: O,
        weight_decay: WeightDecay,
        formula: impl Fn(u64, f64, Place) -> Place + 'static,
    ) -> Self
    where
        O: Optimizer<f32> + Optimizer<f64> + Copy + Debug + Send + Sync + 'static,
    {
        let of_each = move |step, g: &[f64], places: &mut [Place]| {
            for (place, &g) in places.iter_mut().zip(g) {
                *place = formula(step, g, *place);
            }
        };
        Self { weight_decay, reach: Reach::Element, ..Self::of_tensors(op, of_each) }
    }

    /// An optimizer that looks at whole tensors, and has decay in its formula.
    pub(crate) fn of_tensors<O>(op: O, formula: impl Fn(u64, &[f64], &mut [Place]) + 'static) -> Self
    where
        O: Optimizer<f32> + Optimizer<f64> + Copy + Debug + Send + Sync + 'static,
    {
        Self {
            label: format!("{op:?}"),
            single: Box::new(op),
            double: Box::new(op),
            weight_decay: WeightDecay::NONE,
            formula: Box::new(formula),
            reach: Reach::Tensor,
            state: Box::new(|_, x| x),
        }
    }

    /// With state that begins with this function of the list and of a square that is not small.
    pub(crate) fn with_state(self, state: impl Fn(usize, f64) -> f64 + Send + Sync + 'static) -> Self {
        Self { state: Box::new(state), ..self }
    }

    /// Parameters and state after a step.
    fn expected<T: Of>(&self, step: u64, grads: Gradients<'_, T>, places: &[Place]) -> Vec<Place> {
        let mut places = places.to_vec();
        let taken = |(place, &grad): (&mut Place, &T)| {
            let g = if grads.scale == 0.0 { 0.0 } else { grad.to_f64() * grads.scale };
            match self.weight_decay {
                WeightDecay::Coupled(0.0) => g,
                WeightDecay::Coupled(decay) => coupled_decay(place[0], g, decay),
                WeightDecay::Decoupled(decay) => {
                    place[0] = decoupled_decay(place[0], LR, decay);
                    g
                }
            }
        };
        let g: Vec<f64> = places.iter_mut().zip(grads.tensors[0]).map(taken).collect();
        (self.formula)(step, &g, &mut places);
        places
    }

    /// A step of `tensors`, of which the first are the parameters and the others the state.
    fn step<T: Of>(&self, step: u64, grads: Gradients<'_, T>, tensors: &mut [Vec<Vec<T>>]) {
        let mut lists: Vec<Vec<&mut [T]>> =
            tensors.iter_mut().map(|list| list.iter_mut().map(Vec::as_mut_slice).collect()).collect();
        let (params, state) = lists.split_first_mut().expect("parameters");
        let mut state: Vec<&mut [&mut [T]]> = state.iter_mut().map(Vec::as_mut_slice).collect();
        T::of(self).step(step, params, grads, &mut state).unwrap();
    }

    fn lists<T: Of>(&self) -> usize {
        T::of(self).state_names().len()
    }
}

/// Parameters and state to begin with: state is positive and not small, as that of squares.
fn places<T: Of>(subject: &Subject, len: usize) -> Vec<Vec<T>> {
    let state = (0..subject.lists::<T>()).map(|list| {
        let numbers = common::numbers::<f64>(3 + list as u64, len, 1.0);
        numbers.iter().map(|x| T::from_f64((subject.state)(list, x * x + 0.25))).collect()
    });
    core::iter::once(common::numbers(1, len, 2.0)).chain(state).collect()
}

/// Holds a step at every level against the formula.
#[track_caller]
fn check<T: Of>(subject: &Subject, step: u64, len: usize, scale: f64) {
    let offset = len % 5;
    let places = places::<T>(subject, len);
    let grads: Vec<T> = common::numbers(2, len, 2.0);
    let before: Vec<Place> = (0..len)
        .map(|i| core::array::from_fn(|k| places.get(k).map_or(0.0, |list| list[i].to_f64())))
        .collect();
    let after = subject.expected(step, Gradients { tensors: &[&grads], scale }, &before);
    each_level(|level| {
        let mut guarded: Vec<Guarded<T>> = places.iter().map(|list| Guarded::of(list, offset)).collect();
        let mut slices: Vec<[&mut [T]; 1]> = guarded.iter_mut().map(|list| [list.slice()]).collect();
        let (params, state) = slices.split_first_mut().expect("parameters");
        let mut state: Vec<&mut [&mut [T]]> = state.iter_mut().map(|list| &mut list[..]).collect();
        let gradients = Gradients { tensors: &[&grads], scale };
        T::of(subject).step(step, params, gradients, &mut state).unwrap();
        for i in 0..len {
            let (before, after) = (before[i], after[i]);
            let sizes = before.iter().chain(&after).map(|value| value.abs());
            let largest = sizes.sum::<f64>() + grads[i].to_f64().abs() + 1.0;
            for (k, list) in guarded.iter().enumerate() {
                let (actual, expected) = (list.checked()[i], after[k]);
                let within = (actual.to_f64() - expected).abs() <= 8.0 * T::epsilon().to_f64() * largest;
                assert!(
                    within,
                    "{actual:?} is not {expected}: list {k} of {}, step {step} at {level}",
                    subject.label
                );
            }
        }
    });
}

/// What holds for every optimizer.
pub(crate) fn check_all(subjects: &[Subject]) {
    for subject in subjects {
        for step in STEPS {
            check::<f32>(subject, step, 33, 1.0);
            check::<f64>(subject, step, 33, 0.25);
        }
        for len in common::lengths() {
            check::<f32>(subject, 2, len, 0.5);
            check::<f64>(subject, 2, len, 1.0);
        }
        check::<f32>(subject, 3, 20, 0.0);
        if subject.reach == Reach::Tensor {
            // Edges of what is held at a time, of a block of a norm, and of a task.
            for len in [511, 512, 513, 16_384, 16_385, 70_001, 150_000] {
                check::<f32>(subject, 2, len, 1.0);
                check::<f64>(subject, 2, len, 0.5);
            }
        }
        scale_of_zero_leaves_the_gradient_out(subject);
        nan_shows(subject);
        same_bits_in_any_pool_and_on_avx2_and_avx512(subject);
        clip_scale_is_clip_then_step(subject);
        nothing_to_step(subject);
        lists_are_checked(subject);
    }
}

fn scale_of_zero_leaves_the_gradient_out(subject: &Subject) {
    for len in [1, 40] {
        let mut grad = vec![0.5_f32; len];
        grad[len / 2] = f32::NAN;
        let clip = ClipNorm { non_finite: NonFinite::Skip, ..ClipNorm::default() };
        let scale = clip.measure(&[&grad]).unwrap().scale;
        let mut tensors: Vec<Vec<Vec<f32>>> =
            places(subject, len).into_iter().map(|list| vec![list]).collect();
        subject.step(2, Gradients { tensors: &[&grad], scale }, &mut tensors);
        assert!(tensors.concat().concat().iter().all(|v| v.is_finite()), "{}", subject.label);
    }
}

/// A gradient that is NaN makes its parameter NaN, and no other that does not depend on it.
fn nan_shows(subject: &Subject) {
    let len = 40;
    for at in 0..len {
        let mut grad = vec![0.5_f32; len];
        grad[at] = f32::NAN;
        let mut tensors: Vec<Vec<Vec<f32>>> =
            places(subject, len).into_iter().map(|list| vec![list]).collect();
        subject.step(2, Gradients::new(&[&grad]), &mut tensors);
        for (i, value) in tensors[0][0].iter().enumerate() {
            let is_reached = i == at || subject.reach == Reach::Tensor;
            assert_eq!(value.is_nan(), is_reached, "{i}, {at}: {}", subject.label);
        }
    }
}

/// Gradients and a list of parameters and state.
fn long_list(subject: &Subject) -> (Vec<Vec<f32>>, Vec<Vec<Vec<f32>>>) {
    let grads = LIST.iter().map(|&len| common::numbers(len as u64, len, 1.0)).collect();
    let mut tensors = vec![Vec::new(); 1 + subject.lists::<f32>()];
    for len in LIST {
        for (list, tensor) in tensors.iter_mut().zip(places(subject, len)) {
            list.push(tensor);
        }
    }
    (grads, tensors)
}

fn same_bits_in_any_pool_and_on_avx2_and_avx512(subject: &Subject) {
    let (grads, tensors) = long_list(subject);
    let slices: Vec<&[f32]> = grads.iter().map(Vec::as_slice).collect();
    let lists = tensors.len();
    let single = <f32 as Of>::of(subject);
    let run = || {
        let mut tensors = tensors.clone();
        let mut lists: Vec<Vec<&mut [f32]>> =
            tensors.iter_mut().map(|list| list.iter_mut().map(Vec::as_mut_slice).collect()).collect();
        let (params, state) = lists.split_first_mut().expect("parameters");
        let mut state: Vec<&mut [&mut [f32]]> = state.iter_mut().map(Vec::as_mut_slice).collect();
        single.step(2, params, Gradients::new(&slices), &mut state).unwrap();
        tensors.into_iter().map(|list| list.concat()).collect::<Vec<_>>()
    };
    let expected = run();
    let label = &subject.label;
    each_pool(|threads| {
        let actual = run();
        for list in 0..lists {
            assert_same_bits(&actual[list], &expected[list], || {
                format!("{label}, {list} on {threads} threads")
            });
        }
    });
    let fused: Vec<Level> = Level::available().filter(|&level| level != Level::Portable).collect();
    for pair in fused.windows(2) {
        let [first, second] = [pair[0], pair[1]].map(|level| Level::scoped(level, run).unwrap());
        for list in 0..lists {
            assert_same_bits(&first[list], &second[list], || format!("{label}, {list} at {pair:?}"));
        }
    }
}

fn clip_scale_is_clip_then_step(subject: &Subject) {
    if subject.reach == Reach::Tensor {
        // Clipped gradients are rounded before their norm is taken: no bit need be the same.
        return;
    }
    let (grads, tensors) = long_list(subject);
    let slices: Vec<&[f32]> = grads.iter().map(Vec::as_slice).collect();
    let run = |gradients: Gradients<'_, f32>| {
        let mut tensors = tensors.clone();
        subject.step(2, gradients, &mut tensors);
        tensors.concat().concat()
    };
    let clip = ClipNorm { max_norm: 0.25, ..ClipNorm::default() };
    let fused = run(Gradients { tensors: &slices, scale: clip.measure(&slices).unwrap().scale });
    let mut clipped = grads.clone();
    clip.clip(&mut clipped.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).unwrap();
    let separate = run(Gradients::new(&clipped.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    assert_same_bits(&fused, &separate, || subject.label.clone());
}

fn nothing_to_step(subject: &Subject) {
    let lists = 1 + subject.lists::<f64>();
    subject.step::<f64>(1, Gradients::new(&[]), &mut vec![Vec::new(); lists]);
    subject.step::<f64>(1, Gradients::new(&[&[]]), &mut vec![vec![Vec::new()]; lists]);
}

/// The argument a step names when it refuses; parameters and state were not written.
#[track_caller]
pub(crate) fn refused(
    op: &dyn Optimizer<f32>,
    step: u64,
    grads: Gradients<'_, f32>,
    lengths: &[[usize; 2]],
) -> &'static str {
    let mut params = [2, 1].map(|len| Guarded::<f32>::new(len, 0));
    let mut state: Vec<[Guarded<f32>; 2]> =
        lengths.iter().map(|lengths| lengths.map(|len| Guarded::new(len, 0))).collect();
    let mut slices: Vec<[&mut [f32]; 2]> =
        state.iter_mut().map(|list| list.each_mut().map(Guarded::slice)).collect();
    let mut lists: Vec<&mut [&mut [f32]]> = slices.iter_mut().map(|list| &mut list[..]).collect();
    let error = op.step(step, &mut params.each_mut().map(Guarded::slice), grads, &mut lists).unwrap_err();
    assert!(params.iter().chain(state.iter().flatten()).all(Guarded::is_untouched));
    match error {
        Error::Length { argument, .. } | Error::OutOfRange { argument, .. } => argument,
        other => panic!("{other:?}"),
    }
}

const GRADS: [&[f32]; 2] = [&[1.0, 2.0], &[3.0]];

/// The field that a step with lists as they should be names.
#[track_caller]
pub(crate) fn refused_field(op: &dyn Optimizer<f32>) -> &'static str {
    refused(op, 1, Gradients::new(&GRADS), &vec![[2, 1]; op.state_names().len()])
}

fn lists_are_checked(subject: &Subject) {
    let op = <f32 as Of>::of(subject);
    let names = op.state_names();
    let (list, state) = (Gradients::new(&GRADS), vec![[2, 1]; names.len()]);
    for scale in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(op, 1, Gradients { scale, ..list }, &state), "scale");
    }
    assert_eq!(refused(op, 0, list, &state), "step");
    assert_eq!(refused(op, 1, Gradients::new(&GRADS[..1]), &state), "grads");
    assert_eq!(refused(op, 1, Gradients::new(&[GRADS[0], GRADS[0]]), &state), "grads");
    assert_eq!(refused(op, 1, list, &vec![[2, 1]; names.len() + 1]), "state");
    for (index, name) in names.iter().enumerate() {
        let mut other = state.clone();
        other[index][1] = 3;
        assert_eq!(refused(op, 1, list, &other), *name);
        assert_eq!(refused(op, 1, list, &state[..index]), "state");
    }
}
