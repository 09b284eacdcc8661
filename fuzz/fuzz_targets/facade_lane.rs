//! Any bytes into the facade's decoder `lane`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::lane(bytes);
});
