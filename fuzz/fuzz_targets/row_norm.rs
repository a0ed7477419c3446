#![no_main]

#[path = "../../tests/fuzz/reader.rs"]
mod reader;
#[path = "../../tests/fuzz/row_norm.rs"]
mod row_norm;

libfuzzer_sys::fuzz_target!(|data: &[u8]| row_norm::run(data));
