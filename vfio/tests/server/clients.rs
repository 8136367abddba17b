//! What real clients do, in their order: QEMU 11.1.3 as traced (transports.md 1.4), SPDK's host driver (section 8), and rust-vmm's
//! client as an implementation of the protocol that is not ours.

use std::os::fd::{AsFd, AsRawFd};

use crate::common::{RawClient, Rig, access, event, memory_file, numbers, signals};
use controller::dma::{DoorbellPage, GuestMemory};
use guest_memory::{FilePart, Mapping, Permissions};
use vfio::message::{Command, Errno, FLAG_NO_REPLY, Header};
use vfio::{Doorbells, InterruptMode, ServerConfig};

/// What QEMU 11.1.3 sends first, of 214 bytes.
const QEMU_JSON: &[u8] = b"{\"capabilities\": {\"migration\": {\"pgsize\": 4096, \"max_bitmap_size\": 268435456}, \
\"max_msg_fds\": 16, \"max_data_xfer_size\": 1048576, \"pgsizes\": 4096, \"max_dma_maps\": 65535, \
\"write_multiple\": true}}\0";

fn qemu_version(client: &mut RawClient) {
    let reply = client.call(Command::VERSION, &[&[0; 4][..], QEMU_JSON].concat()).expect("version");
    assert_eq!(&reply[..4], [0; 4], "0.0, which is all that QEMU takes");
    assert_eq!(&reply[4..], b"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}\0");
    assert!(16 + reply.len() <= 16 + 4 + QEMU_JSON.len(), "QEMU's buffer is its own request");
}

fn region_info(client: &mut RawClient, index: u32, room: u32) -> Result<crate::common::Received, Errno> {
    client.call_with(Command::DEVICE_GET_REGION_INFO, &numbers(&[room, 0, index, 0], &[0, 0]), &[])
}

#[test]
fn qemu_starts_resets_and_remaps_its_memory() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.client();
    qemu_version(&mut client);

    // Maps are pipelined, and the last reply is waited for.
    let ram = memory_file(1 << 20);
    let low = client.message(Command::DMA_MAP, FLAG_NO_REPLY, &numbers(&[32, 3], &[0, 0, 0xa_0000]));
    client.send_with(&low, &[ram.as_fd()]);
    let flash = client.message(Command::DMA_MAP, 0, &numbers(&[32, 1], &[0, 0xfffc_0000, 0x4_0000]));
    client.send_with(&flash, &[]);
    assert_eq!(client.receive().header.flags, 1);
    assert!(rig.with(|server, _| server.memory().is_mapped(0, 0xa_0000)));

    let info = client.call(Command::DEVICE_GET_INFO, &numbers(&[16, 0, 0, 0], &[])).expect("info");
    assert_eq!(info, numbers(&[16, 3, 9, 5], &[]));
    for index in [0, 1, 2, 3, 4, 5, 7] {
        let size = [0x4000, 0, 0, 0, 0, 0, 0, 0x1000][index as usize];
        let flags = if size > 0 { 3 } else { 0 };
        let reply = region_info(&mut client, index, 32).expect("region");
        assert_eq!(reply.payload, numbers(&[32, flags, index, 0], &[size, 0]), "region {index}");
        assert!(reply.descriptors.is_empty(), "trapped doorbells have nothing to map");
    }
    assert_eq!(client.call(Command::DEVICE_GET_IRQ_INFO, &numbers(&[16, 0, 3, 0], &[])), Err(Errno::INVAL));

    let config = client.read(7, 0, 4096).expect("all of configuration space");
    assert_eq!(&config[..4], [0xf4, 0x1a, 0xf0, 0x10]);
    client.write(7, 0x30, &[0xff; 4]).expect("ROM sizing");
    assert_eq!(client.read(7, 0x30, 4), Ok(vec![0; 4]));
    let irq = client.call(Command::DEVICE_GET_IRQ_INFO, &numbers(&[16, 0, 2, 0], &[])).expect("MSI-X");
    assert_eq!(irq, numbers(&[16, 1, 2, 65], &[]), "not marked as fixed in number");
    assert_eq!(client.read(7, 0x3d, 1), Ok(vec![1]));

    let pin = event();
    client.set_irqs([0x24, 0, 0, 1], &[], &[&pin]).expect("pin");
    client.write(7, 4, &[0, 0]).expect("command register");
    client.read(7, 0x44, 2).expect("power");
    let resets = rig.with(|_, device| device.resets);
    client.call(Command::DEVICE_RESET, &[]).expect("reset");
    assert_eq!(rig.with(|_, device| device.resets), resets + 1);
    for bar in [0x10, 0x14] {
        client.write(7, bar, &[0; 4]).expect("BAR");
    }

    // Firmware: all low memory goes and comes back in pieces.
    for _ in 0..5 {
        client.unmap(0, 0, 0xa_0000).expect("unmap");
        assert!(!rig.with(|server, _| server.memory().is_mapped(0, 1)));
        client.map(3, 0, 0, 0x8_0000, Some(&ram)).expect("map");
        client.map(3, 0x8_0000, 0x8_0000, 0x2_0000, Some(&ram)).expect("map");
        assert!(rig.with(|server, _| server.memory().is_mapped(0x7_fff0, 0x20)), "across the seam");
    }
    client.write(7, 4, &[6, 4]).expect("memory, bus master, pin off");
    assert!(rig.with(|_, device| device.bus_master));
    client.map(3, 0, 0xfebf_1000, 0x1000, None).expect("our own BAR, for other devices");
}

