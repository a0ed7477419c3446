//! Residual connections against PyTorch's.

use steadygrad::residual::{Add, Highway, HighwayGradients, HighwayInputs, Scaled};
use steadygrad::{Activation, ChannelShape, Element};

use super::case::{Case, cases};

pub(crate) fn check<T: Element>() {
    for case in cases("residual") {
        match case.op() {
            "add" => add::<T>(&case),
            "scaled" => scaled::<T>(&case),
            "highway" => highway::<T>(&case),
            op => panic!("nothing is called {op}"),
        }
    }
}

fn add<T: Element>(case: &Case) {
    let activation = match case.word("activation") {
        "identity" => Activation::Identity,
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "gelu" => Activation::Gelu,
        other => panic!("no activation is called {other}"),
    };
    let (x, f, dy) = (case.input::<T>("x"), case.input::<T>("f"), case.input::<T>("dy"));
    let (mut y, mut dsum) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    Add { activation }.forward(&x, &f, &mut y).expect("valid");
    Add { activation }.backward(&x, &f, &dy, &mut dsum).expect("valid");
    case.compare("y", &y);
    case.compare("dsum", &dsum);
}

fn scaled<T: Element>(case: &Case) {
    let [outer, channels, inner] = ["outer", "channels", "inner"].map(|name| case.count(name));
    let shape = ChannelShape { outer, channels, inner };
    let [x, f, scale, dy] = ["x", "f", "scale", "dy"].map(|name| case.input::<T>(name));
    let (mut y, mut df) = (vec![T::nan(); x.len()], vec![T::nan(); x.len()]);
    let mut dscale = vec![T::zero(); channels];
    Scaled.forward(shape, &x, &f, &scale, &mut y).expect("valid");
    Scaled.backward(shape, &f, &scale, &dy, &mut df, &mut dscale).expect("valid");
    case.compare("y", &y);
    case.compare("df", &df);
    case.compare("dscale", &dscale);
}

fn highway<T: Element>(case: &Case) {
    let [x, h, z, dy] = ["x", "h", "z", "dy"].map(|name| case.input::<T>(name));
    let inputs = HighwayInputs { x: &x, h: &h, z: &z };
    let [mut y, mut dx, mut dh, mut dz] = [(); 4].map(|()| vec![T::nan(); x.len()]);
    Highway.forward(inputs, &mut y).expect("valid");
    let gradients = HighwayGradients { x: &mut dx, h: &mut dh, z: &mut dz };
    Highway.backward(inputs, &dy, gradients).expect("valid");
    for (name, values) in [("y", &y), ("dx", &dx), ("dh", &dh), ("dz", &dz)] {
        case.compare(name, values);
    }
}
