//! Learning rates against those of `torch.optim.lr_scheduler`.

use steadygrad::optim::schedule::{
    Anneal, Constant, Cosine, Exponential, Goal, Linear, OneCycle, Phases, PlateauState, ReduceOnPlateau,
    Schedule, Sequential, StepDecay, Threshold,
};

use super::case::{Case, cases};

/// What PyTorch's own steps from rate to rate round, relative to the largest rate.
const TOLERANCE: f64 = 1e-14;

pub(crate) fn check() {
    for case in cases("schedule") {
        if case.op() == "plateau" {
            plateau(&case);
            continue;
        }
        let schedule = schedule(&case);
        let rates: Vec<f64> = (1..=case.expected("lr").len() as u64)
            .map(|step| schedule.lr(step).unwrap_or_else(|error| panic!("{error} at {step} of {case:?}")))
            .collect();
        compare(&case, &rates);
    }
}

fn schedule(case: &Case) -> Box<dyn Schedule> {
    let steps = |name: &str| case.count(name) as u64;
    let cosine = || Cosine { lr: case.float("lr"), floor: case.float("floor"), steps: steps("steps") };
    let linear = |name| Linear {
        lr: case.float("lr"),
        start_factor: case.float("start_factor"),
        end_factor: case.float("end_factor"),
        steps: steps(name),
    };
    match case.op() {
        "constant" => Box::new(Constant { lr: case.float("lr") }),
        "linear" => Box::new(linear("steps")),
        "cosine" => Box::new(cosine()),
        "exponential" => Box::new(Exponential { lr: case.float("lr"), gamma: case.float("gamma") }),
        "step_decay" => {
            let (lr, gamma) = (case.float("lr"), case.float("gamma"));
            Box::new(StepDecay { lr, gamma, every: steps("every") })
        }
        "one_cycle" => Box::new(OneCycle {
            rise: case.float("rise"),
            div_factor: case.float("div_factor"),
            final_div_factor: case.float("final_div_factor"),
            anneal: if case.word("anneal") == "cos" { Anneal::Cosine } else { Anneal::Linear },
            phases: if case.flag("three_phase") { Phases::Three } else { Phases::Two },
            ..OneCycle::new(case.float("max_lr"), steps("steps"))
        }),
        "warm_up_cosine" => {
            Box::new(Sequential { first: linear("warm_up"), steps: steps("warm_up"), then: cosine() })
        }
        op => panic!("no schedule is called {op}"),
    }
}

fn plateau(case: &Case) {
    let threshold = case.float("threshold");
    let op = ReduceOnPlateau {
        goal: if case.word("mode") == "min" { Goal::Lowest } else { Goal::Highest },
        factor: case.float("factor"),
        patience: case.count("patience") as u64,
        threshold: match case.word("threshold_mode") {
            "rel" => Threshold::Relative(threshold),
            _ => Threshold::Absolute(threshold),
        },
        cooldown: case.count("cooldown") as u64,
        min_lr: case.float("min_lr"),
        eps: case.float("eps"),
    };
    let mut state = PlateauState::new(case.float("lr"));
    let mut rates = Vec::new();
    for metric in case.input::<f64>("metrics") {
        op.step(metric, &mut state).expect("valid");
        rates.push(state.lr);
    }
    compare(case, &rates);
}

#[track_caller]
fn compare(case: &Case, actual: &[f64]) {
    let expected = case.expected("lr");
    assert_eq!(actual.len(), expected.len());
    // The largest may be one that the schedule only comes from.
    let named = case.optional_float("max_lr").unwrap_or(0.0);
    let largest = expected.iter().copied().fold(named, f64::max);
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let within = (actual - expected).abs() <= TOLERANCE * largest;
        assert!(within, "{actual} is not {expected} at {i} of {case:?}");
    }
}
