//! Softmax and losses against PyTorch's.

use steadygrad::loss::{
    BinaryCrossEntropyWithLogits, CrossEntropy, NegativeLogLikelihood, PointwiseLoss, Reduction, Softmax,
    Targets,
};
use steadygrad::{Element, RowShape};

use super::case::{Case, cases};
use crate::common::tolerance;

pub(crate) fn check<T: Element>() {
    for case in cases("loss") {
        match case.op() {
            "softmax" => softmax::<T>(&case, Softmax::Probabilities),
            "log_softmax" => softmax::<T>(&case, Softmax::Logarithms),
            _ => loss::<T>(&case),
        }
    }
}

fn softmax<T: Element>(case: &Case, op: Softmax) {
    let shape = RowShape { rows: case.count("rows"), cols: case.count("cols") };
    let (x, dy) = (case.input::<T>("x"), case.input::<T>("dy"));
    let (mut y, mut dx) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    op.forward(shape, &x, &mut y).expect("valid");
    case.compare("y", &y);
    op.backward(shape, &x, &dy, &mut dx).expect("valid");
    case.compare("dx", &dx);
    dx.fill(T::nan());
    op.backward_from_output(shape, &y, &dy, &mut dx).expect("valid");
    case.compare("dx", &dx);
}

fn loss<T: Element>(case: &Case) {
    let x = case.input::<T>("x");
    // 1e200 is past the largest f32.
    if case.is_special() && x.iter().zip(case.input::<f64>("x")).any(|(x, y)| x.is_finite() != y.is_finite())
    {
        return;
    }
    let mut dx = vec![T::nan(); x.len()];
    let loss = reduced(case, &x, &mut dx);
    let expected = case.expected("loss");
    match deviation(case, expected[0], &dx) {
        None => {
            case.compare("loss", &[T::from_f64(loss)]);
            case.compare("dx", &dx);
        }
        Some(Deviation::AllIgnored) => case.compare("loss", &[T::from_f64(loss)]),
        Some(Deviation::SignOfNan) => {
            case.compare("loss", &[T::from_f64(loss)]);
            assert!(dx.iter().all(|dx| dx.is_nan()), "{case:?}");
        }
        Some(Deviation::InfiniteLogit) => {
            assert_eq!(loss, f64::INFINITY, "{case:?}");
            case.compare("dx", &dx);
        }
        Some(Deviation::SinglePrecisionFloor) => {
            case.compare("loss", &[T::from_f64(loss)]);
            case.compare_within("dx", &dx, &case.expected("dx"), tolerance::GOLDEN_SINGLE);
        }
    }
}

/// Where this crate means to differ from PyTorch.
enum Deviation {
    /// Every row is ignored: the mean is NaN in both, the gradient 0 here and NaN or 0 in PyTorch.
    AllIgnored,
    /// |x − t| at NaN: PyTorch's sign of NaN is 0; here the gradient is NaN.
    SignOfNan,
    /// A logit of −∞ where the target is 1: PyTorch's loss is ∞ − ∞; here it is the limit, ∞.
    InfiniteLogit,
    /// The floor 10⁻¹² of x(1 − x) is a single-precision number in PyTorch even in `f64`.
    SinglePrecisionFloor,
}

fn deviation<T: Element>(case: &Case, expected_loss: f64, dx: &[T]) -> Option<Deviation> {
    if !case.is_special() {
        return None;
    }
    let (x, is_f64) = (case.input::<f64>("x"), T::epsilon().to_f64() < 1e-10);
    match case.op() {
        "cross_entropy" | "nll" if expected_loss.is_nan() && dx.iter().all(|dx| dx.is_zero()) => {
            Some(Deviation::AllIgnored)
        }
        "l1" if expected_loss.is_nan() => Some(Deviation::SignOfNan),
        "smooth_l1" if expected_loss.is_nan() && case.float("beta") == 0.0 => Some(Deviation::SignOfNan),
        "bce_with_logits" if x[0] == f64::NEG_INFINITY && case.input::<f64>("targets")[0] == 1.0 => {
            Some(Deviation::InfiniteLogit)
        }
        "bce" if is_f64 && x[0] * (1.0 - x[0]) < 1e-12 => Some(Deviation::SinglePrecisionFloor),
        _ => None,
    }
}

fn reduced<T: Element>(case: &Case, x: &[T], dx: &mut [T]) -> f64 {
    let reduction = match case.word("reduction") {
        "mean" => Reduction::Mean,
        "sum" => Reduction::Sum,
        "batchmean" => Reduction::SumOver(case.count("rows") as f64),
        word => panic!("no reduction is called {word}"),
    };
    let weights = case.optional_input::<T>("weights");
    let weights = weights.as_deref();
    let shape = || RowShape { rows: case.count("rows"), cols: case.count("cols") };
    match case.op() {
        "cross_entropy" => {
            let op =
                CrossEntropy { label_smoothing: case.float("smoothing"), reduction, ..Default::default() };
            let targets = case.indices("targets");
            op.forward_backward(shape(), x, Targets::Classes(&targets), weights, dx)
        }
        "cross_entropy_soft" => {
            let op =
                CrossEntropy { label_smoothing: case.float("smoothing"), reduction, ..Default::default() };
            let targets = case.input::<T>("probabilities");
            op.forward_backward(shape(), x, Targets::Probabilities(&targets), weights, dx)
        }
        "nll" => {
            let op = NegativeLogLikelihood { reduction, ..Default::default() };
            op.forward_backward(shape(), x, &case.indices("targets"), weights, dx)
        }
        "bce_with_logits" => {
            let (targets, weights) = (case.input::<T>("targets"), case.optional_input::<T>("pos_weight"));
            let op = BinaryCrossEntropyWithLogits { reduction };
            op.forward_backward(shape(), x, &targets, weights.as_deref(), dx)
        }
        _ => pointwise(case).forward_backward(reduction, x, &case.input::<T>("targets"), dx),
    }
    .expect("valid")
}

fn pointwise(case: &Case) -> PointwiseLoss {
    match case.op() {
        "mse" => PointwiseLoss::Squared,
        "l1" => PointwiseLoss::Absolute,
        "huber" => PointwiseLoss::Huber { delta: case.float("delta") },
        "smooth_l1" => PointwiseLoss::SmoothAbsolute { beta: case.float("beta") },
        "bce" => PointwiseLoss::BinaryCrossEntropy,
        "kl_div" if case.flag("log_target") => PointwiseLoss::KlDivergenceOfLogarithms,
        "kl_div" => PointwiseLoss::KlDivergence,
        "sigmoid_squared" => PointwiseLoss::SigmoidSquared,
        op => panic!("no loss is called {op}"),
    }
}
