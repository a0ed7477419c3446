//! The disease that measurements point to, in a fixed order: what explains the others comes first.

use core::fmt;

use super::{LayerFlow, Magnitude};
use crate::Error;
use crate::shape::check_range;

/// Where a healthy network ends. Every threshold is a choice; the defaults keep apart networks that learn and networks that
/// do not in `examples/rescue`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// A signal that is at most this of what it set out as has vanished; in (0, 1), 1e-3 by default: with one learning rate
    /// for all layers, a layer with a 1000th of the gradient moves in 1000 steps as far as the last in one.
    pub vanishing: f64,
    /// A signal that is at least this many times what it set out as has exploded; above 1 and finite, 1e3 by default: the
    /// rate that the first layer could bear is then 1000 times too small for the last.
    pub exploding: f64,
    /// A layer with at least this share of flat values, of an activation that is flat at both ends, is saturated; in
    /// (0, 1], 0.5 by default: of a signal that is well scaled, tanh flattens a 25th and the sigmoid next to nothing.
    pub saturated: f64,
    /// A layer with at least this share of dead units is dead; in (0, 1], 0.9 by default. Half of the units of a deep `ReLU`
    /// network are off for a whole batch when it starts, since there all samples point the same way, and it learns.
    pub dead: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { vanishing: 1e-3, exploding: 1e3, saturated: 0.5, dead: 0.9 }
    }
}

/// What flows through the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Activations, from the first layer on; sizes are root mean squares, over the first layer's.
    Activations,
    /// Gradients at the layers' sums, from the last layer back; sizes are norms, over the last layer's.
    Gradients,
    /// Weights, their gradients and their updates.
    Weights,
}

/// What a network suffers from.
///
/// Layers count from 0, the one at the input. The first that applies is given: values that are not finite, dead, saturated,
/// exploding, vanishing.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing that was measured is beyond its threshold.
    Healthy,
    /// The signal fades. Remedies: variance-keeping [`init`](crate::init), an [`Activation`](crate::Activation) that does
    /// not flatten, [`norm`](crate::norm), [`residual`](crate::residual), [`pretrain`](crate::pretrain).
    Vanishing {
        /// Gradients: this layer and all before it are starved. Activations: this layer and all after it.
        from_layer: usize,
        /// What fades.
        signal: Signal,
        /// What is left of it at the far end.
        factor: f64,
    },
    /// The signal grows, or is not finite. Remedies: [`clip`](crate::clip), variance-keeping [`init`](crate::init),
    /// [`norm`](crate::norm), [`residual`](crate::residual), [`optim::schedule`](crate::optim::schedule).
    Exploding {
        /// The first layer that it reaches beyond the threshold, in the direction of the signal.
        from_layer: usize,
        /// What grows.
        signal: Signal,
        /// By what it grows at most; infinite or NaN where it is not finite.
        factor: f64,
    },
    /// Activations sit where they are flat. Remedies: another [`Activation`](crate::Activation), [`norm`](crate::norm),
    /// [`init::Lsuv`](crate::init::Lsuv).
    Saturated {
        /// The first such layer.
        from_layer: usize,
        /// Its share of flat values.
        share: f64,
    },
    /// Units that are off for every sample. Remedies: an [`Activation`](crate::Activation) with a slope on the left,
    /// variance-keeping [`init`](crate::init), [`norm`](crate::norm), [`optim::schedule`](crate::optim::schedule).
    Dead {
        /// The first such layer.
        from_layer: usize,
        /// Its share of dead units.
        share: f64,
    },
}

/// What of this crate helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Remedy {
    /// In words.
    pub what: &'static str,
    /// The item's path.
    pub path: &'static str,
}

const KEEP_VARIANCE: Remedy =
    Remedy { what: "weights that keep the variance, or are scaled on your data", path: "steadygrad::init" };
const KEEP_SLOPE: Remedy =
    Remedy { what: "ReLU, ELU and others that keep a slope", path: "steadygrad::Activation" };
const NORMALISE: Remedy = Remedy { what: "normalise what each layer passes on", path: "steadygrad::norm" };
const AROUND: Remedy = Remedy { what: "a way around each layer", path: "steadygrad::residual" };
const GENTLER: Remedy =
    Remedy { what: "a lower rate, or one that warms up", path: "steadygrad::optim::schedule" };

impl Verdict {
    /// The name of the disease.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Vanishing { .. } => "vanishing",
            Self::Exploding { .. } => "exploding",
            Self::Saturated { .. } => "saturated",
            Self::Dead { .. } => "dead",
        }
    }

    /// What of this crate applies, the likeliest first.
    #[must_use]
    pub fn remedies(&self) -> &'static [Remedy] {
        match self {
            Self::Healthy => &[],
            Self::Vanishing { .. } => &[
                KEEP_VARIANCE,
                NORMALISE,
                AROUND,
                KEEP_SLOPE,
                Remedy { what: "layers that learn alone first", path: "steadygrad::pretrain" },
            ],
            Self::Exploding { .. } => &[
                Remedy { what: "clip by norm", path: "steadygrad::clip::ClipNorm" },
                KEEP_VARIANCE,
                NORMALISE,
                AROUND,
                GENTLER,
            ],
            Self::Saturated { .. } => &[KEEP_VARIANCE, NORMALISE, KEEP_SLOPE],
            Self::Dead { .. } => &[
                Remedy { what: "LeakyReLU, ELU, GELU: a slope on the left", path: "steadygrad::Activation" },
                KEEP_VARIANCE,
                NORMALISE,
                GENTLER,
            ],
        }
    }
}

