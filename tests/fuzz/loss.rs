//! Losses: any leaf, any shape, bits and offset, every level against the reference; bad arguments are refused.

use steadygrad::loss::{
    BinaryCrossEntropyWithLogits, CrossEntropy, NegativeLogLikelihood, PointwiseLoss, Reduction, Softmax,
    Targets,
};
use steadygrad::{Element, Error, Level, RowShape, reference};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) { check::<f32>(&mut reader) } else { check::<f64>(&mut reader) }
}

/// A batch of rows inside larger slices, and how far its outputs are too long.
struct Batch<T> {
    shape: RowShape,
    offset: usize,
    excess: usize,
    x: Vec<T>,
    targets: Vec<T>,
    classes: Vec<i64>,
    reduction: Reduction,
}

fn check<T: Bits>(reader: &mut Reader<'_>) {
    let (leaf, rows, cols) = (reader.up_to(5), reader.up_to(4), 1 + reader.up_to(69));
    let (offset, excess) = (reader.up_to(15), reader.up_to(4) / 4);
    let elements = offset + rows * cols;
    // Arbitrary bits where every value has a meaning; elsewhere numbers.
    let x = if leaf < 3 { reader.floats::<T>(elements) } else { reader.ordinaries(elements) };
    let targets = reader.ordinaries::<T>(elements).into_iter().map(|t| t.abs() / T::from_f64(16.0)).collect();
    // A class in eight is ignored, one in 64 is none.
    let class = |reader: &mut Reader<'_>| match reader.byte() {
        0..4 => reader.up_to(9) as i64 + cols as i64,
        4..36 => -100,
        _ => reader.up_to(cols - 1) as i64,
    };
    let classes = (0..rows).map(|_| class(reader)).collect();
    let divisor = reader.ordinary();
    let reduction = reader.pick(&[Reduction::Mean, Reduction::Sum, Reduction::SumOver(divisor)]);
    let batch = Batch { shape: RowShape { rows, cols }, offset, excess, x, targets, classes, reduction };
    match leaf {
        0 => batch.softmax(reader.pick(&[Softmax::Probabilities, Softmax::Logarithms])),
        1 => batch.cross_entropy(reader, false),
        2 => batch.negative_log_likelihood(),
        3 => batch.cross_entropy(reader, true),
        4 => batch.logits(),
        _ => batch.pointwise(reader),
    }
}

impl<T: Bits> Batch<T> {
    fn x(&self) -> &[T] {
        &self.x[self.offset..]
    }
    fn targets(&self) -> &[T] {
        &self.targets[self.offset..]
    }
    fn wide(&self) -> Vec<f64> {
        self.x().iter().map(|&x| Element::to_f64(x)).collect()
    }
    fn divisor(&self, count: f64) -> f64 {
        match self.reduction {
            Reduction::Mean => count,
            Reduction::Sum => 1.0,
            Reduction::SumOver(divisor) => divisor,
        }
    }

    /// Runs `op` at every level into a fresh output, and compares loss and output where it accepts its arguments.
    fn compare(
        &self,
        what: impl std::fmt::Debug,
        op: impl Fn(&mut [T]) -> Result<f64, Error>,
        expected: impl Fn() -> (f64, Vec<f64>),
        tolerance: Tolerance,
    ) {
        for level in Level::available() {
            let mut dx = vec![T::nan(); self.x().len() + self.excess];
            let result = Level::scoped(level, || op(&mut dx)).expect("an available level");
            let Ok(loss) = result else {
                assert_refused(result.map(|_| ()), &dx);
                continue;
            };
            assert_eq!(self.excess, 0, "a wrong length was accepted");
            let (expected_loss, expected_dx) = expected();
            assert_close((&what, level), expected_loss, T::from_f64(loss), tolerance);
            for (expected, &dx) in expected_dx.into_iter().zip(&dx) {
                assert_close((&what, level), expected, dx, tolerance);
            }
        }
    }

    fn softmax(&self, softmax: Softmax) {
        let op = |y: &mut [T]| softmax.forward(self.shape, self.x(), y).map(|()| 0.0);
        let expected = || {
            let (x, mut y) = (self.wide(), vec![0.0; self.x().len()]);
            for (x, y) in x.chunks(self.shape.cols).zip(y.chunks_mut(self.shape.cols)) {
                match softmax {
                    Softmax::Probabilities => reference::softmax::softmax_forward(x, y),
                    Softmax::Logarithms => reference::softmax::log_softmax_forward(x, y),
                }
            }
            (0.0, y)
        };
        self.compare(softmax, op, expected, Tolerance { relative: 16.0, absolute: 64.0 });
    }

