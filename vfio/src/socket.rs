//! A socket at a path: it takes the place of one that a dead server left there, of nothing else, and goes when its server does.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whom the process's umask lets.
    Umask,
    /// The owner of the process only.
    Owner,
}

/// The file of a socket: removed when this is dropped, if it is still the same one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            // If it fails, the next server finds it stale and removes it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, without waiting in any call of the listener.
///
/// # Errors
/// The path is too long, or taken by a live server or by something that is not a socket; or what the system says.
pub fn listen_at(path: &Path, access: Access) -> io::Result<(UnixListener, SocketFile)> {
    let address = SocketAddrUnix::new(path).map_err(|_| {
        let text = format!("{}: the path of a socket has at most 107 bytes: give a shorter one", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    make_way(path, &address)?;
    let socket = socket()?;
    if access == Access::Owner {
        // The file gets the mode that its socket has when it is bound: there is no moment in which others may connect.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    }
    let failed = |error: Errno| explain("cannot listen at", path, &error.into());
    bind(&socket, &address).map_err(failed)?;
    let metadata = std::fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
    listen(&socket, BACKLOG).map_err(failed)?;
    Ok((socket.into(), file))
}

fn socket() -> io::Result<std::os::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Removes what a dead server has left.
fn make_way(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain("cannot listen at", path, &error)),
    };
    if !metadata.file_type().is_socket() {
        let text = format!("{} is not a socket: remove it or give another path", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match connect(socket()?, address) {
        Err(Errno::CONNREFUSED) => {
            std::fs::remove_file(path).map_err(|error| explain("cannot remove the stale socket", path, &error))
        }
        Err(Errno::NOENT) => Ok(()),
        // Connected, or a queue that is full: somebody is there.
        _ => {
            let text = format!("another server listens at {}: stop it or give another path", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, text))
        }
    }
}

fn explain(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}
