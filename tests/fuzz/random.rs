//! The counter-based generator: any key, counter and range, every level against the reference.

use steadygrad::reference::philox as reference;
use steadygrad::{Level, Philox};

use super::reader::Reader;

/// Decodes and checks one case.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    philox(&mut reader);
}

fn philox(reader: &mut Reader<'_>) {
    let stream = Philox { key: reader.long(), counter: reader.long() };
    let (first, len) = (reader.long(), reader.up_to(300));
    for level in Level::available() {
        let mut words = vec![0; len];
        Level::scoped(level, || stream.fill(first, &mut words)).expect("an available level");
        for (i, &word) in words.iter().enumerate() {
            let index = first.wrapping_add(i as u64);
            assert_eq!(
                word,
                reference::word(stream.key, stream.counter, index),
                "{stream:?} {index} {level}"
            );
        }
    }
}
