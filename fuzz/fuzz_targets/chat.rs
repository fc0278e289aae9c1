#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    xp::fuzzing::chat(data);
});
