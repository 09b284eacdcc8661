//! Any bytes into the facade's decoder `header`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::header(bytes);
});
