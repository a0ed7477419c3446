#![no_main]

#[path = "../../tests/fuzz/regularize.rs"]
mod regularize;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| regularize::run(data));