#[test]
fn qemu_enables_msix_and_posts_its_doorbells() {
    let rig = Rig::new(Doorbells::Trapped);
    let mut client = rig.client();
    qemu_version(&mut client);
    client.write(7, 0x52, &0x8000_u16.to_le_bytes()).expect("MSI-X on");
    assert_eq!(rig.with(|_, device| device.mode), InterruptMode::MsiX);
    client.set_irqs([0x24, 2, 0, 1], &[], &[]).expect("enabled, no vector yet");
    let vectors: Vec<_> = (0..4).map(|_| event()).collect();
    for (index, vector) in (0..).zip(&vectors) {
        client.set_irqs([0x24, 2, index, 1], &[], &[vector]).expect("vector");
    }
    rig.with(|server, _| server.signal_message(2));
    assert_eq!(vectors.iter().map(signals).collect::<Vec<_>>(), [0, 0, 1, 0]);

    // Posted: a thousand messages, no reply, and the next reply is that of the read.
    let before = rig.with(|_, device| device.writes);
    for tail in 0..1000_u32 {
        let payload = [&access(0, 0x1008, 4)[..], &tail.to_le_bytes()].concat();
        let message = client.message(Command::REGION_WRITE, FLAG_NO_REPLY, &payload);
        client.send_raw(&message);
    }
    assert_eq!(client.read(0, 0x1008, 4), Ok(999_u32.to_le_bytes().to_vec()));
    assert_eq!(rig.with(|_, device| device.writes), before + 1000);

    client.set_irqs([0x21, 2, 0, 0], &[], &[]).expect("disable");
    rig.with(|server, _| server.signal_message(2));
    assert_eq!(signals(&vectors[2]), 0);
}

