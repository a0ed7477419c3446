//! Optimizers: any bits, lists that fit or do not, every level against the reference.

use steadygrad::Level;
use steadygrad::optim::{Gradients, Momentum, Sgd};
use steadygrad::reference::sgd as reference;
use steadygrad::reference::sgd::State;

use super::reader::{Bits, Reader, Tolerance, assert_close, assert_refused};

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if reader.byte().is_multiple_of(2) {
        sgd::<f32>(&mut reader);
    } else {
        sgd::<f64>(&mut reader);
    }
}

fn sgd<T: Bits>(reader: &mut Reader<'_>) {
    let (momentum, dampening) = (reader.ordinary(), reader.ordinary());
    let momentum = reader.pick(&[
        Momentum::None,
        Momentum::Classical { momentum, dampening },
        Momentum::Nesterov { momentum },
    ]);
    let op = Sgd { lr: reader.ordinary(), momentum, ..Sgd::default() };
    let (step, scale) = (reader.up_to(2) as u64, reader.ordinary());
    let (len, excess) = (reader.up_to(200), reader.up_to(3));
    let (param, grad): (Vec<T>, Vec<T>) = (reader.floats(len), reader.ordinaries(len));
    let buffer: Vec<T> = reader.ordinaries(len);
    for level in Level::available() {
        if excess > 0 {
            let mut untouched = vec![T::nan(); len + excess];
            let result = Level::scoped(level, || {
                op.step(step, &mut [&mut untouched], Gradients { tensors: &[&grad], scale }, &mut [])
            });
            assert_refused(result.expect("an available level"), &untouched);
            continue;
        }
        let (mut new_param, mut new_buffer) = (param.clone(), buffer.clone());
        let gradients = Gradients { tensors: &[&grad], scale };
        let result =
            Level::scoped(level, || op.step(step, &mut [&mut new_param], gradients, &mut [&mut new_buffer]));
        let accepted = result.expect("an available level").is_ok();
        for i in 0..len {
            let before = State { p: param[i].to_f64(), b: buffer[i].to_f64() };
            let g = grad[i].to_f64() * scale;
            let after = match momentum {
                _ if !accepted => before,
                Momentum::None => State { p: reference::plain(before.p, g, op.lr), b: before.b },
                Momentum::Classical { momentum, dampening } => {
                    reference::classical(before, g, op.lr, momentum, dampening, step)
                }
                Momentum::Nesterov { momentum } => reference::nesterov(before, g, op.lr, momentum, step),
            };
            // Every other term is below 16⁵.
            let magnitude = 4e6 + if before.p.is_finite() { before.p.abs() } else { 0.0 };
            let tolerance = Tolerance { relative: 8.0, absolute: 8.0 * magnitude };
            assert_close((op, step, level), after.p, new_param[i], tolerance);
            assert_close((op, step, level), after.b, new_buffer[i], tolerance);
        }
    }
}
