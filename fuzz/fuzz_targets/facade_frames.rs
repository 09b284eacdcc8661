//! Any bytes into the facade's decoder `frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::frames(bytes);
});
