//! Owns checkpoints: which map pages are written where, when the next checkpoint begins, and the root that completes one. Does not
//! know how recovery uses them.
//!
//! A checkpoint writes the changed map pages, a few with each write of the host, each to the one of its two homes that the current
//! root does not point at. Pages change while that goes on; that is all right, because replay starts from where the checkpoint
//! *began* and repeats every change since. When all pages are written, everything staged is programmed (a page may point at it)
//! and a new root makes the pages valid, all at once. The root holds the pages' checksums as well; a page without entries is not
//! written, and has none.

use super::{Ftl, HOST, MOVED};
use crate::journal::{ENTRIES_PER_PAGE, METADATA_PAGE, map_page_checksum};
use crate::large_memory::{OutOfMemory, filled};
use crate::ledger::Ledger;
use crate::ordering::Order;
use crate::power::Step;
use crate::root::{Basis, Layout, Root};
use crate::store::Store;

/// Map pages written with each group of the host, while a checkpoint is under way.
const PAGES_PER_STEP: usize = 2;
/// Checkpoints in proportion to the map: one map's worth of pages for this many maps' worth of data.
const DATA_PER_MAP: u64 = 32;

/// The state of checkpoints.
pub struct Checkpoint {
    pub(crate) basis: Basis,
    pub(crate) generation: u64,
    begun: Option<Progress>,
    next_at: u64,
    map_pages: u64,
}

struct Progress {
    basis: Basis,
    page: usize,
    sequence: u64,
    /// See [`Ftl::restages`].
    restages: u64,
}

impl Checkpoint {
    /// No checkpoint yet: the map is empty at the start of the log.
    ///
    /// # Errors
    /// Where the system has no memory for what is kept of each page of the map.
    pub fn new(layout: &Layout) -> Result<Self, OutOfMemory> {
        let homes = filled(0, crate::unit::index(layout.map_pages.div_ceil(64)))?;
        let sums = filled(0, crate::unit::index(layout.map_pages))?;
        Ok(Self {
            basis: Basis { homes, sums, ..Basis::default() },
            generation: 0,
            begun: None,
            // It is not known yet when the first one begins.
            next_at: u64::MAX,
            map_pages: layout.map_pages,
        })
    }

    pub(crate) fn journal_begin(&self) -> u64 {
        self.basis.journal_begin
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        2 * (self.basis.homes.len() + self.basis.sums.len()) * 8
    }
}

impl<S: Store> Ftl<S> {
    fn checkpoint_interval(&self) -> u64 {
        if self.tuning.checkpoint_units != 0 {
            return self.tuning.checkpoint_units;
        }
        let map_bytes = u64::from(self.geometry.user_units).div_ceil(ENTRIES_PER_PAGE as u64) * METADATA_PAGE as u64;
        ((map_bytes * DATA_PER_MAP) >> self.geometry.unit_shift).max(4096)
    }

    /// Does a little for the checkpoint that is under way, or begins one when it is time.
    #[inline]
    pub(crate) fn checkpoint_step(&mut self) {
        if self.checkpoint.begun.is_some() {
            self.checkpoint_pages(PAGES_PER_STEP);
        } else if self.sequence >= self.checkpoint.next_at {
            self.begin_checkpoint();
        }
    }

    /// Advances the checkpoint that is under way, or begins one, so that it completes within `calls` calls, whatever has changed; if
    /// another one is begun meanwhile, within three times as many.
    pub(crate) fn hurry_checkpoint(&mut self, calls: u64) {
        if self.checkpoint.begun.is_none() {
            self.begin_checkpoint();
        }
        let share = self.checkpoint.map_pages / calls.max(1) + 1;
        self.checkpoint_pages(PAGES_PER_STEP + crate::unit::index(share));
    }

    /// Puts the next checkpoint an interval behind the last one.
    pub(crate) fn schedule_checkpoint(&mut self) {
        self.checkpoint.next_at = self.checkpoint.basis.horizon + self.checkpoint_interval();
    }

    fn begin_checkpoint(&mut self) {
        let progress = self.progress(&self.checkpoint.basis);
        self.checkpoint.begun = Some(progress);
        self.checkpoint.next_at = self.sequence + self.checkpoint_interval();
        self.reached(Step::CheckpointBegun);
    }

