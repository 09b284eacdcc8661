//! Any bytes into the facade's decoder `note`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::note(bytes);
});
