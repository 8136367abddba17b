//! Stock kernels in stock QEMU on the device: what a user's guest would do. Each test starts a daemon and a guest of its own.

mod atomic;
mod disk_tools;
mod documents;
mod faults;
mod indirection;
mod kept;
mod power;
mod processes;
mod recipes;
mod resize;
mod runner;
mod shared;
mod stacks;
mod tape;
mod traced;
mod virtio;
mod workloads;
