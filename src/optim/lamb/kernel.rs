//! The averages and both norms in one pass, the step in another.

use super::Lamb;
use crate::Element;
use crate::clip::clip_norm::kernel::Factor;
use crate::diagnostics::Change;
use crate::optim::driver::{self, Average, Intake};
use crate::parallel;
use crate::simd::{self, Active, InOut, Isa, Kernel, Vector};
use crate::stats::NormPartial;
use crate::stats::norm_partial::kernel::Accumulate;
use crate::tensors::TASK;

/// The direction of a step before it is scaled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Update<T> {
    first: Average<T>,
    second: Average<T>,
    /// 1/(1 − β₁ᵗ).
    whole: T,
    /// 1/√(1 − β₂ᵗ).
    root: T,
    eps: T,
    /// λ; `None` where there is none, since 0 times an infinite parameter would be NaN.
    decay: Option<T>,
}

impl<T: Element> Update<T> {
    pub(super) fn new(op: Lamb, step: u64) -> Self {
        let (first, second) = (Average::<T>::new(op.beta1), Average::<T>::new(op.beta2));
        Self {
            first,
            second,
            whole: T::from_f64(1.0 / first.of_ones(step)),
            root: T::from_f64(1.0 / libm::sqrt(second.of_ones(step))),
            eps: T::from_f64(op.eps),
            decay: (op.weight_decay != 0.0).then(|| T::from_f64(op.weight_decay)),
        }
    }

    /// `m/(1 − β₁ᵗ) / (√v/√(1 − β₂ᵗ) + eps) + λ·p`.
    #[inline(always)]
    fn direction<V: Vector<Elem = T>>(self, p: V, m: V, v: V) -> V {
        let adam = m * self.whole / v.sqrt().mul_add(v.splat(self.root), v.splat(self.eps));
        match self.decay {
            Some(decay) => p.mul_add(p.splat(decay), adam),
            None => adam,
        }
    }
}

/// What two 2-norms are found from.
struct Partials {
    weights: NormPartial,
    update: NormPartial,
}

impl Partials {
    const NOTHING: Self = Self { weights: NormPartial::NOTHING, update: NormPartial::NOTHING };
}

/// The 2-norms of a tensor's weights and of its update, each `(m, e)`: `m · 2^e`.
pub(super) struct Norms {
    pub(super) weights: (f64, i32),
    pub(super) update: (f64, i32),
}

/// A new pair of averages, and the norms that they lead to.
pub(super) fn average<T: Element>(
    active: Active,
    (intake, update): (Intake<T>, Update<T>),
    given: (&[T], &[T]),
    state: [&mut [T]; 2],
) -> Norms {
    let mut partials = Partials::NOTHING;
    parallel::accumulate(
        (given, state),
        TASK,
        &mut partials,
        &|((param, grad), state), partials| {
            simd::dispatch(active, Averages { intake, update, param, grad, state, partials });
        },
        &|_: &Partials| Partials::NOTHING,
        &|partials, other| {
            partials.weights.join(&other.weights);
            partials.update.join(&other.update);
        },
    );
    Norms { weights: partials.weights.scaled_norm(), update: partials.update.scaled_norm() }
}

/// Elements whose update is held at a time, to be squared: 2 or 4 KiB, which a tensor of 64 elements fills with zeros too.
const CHUNK: usize = 512;

struct Averages<'a, T> {
    intake: Intake<T>,
    update: Update<T>,
    param: &'a [T],
    grad: &'a [T],
    state: [&'a mut [T]; 2],
    partials: &'a mut Partials,
}

impl<T: Element> Kernel for Averages<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { intake, update, param, grad, state: [first, second], partials } = self;
        let mut room = [T::zero(); CHUNK];
        let state = first.chunks_mut(CHUNK).zip(second.chunks_mut(CHUNK));
        for ((param, grad), (first, second)) in param.chunks(CHUNK).zip(grad.chunks(CHUNK)).zip(state) {
            let along = &mut room[..param.len()];
            along.copy_from_slice(param);
            simd::update(
                isa,
                grad,
                along,
                [first, second],
                #[inline(always)]
                |g: T::Vector<I>, p, [m, v]| {
                    let (g, p) = intake.take(g, p);
                    let (m, v) = (update.first.with(m, g), update.second.with_square(v, g));
                    (update.direction(p, m, v), [m, v])
                },
            );
            Accumulate { x: &*along, partial: &mut partials.update }.run(isa);
            Accumulate { x: param, partial: &mut partials.weights }.run(isa);
        }
    }
}

/// `p = p − rate·u`.
pub(super) fn step<T: Element>(
    active: Active,
    (update, rate): (Update<T>, f64),
    state: [&mut [T]; 2],
    tensors: (&mut [T], &[T]),
    change: Option<&mut Change>,
) {
    let rate = Factor::new(rate);
    let [first, second] = state.map(|state| &*state);
    driver::change(active, tensors, (first, second), change, |param, _, (first, second)| {
        simd::dispatch(active, Along { update, rate, first, second, param });
    });
}

struct Along<'a, T> {
    update: Update<T>,
    rate: Factor<T>,
    first: &'a [T],
    second: &'a [T],
    param: &'a mut [T],
}

impl<T: Element> Kernel for Along<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { update, rate, first, second, param } = self;
        simd::map3(
            isa,
            first,
            second,
            InOut::in_place(param),
            #[inline(always)]
            |m: T::Vector<I>, v, p| p - rate.times(update.direction(p, m, v)),
        );
    }
}
