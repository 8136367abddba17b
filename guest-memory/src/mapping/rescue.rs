//! Surviving SIGBUS. The kernel raises it when a page of a mapped file is not available: the client truncated the file, a huge page is
//! missing, memory failed. The fault interrupts the thread in the middle of its copy, so the handler makes the copy possible (it maps
//! anonymous zero pages in place of the whole mapping) and records that it did. The copy ends, and its caller learns that the memory is
//! lost.
//!
//! The handler recognises our addresses by a list of all mappings, whoever accesses them: `vm-memory` and crates on top of it do so
//! too. Any other SIGBUS goes to the handler that was installed before, or kills the process as it would have.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// A place in the list: where a mapping lies. Places are used again and never freed, so the handler may look at them at any moment.
#[derive(Debug, Default)]
struct Place {
    /// Odd while the place changes hands.
    turn: AtomicUsize,
    base: AtomicUsize,
    /// 0 while nothing is mapped.
    length: AtomicUsize,
    lost: AtomicBool,
}

/// Places of the first block; each further block has twice as many as the one before.
const FIRST_BLOCK: usize = 64;
/// More blocks than a process can have mappings for.
const BLOCKS: usize = 24;
static LIST: [OnceLock<Box<[Place]>>; BLOCKS] = [const { OnceLock::new() }; BLOCKS];
static FREE: Mutex<Vec<&'static Place>> = Mutex::new(Vec::new());

thread_local! {
    // Constant and without a destructor: reading it allocates nothing and registers nothing, so a signal handler may.
    static RESCUES: AtomicUsize = const { AtomicUsize::new(0) };
}

/// A mapping that is in the list.
#[derive(Debug)]
pub(super) struct Registered(&'static Place);

impl Registered {
    /// Enters a mapping of `length` bytes at `base`.
    pub(super) fn new(base: *mut u8, length: usize) -> Self {
        let place = free_place();
        place.change(base.expose_provenance(), length);
        Self(place)
    }

    /// Whether a page of the mapping was missing; the mapping holds anonymous memory since then.
    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        // What was read before is not to be looked at after.
        compiler_fence(Ordering::SeqCst);
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.change(0, 0);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

impl Place {
    /// Whoever has the place changes it; the handler of another thread sees either state, or that it changes.
    fn change(&self, base: usize, length: usize) {
        self.turn.fetch_add(1, Ordering::SeqCst);
        self.base.store(base, Ordering::SeqCst);
        self.length.store(length, Ordering::SeqCst);
        self.lost.store(false, Ordering::SeqCst);
        self.turn.fetch_add(1, Ordering::SeqCst);
    }

    /// The mapping, if `address` lies in it. It cannot go meanwhile: somebody is touching it.
    fn holds(&self, address: usize) -> Option<(usize, usize)> {
        let turn = self.turn.load(Ordering::SeqCst);
        let (base, length) = (self.base.load(Ordering::SeqCst), self.length.load(Ordering::SeqCst));
        let whole = turn.is_multiple_of(2) && turn == self.turn.load(Ordering::SeqCst);
        (whole && address.wrapping_sub(base) < length).then_some((base, length))
    }
}

/// A place that nobody has.
fn free_place() -> &'static Place {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.is_empty() {
        let block = LIST.iter().position(|block| block.get().is_none()).expect("as many places as mappings");
        let places = LIST[block].get_or_init(|| (0..FIRST_BLOCK << block).map(|_| Place::default()).collect());
        free.extend(places);
    }
    free.pop().expect("there was one, or a block of them")
}

/// Runs `accesses`, which touch guest memory by `vm-memory`'s ways ([`vm_memory::GuestMemory`], [`vm_memory::Bytes`]): those do not tell
/// that memory is gone.
///
/// # Errors
/// [`super::Lost`] if a page was missing; what was read is worthless then.
pub fn watch<T>(accesses: impl FnOnce() -> T) -> Result<T, super::Lost> {
    let before = RESCUES.with(|count| count.load(Ordering::Relaxed));
    compiler_fence(Ordering::SeqCst);
    let value = accesses();
    compiler_fence(Ordering::SeqCst);
    if RESCUES.with(|count| count.load(Ordering::Relaxed)) == before { Ok(value) } else { Err(super::Lost) }
}

/// The handler that was there before ours.
static PREVIOUS: OnceLock<SigAction> = OnceLock::new();
static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();

/// Installs the handler, once for the process.
pub(super) fn install() -> io::Result<()> {
    let install = || {
        let ours = SigAction::new(SigHandler::SigAction(on_bus_error), SaFlags::SA_ONSTACK, SigSet::empty());
        // SAFETY: the handler does only what is allowed in one.
        let previous = unsafe { sigaction(Signal::SIGBUS, &ours) }?;
        PREVIOUS.get_or_init(|| previous);
        Ok(())
    };
    Ok((*INSTALLED.get_or_init(install))?)
}

/// The signal handler: no allocation, no lock, no formatting.
extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo, which for SIGBUS has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    let blocks = LIST.iter().map_while(OnceLock::get);
    let found = blocks.flatten().find_map(|place| place.holds(address).map(|range| (place, range)));
    if !found.is_some_and(|(place, range)| rescue(place, range)) {
        pass_on(signal, info, context);
    }
}

/// Puts zero pages under the access that faulted. All of the mapping is replaced, not only the page: that works for huge pages too, and
/// what remains of such a file is of no use.
fn rescue(place: &Place, (base, length): (usize, usize)) -> bool {
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    let target = ptr::with_exposed_provenance_mut(base);
    // SAFETY: the range is exactly that of a live `Mapping`, which this thread is touching at this moment and which no reference
    // to bytes points into; pages are replaced by pages that allow every access.
    if unsafe { mmap_anonymous(target, length, ProtFlags::READ | ProtFlags::WRITE, flags) }.is_err() {
        return false;
    }
    place.lost.store(true, Ordering::SeqCst);
    RESCUES.try_with(|count| count.fetch_add(1, Ordering::Relaxed)).is_ok()
}

/// Not ours: what would have happened without us.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    match PREVIOUS.get().map(SigAction::handler) {
        Some(SigHandler::SigAction(handler)) => handler(signal, info, context),
        Some(SigHandler::Handler(handler)) => handler(signal),
        Some(SigHandler::SigDfl | SigHandler::SigIgn) | None => {
            let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
            // SAFETY: the default action is no handler; the access is repeated when we return, and ends the process.
            let _ = unsafe { sigaction(Signal::SIGBUS, &default) };
        }
    }
}
