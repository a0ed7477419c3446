//! Softmax and its logarithm: forward, in place, and backward from input and output.

use proptest::prelude::*;
use steadygrad::loss::Softmax;
use steadygrad::{Element, Error, reference};

use super::subject::{assert_invariant, reference_ulps, shape};
use crate::common::{Guarded, Tolerance, assert_close, assert_same_bits, each_level, numbers, widen};

fn check_softmax<T: Element>(rows: usize, cols: usize, x: &[T], dy: &[T], offset: usize) {
    for softmax in [Softmax::Probabilities, Softmax::Logarithms] {
        let (mut exact_y, mut exact_dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (wide, wide_dy) = (widen(x), widen(dy));
        let mut sizes = vec![0.0; x.len()];
        for at in (0..rows).map(|row| row * cols..(row + 1) * cols) {
            let (y, dx) = (&mut exact_y[at.clone()], &mut exact_dx[at.clone()]);
            let (x, dy) = (&wide[at.clone()], &wide_dy[at.clone()]);
            let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = match softmax {
                Softmax::Probabilities => {
                    reference::softmax::softmax_forward(x, y);
                    reference::softmax::softmax_backward(y, dy, dx);
                    y.iter().zip(dy).map(|(y, dy)| (y * dy).abs()).sum()
                }
                Softmax::Logarithms => {
                    reference::softmax::log_softmax_forward(x, y);
                    reference::softmax::log_softmax_backward(y, dy, dx);
                    dy.iter().map(|dy| dy.abs()).sum()
                }
            };
            for (c, size) in sizes[at].iter_mut().enumerate() {
                let below = 8.0 + (largest - x[c]).min(200.0);
                *size = match softmax {
                    // A subnormal probability has lost bits, which the difference multiplies.
                    Softmax::Probabilities => {
                        (y[c] * (below + 20.0) + T::min_positive_value().to_f64()) * (dy[c].abs() + sum)
                    }
                    Softmax::Logarithms => dy[c].abs() + y[c].exp() * sum * (below + y[c].abs()),
                };
            }
        }
        each_level(|level| {
            let context = || format!("{softmax:?} of {rows} rows of {cols} at {level}");
            let shape = shape(rows, cols);
            let (mut y, mut dx) = (Guarded::new(x.len(), offset), Guarded::new(x.len(), offset));
            softmax.forward(shape, x, y.slice()).unwrap();
            softmax.backward(shape, x, dy, dx.slice()).unwrap();
            let mut in_place = Guarded::of(x, offset);
            softmax.forward_in_place(shape, in_place.slice()).unwrap();
            assert_same_bits(y.checked(), in_place.checked(), context);
            let mut from_output = Guarded::new(x.len(), offset);
            softmax.backward_from_output(shape, y.checked(), dy, from_output.slice()).unwrap();
            assert_same_bits(dx.checked(), from_output.checked(), context);
            let mut in_place = Guarded::of(dy, offset);
            softmax.backward_from_output_in_place(shape, y.checked(), in_place.slice()).unwrap();
            assert_same_bits(dx.checked(), in_place.checked(), context);
            for (i, (&y, &dx)) in y.checked().iter().zip(dx.checked()).enumerate() {
                let row = &wide[i / cols * cols..][..cols];
                let below = row.iter().copied().fold(f64::NEG_INFINITY, f64::max) - wide[i];
                let tolerance = match softmax {
                    Softmax::Probabilities => {
                        Tolerance { ulp: 4.5 + reference_ulps::<T>(cols) + below.min(200.0), epsilons: 0.0 }
                    }
                    Softmax::Logarithms => Tolerance { ulp: 4.5, epsilons: 2.0 + reference_ulps::<T>(cols) },
                };
                assert_close(y, exact_y[i], tolerance, context);
                assert_close(dx, exact_dx[i], Tolerance { ulp: 4.5, epsilons: sizes[i] }, context);
            }
        });
    }
}

fn softmax_of_every_width<T: Element>() {
    for cols in (1..=145).chain([1000]) {
        let rows = cols % 4;
        check_softmax::<T>(
            rows,
            cols,
            &numbers(cols as u64, rows * cols, 4.0),
            &numbers(2, rows * cols, 2.0),
            cols % 3,
        );
    }
    // Of every exponential, down to those that underflow.
    let x: Vec<T> = (0..2000).map(|i| T::from_f64(f64::from(i) * -0.43)).collect();
    let y = |x: &[T]| {
        let mut y = vec![T::nan(); x.len()];
        Softmax::Probabilities.forward(shape(1, x.len()), x, &mut y).unwrap();
        y
    };
    assert!(y(&x).iter().all(|y| (T::zero()..=T::one()).contains(y)));
}

#[test]
fn softmax_forward_and_backward_match_reference() {
    softmax_of_every_width::<f32>();
    softmax_of_every_width::<f64>();
}

#[test]
fn softmax_backward_matches_finite_differences() {
    // The reference itself, in f64: Σ dy · y along each x.
    let (x, dy, h) = ([0.3, -1.2, 2.0, 0.7], [1.0, -0.5, 0.25, 2.0], 1e-6);
    type Forward = fn(&[f64], &mut [f64]);
    type Backward = fn(&[f64], &[f64], &mut [f64]);
    let both: [(Forward, Backward); 2] = [
        (reference::softmax::softmax_forward, reference::softmax::softmax_backward),
        (reference::softmax::log_softmax_forward, reference::softmax::log_softmax_backward),
    ];
    for (forward, backward) in both {
        let value = |x: [f64; 4]| {
            let mut y = [0.0; 4];
            forward(&x, &mut y);
            y.iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>()
        };
        let (mut y, mut dx) = ([0.0; 4], [0.0; 4]);
        forward(&x, &mut y);
        backward(&y, &dy, &mut dx);
        for c in 0..4 {
            let (mut above, mut below) = (x, x);
            above[c] += h;
            below[c] -= h;
            assert!(((value(above) - value(below)) / (2.0 * h) - dx[c]).abs() < 1e-8);
        }
    }
}

#[test]
fn softmax_forward_special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows = [[-inf, 1.0], [-inf, -inf], [inf, 1.0], [nan, 0.0], [1e30, -1e30], [3e38, -3e38]].concat();
    let bits = |y: &[f32]| y.iter().map(|y| if y.is_nan() { 9.0 } else { *y }).collect::<Vec<_>>();
    each_level(|level| {
        let mut y = [0.0_f32; 12];
        Softmax::Probabilities.forward(shape(6, 2), &rows, &mut y).unwrap();
        assert_eq!(bits(&y), [0.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.0, 0.0, 1.0, 0.0], "at {level}");
        Softmax::Logarithms.forward(shape(6, 2), &rows, &mut y).unwrap();
        assert_eq!(bits(&y), [-inf, 0.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 0.0, -2e30, 0.0, -inf], "at {level}");
    });
}

