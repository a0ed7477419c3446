//! What a check found: [`Report`], [`Worst`], and why it did not pass, [`Failure`].

use core::fmt;

use crate::Error;

/// What was compared, and the element with the largest difference for its tolerance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Elements of the Jacobian and of one dense gradient, or projections.
    pub compared: usize,
    /// Whether only projections were compared.
    pub projected: bool,
    /// The element that differs most for its tolerance; `None` without inputs or outputs.
    pub worst: Option<Worst>,
}

/// One element of the gradient, from both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Index into `x`.
    pub input: usize,
    /// Index into `y`, or `None` where all outputs were weighed together.
    pub output: Option<usize>,
    /// What the backward says.
    pub analytic: f64,
    /// What the central difference says.
    pub numeric: f64,
    /// |analytic − numeric| / max(|analytic|, |numeric|); 0 where both are 0.
    pub relative_error: f64,
    /// The one-sided slopes below and above.
    pub one_sided: [f64; 2],
}

impl Worst {
    /// Whether the one-sided slopes differ by more than a thousandth, which a smooth function's do only where its second
    /// derivative is over a hundred times its first.
    pub fn is_kink(&self) -> bool {
        let [below, above] = self.one_sided;
        (above - below).abs() > 1e-3 * below.abs().max(above.abs())
    }
}

/// Why a check did not pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure {
    /// A field of [`GradCheck`](super::GradCheck) or the number of outputs cannot be worked with.
    Argument(Error),
    /// The gradients differ by more than the tolerance, or are not finite.
    Mismatch(Report),
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.output {
            Some(output) => write!(f, "dy[{output}]/dx[{}]", self.input)?,
            None => write!(f, "dx[{}]", self.input)?,
        }
        write!(f, ": analytic {:e}, numeric {:e}", self.analytic, self.numeric)?;
        write!(f, ", relative error {:.1e}", self.relative_error)?;
        if self.is_kink() {
            let [below, above] = self.one_sided;
            write!(f, " (a kink? the slope is {below:e} below and {above:e} above)")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.projected { "projections" } else { "elements" };
        write!(f, "{} {what} compared", self.compared)?;
        self.worst.map_or(Ok(()), |worst| write!(f, ", worst {worst}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(error) => error.fmt(f),
            Self::Mismatch(report) => {
                write!(f, "the backward is not the derivative of the forward: {report}")
            }
        }
    }
}

impl core::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Argument(error)
    }
}
