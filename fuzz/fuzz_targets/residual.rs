#![no_main]

#[path = "../../tests/fuzz/residual.rs"]
mod residual;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| residual::run(data));
