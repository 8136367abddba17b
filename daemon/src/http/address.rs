//! Where the web socket listens: at a port of this machine, or at a path.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use vfio::socket::{SocketFile, listen_at};

use crate::options::{OptionError, check_socket};

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address of this machine, and a port; 0 is any that is free.
    Port(SocketAddr),
    /// A Unix socket.
    Path(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Path(path.into()));
        }
        let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        let local = local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        let address = local.or_else(|| text.parse().ok()).map(Self::Port);
        address.ok_or_else(|| "give 127.0.0.1:PORT, [::1]:PORT or unix:PATH".to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => address.fmt(formatter),
            Self::Path(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Whether other machines may reach it.
    pub const fn is_open_to_others(&self) -> bool {
        match self {
            Self::Port(address) => !address.ip().is_loopback(),
            Self::Path(_) => false,
        }
    }

    /// Whether it may be listened at.
    ///
    /// # Errors
    /// Other machines may reach it, and that was not asked for; or the path is too long.
    pub fn check(&self, anywhere: bool) -> Result<(), OptionError> {
        if let Some(path) = self.path() {
            return check_socket("--http", path);
        }
        if self.is_open_to_others() && !anywhere {
            let remedy = "other machines reach this address: give 127.0.0.1:PORT or unix:PATH, or add --http-anywhere if all of them \
                          may see what the drive does";
            return Err(OptionError::new("--http", self.to_string(), remedy));
        }
        if self.is_open_to_others() {
            tracing::warn!(
                "--http {self}: everybody who reaches this address sees what the drive does, and the token goes over the wire"
            );
        }
        Ok(())
    }

    /// Listens, if it is a port: before the process gives up what that takes.
    ///
    /// # Errors
    /// It is taken, or not ours.
    pub fn open_port(&self) -> anyhow::Result<Option<Listener>> {
        match self {
            Self::Port(address) => {
                Listener::at_port(*address).map(Some).with_context(|| format!("cannot listen at {address}: --http"))
            }
            Self::Path(_) => Ok(None),
        }
    }

    /// What people are told: how to get there. The token is behind a sign that browsers keep for themselves.
    ///
    /// # Errors
    /// The system does not say the port.
    pub fn invitation(&self, listener: Option<&Listener>, token: &str) -> anyhow::Result<String> {
        let at = Self::port(listener)?;
        Ok(match (at, self) {
            (Some(at), _) => format!("# figures and live page\nhttp://{at}/metrics\nhttp://{at}/#{token}\n\n"),
            (None, address) => format!("# figures, at {address}; X-Brownout-Token: {token}\n\n"),
        })
    }

    /// Where it is listened at; port 0 has become one that was free.
    ///
    /// # Errors
    /// The system does not say.
    pub fn listens(&self, listener: Option<&Listener>) -> anyhow::Result<String> {
        Ok(Self::port(listener)?.map_or_else(|| self.to_string(), |at| at.to_string()))
    }

    fn port(listener: Option<&Listener>) -> anyhow::Result<Option<SocketAddr>> {
        Ok(listener.map(Listener::port).transpose().context("--http")?.flatten())
    }

    /// The path, where it has one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Port(_) => None,
        }
    }
}

/// A socket that is listened at.
#[derive(Debug)]
pub enum Listener {
    /// Of the network.
    Port(TcpListener),
    /// With its file.
    Path(UnixListener, #[expect(dead_code, reason = "it is removed when this is dropped")] SocketFile),
}

impl Listener {
    /// Listens at a port.
    ///
    /// # Errors
    /// It is taken, or not ours.
    pub fn at_port(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Port(listener))
    }

    /// Listens at a path, for this user only.
    ///
    /// # Errors
    /// The path cannot be a socket of ours.
    pub fn at_path(path: &Path) -> io::Result<Self> {
        let (listener, file) = listen_at(path)?;
        Ok(Self::Path(listener, file))
    }

    /// The address, with the port that it was given.
    ///
    /// # Errors
    /// The system does not say it.
    pub fn port(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Port(listener) => listener.local_addr().map(Some),
            Self::Path(..) => Ok(None),
        }
    }

    /// The next client; it never waits.
    ///
    /// # Errors
    /// There is none, or it cannot be accepted.
    pub fn accept(&self) -> io::Result<Stream> {
        let stream = match self {
            Self::Port(listener) => Stream::Port(listener.accept()?.0),
            Self::Path(listener, _) => Stream::Path(listener.accept()?.0),
        };
        match &stream {
            Stream::Port(stream) => stream.set_nonblocking(true)?,
            Stream::Path(stream) => stream.set_nonblocking(true)?,
        }
        Ok(stream)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Port(listener) => listener.as_fd(),
            Self::Path(listener, _) => listener.as_fd(),
        }
    }
}

/// A client's socket.
#[derive(Debug)]
pub enum Stream {
    /// Of the network.
    Port(TcpStream),
    /// Of a path.
    Path(UnixStream),
}

impl Stream {
    /// Nothing more is sent; errors are those of a client that is gone.
    pub fn end(&self) {
        let _ = match self {
            Self::Port(stream) => stream.shutdown(Shutdown::Write),
            Self::Path(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Port(stream) => stream.read(into),
            Self::Path(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Port(stream) => stream.write(from),
            Self::Path(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Port(stream) => stream.as_fd(),
            Self::Path(stream) => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_path_and_others_reach_it_only_if_it_is_no_loopback() {
        let read = |text: &str| text.parse::<Address>();
        for (text, open) in
            [("127.0.0.1:80", false), ("[::1]:0", false), ("unix:/run/a", false), ("0.0.0.0:1", true), ("[::]:1", true)]
        {
            let address = read(text).expect("legal");
            assert_eq!((address.to_string().as_str(), address.is_open_to_others()), (text, open));
        }
        assert_eq!(read("localhost:9"), read("127.0.0.1:9"));
        for wrong in ["", "9000", "127.0.0.1", "unix:", "example.org:80", "127.0.0.1:99999", ":80"] {
            assert!(read(wrong).is_err_and(|why| why.contains("unix:PATH")), "{wrong}");
        }
    }
}
