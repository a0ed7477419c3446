//! A check under way: the Jacobian element by element, or slopes along random directions.

use alloc::vec;
use alloc::vec::Vec;

use super::{Failure, GradCheck, Report, Worst};

/// A gradient from both sides, before anything is known about its neighbourhood.
#[derive(Clone, Copy)]
struct Candidate {
    input: usize,
    output: Option<usize>,
    analytic: f64,
    numeric: f64,
    /// The difference in units of its tolerance.
    excess: f64,
}

/// A check under way.
pub(super) struct Check<'a, F, B> {
    options: GradCheck,
    x: &'a [f64],
    forward: F,
    backward: B,
    random: SplitMix,
    /// `x` with some elements moved.
    moved: Vec<f64>,
    y: [Vec<f64>; 2],
    compared: usize,
    /// The largest excess, also of projections that no single element explains.
    largest: f64,
    worst: Option<Candidate>,
    /// The output gradient that belongs to candidates of all outputs.
    dense: Vec<f64>,
}

impl<'a, F, B> Check<'a, F, B>
where
    F: FnMut(&[f64], &mut [f64]),
    B: FnMut(&[f64], &[f64], &mut [f64]),
{
    pub(super) fn new(options: GradCheck, x: &'a [f64], outputs: usize, forward: F, backward: B) -> Self {
        let mut random = SplitMix(options.seed);
        let dense = (0..outputs).map(|_| random.weight()).collect();
        let y = [vec![0.0; outputs], vec![0.0; outputs]];
        let (moved, worst) = (x.to_vec(), None);
        Self { options, x, forward, backward, random, moved, y, compared: 0, largest: 0.0, worst, dense }
    }

    /// Compares every element, and a dense gradient, whose elements are sums over the outputs.
    pub(super) fn jacobian(&mut self) {
        let (inputs, outputs) = (self.x.len(), self.dense.len());
        let mut analytic = Vec::with_capacity(inputs * outputs);
        for output in 0..outputs {
            let weight = self.random.weight();
            let mut dy = vec![0.0; outputs];
            dy[output] = weight;
            analytic.extend(self.gradient(&dy).iter().map(|dx| dx / weight));
        }
        let mut dense_slopes = Vec::with_capacity(inputs);
        for input in 0..inputs {
            let width = self.difference(|i| if i == input { 1.0 } else { 0.0 });
            let slope = |output: usize| (self.y[1][output] - self.y[0][output]) / width[input];
            let slopes: Vec<f64> = (0..outputs).map(slope).collect();
            for (output, &numeric) in slopes.iter().enumerate() {
                self.compare(input, Some(output), analytic[output * inputs + input], numeric);
            }
            dense_slopes.push(dot(&self.dense, &slopes));
        }
        // Where single elements are wrong already, their sum would only hide which.
        if self.largest <= 1.0 {
            let dense = self.gradient(&self.dense.clone());
            for (input, (dx, slope)) in dense.into_iter().zip(dense_slopes).enumerate() {
                self.compare(input, None, dx, slope);
            }
        }
        self.compared = inputs * outputs + inputs;
    }

    /// Compares slopes along random directions, and finds the element that differs most along each by halving it.
    pub(super) fn project(&mut self) {
        let inputs = self.x.len();
        for _ in 0..self.options.projections {
            self.dense = (0..self.dense.len()).map(|_| self.random.weight()).collect();
            let dx = self.gradient(&self.dense.clone());
            let signs: Vec<f64> = (0..inputs).map(|_| self.random.weight().signum()).collect();
            let (mut start, mut end) = (0, inputs);
            let (difference, scale) = self.along(&dx, &signs, start, end);
            self.exceed(self.excess(difference, scale));
            while end - start > 1 {
                let middle = start.midpoint(end);
                let (first, _) = self.along(&dx, &signs, start, middle);
                let (second, _) = self.along(&dx, &signs, middle, end);
                if first >= second || first.is_nan() { end = middle } else { start = middle }
            }
            let width = self.difference(|i| if i == start { 1.0 } else { 0.0 });
            let numeric = self.change() / width[start];
            self.compare(start, None, dx[start], numeric);
        }
        self.compared = self.options.projections;
    }

    /// |dx·v − the change of dy·y along v| a step, for a direction that is 0 outside `start..end`, and the norm of dx there.
    fn along(&mut self, dx: &[f64], signs: &[f64], start: usize, end: usize) -> (f64, f64) {
        let width = self.difference(|i| if (start..end).contains(&i) { signs[i] } else { 0.0 });
        let step = 2.0 * self.options.step;
        let scale: f64 = (start..end).map(|i| dx[i] * width[i] / step).map(|v| v * v).sum();
        ((dot(&dx[start..end], &width[start..end]) - self.change()).abs() / step, libm::sqrt(scale))
    }

    /// dy·(y⁺ − y⁻) of the last difference, subtracted before it is summed: the two sums would cancel.
    fn change(&self) -> f64 {
        (0..self.dense.len()).map(|j| self.dense[j] * (self.y[1][j] - self.y[0][j])).sum()
    }

    /// Writes y at x ± h·direction into `self.y`, and returns how far apart the two places are.
    fn difference(&mut self, direction: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut width = vec![0.0; self.x.len()];
        for (side, sign) in [-1.0, 1.0].into_iter().enumerate() {
            for (i, &x) in self.x.iter().enumerate() {
                self.moved[i] = x + sign * direction(i) * self.options.step * x.abs().max(1.0);
                width[i] = self.moved[i] - width[i];
            }
            self.y[side].fill(f64::NAN);
            (self.forward)(&self.moved, &mut self.y[side]);
        }
        width
    }

    /// dx of the backward, which is handed NaN to write over.
    fn gradient(&mut self, dy: &[f64]) -> Vec<f64> {
        let mut dx = vec![f64::NAN; self.x.len()];
        (self.backward)(self.x, dy, &mut dx);
        dx
    }

    fn compare(&mut self, input: usize, output: Option<usize>, analytic: f64, numeric: f64) {
        let excess = self.excess((analytic - numeric).abs(), analytic.abs().max(numeric.abs()));
        self.exceed(excess);
        if self.worst.is_none_or(|worst| excess > worst.excess) {
            self.worst = Some(Candidate { input, output, analytic, numeric, excess });
        }
    }

    /// A difference in units of its tolerance; infinite for NaN.
    fn excess(&self, difference: f64, scale: f64) -> f64 {
        let excess = difference / (self.options.absolute + self.options.relative * scale);
        if excess.is_nan() { f64::INFINITY } else { excess }
    }

    fn exceed(&mut self, excess: f64) {
        self.largest = self.largest.max(excess);
    }

    pub(super) fn report(mut self, projected: bool) -> Result<Report, Failure> {
        let worst = self.worst.map(|candidate| self.look_around(candidate));
        let report = Report { compared: self.compared, projected, worst };
        if self.largest <= 1.0 { Ok(report) } else { Err(Failure::Mismatch(report)) }
    }

    /// The one-sided slopes of a candidate.
    fn look_around(&mut self, candidate: Candidate) -> Worst {
        let Candidate { input, output, analytic, numeric, .. } = candidate;
        let mut here = vec![f64::NAN; self.dense.len()];
        (self.forward)(self.x, &mut here);
        let width = self.difference(|i| if i == input { 1.0 } else { 0.0 });
        let slope = |from: &[f64], to: &[f64]| {
            let change = |j: usize| (to[j] - from[j]) / (width[input] / 2.0);
            output.map_or_else(|| (0..here.len()).map(|j| self.dense[j] * change(j)).sum(), change)
        };
        let one_sided = [slope(&self.y[0], &here), slope(&here, &self.y[1])];
        let magnitude = analytic.abs().max(numeric.abs());
        let relative_error = if magnitude == 0.0 { 0.0 } else { (analytic - numeric).abs() / magnitude };
        Worst { input, output, analytic, numeric, relative_error, one_sided }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Steele, Lea and Flood's generator: a check must give the same answer each time, and needs no other quality.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between ½ and 1½, of either sign.
    fn weight(&mut self) -> f64 {
        let bits = self.next();
        let magnitude = 0.5 + (bits >> 11) as f64 / (1_u64 << 53) as f64;
        if bits & 1 == 0 { magnitude } else { -magnitude }
    }
}
