#![no_main]

#[path = "../../tests/fuzz/linear.rs"]
mod linear;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| linear::run(data));
