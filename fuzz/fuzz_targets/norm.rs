#![no_main]

#[path = "../../tests/fuzz/norm.rs"]
mod norm;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| norm::run(data));
