//! A short run of the fuzz target over random and structured bytes; the long one is `spec-tests/fuzz`.

use proptest::prelude::*;
use vfio::testing::fuzz_entry;

/// Payloads that get past the first check more often than noise: small numbers in little-endian fields.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        4 => (0_u64..40).prop_map(u64::to_le_bytes),
        2 => (0_u64..40).prop_map(|page| (page << 12).to_le_bytes()),
        1 => any::<u64>().prop_map(u64::to_le_bytes),
        1 => Just(u64::MAX.to_le_bytes()),
    ];
    let width = prop_oneof![Just(4_usize), Just(8_usize), Just(1_usize)];
    proptest::collection::vec((number, width), 0..8)
        .prop_map(|fields| fields.into_iter().flat_map(|(bytes, width)| bytes.into_iter().take(width)).collect())
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), prop_oneof![6 => Just(0_u8), 1 => any::<u8>()], payload()).prop_map(|(command, flags, payload)| {
        let length = u8::try_from(payload.len()).expect("short");
        [&[command, flags, length][..], &payload].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn messages_of_ours_with_any_content(choice in 0_u8..4, piece in any::<u8>(), messages in proptest::collection::vec(message(), 0..30)) {
        fuzz_entry(&[&[choice | 0xc, piece][..], &messages.concat()].concat());
    }

    #[test]
    fn any_bytes_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        fuzz_entry(&bytes);
    }
}
