//! What a virtio driver writes: a table of descriptors and what they lead to, up to the NVMe commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    vhost::testing::fuzz_entry(input);
});
