//! Where the memory of a batch begins changes no bit of what batch norm makes of it.

use steadygrad::{Activation, BatchNorm, ChannelShape, Element, Epilogue};

use super::subject::{Batch, assert_same_results, shape};
use crate::common::{each_level, each_pool};

/// Forward and backward where the tensors' own memory lies, and with input and outputs at cache lines and behind them.
fn same_everywhere<T: Element>(shape: ChannelShape) {
    let (batch, norm, residual) = (Batch::<T>::new(shape), BatchNorm::default(), true);
    let behind = 64 / size_of::<T>() - 1;
    for (activation, residual) in [
        (None, !residual),
        (Some(Activation::Relu), !residual),
        (Some(Activation::Relu), residual),
        (Some(Activation::Tanh), residual),
    ] {
        let epilogue = Epilogue { residual: residual.then_some(&batch.residual[..]), activation };
        each_level(|level| {
            for from_output in [false, true] {
                let expected = batch.run(norm, epilogue, from_output);
                for places in [[0, 0], [4, 4], [0, 4], [4, 0], [behind, behind]] {
                    let results = batch.run_at(places, norm, epilogue, from_output);
                    let context = || format!("{shape:?} at {level}, {activation:?}, {places:?}");
                    assert_same_results(&results, &expected, context);
                }
            }
        });
    }
}

#[test]
fn batch_norm_has_the_same_bits_wherever_memory_begins() {
    // Channels side by side: in several strips whose rows begin alike, so that the first strip leads to a line; in one strip; in rows
    // that begin anywhere; in blocks of rows. And runs.
    let shapes = [shape(7, 304, 1), shape(5, 128, 1), shape(6, 301, 1), shape(700, 144, 1), shape(3, 20, 33)];
    for shape in shapes {
        same_everywhere::<f32>(shape);
        same_everywhere::<f64>(shape);
    }
}

#[test]
fn batch_norm_has_the_same_bits_wherever_memory_begins_in_any_pool() {
    // Strips that stay in L2, and wider ones that do not.
    for shape in [shape(700, 304, 1), shape(2100, 272, 1)] {
        let (batch, norm) = (Batch::<f32>::new(shape), BatchNorm::default());
        let epilogue = Epilogue { residual: Some(&batch.residual[..]), activation: Some(Activation::Relu) };
        let expected = batch.run_at([0, 0], norm, epilogue, true);
        each_pool(|threads| {
            let results = batch.run_at([4, 4], norm, epilogue, true);
            assert_same_results(&results, &expected, || format!("{shape:?}, {threads} threads"));
        });
    }
}
