//! The doorbell page of BAR0, which the client maps and the guest stores to without any notification.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use controller::dma::DoorbellPage;
use guest_memory::{FilePart, Mapping, PAGE_BYTES, Permissions};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create};

/// Where the page lies: in BAR0, and so in the file too, because a client maps an area at the same offset in both.
pub const PAGE_OFFSET: u64 = 0x1000;
/// How many doorbells the page holds.
pub const DOORBELLS: usize = 0x1000 / size_of::<u32>();

/// A page of memory with a descriptor that can be given away.
#[derive(Debug)]
pub struct Page {
    file: OwnedFd,
    mapping: Mapping,
}

impl Page {
    /// A page of zeroes, whose file nobody can make shorter or longer.
    ///
    /// # Errors
    /// What the system says, or that its pages are not of 4 KiB: the page could then not be mapped apart from the registers.
    pub fn new() -> io::Result<Self> {
        if rustix::param::page_size() as u64 != PAGE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "doorbells=mapped needs pages of 4 KiB, and this system has {} bytes: use doorbells=trapped",
                    rustix::param::page_size()
                ),
            ));
        }
        let file = memfd_create("brownout-doorbells", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, PAGE_OFFSET + PAGE_BYTES)?;
        // So that a store to it cannot fail later for want of memory.
        fallocate(&file, FallocateFlags::empty(), PAGE_OFFSET, PAGE_BYTES)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let part = FilePart { offset: PAGE_OFFSET, length: PAGE_BYTES, page_bytes: PAGE_BYTES };
        let mapping = Mapping::new(file.as_fd(), &part, Permissions::ReadWrite)?;
        Ok(Self { file, mapping })
    }

    /// All doorbells to zero.
    pub fn clear(&self) {
        for index in 0..DOORBELLS {
            self.store(index, 0);
        }
    }

    fn offset(index: usize) -> usize {
        assert!(index < DOORBELLS, "a doorbell is on the page");
        index * size_of::<u32>()
    }
}

impl AsFd for Page {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl DoorbellPage for Page {
    fn load(&self, index: usize) -> u32 {
        // The page cannot be lost: it was allocated, and its file is sealed.
        u32::from_le(self.mapping.load(Self::offset(index)).unwrap_or(0))
    }

    fn store(&self, index: usize, value: u32) {
        let _ = self.mapping.store(Self::offset(index), value.to_le());
    }
}
