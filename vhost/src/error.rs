//! Why a controller cannot be a disk.

use nvme_host::HostError;
use thiserror::Error;

/// The controller cannot be a disk.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiskError {
    /// It does not come up, or refuses what a host needs.
    #[error("the controller does not come up: {0}")]
    Host(#[from] HostError),
    /// It has no such namespace, or one that virtio cannot carry.
    #[error("namespace {nsid} cannot be a virtio disk: {why}")]
    Namespace {
        /// Which.
        nsid: u32,
        /// Why not.
        why: &'static str,
    },
}