#[test]
fn spdk_attaches_by_the_mapped_page() {
    let rig = Rig::new(Doorbells::Mapped);
    let mut client = rig.client();
    // Every message has id 0 and says 0.1 without JSON.
    let version = [0, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    client.send_raw(&version);
    let reply = client.receive();
    assert_eq!((reply.header.id, reply.header.flags), (0, 1));
    client.call(Command::DEVICE_GET_INFO, &numbers(&[16, 0, 0, 0], &[])).expect("info");
    let mut page = None;
    for index in 0..9 {
        let mut payload = numbers(&[4064, 0, index, 0], &[0, 0]);
        payload.resize(4080 - 16, 0);
        let reply = client.call_with(Command::DEVICE_GET_REGION_INFO, &payload, &[]).expect("region");
        if index == 0 {
            let info = numbers(&[64, 0xf, 0, 32], &[0x4000, 0]);
            let capability = [numbers(&[0x0001_0001, 0, 1, 0], &[0x1000, 0x1000])].concat();
            assert_eq!(reply.payload, [info, capability].concat());
            page = reply.descriptors.into_iter().next();
        } else {
            assert!(reply.descriptors.is_empty() && reply.payload.len() == 32);
        }
    }
    let page = page.expect("BAR0 comes with a descriptor");
    // It stores, and nobody is told.
    let stored = rustix::io::pwrite(&page, &7_u32.to_le_bytes(), 0x1000 + 8);
    assert_eq!(stored, Ok(4));
    assert_eq!(rig.with(|server, _| server.doorbells().map(|page| page.load(2))), Some(7));

    client.write(7, 4, &0x0404_u16.to_le_bytes()).expect("bus master, pin off");
    assert_eq!(client.read(0, 0, 8).expect("CAP").len(), 8);
    for (offset, data) in [(0x24, &[0xff, 0, 0xff, 0][..]), (0x28, &[1; 8]), (0x30, &[2; 8]), (0x14, &[1, 0, 0x46, 0])]
    {
        client.write(0, offset, data).expect("register");
    }

    let memory = memory_file(2 << 20);
    let address = 0x2000_0020_0000;
    client.map(3, 0, address, 2 << 20, Some(&memory)).expect("map");
    rig.with(move |server, _| server.memory().write(address + 4096, b"hello")).expect("DMA");
    let mut seen = [0; 5];
    rustix::io::pread(&memory, &mut seen, 4096).expect("read");
    assert_eq!(&seen, b"hello");
    // Unmapping brings a descriptor too.
    let unmap = numbers(&[24, 0], &[address, 2 << 20]);
    let reply = client.call_with(Command::DMA_UNMAP, &unmap, &[memory.as_fd()]).expect("unmap");
    assert_eq!(reply.payload, unmap);
}

/// The guest may still store to the page that its client mapped; the next client must not see it.
#[test]
fn the_next_client_gets_another_doorbell_page() {
    let rig = Rig::new(Doorbells::Mapped);
    let mut client = rig.ready_client();
    let old = region_info(&mut client, 0, 64).expect("region").descriptors.pop().expect("descriptor");
    drop(client);
    rig.wait_until_free();
    rustix::io::pwrite(&old, &[9; 4], 0x1000).expect("the old page lives on");
    assert_eq!(rig.with(|server, _| server.doorbells().map(|page| page.load(0))), Some(0));
    let length = rustix::fs::ftruncate(&old, 0);
    assert_eq!(length, Err(rustix::io::Errno::PERM), "nobody can make it shorter");
}

/// E33: a client that takes no descriptors cannot map, so it is not told that it could.
#[test]
fn a_client_without_room_for_descriptors_gets_trapped_doorbells() {
    let rig = Rig::new(Doorbells::Mapped);
    let mut client = rig.client();
    client.call(Command::VERSION, b"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":0}}\0").expect("version");
    let reply = region_info(&mut client, 0, 64).expect("region");
    assert_eq!(reply.payload, numbers(&[32, 3, 0, 0], &[0x4000, 0]));
    assert!(reply.descriptors.is_empty());
}

