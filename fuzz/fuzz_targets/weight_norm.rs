#![no_main]

#[path = "../../tests/fuzz/reader.rs"]
mod reader;
#[path = "../../tests/fuzz/weight_norm.rs"]
mod weight_norm;

libfuzzer_sys::fuzz_target!(|data: &[u8]| weight_norm::run(data));
