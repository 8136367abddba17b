//! The control socket of a daemon beside the host that uses its drive. No guest: a host of ours drives the real device socket, so that
//! what one side does is seen on the other.

mod ana;
mod controllers;
mod faults;
mod forks;
mod namespaces;
mod power;
mod reservations;
mod resize;
mod states;
mod tape;

use std::path::PathBuf;

use guest_harness::{Brownout, BrownoutBuilder};
use nvme_host::Host;
use spec_tests::qmp::Qmp;
use spec_tests::socket_host::SocketPort;

/// Bytes of a block.
const BLOCK: usize = 4096;

/// A daemon with a drive of 16 MiB, and a peer of its control socket.
struct Bench {
    daemon: Brownout,
    peer: Qmp,
    // Gone last.
    folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Self {
        Self::with("size=16MiB,lba=4096")
    }

    /// With another drive.
    fn with(namespace: &str) -> Self {
        Self::with_arguments(namespace, &[])
    }

    /// With more on its command line.
    fn with_arguments(namespace: &str, more: &[&str]) -> Self {
        Self::of(Brownout::builder().namespace(namespace), more)
    }

    /// With a drive that is there.
    fn over(media: &str) -> Self {
        Self::of(Brownout::builder(), &["--media", media])
    }

    fn of(daemon: BrownoutBuilder, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let control: PathBuf = folder.path().join("control.sock");
        let daemon = daemon.argument("--control");
        let daemon = daemon.argument(control.to_str().expect("a path of ours"));
        let daemon = more.iter().fold(daemon, |daemon, word| daemon.argument(word));
        let daemon = daemon.start().expect("a daemon");
        let peer = Qmp::connect(&control);
        Self { daemon, peer, folder }
    }

    /// The control socket.
    fn control(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// A host with one I/O queue pair.
    fn host(&self) -> Host<SocketPort> {
        SocketPort::host(self.daemon.socket(), 64).expect("a host")
    }
}

/// A block full of one byte.
fn filled(byte: u8) -> Vec<u8> {
    vec![byte; BLOCK]
}