    fn cross_entropy(&self, reader: &mut Reader<'_>, of_probabilities: bool) {
        let RowShape { rows, cols } = self.shape;
        let label_smoothing = if of_probabilities { reader.ordinary() / 8.0 } else { 0.0 };
        let loss = CrossEntropy { label_smoothing, reduction: self.reduction, ..CrossEntropy::default() };
        let weights: Vec<T> =
            (0..cols).map(|_| T::from_f64(f64::from(1 + reader.byte() % 16) / 4.0)).collect();
        let targets = if of_probabilities {
            Targets::Probabilities(self.targets())
        } else {
            Targets::Classes(&self.classes)
        };
        let op = |dx: &mut [T]| loss.forward_backward(self.shape, self.x(), targets, Some(&weights), dx);
        let counted: f64 = match of_probabilities {
            true => rows as f64,
            false => self
                .classes
                .iter()
                .filter(|t| (0..cols as i64).contains(*t))
                .map(|&t| weights[t as usize].to_f64())
                .sum(),
        };
        let divisor = self.divisor(counted);
        let expected = || {
            let (mut sum, x, mut dx) = (0.0, self.wide(), vec![0.0; rows * cols]);
            for row in (0..rows).filter(|&row| of_probabilities || self.classes[row] != -100) {
                let at = row * cols..(row + 1) * cols;
                let q = |c: usize| match of_probabilities {
                    true => self.targets()[at.start + c].to_f64(),
                    false => f64::from(self.classes[row] == c as i64),
                };
                let v = |c: usize| {
                    reference::cross_entropy::target(q(c), weights[c].to_f64(), label_smoothing, cols as f64)
                };
                let v: Vec<f64> = (0..cols).map(v).collect();
                sum += reference::cross_entropy::forward(&x[at.clone()], &v);
                reference::cross_entropy::backward(&x[at.clone()], &v, &mut dx[at.clone()]);
                dx[at].iter_mut().for_each(|dx| *dx /= divisor);
            }
            (sum / divisor, dx)
        };
        let absolute = 4096.0 * (1.0 + 1.0 / divisor);
        self.compare((loss, of_probabilities), op, expected, Tolerance { relative: 256.0, absolute });
    }

    fn negative_log_likelihood(&self) {
        let RowShape { rows, cols } = self.shape;
        let loss = NegativeLogLikelihood { reduction: self.reduction, ..NegativeLogLikelihood::default() };
        let op = |dx: &mut [T]| loss.forward_backward(self.shape, self.x(), &self.classes, None, dx);
        let counted = || (0..rows).filter(|&row| self.classes[row] != -100);
        let divisor = self.divisor(counted().count() as f64);
        let expected = || {
            let (x, mut dx) = (self.wide(), vec![0.0; rows * cols]);
            let mut sum = 0.0;
            for row in counted() {
                let (at, class) = (row * cols..(row + 1) * cols, self.classes[row] as usize);
                sum += reference::negative_log_likelihood::forward(&x[at.clone()], class, 1.0);
                reference::negative_log_likelihood::backward(class, 1.0 / divisor, &mut dx[at]);
            }
            (sum / divisor, dx)
        };
        self.compare(loss, op, expected, Tolerance { relative: 16.0, absolute: 0.0 });
    }

    fn logits(&self) {
        let loss = BinaryCrossEntropyWithLogits { reduction: self.reduction };
        let op = |dx: &mut [T]| loss.forward_backward(self.shape, self.x(), self.targets(), None, dx);
        let each = || self.wide().into_iter().zip(self.targets().iter().map(|&t| Element::to_f64(t)));
        let divisor = self.divisor(self.x().len() as f64);
        let expected = || {
            let value = |(x, t)| reference::binary_cross_entropy_with_logits::forward(x, t, 1.0);
            let gradient =
                |(x, t)| reference::binary_cross_entropy_with_logits::backward(x, t, 1.0) / divisor;
            (each().map(value).sum::<f64>() / divisor, each().map(gradient).collect())
        };
        self.compare(
            loss,
            op,
            expected,
            Tolerance { relative: 256.0, absolute: 64.0 * (1.0 + 1.0 / divisor) },
        );
    }

    fn pointwise(&self, reader: &mut Reader<'_>) {
        let parameter = reader.ordinary();
        let loss = reader.pick(&[
            PointwiseLoss::Squared,
            PointwiseLoss::Absolute,
            PointwiseLoss::Huber { delta: parameter },
            PointwiseLoss::SmoothAbsolute { beta: parameter },
            PointwiseLoss::BinaryCrossEntropy,
            PointwiseLoss::KlDivergence,
            PointwiseLoss::KlDivergenceOfLogarithms,
            PointwiseLoss::SigmoidSquared,
        ]);
        let op = |dx: &mut [T]| loss.forward_backward(self.reduction, self.x(), self.targets(), dx);
        let each = || self.wide().into_iter().zip(self.targets().iter().map(|&t| Element::to_f64(t)));
        let divisor = self.divisor(self.x().len() as f64);
        let expected = || {
            let value = |(x, t)| reference::pointwise::forward(loss, x, t);
            let gradient = |(x, t)| reference::pointwise::backward(loss, x, t) / divisor;
            (each().map(value).sum::<f64>() / divisor, each().map(gradient).collect())
        };
        // The terms of a divergence cancel in the sum.
        let absolute = 4096.0 * (1.0 + 1.0 / divisor) * (1.0 + self.x().len() as f64);
        self.compare(loss, op, expected, Tolerance { relative: 256.0, absolute });
    }
}
