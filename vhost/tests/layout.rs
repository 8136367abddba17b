//! Our numbers and layouts against those of the kernel's headers.

use std::mem::{offset_of, size_of};

use vhost::wire::{self, BlockConfig, BlockStatus, Features, RequestHeader, Segment, request_type};
use virtio_bindings::{virtio_blk as blk, virtio_config, virtio_ring as ring};

#[test]
fn features_are_the_kernels() {
    let pairs = [
        (Features::SIZE_MAX, blk::VIRTIO_BLK_F_SIZE_MAX),
        (Features::SEG_MAX, blk::VIRTIO_BLK_F_SEG_MAX),
        (Features::RO, blk::VIRTIO_BLK_F_RO),
        (Features::BLK_SIZE, blk::VIRTIO_BLK_F_BLK_SIZE),
        (Features::FLUSH, blk::VIRTIO_BLK_F_FLUSH),
        (Features::TOPOLOGY, blk::VIRTIO_BLK_F_TOPOLOGY),
        (Features::CONFIG_WCE, blk::VIRTIO_BLK_F_CONFIG_WCE),
        (Features::MQ, blk::VIRTIO_BLK_F_MQ),
        (Features::DISCARD, blk::VIRTIO_BLK_F_DISCARD),
        (Features::WRITE_ZEROES, blk::VIRTIO_BLK_F_WRITE_ZEROES),
        (Features::INDIRECT_DESC, ring::VIRTIO_RING_F_INDIRECT_DESC),
        (Features::EVENT_IDX, ring::VIRTIO_RING_F_EVENT_IDX),
        (Features::VERSION_1, virtio_config::VIRTIO_F_VERSION_1),
    ];
    for (ours, bit) in pairs {
        assert_eq!(ours.bits(), 1 << bit, "bit {bit}");
    }
}

#[test]
fn requests_and_answers_are_the_kernels() {
    assert_eq!(request_type::IN, blk::VIRTIO_BLK_T_IN);
    assert_eq!(request_type::OUT, blk::VIRTIO_BLK_T_OUT);
    assert_eq!(request_type::FLUSH, blk::VIRTIO_BLK_T_FLUSH);
    assert_eq!(request_type::GET_ID, blk::VIRTIO_BLK_T_GET_ID);
    assert_eq!(request_type::DISCARD, blk::VIRTIO_BLK_T_DISCARD);
    assert_eq!(request_type::WRITE_ZEROES, blk::VIRTIO_BLK_T_WRITE_ZEROES);
    assert_eq!(wire::SEGMENT_UNMAP, blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
    assert_eq!(wire::ID_BYTES, blk::VIRTIO_BLK_ID_BYTES as usize);
    let answers = [BlockStatus::OK, BlockStatus::IO_ERROR, BlockStatus::UNSUPPORTED].map(|answer| u32::from(answer.0));
    assert_eq!(answers, [blk::VIRTIO_BLK_S_OK, blk::VIRTIO_BLK_S_IOERR, blk::VIRTIO_BLK_S_UNSUPP]);
    assert_eq!(size_of::<RequestHeader>(), size_of::<blk::virtio_blk_outhdr>());
    assert_eq!(offset_of!(RequestHeader, kind), offset_of!(blk::virtio_blk_outhdr, type_));
    assert_eq!(offset_of!(RequestHeader, sector), offset_of!(blk::virtio_blk_outhdr, sector));
    assert_eq!(size_of::<Segment>(), size_of::<blk::virtio_blk_discard_write_zeroes>());
    assert_eq!(offset_of!(Segment, sectors), offset_of!(blk::virtio_blk_discard_write_zeroes, num_sectors));
    assert_eq!(offset_of!(Segment, flags), offset_of!(blk::virtio_blk_discard_write_zeroes, flags));
}

#[test]
fn a_driver_that_wants_no_interrupts_says_so_as_the_kernel_does() {
    assert_eq!(u32::from(wire::AVAILABLE_NO_INTERRUPT), ring::VRING_AVAIL_F_NO_INTERRUPT);
}

#[test]
fn the_configuration_space_is_the_kernels() {
    macro_rules! same {
        ($($ours:ident = $theirs:ident),+ $(,)?) => {
            $(assert_eq!(offset_of!(BlockConfig, $ours), offset_of!(blk::virtio_blk_config, $theirs), stringify!($ours));)+
        };
    }
    same!(
        capacity = capacity,
        size_max = size_max,
        seg_max = seg_max,
        geometry = geometry,
        blk_size = blk_size,
        physical_block_exp = physical_block_exp,
        alignment_offset = alignment_offset,
        min_io_size = min_io_size,
        opt_io_size = opt_io_size,
        writeback = wce,
        num_queues = num_queues,
        max_discard_sectors = max_discard_sectors,
        max_discard_seg = max_discard_seg,
        discard_sector_alignment = discard_sector_alignment,
        max_write_zeroes_sectors = max_write_zeroes_sectors,
        max_write_zeroes_seg = max_write_zeroes_seg,
        write_zeroes_may_unmap = write_zeroes_may_unmap,
    );
    assert_eq!(size_of::<BlockConfig>(), offset_of!(blk::virtio_blk_config, max_secure_erase_sectors));
    assert_eq!(wire::CONFIG_WRITEBACK_OFFSET as usize, offset_of!(blk::virtio_blk_config, wce));
}
