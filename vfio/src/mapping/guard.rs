//! Surviving SIGBUS. The kernel raises it when a page of a mapped file cannot be had: the client cut the file short, a huge page is
//! missing, memory failed. The fault hits the thread in the middle of its copy, so the handler makes the copy possible (it puts
//! anonymous zero pages where the whole mapping was) and notes that it did; the copy ends, and whoever made it learns that the
//! memory is lost.
//!
//! The handler knows which addresses are ours from a note that the same thread wrote just before its access. Any other SIGBUS goes
//! to the handler that was there before us, or kills the process as it would have.

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// A thread's note of what it is touching. Atomics, because a signal handler reads it; all on one thread, so no ordering but the
/// compiler's is needed.
struct Note {
    base: AtomicUsize,
    /// 0 while nothing is touched.
    length: AtomicUsize,
    hit: AtomicBool,
}

thread_local! {
    // Constant and without a destructor: reading it allocates nothing and registers nothing, so a signal handler may.
    static NOTE: Note =
        const { Note { base: AtomicUsize::new(0), length: AtomicUsize::new(0), hit: AtomicBool::new(false) } };
}

/// The handler that was there before ours.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();

/// Installs the handler, once for the process.
pub(super) fn install() -> io::Result<()> {
    INSTALLED.get_or_init(install_once).map_err(io::Error::from_raw_os_error)
}

fn install_once() -> Result<(), i32> {
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
    // SAFETY: all-zero is a valid sigaction (the default action, nothing blocked).
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = handler as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: as above; it is overwritten.
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both point to valid structures, and the handler has the signature that SA_SIGINFO asks for and does only what is
    // allowed in a handler.
    if unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, &raw mut previous) } != 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
    }
    PREVIOUS.get_or_init(|| previous);
    Ok(())
}

/// Runs `access`, which touches no shared memory but `length` bytes from `base`. The flag says that the memory was missing; what
/// `access` returned is then worthless, and the range holds anonymous memory from now on.
#[inline]
pub(super) fn during<T>(base: *mut u8, length: usize, access: impl FnOnce() -> T) -> (T, bool) {
    let note = NOTE.with(ptr::from_ref);
    // SAFETY: the note is a constant of this thread without a destructor, so it is there as long as the thread is, which is now.
    let note = unsafe { &*note };
    note.base.store(base.expose_provenance(), Ordering::Relaxed);
    note.length.store(length, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    let value = access();
    compiler_fence(Ordering::SeqCst);
    note.length.store(0, Ordering::Relaxed);
    (value, note.hit.load(Ordering::Relaxed) && note.hit.swap(false, Ordering::Relaxed))
}

/// The signal handler: no allocation, no lock, no formatting.
extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo, which for SIGBUS has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    if !NOTE.try_with(|note| rescue(note, address)).unwrap_or(false) {
        pass_on(signal, info, context);
    }
}

/// Puts zero pages under the access that faulted, if it is ours. All of the mapping is replaced, not only the page: that works for
/// huge pages too, and what remains of such a file is of no use.
fn rescue(note: &Note, address: usize) -> bool {
    let base = note.base.load(Ordering::Relaxed);
    let length = note.length.load(Ordering::Relaxed);
    if address.wrapping_sub(base) >= length {
        return false;
    }
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    let target = ptr::with_exposed_provenance_mut(base);
    // SAFETY: the range is exactly that of a live `Mapping`, which its thread is touching this moment and which no reference
    // points into; pages are replaced by pages that allow every access.
    let mapped = unsafe { mmap_anonymous(target, length, ProtFlags::READ | ProtFlags::WRITE, flags) };
    note.hit.store(mapped.is_ok(), Ordering::Relaxed);
    mapped.is_ok()
}

/// Not ours: what would have happened without us.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = PREVIOUS.get();
    let handler = previous.map_or(libc::SIG_DFL, |action| action.sa_sigaction);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // SAFETY: restores the default action; the access is repeated when we return, and ends the process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    if previous.is_some_and(|action| action.sa_flags & libc::SA_SIGINFO != 0) {
        // SAFETY: the previous owner installed it with SA_SIGINFO, so it has this signature.
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: the previous owner installed it without SA_SIGINFO, so it has this signature.
        let handler: extern "C" fn(i32) = unsafe { std::mem::transmute(handler) };
        handler(signal);
    }
}
