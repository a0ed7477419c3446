//! What all optimizers share: a step whose lists fit each other, the gradient as a rule sees it, and the walk over all
//! tensors in one pass. An optimizer adds its coefficients and its formula, a [`Rule`].

use super::{Gradients, WeightDecay};
use crate::clip::clip_norm::kernel::Factor;
use crate::diagnostics::Change;
use crate::diagnostics::observe::ChangeTally;
use crate::parallel::{self, Split};
use crate::shape::{check_len, check_range};
use crate::simd::{self, Active, Isa, Kernel, Vector};
use crate::stats::norm_partial;
use crate::tensors::{List, ListMut, TASK, check_same_lengths};
use crate::{Element, Error};

/// What a step multiplies the gradients by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// Nothing: every gradient counts as 0, NaN and infinities too.
    LeaveOut,
    /// This, where 0 times infinity is NaN.
    Times(f64),
}

impl Scale {
    /// The 2-norm of a tensor's gradient times this, as `(m, e)`: `m · 2^e`.
    pub(super) fn norm<T: Element>(self, grad: &[T]) -> (f64, i32) {
        match self {
            Self::LeaveOut => (0.0, 0),
            Self::Times(scale) => {
                let (m, e) = norm_partial::scaled_norm(grad);
                (m * scale, e)
            }
        }
    }
}

/// A step whose lists fit each other.
#[derive(Debug)]
pub struct Step<'a, 'l, 'p, 's, T> {
    /// From 1.
    pub(super) number: u64,
    pub(super) params: &'a mut [&'p mut [T]],
    pub(super) grads: &'a [&'a [T]],
    pub(super) scale: Scale,
    pub(super) state: &'a mut [&'l mut [&'s mut [T]]],
    /// Where what was done to each parameter goes, if anybody asked.
    pub(super) changes: Option<&'a mut [Change]>,
}

impl<'a, 'l, 'p, 's, T: Element> Step<'a, 'l, 'p, 's, T> {
    /// The step, where the state has a list for each of `names`, and every list is as `params`.
    pub(super) fn checked(
        number: u64,
        params: &'a mut [&'p mut [T]],
        grads: Gradients<'a, T>,
        state: &'a mut [&'l mut [&'s mut [T]]],
        names: &[&'static str],
    ) -> Result<Self, Error> {
        check_range("step", "at least 1", number >= 1)?;
        check_coefficient::<T>("scale", grads.scale)?;
        check_same_lengths("grads", grads.tensors, params)?;
        check_len("state", state.len(), names.len())?;
        for (list, name) in state.iter().zip(names) {
            check_same_lengths(name, list, params)?;
        }
        let scale = if grads.scale == 0.0 { Scale::LeaveOut } else { Scale::Times(grads.scale) };
        Ok(Self { number, params, grads: grads.tensors, scale, state, changes: None })
    }

    /// The same, which also measures what it does to each parameter.
    pub(super) fn observed(self, changes: &'a mut [Change]) -> Result<Self, Error> {
        check_len("changes", changes.len(), self.params.len())?;
        Ok(Self { changes: Some(changes), ..self })
    }
}

/// `Ok` where `value` is a learning rate, an eps or another such coefficient.
pub(super) fn check_coefficient<T: Element>(argument: &'static str, value: f64) -> Result<(), Error> {
    let holds = value >= 0.0 && T::from_f64(value).is_finite();
    check_range(argument, "at least 0 and finite in the element type", holds)
}

/// `Ok` where `value` is the share that a moving average keeps.
pub(super) fn check_kept<T: Element>(argument: &'static str, value: f64) -> Result<(), Error> {
    let holds = value >= 0.0 && T::from_f64(value) < T::one();
    check_range(argument, "at least 0 and below 1 in the element type", holds)
}

/// A moving average: `kept·a + (1 − kept)·x`.
///
/// `kept` is rounded to the element type first, so that the two coefficients add up to 1: rounded apart, 0.999 in
/// `f32` would make an average 1.3e-5 too large.
#[derive(Clone, Copy, Debug)]
pub(super) struct Average<T> {
    kept: T,
    new: T,
}

impl<T: Element> Average<T> {
    pub(super) fn new(kept: f64) -> Self {
        let kept = T::from_f64(kept);
        Self { kept, new: T::one() - kept }
    }

    /// What an average of ones that began with 0 is after `steps`: `1 − keptˢᵗᵉᵖˢ`.
    pub(super) fn of_ones(self, steps: u64) -> f64 {
        1.0 - libm::pow(self.kept.to_f64(), steps as f64)
    }

