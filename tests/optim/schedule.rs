//! Learning-rate schedules: bounds, ends, and what they refuse. Their values are PyTorch's in `tests/golden`.

use proptest::prelude::*;
use steadygrad::Error;
use steadygrad::optim::schedule::{
    Anneal, Constant, Cosine, Exponential, Goal, Linear, OneCycle, Phases, PlateauState, ReduceOnPlateau,
    Schedule, Sequential, StepDecay, Threshold,
};

const LINEAR: Linear = Linear { lr: 1.0, start_factor: 0.0, end_factor: 1.0, steps: 4 };
const COSINE: Cosine = Cosine { lr: 1.0, floor: 0.125, steps: 10 };

/// The argument a schedule names.
#[track_caller]
fn refused(schedule: &dyn Schedule, step: u64) -> &'static str {
    match schedule.lr(step) {
        Err(Error::OutOfRange { argument, .. }) => argument,
        other => panic!("{other:?}"),
    }
}

#[test]
fn schedule_names_the_bad_argument() {
    let one_cycle = OneCycle::new(1.0, 10);
    let step_decay = StepDecay { lr: 1.0, gamma: 0.5, every: 3 };
    let sequential = Sequential { first: LINEAR, steps: 4, then: COSINE };
    let all: [&dyn Schedule; 7] = [
        &Constant { lr: 0.1 },
        &LINEAR,
        &COSINE,
        &Exponential { lr: 1.0, gamma: 0.5 },
        &step_decay,
        &one_cycle,
        &sequential,
    ];
    for schedule in all {
        assert_eq!(refused(schedule, 0), "step");
    }
    assert_eq!(refused(&one_cycle, 11), "step");
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(&Constant { lr: bad }, 1), "lr");
        assert_eq!(refused(&Linear { lr: bad, ..LINEAR }, 1), "lr");
        assert_eq!(refused(&Linear { start_factor: bad, ..LINEAR }, 1), "start_factor");
        assert_eq!(refused(&Linear { end_factor: bad, ..LINEAR }, 1), "end_factor");
        assert_eq!(refused(&Cosine { lr: bad, ..COSINE }, 1), "lr");
        assert_eq!(refused(&Cosine { floor: bad, ..COSINE }, 1), "floor");
        assert_eq!(refused(&Exponential { lr: bad, gamma: 0.5 }, 1), "lr");
        assert_eq!(refused(&Exponential { lr: 1.0, gamma: bad }, 1), "gamma");
        assert_eq!(refused(&StepDecay { lr: bad, ..step_decay }, 1), "lr");
        assert_eq!(refused(&StepDecay { gamma: bad, ..step_decay }, 1), "gamma");
        assert_eq!(refused(&OneCycle { max_lr: bad, ..one_cycle }, 1), "max_lr");
        assert_eq!(refused(&OneCycle { rise: bad, ..one_cycle }, 1), "rise");
        assert_eq!(refused(&OneCycle { div_factor: bad, ..one_cycle }, 1), "div_factor");
        assert_eq!(refused(&OneCycle { final_div_factor: bad, ..one_cycle }, 1), "final_div_factor");
        assert_eq!(refused(&Sequential { then: Constant { lr: bad }, ..sequential_of() }, 5), "lr");
    }
    assert_eq!(refused(&OneCycle { div_factor: 0.0, ..one_cycle }, 1), "div_factor");
    assert_eq!(refused(&OneCycle { steps: 0, ..one_cycle }, 1), "steps");
    assert_eq!(refused(&Linear { steps: 0, ..LINEAR }, 1), "steps");
    assert_eq!(refused(&Cosine { steps: 0, ..COSINE }, 1), "steps");
    assert_eq!(refused(&StepDecay { every: 0, ..step_decay }, 1), "every");
}

fn sequential_of() -> Sequential<Linear, Constant> {
    Sequential { first: LINEAR, steps: 4, then: Constant { lr: 1.0 } }
}

