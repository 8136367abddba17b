//! How the daemon is told to stop: a byte on a stream, which a loop can wait for together with everything else.

use std::io;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Makes a stream that becomes readable when this process is asked to end.
///
/// # Errors
/// The system has no more descriptors.
pub fn on_signals() -> io::Result<UnixStream> {
    let (told, teller) = UnixStream::pair()?;
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, teller.try_clone()?)?;
    }
    Ok(told)
}
