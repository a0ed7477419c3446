#![no_main]

#[path = "../../tests/fuzz/activation.rs"]
mod activation;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| activation::run(data));
