#![no_main]

#[path = "../../tests/fuzz/clip.rs"]
mod clip;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| clip::run(data));
