//! The backward of rows whose parameters are one a channel: the sums of a channel serve γ, β and the row.

use crate::Element;
use crate::norm::layer_norm::Deviation;
use crate::norm::rows::{
    self, Gradients, Hat, Measured, RowGradient, Rule, Weights, row_sums, sums_of_group,
};
use crate::parallel::{Offset, Rows};
use crate::simd::{self, InOut, Isa, Kernel};

/// `dx` of each row, and the sums for γ and β added to `sums`.
pub(super) struct Backward<'a, T> {
    /// γ; nothing reads β.
    pub(super) weights: Weights<'a, T>,
    pub(super) rows: Offset<Gradients<'a, T>>,
    /// Σ dy · x̂ of each channel, then Σ dy of each; nothing where neither is asked for.
    pub(super) sums: &'a mut [f64],
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { weights, rows: Offset { first, data: (rows, mean, rstd) }, sums } = self;
        let Rows { data: (x, dy, dx), width: cols } = rows;
        sums.fill(0.0);
        let rows = x.chunks_exact(cols).zip(dy.chunks_exact(cols)).zip(dx.chunks_exact_mut(cols));
        for (row, ((x, dy), dx)) in rows.enumerate() {
            let measured = Measured { mean: mean.map_or(0.0, |mean| mean[row]), rstd: rstd[row] };
            let weights = weights.of_row(first + row, cols);
            let sums = sums_of_group(sums, weights.groups, (first + row) % weights.groups);
            backward_row(isa, measured, weights, (x, dy, dx), sums);
        }
    }
}

/// One row of [`Backward`]: its sums, channel by channel, then all that needs those of the whole row.
#[inline(always)]
fn backward_row<I: Isa, T: Element>(
    isa: I,
    measured: Measured,
    weights: Weights<'_, T>,
    (x, dy, dx): (&[T], &[T], &mut [T]),
    mut sums: Option<(&mut [f64], &mut [f64])>,
) {
    let (by, inner) = (Hat::new(measured), weights.inner);
    let mut of_row = [0.0; 2];
    for (channel, (x, dy)) in x.chunks_exact(inner).zip(dy.chunks_exact(inner)).enumerate() {
        let [sum, along] = row_sums::<I, T, Deviation>(isa, x, dy, None, by);
        if let Some((hat, plain)) = &mut sums {
            hat[channel] += along;
            plain[channel] += sum;
        }
        let gamma = weights.affine.gamma(channel);
        of_row = [of_row[0] + gamma * sum, of_row[1] + gamma * along];
    }
    let ahead = rows::ahead(x.len());
    let of_row = RowGradient::<T>::new::<Deviation>(measured, of_row, x.len());
    let channels = x.chunks_exact(inner).zip(dy.chunks_exact(inner)).zip(dx.chunks_exact_mut(inner));
    for (channel, ((x, dy), dx)) in channels.enumerate() {
        let gamma = T::from_f64(weights.affine.gamma(channel));
        simd::map_ahead(
            isa,
            ahead,
            [dy],
            InOut::new(x, dx),
            #[inline(always)]
            |[dy], x: T::Vector<I>| of_row.input(dy * gamma, Deviation::hat(x, of_row.hat)),
        );
    }
}
