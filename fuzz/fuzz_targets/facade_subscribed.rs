//! Any bytes into the facade's decoder `subscribed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mosaik::fuzzing::subscribed(bytes);
});
