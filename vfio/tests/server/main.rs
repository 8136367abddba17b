//! The server from outside: a real socket, a thread that serves, clients that behave and clients that do not.

mod clients;
mod common;
mod hostile;
mod interrupts;
mod memory;
mod random;
mod socket;
mod stalling;