#[test]
fn softmax_backward_same_bits_in_any_pool_and_on_avx2_and_avx512() {
    let (rows, cols) = (300, 703);
    let (x, dy) = (numbers::<f32>(1, rows * cols, 3.0), numbers::<f32>(2, rows * cols, 3.0));
    for softmax in [Softmax::Probabilities, Softmax::Logarithms] {
        assert_invariant(|| {
            let mut dx = vec![f32::NAN; rows * cols];
            softmax.backward(shape(rows, cols), &x, &dy, &mut dx).unwrap();
            (0.0, dx)
        });
    }
}

#[test]
fn softmax_names_the_bad_argument() {
    let (x, two) = ([0.0_f32; 6], shape(2, 3));
    let mut out = Guarded::<f32>::new(5, 0);
    let length = |argument, expected, actual| Err(Error::Length { argument, expected, actual });
    for softmax in [Softmax::Probabilities, Softmax::Logarithms] {
        assert_eq!(softmax.forward(two, &x[..4], out.slice()), length("x", 6, 4));
        assert_eq!(softmax.forward(two, &x, out.slice()), length("y", 6, 5));
        assert_eq!(softmax.forward_in_place(two, out.slice()), length("x", 6, 5));
        assert_eq!(softmax.backward(two, &x, &x[..4], out.slice()), length("dy", 6, 4));
        assert_eq!(softmax.backward_from_output(two, &x, &x, out.slice()), length("dx", 6, 5));
        assert_eq!(softmax.backward_from_output_in_place(two, &x, out.slice()), length("grad", 6, 5));
        assert_eq!(
            softmax.forward_in_place(shape(5, 0), out.slice()),
            Err(Error::Empty { dimension: "cols" })
        );
        assert_eq!(softmax.forward::<f32>(shape(0, 0), &[], &mut []), Ok(()));
    }
    assert!(out.is_untouched());
}

proptest! {
    #[test]
    fn softmax_backward_matches_reference_on_any_shape(
        rows in 0..6_usize, cols in 1..300_usize, offset in 0..16_usize, deviation in 0.1..20.0,
    ) {
        let n = rows * cols;
        check_softmax::<f32>(rows, cols, &numbers(3, n, deviation), &numbers(4, n, 1.0), offset);
    }
}
