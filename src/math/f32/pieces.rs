//! Functions in eight pieces: no division, and fewer operations than one formula for all.
//!
//! A register holds one coefficient of every piece, and one instruction gives each lane the coefficient of its own.

use super::horner;
use crate::simd::{Vector, inlined};

/// Eight polynomials, each in a minus its center, where a number made of a is in one of the octaves [2, 4), [4, 8), … [256, 512).
pub(super) struct Pieces {
    /// About the middles, where the first coefficient is as good as an `f32`.
    pub(super) centers: [f32; 8],
    /// All first coefficients, all second ones, …
    pub(super) coefficients: [[f32; 8]; 8],
}

impl Pieces {
    /// `(t, p, c)` with t·p + c the polynomial at a.
    #[inline(always)]
    pub(super) fn at<V: Vector<Elem = f32>>(&self, a: V, octave: V) -> (V, V, V) {
        let t = a - octave.entry_of_octave(&self.centers);
        let coefficient = inlined(
            #[inline(always)]
            |k: usize| octave.entry_of_octave(&self.coefficients[k]),
        );
        (t, horner(1, 8, t, coefficient), coefficient(0))
    }
}