    /// A checkpoint that begins now, over the pages of another one. What is staged, or waits for the journal, is already in the map,
    /// and will be programmed before the root makes the map valid; repeating it would bring back what newer changes, which are not
    /// repeated, have replaced.
    fn progress(&self, pages: &Basis) -> Progress {
        let journal_begin = self.journal_end + self.deallocations.len() as u64;
        let (homes, sums) = (pages.homes.clone(), pages.sums.clone());
        let mut basis = Basis { journal_begin, homes, sums, ..Basis::default() };
        for stream in [HOST, MOVED] {
            let frontier = &self.streams[stream];
            let open = frontier.line != super::alloc::NO_LINE;
            basis.opened[stream] = if open { frontier.opened } else { self.nand.next_event - 1 };
            basis.slot[stream] = if open { frontier.next } else { u32::MAX };
        }
        Progress { basis, page: 0, sequence: self.sequence, restages: self.restages }
    }

    /// Writes up to `most` changed pages; completes the checkpoint after the last one.
    fn checkpoint_pages(&mut self, most: usize) {
        for _ in 0..most {
            let Some(progress) = self.checkpoint.begun.take() else {
                return;
            };
            self.checkpoint.begun = if progress.restages != self.restages {
                // Staged units went to another line: pages written so far may point at slots that will never be programmed. Begin
                // again; pages that have not changed since they were written are right as they are.
                Some(self.progress(&progress.basis))
            } else if let Some(page) = self.map.next_changed(progress.page) {
                Some(self.write_map_page(progress, page))
            } else {
                self.finish_checkpoint(progress)
            };
        }
    }

    fn write_map_page(&mut self, mut progress: Progress, page: usize) -> Progress {
        progress.page = page + 1;
        let Some(bytes) = self.map.write_page(page) else {
            progress.basis.sums[page] = 0;
            return progress;
        };
        progress.basis.sums[page] = map_page_checksum(page as u64, bytes);
        // The home that the current root does not point at, also when the page is written a second time.
        let (word, bit) = (page / 64, 1 << (page % 64));
        let second = self.checkpoint.basis.homes[word] & bit == 0;
        progress.basis.homes[word] = progress.basis.homes[word] & !bit | if second { bit } else { 0 };
        self.nand.write_metadata(self.layout.map_at(page as u64, second), bytes);
        self.reached(Step::CheckpointPage);
        progress
    }

    /// Programs what the pages may point at, and makes them valid; hands the checkpoint back where it has to begin again. A drive that
    /// became read-only gives it up: what the pages point at may never be programmed.
    fn finish_checkpoint(&mut self, mut progress: Progress) -> Option<Progress> {
        self.commit();
        self.program_staged(MOVED);
        if self.read_only {
            return None;
        }
        if progress.restages != self.restages {
            return Some(progress);
        }
        self.reached(Step::CheckpointRoot);
        progress.basis.horizon = self.committed;
        self.checkpoint.basis = progress.basis;
        // Numbers given up before it began are in no record that replay looks at any more.
        self.voids.retain(|void| void.1 >= progress.sequence);
        self.write_root(false);
        self.reached(Step::CheckpointDone);
        None
    }

    /// Takes a whole checkpoint at once (after the one that may be under way), if the drive is not read-only.
    pub fn checkpoint_now(&mut self) {
        self.checkpoint_pages(usize::MAX);
        self.commit();
        self.begin_checkpoint();
        self.checkpoint_pages(usize::MAX);
        assert!(self.checkpoint.begun.is_none(), "a checkpoint without a limit completes");
    }

    /// Writes a root over the last complete checkpoint.
    pub(crate) fn write_root(&mut self, clean: bool) {
        self.checkpoint.generation += 1;
        let mut root = self.root(clean);
        self.nand.next_event += 1;
        let page = METADATA_PAGE as u64;
        let bytes = root.encode().len() as u64;
        assert!(bytes <= self.layout.root_bytes, "a root of {bytes} bytes fits its slot");
        // The root's own pages are in the ledger that it holds.
        let mut ledger: Ledger = self.nand.ledger;
        ledger.count_metadata(bytes.div_ceil(page) * page);
        root.ledger = ledger;
        self.nand.barrier(Order::RootAfterAll);
        self.nand.write_metadata(self.layout.root_at(root.generation), &root.encode());
        self.nand.barrier(Order::NextAfterRoot);
        assert!(self.nand.power.lost() || self.nand.ledger == ledger, "a root counts itself");
    }

    fn root(&self, clean: bool) -> Root {
        Root {
            generation: self.checkpoint.generation,
            clean,
            next_sequence: self.sequence,
            next_event: self.nand.next_event + 1,
            basis: self.checkpoint.basis.clone(),
            voids: self.voids.clone(),
            programmed: [self.streams[HOST].programmed, self.streams[MOVED].programmed],
            ledger_event: self.nand.next_event,
            ledger: self.nand.ledger,
            counters: self.counters,
            volumes: self.volumes.clone(),
            bad_blocks: self.nand.blocks.bad().to_vec(),
            replaced: self.nand.blocks.replaced(),
            note: self.note.clone(),
        }
    }
}
