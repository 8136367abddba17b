//! Scatter Gather Lists (Base 2.1 section 4.3.2), and what Identify Controller says of them.

use nvme_spec::command::psdt;
use nvme_spec::identify;
use nvme_spec::sgl::{SglDescriptor, SglSubtype, SglType};
use nvme_spec::{Command, Status};
use spec_tests::fields_at;
use spec_tests::golden::{bytes, parsed};

// Base 2.1 section 4.3.2, generic descriptor and data block, segment and last segment descriptors: address, length, identifier last.
#[test]
fn a_descriptor_lies_as_its_figure_says() {
    fields_at!(SglDescriptor, 16 bytes, {
        address: 0, 8;
        length: 8, 4;
        identifier: 15, 1;
    }, reserved { reserved_12 });
}

// The same, whole: a last segment of three descriptors.
#[test]
fn a_whole_descriptor_reads_back() {
    #[rustfmt::skip]
    let raw: [u8; 16] = [
        0x08, 0x10, 0x00, 0xc0, 0x07, 0x00, 0x00, 0x00, // address
        0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x30, // length, reserved, type and subtype
    ];
    let descriptor = SglDescriptor::from_bytes(raw);
    assert_eq!(descriptor, parsed(&raw));
    assert_eq!((descriptor.address.get(), descriptor.length.get()), (0x7_c000_1008, 0x30));
    assert_eq!((descriptor.kind(), descriptor.subtype()), (SglType::LAST_SEGMENT, SglSubtype::ADDRESS));
    assert_eq!(bytes(&SglDescriptor::new(SglType::LAST_SEGMENT, 0x7_c000_1008, 0x30)), raw);
}

// Base 2.1 section 4.3.2: the type is in bits 7:4 of the identifier, the subtype in bits 3:0.
#[test]
fn type_and_subtype_share_a_byte() {
    let of = |identifier| {
        let descriptor = SglDescriptor { identifier, ..SglDescriptor::default() };
        (descriptor.kind().0, descriptor.subtype().0)
    };
    assert_eq!([of(0x00), of(0x21), of(0x5a), of(0xff)], [(0, 0), (2, 1), (5, 0xa), (0xf, 0xf)]);
}

// Base 2.1 section 4.3.2, descriptor types and subtypes.
#[test]
fn descriptor_types() {
    let types = [
        (SglType::DATA_BLOCK, 0x0),
        (SglType::BIT_BUCKET, 0x1),
        (SglType::SEGMENT, 0x2),
        (SglType::LAST_SEGMENT, 0x3),
        (SglType::KEYED_DATA_BLOCK, 0x4),
        (SglType::TRANSPORT_DATA_BLOCK, 0x5),
        (SglType::VENDOR, 0xf),
    ];
    assert!(types.iter().all(|&(kind, figure)| kind.0 == figure), "{types:?}");
    assert_eq!([SglSubtype::ADDRESS.0, SglSubtype::OFFSET.0], [0x0, 0x1]);
}

// Base 2.1 figure 92: SGL1 takes the place of the PRP entries, bytes 24 to 39 of the command; PSDT is bits 15:14 of dword 0.
#[test]
fn a_command_carries_its_first_descriptor_in_place_of_the_prps() {
    assert_eq!([psdt::PRP, psdt::SGL, psdt::SGL_AND_METADATA_SGL], [0b00, 0b01, 0b10]);
    let mut raw = [0_u8; 64];
    raw[1] = 0b0100_0001;
    raw[24..40].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 0x2f]);
    let command: Command = parsed(&raw);
    let descriptor = command.sgl1();
    assert_eq!((descriptor.address.get(), descriptor.length.get()), (0x0807_0605_0403_0201, 0x0c0b_0a09));
    assert_eq!(descriptor.identifier, 0x2f);
    let again = Command { flags: 0b1000_0001, ..Command::default() }.with_sgl1(descriptor);
    assert_eq!(bytes(&again), raw);
}

// Base 2.1 section 5.1.13.2.1, SGLS.
#[test]
fn what_the_controller_says_of_sgls() {
    assert_eq!([identify::SglSupport::ANY_ALIGNMENT.bits(), identify::SglSupport::DWORD_ALIGNMENT.bits()], [0x1, 0x2]);
    assert_eq!([identify::SglSupport::KEYED.bits(), identify::SglSupport::BIT_BUCKET.bits()], [0x4, 0x1_0000]);
    assert_eq!(
        [identify::SglSupport::METADATA_ANY_ALIGNMENT.bits(), identify::SglSupport::EXCESS_LENGTH.bits()],
        [0x2_0000, 0x4_0000]
    );
    assert_eq!([identify::SglSupport::METADATA_SGL.bits(), identify::SglSupport::OFFSET.bits()], [0x8_0000, 0x10_0000]);
    assert_eq!(identify::SglSupport::TRANSPORT.bits(), 0x20_0000);
}

// Base 2.1 section 4.2.3: a list that was refused is refused again.
#[test]
fn refused_lists_are_not_to_be_retried() {
    let refusals =
        [Status::INVALID_SGL_SEGMENT, Status::INVALID_SGL_COUNT, Status::INVALID_SGL_LENGTH, Status::INVALID_SGL_TYPE];
    assert!(refusals.iter().all(|status| status.do_not_retry()));
}
