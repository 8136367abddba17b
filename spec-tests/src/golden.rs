//! Compares a structure with the offsets of its figure, field by field and in both directions.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of which only `length` from `offset` on are not zero, and no two of those are equal before they repeat after 255.
///
/// # Panics
/// If they do not lie within `size`.
#[must_use]
pub fn marked(size: usize, offset: usize, length: usize) -> Vec<u8> {
    let mut raw = vec![0; size];
    for (index, byte) in raw[offset..offset + length].iter_mut().enumerate() {
        *byte = u8::try_from(index % 255 + 1).expect("at most 255");
    }
    raw
}

/// Parses `raw` as the structure.
///
/// # Panics
/// If the structure has another size.
#[must_use]
pub fn parsed<T: FromBytes>(raw: &[u8]) -> T {
    T::read_from_bytes(raw).unwrap_or_else(|_| panic!("not a structure of {} bytes", raw.len()))
}

/// The bytes of a value.
#[must_use]
pub fn bytes<T: IntoBytes + Immutable + ?Sized>(value: &T) -> &[u8] {
    value.as_bytes()
}

/// Checks the offset and the length of each field against the numbers of the figure: bytes put there arrive in the field and nowhere
/// else, and a field that is set arrives there and nowhere else. The list of fields is complete, or this does not compile.
///
/// ```
/// use nvme_spec::command::DatasetRange;
/// spec_tests::fields_at!(DatasetRange, 16 bytes, {
///     context_attributes: 0, 4;
///     blocks: 4, 4;
///     slba: 8, 8;
/// }, reserved {});
/// ```
#[macro_export]
macro_rules! fields_at {
    ($type:ident, $size:literal bytes, { $($field:ident: $offset:literal, $length:literal;)* }, reserved { $($reserved:ident),* }) => {{
        use zerocopy::{FromZeros, IntoBytes};
        assert_eq!(size_of::<$type>(), $size);
        let $type { $($field: _,)* $($reserved: _,)* } = $type::new_zeroed();
        $({
            let raw = $crate::golden::marked($size, $offset, $length);
            let marked = &raw[$offset..$offset + $length];
            let structure: $type = $crate::golden::parsed(&raw);
            assert_eq!($crate::golden::bytes(&structure.$field), marked, "{} from the figure's place", stringify!($field));
            let mut structure = $type::new_zeroed();
            structure.$field.as_mut_bytes().copy_from_slice(marked);
            assert_eq!($crate::golden::bytes(&structure), raw, "{} to the figure's place", stringify!($field));
        })*
    }};
}
