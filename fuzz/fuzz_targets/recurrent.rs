#![no_main]

#[path = "../../tests/fuzz/recurrent.rs"]
mod recurrent;
#[path = "../../tests/fuzz/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| recurrent::run(data));
