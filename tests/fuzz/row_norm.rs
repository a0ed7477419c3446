//! Norms of rows: any shape and offset, every level against the reference; bad arguments are refused.

use steadygrad::norm::{Affine, GroupNorm, InstanceNorm, LayerNorm, NormGradients, RmsNorm, SavedRows};
use steadygrad::reference::{group_norm, layer_norm, rms_norm};
use steadygrad::{ChannelShape, Element, Level, RowShape};

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) { check::<f32>(&mut reader) } else { check::<f64>(&mut reader) }
}

/// An epsilon that keeps gradients of rows of equal values of the size of their terms.
const EPS: [f64; 2] = [1.0, 0.125];

fn check<T: Bits>(reader: &mut Reader<'_>) {
    match reader.up_to(3) {
        0 => of_rows::<T>(reader, "layer_norm"),
        1 => of_rows::<T>(reader, "rms_norm"),
        2 => of_channels::<T>(reader, "group_norm"),
        _ => of_channels::<T>(reader, "instance_norm"),
    }
}

fn wide<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|&x| Element::to_f64(x)).collect()
}

fn of_rows<T: Bits>(reader: &mut Reader<'_>, op: &str) {
    let (rows, cols, offset) = (reader.up_to(9), 1 + reader.up_to(69), reader.up_to(15));
    let (excess, eps) = (reader.up_to(8) / 8, reader.pick(&EPS));
    let elements = offset + rows * cols;
    // A row with special values makes NaN, which belongs to the row.
    let mut x: Vec<T> = reader.ordinaries(elements);
    let special = reader.float::<T>();
    let place = reader.up_to(4 * elements);
    if let Some(x) = x.get_mut(place) {
        // What overflows when squared is no number to compare.
        if special.abs() < T::from_f64(1e4) || !special.is_finite() {
            *x = special;
        }
    }
    let (x, dy) = (&x[offset..], &reader.ordinaries::<T>(elements)[offset..]);
    let (gamma, beta): (Vec<T>, Vec<T>) = (reader.ordinaries(cols), reader.ordinaries(cols));
    let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
    let shape = RowShape { rows, cols };

    let (x64, dy64, gamma64, beta64) = (wide(x), wide(dy), wide(&gamma), wide(&beta));
    let (mut y64, mut dx64) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
    let (mut dgamma64, mut dbeta64) = (vec![0.0; cols], vec![0.0; cols]);
    for row in 0..rows {
        let at = row * cols..(row + 1) * cols;
        let (x, dy) = (&x64[at.clone()], &dy64[at.clone()]);
        let (y, dx) = (&mut y64[at.clone()], &mut dx64[at]);
        if op == "layer_norm" {
            let measured = layer_norm::layer_norm_measure(x, eps);
            layer_norm::layer_norm_forward(x, measured, &gamma64, &beta64, y);
            layer_norm::layer_norm_backward(x, dy, measured, &gamma64, dx);
            layer_norm::layer_norm_backward_parameters(x, dy, measured, &mut dgamma64, &mut dbeta64);
        } else {
            let rstd = rms_norm::rms_norm_measure(x, eps);
            rms_norm::rms_norm_forward(x, rstd, &gamma64, &beta64, y);
            rms_norm::rms_norm_backward(x, dy, rstd, &gamma64, dx);
            rms_norm::rms_norm_backward_parameters(x, dy, rstd, &mut dgamma64, &mut dbeta64);
        }
    }
    for level in Level::available() {
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut y, mut dx) = (vec![T::nan(); rows * cols + excess], vec![T::nan(); rows * cols + excess]);
        let (mut dgamma, mut dbeta) = (vec![T::zero(); cols], vec![T::zero(); cols]);
        let gradients = NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
        let (forward, backward) = Level::scoped(level, || {
            if op == "layer_norm" {
                let op = LayerNorm { eps };
                let mut scratch = vec![f64::NAN; op.backward_scratch_len(shape)];
                let forward = op.forward(shape, x, affine, &mut mean, &mut rstd, &mut y);
                let saved = SavedRows { x, mean: &mean, rstd: &rstd };
                (forward, op.backward(shape, dy, affine.gamma, saved, &mut scratch, gradients))
            } else {
                let op = RmsNorm { eps };
                let mut scratch = vec![f64::NAN; op.backward_scratch_len(shape)];
                let forward = op.forward(shape, x, affine, &mut rstd, &mut y);
                (forward, op.backward(shape, dy, affine.gamma, (x, &rstd), &mut scratch, gradients))
            }
        })
        .expect("an available level");
        if excess > 0 {
            assert_refused(forward, &y);
            assert_refused(backward, &dx);
            continue;
        }
        forward.and(backward).expect("a valid case");
        compare((op, "y", level), &y, &y64);
        compare((op, "dx", level), &dx, &dx64);
        compare((op, "dgamma", level), &dgamma, &dgamma64);
        compare((op, "dbeta", level), &dbeta, &dbeta64);
    }
}

