//! What survives when the daemon is killed: SIGKILL is a power loss. No guest: a host of ours drives the real socket.

mod failing_disk;
mod killed;
mod promises;
mod refusals;