    /// With `x`.
    #[inline(always)]
    pub(super) fn with<V: Vector<Elem = T>>(self, average: V, x: V) -> V {
        average.mul_add(average.splat(self.kept), x * self.new)
    }

    /// With `x²`.
    #[inline(always)]
    pub(super) fn with_square<V: Vector<Elem = T>>(self, average: V, x: V) -> V {
        (x * self.new).mul_add(x, average * self.kept)
    }
}

/// One optimizer's formula for a vector of parameters.
pub(super) trait Rule<T, const N: usize>: Copy + Send + Sync {
    /// The new parameters and state, from the gradient with scale and decay.
    ///
    /// Mark it `#[inline(always)]`.
    fn apply<V: Vector<Elem = T>>(self, g: V, p: V, state: [V; N]) -> (V, [V; N]);
}

/// Scale and weight decay, which come before every rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intake<T> {
    /// Of the gradient; `None` where it counts as 0 whatever it holds.
    scale: Option<Factor<T>>,
    /// λ of coupled decay; `None` where there is none, since 0 times an infinite parameter would be NaN.
    coupled: Option<T>,
    /// 1 − lr·λ of decoupled decay, as a sum of two numbers; `None` where nothing decays.
    keep: Option<[T; 2]>,
}

/// 1 − `decay` as a large part and a small one.
///
/// Rounded to `f32` alone, it is off by up to 3e-8 to the same side in every step: 3e-5 after a thousand. As 1 and −`decay`
/// its last rounding is that of the parameter, to either side, also without FMA. A decay that turns the sign, or nearly,
/// must not make infinity minus infinity: then both parts have one sign.
fn kept<T: Element>(decay: f64) -> [T; 2] {
    if decay <= 0.5 {
        return [T::one(), T::from_f64(-decay)];
    }
    let factor = 1.0 - decay;
    let large = T::from_f64(factor * (1.0 - T::epsilon().to_f64()));
    [large, T::from_f64(factor - large.to_f64())]
}

impl<T: Element> Intake<T> {
    pub(super) fn new(scale: Scale, weight_decay: WeightDecay, lr: f64) -> Self {
        let (coupled, keep) = match weight_decay {
            WeightDecay::Coupled(decay) => ((decay != 0.0).then(|| T::from_f64(decay)), None),
            WeightDecay::Decoupled(decay) => (None, (lr * decay != 0.0).then(|| kept(lr * decay))),
        };
        let scale = match scale {
            Scale::LeaveOut => None,
            Scale::Times(scale) => Some(Factor::new(scale)),
        };
        Self { scale, coupled, keep }
    }

    /// The same where it is a product with one factor, as is most usual: then a loop has nothing to decide.
    #[inline(always)]
    fn plain(self) -> Option<Self> {
        match self {
            Self { scale: Some(scale), coupled: None, keep: None } => {
                Some(Self { scale: Some(scale.single()?), coupled: None, keep: None })
            }
            _ => None,
        }
    }

    /// The gradient with scale and coupled decay, and the parameter after decoupled decay.
    #[inline(always)]
    pub(super) fn take<V: Vector<Elem = T>>(self, g: V, p: V) -> (V, V) {
        let g = match self.scale {
            Some(scale) => scale.times(g),
            None => g.splat(T::zero()),
        };
        let g = match self.coupled {
            Some(decay) => p.mul_add(p.splat(decay), g),
            None => g,
        };
        let p = match self.keep {
            Some([large, small]) => {
                // What an infinite parameter loses is finite.
                let limit = p.splat(T::max_value());
                p.mul_add(p.splat(large), p.clamp(-limit, limit) * small)
            }
            None => p,
        };
        (g, p)
    }
}

/// Applies `rule` to all elements of all tensors, in one pass.
pub(super) fn run<T: Element, const N: usize>(
    step: Step<'_, '_, '_, '_, T>,
    intake: Intake<T>,
    rule: impl Rule<T, N>,
) {
    if step.changes.is_some() {
        return for_each_tensor(step, |tensor| tensor.update(intake, rule));
    }
    let mut lists = step.state.iter_mut();
    let state = core::array::from_fn(|_| lists.next().map(|list| ListMut::new(list)).unwrap_or_default());
    let (params, grads) = (ListMut::new(step.params), List::new(step.grads));
    let active = Active::current();
    parallel::for_each((params, grads, state), TASK, |(params, grads, state)| {
        simd::dispatch(active, Walk { intake, rule, params, grads, state });
    });
}