#[test]
fn schedule_plateau_names_the_bad_argument() {
    let good = ReduceOnPlateau::default();
    let refused = |op: ReduceOnPlateau, lr: f64| {
        let mut state = PlateauState { best: Some(1.0), bad: 3, ..PlateauState::new(lr) };
        let before = state;
        let error = op.step(0.5, &mut state).unwrap_err();
        assert!(lr.is_nan() || state == before, "the state was written");
        let Error::OutOfRange { argument, .. } = error else { panic!("{error:?}") };
        argument
    };
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(ReduceOnPlateau { factor: bad, ..good }, 1.0), "factor");
        for threshold in [Threshold::Relative(bad), Threshold::Absolute(bad)] {
            assert_eq!(refused(ReduceOnPlateau { threshold, ..good }, 1.0), "threshold");
        }
        assert_eq!(refused(ReduceOnPlateau { min_lr: bad, ..good }, 1.0), "min_lr");
        assert_eq!(refused(ReduceOnPlateau { eps: bad, ..good }, 1.0), "eps");
        assert_eq!(refused(good, bad), "lr");
    }
    assert_eq!(refused(ReduceOnPlateau { factor: 1.0, ..good }, 1.0), "factor");
}

#[test]
fn schedule_plateau_nan_is_never_better() {
    for goal in [Goal::Lowest, Goal::Highest] {
        let op = ReduceOnPlateau { goal, patience: 2, ..ReduceOnPlateau::default() };
        let mut state = PlateauState::new(1.0);
        for expected in [1.0, 1.0, 0.1, 0.1] {
            op.step(f64::NAN, &mut state).unwrap();
            assert_eq!((state.lr, state.best), (expected, None));
        }
        op.step(5.0, &mut state).unwrap();
        assert_eq!((state.best, state.bad), (Some(5.0), 0));
    }
}

#[test]
fn schedule_far_steps() {
    for step in [u64::MAX, 1 << 60] {
        assert_eq!(LINEAR.lr(step), Ok(1.0));
        assert_eq!(Exponential { lr: 1.0, gamma: 0.5 }.lr(step), Ok(0.0));
        assert_eq!(Exponential { lr: 1.0, gamma: 1.0 }.lr(step), Ok(1.0));
        assert!((0.125..=1.0).contains(&COSINE.lr(step).unwrap()));
        assert_eq!(sequential_of().lr(step), Ok(1.0));
        assert!(OneCycle::new(1.0, step).lr(step).unwrap() < 1e-5);
    }
}

proptest! {
    #[test]
    fn schedule_one_cycle_rises_once_and_falls(
        steps in 1..200_u64,
        rise in 0.0..=1.0_f64,
        factors in (1.0..100.0_f64, 1.0..1e4_f64),
        linear in any::<bool>(),
        three in any::<bool>(),
    ) {
        let op = OneCycle {
            rise,
            div_factor: factors.0,
            final_div_factor: factors.1,
            anneal: if linear { Anneal::Linear } else { Anneal::Cosine },
            phases: if three { Phases::Three } else { Phases::Two },
            ..OneCycle::new(1.0, steps)
        };
        let rates: Vec<f64> = (1..=steps).map(|step| op.lr(step).unwrap()).collect();
        let smallest = 1.0 / factors.0 / factors.1;
        prop_assert!(rates.iter().all(|rate| (smallest * (1.0 - 1e-12)..=1.0 + 1e-12).contains(rate)));
        let top = rates.iter().enumerate().fold(0, |top, (i, rate)| if *rate > rates[top] { i } else { top });
        prop_assert!(rates[..=top].windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
        prop_assert!(rates[top..].windows(2).all(|pair| pair[0] >= pair[1] - 1e-12));
    }

    #[test]
    fn schedule_cosine_stays_between_its_ends(lr in 0.0..1.0_f64, floor in 0.0..1.0_f64, steps in 1..50_u64) {
        let op = Cosine { lr, floor, steps };
        for step in 1..200 {
            let rate = op.lr(step).unwrap();
            prop_assert!((lr.min(floor) - 1e-15..=lr.max(floor) + 1e-15).contains(&rate));
        }
        prop_assert_eq!(op.lr(steps + 1).unwrap(), floor);
    }
}
