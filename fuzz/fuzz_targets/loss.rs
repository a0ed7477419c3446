#![no_main]

#[path = "../../tests/fuzz/loss.rs"]
mod loss;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| loss::run(data));
