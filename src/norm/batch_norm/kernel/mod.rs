//! What is done with the numbers of a strip's channels, and with its tiles.

mod numbers;
mod tiles;

pub(super) use numbers::{
    Differentiating, FinishSums, InverseDeviations, Normalizing, Numbers, Prepare, Totals, Track,
};
pub(super) use tiles::{
    Differentiate, FromInput, FromOutput, Gate, Gated, Gradient, GradientSums, Normalize, NormalizeAdd, Open,
    Outputs, Scale,
};
