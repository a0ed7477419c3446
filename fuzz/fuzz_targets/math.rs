#![no_main]

#[path = "../../tests/fuzz/math.rs"]
mod math;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| math::run(data));
