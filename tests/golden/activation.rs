//! Activations against PyTorch's.

use steadygrad::{Activation, ChannelShape, Element, PRelu};

use super::case::{Case, cases};
use crate::common::{assert_close, tolerance};

/// Where PyTorch returns NaN at ±∞, out of ∞ · 0 or ∞ / ∞, and this crate the limit.
const LIMIT_AT_INFINITY: [&str; 6] = ["gelu", "gelu_tanh", "hard_swish", "mish", "silu", "softsign"];

/// Where PyTorch makes the gradient at NaN 0, as if NaN were outside of the linear part, and this crate lets it through.
const MASKED_AT_NAN: [&str; 3] = ["hard_sigmoid", "hard_tanh", "relu6"];

pub(crate) fn check<T: Element>() {
    for case in cases("activation") {
        match case.op() {
            "prelu" => check_prelu::<T>(&case),
            _ => check_activation::<T>(&case, activation(&case)),
        }
    }
}

fn check_prelu<T: Element>(case: &Case) {
    let shape = ChannelShape {
        outer: case.count("outer"),
        channels: case.count("channels"),
        inner: case.count("inner"),
    };
    let (x, slope, dy) = (case.input::<T>("x"), case.input::<T>("slope"), case.input::<T>("dy"));
    let (mut y, mut dx) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    let mut dslope = vec![T::zero(); slope.len()];
    PRelu.forward(shape, &x, &slope, &mut y).expect("valid");
    PRelu.backward(shape, &x, &slope, &dy, &mut dx, &mut dslope).expect("valid");
    for (name, actual) in [("y", y), ("dx", dx)] {
        for ((x, actual), expected) in case.input("x").into_iter().zip(actual).zip(case.expected(name)) {
            check_value(case, name, x, actual, expected);
        }
    }
    case.compare("dslope", &dslope);
}

fn check_activation<T: Element>(case: &Case, activation: Activation) {
    let (x, dy) = (case.input::<T>("x"), case.input::<T>("dy"));
    let (mut y, mut dx) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    activation.forward(&x, &mut y).expect("valid");
    activation.backward(&x, &dy, &mut dx).expect("valid");
    for (name, actual) in [("y", y), ("dx", dx)] {
        for ((x, actual), expected) in case.input("x").into_iter().zip(actual).zip(case.expected(name)) {
            check_value(case, name, x, actual, expected);
        }
    }
}

fn check_value<T: Element>(case: &Case, name: &str, x: f64, actual: T, expected: f64) {
    let context = || format!("{name} of {} at {x:e} in {}", case.op(), std::any::type_name::<T>());
    let is_dx = name == "dx";
    if LIMIT_AT_INFINITY.contains(&case.op()) && x.is_infinite() && expected.is_nan() {
        assert!(!actual.is_nan(), "{} has no limit", context());
    } else if MASKED_AT_NAN.contains(&case.op()) && is_dx && x.is_nan() {
        assert_eq!(expected, 0.0, "{} is no deviation", context());
    } else if case.op() == "hard_sigmoid" && is_dx && T::epsilon().to_f64() < 1e-10 {
        assert_close(actual, expected, tolerance::GOLDEN_SINGLE, context);
    } else if T::from_f64(x).is_zero() == (x == 0.0) {
        // What underflows to 0 is on the other side of a kink.
        assert_close(actual, expected, tolerance::GOLDEN, context);
    }
}

fn activation(case: &Case) -> Activation {
    let float = |name| case.float(name);
    match case.op() {
        "relu" => Activation::Relu,
        "relu6" => Activation::Relu6,
        "leaky_relu" => Activation::LeakyRelu { slope: float("slope") },
        "rrelu" => Activation::RRelu { lower: float("lower"), upper: float("upper") },
        "elu" => Activation::Elu { alpha: float("alpha") },
        "selu" => Activation::Selu,
        "celu" => Activation::Celu { alpha: float("alpha") },
        "gelu" => Activation::Gelu,
        "gelu_tanh" => Activation::GeluTanh,
        "silu" => Activation::Silu,
        "mish" => Activation::Mish,
        "softplus" => Activation::Softplus { beta: float("beta"), threshold: float("threshold") },
        "softsign" => Activation::Softsign,
        "sigmoid" => Activation::Sigmoid,
        "log_sigmoid" => Activation::LogSigmoid,
        "tanh" => Activation::Tanh,
        "hard_tanh" => Activation::HardTanh { min: float("min"), max: float("max") },
        "hard_sigmoid" => Activation::HardSigmoid,
        "hard_swish" => Activation::HardSwish,
        "tanh_shrink" => Activation::TanhShrink,
        op => panic!("no activation is called {op}"),
    }
}