/// One line, such as `vanishing: 2e-22 of the gradient is left, layers 0 to 27 are starved`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match *self {
            Self::Healthy => Ok(()),
            Self::Vanishing { from_layer, signal: Signal::Activations, factor } => {
                write!(f, ": {factor:.0e} of the activations are left, from layer {from_layer} on")
            }
            Self::Vanishing { from_layer, factor, .. } => {
                write!(f, ": {factor:.0e} of the gradient is left, layers 0 to {from_layer} are starved")
            }
            Self::Exploding { from_layer, signal, factor } => {
                let (name, back) = match signal {
                    Signal::Activations => ("activations", "on"),
                    Signal::Gradients => ("gradients", "back"),
                    Signal::Weights => ("weights or their gradients", "on"),
                };
                if factor.is_finite() {
                    write!(f, ": {name} grow {factor:.0e} times, from layer {from_layer} {back}")
                } else {
                    write!(f, ": {name} are not finite, from layer {from_layer} {back}")
                }
            }
            Self::Saturated { from_layer, share } => {
                write!(f, ": {:.0} % of the values of layer {from_layer} are flat", 100.0 * share)
            }
            Self::Dead { from_layer, share } => {
                write!(f, ": {:.0} % of the units of layer {from_layer} are off", 100.0 * share)
            }
        }
    }
}

/// A verdict and the numbers behind it; displayed as a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diagnosis<'a> {
    /// What the network suffers from.
    pub verdict: Verdict,
    /// What it was judged by.
    pub thresholds: Thresholds,
    /// The layers, from the input on.
    pub layers: &'a [LayerFlow],
}

impl Thresholds {
    /// Names the disease of a network, given its layers from the input on.
    ///
    /// No layer, or nothing measured, is [`Verdict::Healthy`]. The gradients of networks with a residual connection are
    /// those at the sums that go around.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] names the threshold that is.
    ///
    /// # Examples
    /// ```
    /// use steadygrad::diagnostics::{GradientFlow, Thresholds, Verdict};
    ///
    /// let mut flow = GradientFlow::new(2);
    /// flow.layers[0].observe_gradient(&[5e4_f64]);
    /// flow.layers[1].observe_gradient(&[2.0_f64]);
    /// let verdict = Thresholds::default().diagnose(&flow.layers)?.verdict;
    /// assert_eq!(verdict.to_string(), "exploding: gradients grow 2e4 times, from layer 0 back");
    /// assert_eq!(verdict.remedies()[0].path, "steadygrad::clip::ClipNorm");
    /// # Ok::<(), steadygrad::Error>(())
    /// ```
    pub fn diagnose<'a>(&self, layers: &'a [LayerFlow]) -> Result<Diagnosis<'a>, Error> {
        check_range("vanishing", "above 0 and below 1", self.vanishing > 0.0 && self.vanishing < 1.0)?;
        check_range("exploding", "above 1 and finite", self.exploding > 1.0 && self.exploding.is_finite())?;
        for (argument, share) in [("saturated", self.saturated), ("dead", self.dead)] {
            check_range(argument, "above 0 and at most 1", share > 0.0 && share <= 1.0)?;
        }
        let verdict = non_finite(layers)
            .or_else(|| self.inactive(layers))
            .or_else(|| self.gradients(layers))
            .or_else(|| self.activations(layers))
            .unwrap_or(Verdict::Healthy);
        Ok(Diagnosis { verdict, thresholds: *self, layers })
    }

    /// A layer whose units are dead, or whose values are flat.
    fn inactive(&self, layers: &[LayerFlow]) -> Option<Verdict> {
        let activities =
            || layers.iter().enumerate().filter_map(|(layer, flow)| Some((layer, flow.activations?)));
        let dead =
            activities().find(|(_, units)| !units.region.is_bounded() && units.dead_share() >= self.dead);
        let flat =
            activities().find(|(_, units)| units.region.is_bounded() && units.flat_share() >= self.saturated);
        let dead = dead.map(|(from_layer, units)| Verdict::Dead { from_layer, share: units.dead_share() });
        dead.or(flat.map(|(from_layer, units)| Verdict::Saturated { from_layer, share: units.flat_share() }))
    }

    /// From the last layer back.
    fn gradients(&self, layers: &[LayerFlow]) -> Option<Verdict> {
        let sizes = || {
            let norms =
                layers.iter().enumerate().filter_map(|(layer, flow)| Some((layer, flow.gradient?.norm)));
            norms.rev()
        };
        self.judge(Signal::Gradients, sizes)
    }

    /// From the first layer on.
    fn activations(&self, layers: &[LayerFlow]) -> Option<Verdict> {
        let rms = |flow: &LayerFlow| Some(flow.activations?.values.rms());
        let sizes = || layers.iter().enumerate().filter_map(move |(layer, flow)| Some((layer, rms(flow)?)));
        self.judge(Signal::Activations, sizes)
    }

    /// Of layers and sizes in the direction of the signal, relative to the first.
    fn judge<I: Iterator<Item = (usize, f64)>>(
        &self,
        signal: Signal,
        sizes: impl Fn() -> I,
    ) -> Option<Verdict> {
        let (_, reference) = sizes().next().filter(|&(_, size)| size > 0.0)?;
        let factors = || sizes().map(|(layer, size)| (layer, size / reference));
        let grown = |&(_, factor): &(usize, f64)| factor >= self.exploding;
        if let Some((from_layer, _)) = factors().find(grown) {
            let factor = factors().fold(0.0, |most, (_, factor)| f64::max(most, factor));
            return Some(Verdict::Exploding { from_layer, signal, factor });
        }
        // Where it has faded for good: what recovers has gone around.
        let faded = factors().fold(None, |from, (layer, factor)| {
            let from = from.filter(|_| factor <= self.vanishing);
            from.or((factor <= self.vanishing).then_some(layer))
        });
        let factor = factors().last().map_or(1.0, |(_, factor)| factor);
        faded.map(|from_layer| Verdict::Vanishing { from_layer, signal, factor })
    }
}