#[test]
fn rust_vmm_client_agrees_with_us() {
    let rig = Rig::new(Doorbells::Mapped);
    let mut client = vfio_user::Client::new(&rig.path).expect("version and regions");
    let bar = client.region(0).expect("BAR0");
    assert_eq!((bar.size, bar.flags, bar.sparse_areas.len()), (0x4000, 0xf, 1));
    assert_eq!((bar.sparse_areas[0].offset, bar.sparse_areas[0].size), (0x1000, 0x1000));
    let page = bar.file_offset.as_ref().expect("a descriptor");
    assert_eq!(page.start(), 0);
    rustix::io::pwrite(page.file(), &5_u32.to_le_bytes(), 0x1000).expect("doorbell");
    assert_eq!(rig.with(|server, _| server.doorbells().map(|page| page.load(0))), Some(5));
    assert_eq!(client.region(7).expect("configuration space").size, 4096);

    let mut identity = [0; 4];
    client.region_read(7, 0, &mut identity).expect("read");
    assert_eq!(identity, [0xf4, 0x1a, 0xf0, 0x10]);
    client.region_write(0, 0x14, &[1, 2, 3, 4]).expect("write");
    let mut back = [0; 4];
    client.region_read(0, 0x14, &mut back).expect("read");
    assert_eq!(back, [1, 2, 3, 4]);

    let memory = memory_file(0x4000);
    client.dma_map(0x1000, 0x10_0000, 0x2000, memory.as_raw_fd()).expect("map");
    rig.with(|server, _| server.memory().store_u64(0x10_0008, 0x55)).expect("DMA");
    let mut seen = [0; 8];
    rustix::io::pread(&memory, &mut seen, 0x1008).expect("read");
    assert_eq!(seen, 0x55_u64.to_le_bytes());
    client.dma_unmap(0x10_0000, 0x2000).expect("unmap");
    assert!(rig.with(|server, _| server.memory().store_u64(0x10_0008, 0x55)).is_err());

    let irq = client.get_irq_info(2).expect("MSI-X");
    assert_eq!((irq.count, irq.flags), (65, 1));
    let events = [event(), event()];
    let raw: Vec<_> = events.iter().map(AsRawFd::as_raw_fd).collect();
    client.set_irqs(2, 0x24, 3, 2, &raw).expect("set");
    rig.with(|server, _| server.signal_message(4));
    assert_eq!((signals(&events[0]), signals(&events[1])), (0, 1));
    client.reset().expect("reset");
    client.shutdown().expect("shutdown");
    rig.wait_until_free();
    assert_eq!(rig.with(|server, _| server.memory().extent()), (0, 0));
}

/// QEMU asks with room for 32 bytes first, and refuses a reply that announces a capability which is not in it.
#[test]
fn without_room_for_the_capability_only_its_size_is_told() {
    let rig = Rig::new(Doorbells::Mapped);
    let mut client = rig.ready_client();
    for room in [32, 63] {
        let reply = region_info(&mut client, 0, room).expect("region");
        assert_eq!(reply.payload, numbers(&[64, 3, 0, 0], &[0x4000, 0]));
        assert!(reply.descriptors.is_empty());
    }
}

/// What the client maps is what the guest stores to: a real mapping, as QEMU makes it, at region offset plus area offset.
#[test]
fn the_page_is_mappable_where_the_capability_says() {
    let rig = Rig::new(Doorbells::Mapped);
    let mut client = rig.ready_client();
    let page = region_info(&mut client, 0, 64).expect("region").descriptors.pop().expect("descriptor");
    let part = FilePart { offset: 0x1000, length: 4096, page_bytes: 4096 };
    let mapping = Mapping::new(page.as_fd(), &part, Permissions::ReadWrite).expect("mapped");
    mapping.store(1023 * 4, 77_u32.to_le()).expect("stored");
    assert_eq!(rig.with(|server, _| server.doorbells().map(|page| page.load(1023))), Some(77));
}

#[test]
fn without_vectors_there_is_only_the_pin() {
    let rig = Rig::with_config(&ServerConfig { vectors: 0, ..ServerConfig::default() });
    let mut client = rig.ready_client();
    let irq = client.call(Command::DEVICE_GET_IRQ_INFO, &numbers(&[16, 0, 2, 0], &[]));
    assert_eq!(irq, Ok(numbers(&[16, 0, 2, 0], &[])));
    let pin = client.call(Command::DEVICE_GET_IRQ_INFO, &numbers(&[16, 0, 0, 0], &[]));
    assert_eq!(pin, Ok(numbers(&[16, 7, 0, 1], &[])));
    let header = Header { id: 0, command: Command(0), size: 0, flags: 0, error: 0 };
    assert!(header.wants_reply());
}