fn of_channels<T: Bits>(reader: &mut Reader<'_>, op: &str) {
    let (outer, count, inner) = (reader.up_to(5), 1 + reader.up_to(4), reader.up_to(40));
    let (groups, divisor) = (1 + reader.up_to(4), 1 + reader.up_to(8) / 8);
    let (excess, eps) = (reader.up_to(8) / 8, reader.pick(&EPS));
    let is_instance = op == "instance_norm";
    let (channels, elements) = (groups * count, outer * groups * count * inner);
    let shape = ChannelShape { outer, channels, inner };
    let groups = if is_instance { channels } else { groups };
    let (x, dy): (Vec<T>, Vec<T>) = (reader.ordinaries(elements), reader.ordinaries(elements));
    let (gamma, beta): (Vec<T>, Vec<T>) = (reader.ordinaries(channels), reader.ordinaries(channels));
    let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };

    // The fuzzed number of groups may not divide the channels.
    let asked = if is_instance { groups } else { groups * divisor };
    let bad_group = !channels.is_multiple_of(asked);
    let groups = if bad_group { groups } else { asked };
    let bad = bad_group || is_instance && inner == 1 && outer > 0 || outer > 0 && inner == 0 || excess > 0;
    let rows = outer * groups;
    for level in Level::available() {
        let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut y, mut dx) = (vec![T::nan(); elements + excess], vec![T::nan(); elements + excess]);
        let (mut dgamma, mut dbeta) = (vec![T::zero(); channels], vec![T::zero(); channels]);
        let gradients = NormGradients { input: &mut dx, gamma: Some(&mut dgamma), beta: Some(&mut dbeta) };
        let (forward, backward) = Level::scoped(level, || {
            if is_instance {
                let op = InstanceNorm { eps };
                let mut scratch = vec![f64::NAN; op.backward_scratch_len(shape)];
                let forward = op.forward(shape, &x, affine, &mut mean, &mut rstd, &mut y);
                let saved = SavedRows { x: &x, mean: &mean, rstd: &rstd };
                (forward, op.backward(shape, &dy, affine.gamma, saved, &mut scratch, gradients))
            } else {
                let op = GroupNorm { groups: asked, eps };
                let mut scratch = vec![f64::NAN; op.backward_scratch_len(shape)];
                let forward = op.forward(shape, &x, affine, &mut mean, &mut rstd, &mut y);
                let saved = SavedRows { x: &x, mean: &mean, rstd: &rstd };
                (forward, op.backward(shape, &dy, affine.gamma, saved, &mut scratch, gradients))
            }
        })
        .expect("an available level");
        if bad {
            assert_refused(forward, &y);
            assert_refused(backward, &dx);
            continue;
        }
        forward.and(backward).expect("a valid case");
        if elements == 0 {
            continue;
        }
        let (x, dy, gamma, beta) = (wide(&x), wide(&dy), wide(&gamma), wide(&beta));
        let (mut dgamma64, mut dbeta64) = (vec![0.0; channels], vec![0.0; channels]);
        let (mut y64, mut dx64) = (vec![0.0; elements], vec![0.0; elements]);
        let cols = elements / rows;
        for row in 0..rows {
            let (at, of_group) = (row * cols..(row + 1) * cols, cols / inner);
            let of_group = row % groups * of_group..(row % groups + 1) * of_group;
            let (x, dy) = (&x[at.clone()], &dy[at.clone()]);
            let (gamma, beta) = (&gamma[of_group.clone()], &beta[of_group.clone()]);
            let measured = group_norm::group_norm_measure(x, eps);
            group_norm::group_norm_forward(x, measured, (gamma, beta), inner, &mut y64[at.clone()]);
            group_norm::group_norm_backward(x, dy, measured, (gamma, inner), &mut dx64[at]);
            let parameters = (&mut dgamma64[of_group.clone()], &mut dbeta64[of_group]);
            group_norm::group_norm_backward_parameters(x, dy, measured, inner, parameters);
        }
        compare((op, "y", level), &y, &y64);
        compare((op, "dx", level), &dx, &dx64);
        compare((op, "dgamma", level), &dgamma, &dgamma64);
        compare((op, "dbeta", level), &dbeta, &dbeta64);
    }
}

/// Values up to 16, x̂ up to √cols, terms of up to 16 · 16 · cols.
fn compare<T: Element>(what: impl std::fmt::Debug + Copy, actual: &[T], expected: &[f64]) {
    for (i, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        assert_close((what, i), expected, actual, Tolerance { relative: 64.0, absolute: 1e5 });
    }
}