/// The first layer that is not finite, of the signal that comes first.
fn non_finite(layers: &[LayerFlow]) -> Option<Verdict> {
    let bad = |magnitude: Option<Magnitude>| magnitude.filter(|magnitude| magnitude.non_finite > 0);
    let verdict = |signal, (from_layer, magnitude): (usize, Magnitude)| Verdict::Exploding {
        from_layer,
        signal,
        factor: magnitude.norm,
    };
    let layers = || layers.iter().enumerate();
    let values = |flow: &LayerFlow| flow.activations.map(|activity| activity.values);
    let of_activations = layers().find_map(|(layer, flow)| Some((layer, bad(values(flow))?)));
    let of_gradients = layers().rev().find_map(|(layer, flow)| Some((layer, bad(flow.gradient)?)));
    let of_weights = layers().find_map(|(layer, flow)| {
        let all = [flow.weights, flow.weight_gradient, flow.update];
        Some((layer, all.into_iter().find_map(bad)?))
    });
    of_activations
        .map(|found| verdict(Signal::Activations, found))
        .or_else(|| of_gradients.map(|found| verdict(Signal::Gradients, found)))
        .or_else(|| of_weights.map(|found| verdict(Signal::Weights, found)))
}

/// A number of a table's column, or a dash.
struct Cell(Option<f64>, Format);

#[derive(Clone, Copy)]
enum Format {
    Exponent,
    Percent,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(None, _) => write!(f, "{:>10}", "–"),
            Self(Some(value), Format::Exponent) => write!(f, "{value:>10.1e}"),
            Self(Some(value), Format::Percent) => write!(f, "{:>8.0} %", 100.0 * value),
        }
    }
}

/// A line a layer; then the verdict and its remedies.
impl fmt::Display for Diagnosis<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["activation", "flat", "dead", "gradient", "weights", "dweights", "update", "not finite"];
        write!(f, "layer")?;
        heads.iter().try_for_each(|head| write!(f, " {head:>10}"))?;
        writeln!(f)?;
        for (layer, flow) in self.layers.iter().enumerate() {
            let norm = |magnitude: Option<Magnitude>| magnitude.map(|magnitude| magnitude.norm);
            let cells = [
                Cell(flow.activations.map(|activity| activity.values.rms()), Format::Exponent),
                Cell(flow.activations.map(|activity| activity.flat_share()), Format::Percent),
                Cell(flow.activations.map(|activity| activity.dead_share()), Format::Percent),
                Cell(norm(flow.gradient), Format::Exponent),
                Cell(norm(flow.weights), Format::Exponent),
                Cell(norm(flow.weight_gradient), Format::Exponent),
                Cell(flow.update_to_weight(), Format::Exponent),
            ];
            write!(f, "{layer:>5}")?;
            cells.iter().try_for_each(|cell| write!(f, " {cell}"))?;
            writeln!(f, " {:>10}", flow.non_finite())?;
        }
        writeln!(
            f,
            "(activation: root mean square; gradient, weights, dweights: norms; update: over the weights)"
        )?;
        write!(f, "{}", self.verdict)?;
        self.verdict
            .remedies()
            .iter()
            .try_for_each(|Remedy { what, path }| write!(f, "\n  try {path}: {what}"))
    }
}
