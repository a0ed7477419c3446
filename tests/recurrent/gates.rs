//! Cells alone, whose sums the caller makes.

use steadygrad::recurrent::{GruGates, LstmGates};
use steadygrad::reference;

use crate::common::{each_level, numbers};

#[test]
fn lstm_gates_are_the_cell_alone() {
    let (batch, hidden) = (3, 37);
    let before: Vec<f32> = numbers(1, batch * 4 * hidden, 1.0);
    let c_before: Vec<f32> = numbers(2, batch * hidden, 1.0);
    let [dy, dh]: [Vec<f32>; 2] = [numbers(3, batch * hidden, 1.0), numbers(4, batch * hidden, 1.0)];
    let dc_after: Vec<f32> = numbers(5, batch * hidden, 1.0);
    each_level(|_| {
        let op = LstmGates { hidden, ..LstmGates::default() };
        let (mut gates, mut c, mut h) =
            (before.clone(), vec![f32::NAN; batch * hidden], vec![f32::NAN; batch * hidden]);
        op.forward(batch, &[], &mut gates, &c_before, &mut c, &mut h).unwrap();
        let mut dc = dc_after.clone();
        let mut dgates = gates.clone();
        op.backward(batch, &[], &mut dgates, (&c_before, &c), (&dy, &dh), &mut dc).unwrap();
        for at in 0..batch * hidden {
            let (row, unit) = (at / hidden, at % hidden);
            let of = |gates: &[f32], gate: usize| f64::from(gates[(row * 4 + gate) * hidden + unit]);
            let all = |gates: &[f32]| reference::lstm::Gates {
                i: of(gates, 0),
                f: of(gates, 1),
                g: of(gates, 2),
                o: of(gates, 3),
            };
            let exact = reference::lstm::gates(all(&before));
            let (new, shown) = reference::lstm::forward(exact, f64::from(c_before[at]));
            assert!((f64::from(c[at]) - new).abs() < 1e-6 && (f64::from(h[at]) - shown).abs() < 1e-6);
            let gradient = f64::from(dy[at]) + f64::from(dh[at]);
            let (d, old) = reference::lstm::backward(
                exact,
                f64::from(c_before[at]),
                new,
                gradient,
                f64::from(dc_after[at]),
            );
            let actual = all(&dgates);
            for (actual, exact) in [(actual.i, d.i), (actual.f, d.f), (actual.g, d.g), (actual.o, d.o)] {
                assert!((actual - exact).abs() < 4e-6, "{actual} is not {exact}");
            }
            assert!((f64::from(dc[at]) - old).abs() < 4e-6);
        }
    });
}

#[test]
fn gru_gates_are_the_cell_alone() {
    let (batch, hidden) = (3, 37);
    let [input, recurrent]: [Vec<f32>; 2] = [1, 2].map(|seed| numbers(seed, batch * 3 * hidden, 1.0));
    let [before, dy, dh_after]: [Vec<f32>; 3] = [3, 4, 5].map(|seed| numbers(seed, batch * hidden, 1.0));
    each_level(|_| {
        let op = GruGates { hidden };
        let (mut gates, mut h) = (input.clone(), vec![f32::NAN; batch * hidden]);
        op.forward(batch, &mut gates, &recurrent, &before, &mut h).unwrap();
        let (mut dgates, mut drecurrent, mut dh) = (gates.clone(), recurrent.clone(), dh_after.clone());
        op.backward(batch, (&mut dgates, &mut drecurrent), &before, &dy, &mut dh).unwrap();
        for at in 0..batch * hidden {
            let of = |values: &[f32]| {
                let part = |gate: usize| f64::from(values[(at / hidden * 3 + gate) * hidden + at % hidden]);
                reference::gru::Gates { r: part(0), z: part(1), n: part(2) }
            };
            let exact = reference::gru::gates(of(&input), of(&recurrent));
            let (old, gradient) = (f64::from(before[at]), f64::from(dy[at]) + f64::from(dh_after[at]));
            let (d, d_recurrent, d_old) = reference::gru::backward(exact, of(&recurrent).n, old, gradient);
            let (actual, actual_recurrent) = (of(&dgates), of(&drecurrent));
            let pairs = [
                (f64::from(h[at]), reference::gru::forward(exact, old)),
                (actual.r, d.r),
                (actual.z, d.z),
                (actual.n, d.n),
                (actual_recurrent.r, d_recurrent.r),
                (actual_recurrent.z, d_recurrent.z),
                (actual_recurrent.n, d_recurrent.n),
                (f64::from(dh[at]), d_old),
            ];
            for (actual, exact) in pairs {
                assert!((actual - exact).abs() < 4e-6, "{actual} is not {exact}");
            }
        }
    });
}
