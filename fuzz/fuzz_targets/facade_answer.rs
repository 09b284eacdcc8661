//! Any bytes into the facade's decoder `answer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::answer(bytes);
});
