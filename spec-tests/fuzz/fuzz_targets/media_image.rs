//! A media image with right checksums over what cannot be: forged as the input says, opened, used, damaged while it is in use, cut off.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    media::testing::fuzz_entry(input);
});
