//! What looks on: moments and diagnostics.

use steadygrad::diagnostics::{GradientFlow, PowerIteration, Thresholds};
use steadygrad::stats::Moments;
use steadygrad::{Activation, ChannelShape, Element, RowShape};

use crate::{LEN, assert_none, ramp};

fn moments<T: Element>() {
    let (x, mut moments) = (ramp::<T>(LEN), [Moments::default(); 100]);
    assert_none("Moments::of", || assert_eq!(Moments::of(&x).count, LEN as u64));
    for (outer, inner) in [(3, 1000), (3000, 1)] {
        let shape = ChannelShape { outer, channels: 100, inner };
        assert_none("Moments::of_channels", || Moments::of_channels(shape, &x, &mut moments).unwrap());
    }
}

#[test]
fn allocation_none_in_stats() {
    moments::<f32>();
    moments::<f64>();
}

fn diagnostics<T: Element>() {
    let (x, y, shape) = (ramp::<T>(LEN), ramp::<T>(LEN), RowShape { rows: 300, cols: 1000 });
    let mut flow = GradientFlow::new(3);
    assert_none("LayerFlow and Thresholds", || {
        for layer in &mut flow.layers {
            layer.observe_activations(shape, Activation::Relu, &y).unwrap();
            layer.observe_gradient(&x);
            layer.observe_step(&x, &y).unwrap();
        }
        std::hint::black_box(Thresholds::default().diagnose(&flow.layers).unwrap());
        flow.clear();
    });
    let (mut v, mut u) = (ramp::<T>(1000), ramp::<T>(1000));
    assert_none("PowerIteration", || {
        let product = |x: &[T], y: &mut [T]| Activation::Tanh.forward(x, y);
        PowerIteration::default().largest(&mut v, &mut u, product, product).unwrap();
    });
}

#[test]
fn allocation_none_in_diagnostics() {
    diagnostics::<f32>();
    diagnostics::<f64>();
}
