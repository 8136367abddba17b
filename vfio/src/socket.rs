//! A socket at a path. It replaces a socket that a dead server left there, but nothing else, and is removed with its server.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use rustix::process::getegid;
use tracing::warn;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;

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

/// Listens at `path`, for the owner of the process only, without waiting in any call of the listener.
///
/// # Errors
/// The path is too long, or taken by a live server or by something that is not a socket; or what the system says.
pub fn listen_at(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let address = SocketAddrUnix::new(path).map_err(|_| {
        let text = format!("{}: the path of a socket has at most 107 bytes: give a shorter one", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    warn_of_open_folder(path);
    make_way(path, &address)?;
    let failed = |error: Errno| explain("cannot listen at", path, &error.into());
    let socket = socket().map_err(|error| explain("cannot listen at", path, &error))?;
    // The file gets the mode that its socket has when it is bound, less the umask: there is no moment in which others may connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    bind(&socket, &address).map_err(failed)?;
    let metadata = std::fs::symlink_metadata(path).map_err(|error| explain("cannot listen at", path, &error))?;
    let file = SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
    listen(&socket, BACKLOG).map_err(failed)?;
    Ok((socket.into(), file))
}

/// In a folder where others may rename and remove, they can put a socket of their own in the place of ours, whatever mode ours has.
fn warn_of_open_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder that is not there is told of by what follows.
    if let Ok(metadata) = std::fs::metadata(folder)
        && is_open_to_others(metadata.mode(), metadata.gid() == getegid().as_raw())
    {
        warn!(
            folder = %folder.display(),
            "others may replace the socket here: choose a folder that only you can write to, or set its sticky bit (chmod +t)"
        );
    }
}

/// Whether a folder of this mode lets users besides its owner replace what is not theirs: members of our own group do not count as others.
const fn is_open_to_others(mode: u32, group_is_ours: bool) -> bool {
    const STICKY: u32 = 0o1000;
    let writers = if group_is_ours { 0o002 } else { 0o022 };
    mode & STICKY == 0 && mode & writers != 0
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The socket that a careless server left has every right; ours, in its place and in a fresh one, has the owner's only. That it is so
    /// from its first moment is seen where the folder is watched in vain: the mode is that of the bound socket, set before `bind`.
    #[test]
    fn a_socket_is_its_owners_alone_also_where_it_replaces_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let mode = || std::fs::symlink_metadata(&path).expect("a socket").mode() & 0o777;
        for left_behind in [false, true] {
            if left_behind {
                drop(UnixListener::bind(&path).expect("a server that dies without tidying up"));
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("all rights");
            }
            let (_listener, file) = listen_at(&path).expect("listening");
            assert_eq!(mode(), 0o600, "left behind: {left_behind}");
            drop(file);
        }
    }

    #[test]
    fn a_folder_is_open_where_others_may_replace_what_is_not_theirs() {
        for (mode, group_is_ours, open) in [
            (0o755, false, false),
            (0o1777, false, false),
            (0o777, false, true),
            (0o777, true, true),
            (0o775, true, false),
            (0o775, false, true),
            (0o1775, false, false),
            (0o702, true, true),
        ] {
            assert_eq!(is_open_to_others(mode, group_is_ours), open, "{mode:o}");
        }
    }
}
