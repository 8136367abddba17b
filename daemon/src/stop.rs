//! How the daemon is told to stop: a byte on a stream, which a loop can wait for together with everything else.

use std::io;
use std::os::unix::net::UnixStream;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU, SIGXFSZ};

/// A file that may not grow any more (`ulimit -f`) is an error of the write, not the end of the process. (A pipe that nobody reads is
/// one already: the runtime sees to that.)
///
/// # Errors
/// The system refuses.
pub fn outlive_file_limit() -> io::Result<()> {
    // Nobody reads the flag: that there is a handler is what matters.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Makes a stream that becomes readable when this process is asked to end, or has had the processor time that it may have (`ulimit -t`;
/// what is left until the hard limit is enough for an orderly end).
///
/// # Errors
/// The system has no more descriptors.
pub fn on_signals() -> io::Result<UnixStream> {
    let (told, teller) = UnixStream::pair()?;
    for signal in [SIGHUP, SIGINT, SIGTERM, SIGXCPU] {
        signal_hook::low_level::pipe::register(signal, teller.try_clone()?)?;
    }
    Ok(told)
}