/// One tensor of a step.
#[derive(Debug)]
pub(super) struct Tensor<'a, T, const N: usize> {
    /// That of the caller: a worker's own may be another.
    pub(super) active: Active,
    pub(super) param: &'a mut [T],
    pub(super) grad: &'a [T],
    pub(super) state: [&'a mut [T]; N],
    /// Where what was done to it goes, if anybody asked.
    pub(super) change: Option<&'a mut Change>,
}

impl<T: Element, const N: usize> Tensor<'_, T, N> {
    /// Applies `rule` to all elements, in one pass.
    pub(super) fn update(self, intake: Intake<T>, rule: impl Rule<T, N>) {
        let Self { active, param, grad, state, change: to } = self;
        change(active, (param, grad), state, to, |param, grad, state| {
            let (params, grads, mut state) = (&mut [param], &[grad], state.map(|tensor| [tensor]));
            let (params, grads) = (ListMut::new(params), List::new(grads));
            let state = state.each_mut().map(|list| ListMut::new(list));
            simd::dispatch(active, Walk { intake, rule, params, grads, state });
        });
    }
}

/// Calls `step` on parts of a parameter, its gradient and what is cut with them; where `change` is asked for, measures each part
/// on the way, while it is in L1.
pub(super) fn change<T: Element, S: Split>(
    active: Active,
    (param, grad): (&mut [T], &[T]),
    others: S,
    change: Option<&mut Change>,
    step: impl Fn(&mut [T], &[T], S) + Sync,
) {
    let Some(change) = change else {
        return parallel::for_each(((param, grad), others), TASK, |((param, grad), others)| {
            step(param, grad, others);
        });
    };
    let (elements, mut all) = (param.len(), ChangeTally::NOTHING);
    parallel::accumulate(
        ((param, grad), others),
        TASK,
        &mut all,
        &|(tensors, others), all| all.watch(active, tensors, others, &step),
        &|_| ChangeTally::NOTHING,
        &|all, other| all.join(&other),
    );
    *change = all.change(elements);
}

/// Calls `f` for each tensor, several at a time: for optimizers that look at a whole tensor before they write it.
/// `f` may itself share a large one among threads.
pub(super) fn for_each_tensor<T: Element, const N: usize>(
    step: Step<'_, '_, '_, '_, T>,
    f: impl Fn(Tensor<'_, T, N>) + Sync,
) {
    let elements: usize = step.params.iter().map(|param| param.len()).sum();
    let tensors_of_a_task = (step.params.len().saturating_mul(TASK) / elements.max(1)).max(1);
    let mut lists = step.state.iter_mut();
    let state: [&mut [&mut [T]]; N] =
        core::array::from_fn(|_| lists.next().map(|list| &mut **list).unwrap_or_default());
    let (active, lists) = (Active::current(), ((step.params, step.grads, state), step.changes));
    parallel::for_each(lists, tensors_of_a_task, |((params, grads, state), changes)| {
        let mut state = state.map(|list| list.iter_mut());
        let mut changes = changes.into_iter().flatten();
        for (param, grad) in params.iter_mut().zip(grads) {
            let state =
                state.each_mut().map(|list| list.next().map(|tensor| &mut **tensor).unwrap_or_default());
            f(Tensor { active, param, grad, state, change: changes.next() });
        }
    });
}

/// `rule` on a part of the lists.
struct Walk<'a, 'p, 's, T, R, const N: usize> {
    intake: Intake<T>,
    rule: R,
    params: ListMut<'a, 'p, T>,
    grads: List<'a, T, &'a [T]>,
    state: [ListMut<'a, 's, T>; N],
}

impl<T: Element, R: Rule<T, N>, const N: usize> Kernel for Walk<'_, '_, '_, T, R, N> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        match self.intake.plain() {
            Some(intake) => Walk { intake, ..self }.take(isa),
            None => self.take(isa),
        }
    }
}

impl<T: Element, R: Rule<T, N>, const N: usize> Walk<'_, '_, '_, T, R, N> {
    #[inline(always)]
    fn take<I: Isa>(self, isa: I) {
        let Self { intake, rule, params, grads, state } = self;
        let mut state = state.map(ListMut::pieces);
        for (param, grad) in params.pieces().zip(grads.pieces()) {
            let state = state.each_mut().map(|pieces| pieces.next().unwrap_or_default());
            simd::update(
                isa,
                grad,
                param,
                state,
                #[inline(always)]
                |g: T::Vector<I>, p, state| {
                    let (g, p) = intake.take(g, p);
                    rule.apply(g, p, state)
                },
            );
        }
    }
}
