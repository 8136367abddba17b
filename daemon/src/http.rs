//! The web socket: a drive's figures for Prometheus, a live page for people, and two orders. Off unless asked for.
//!
//! Map: [`address`] is where it listens, [`request`] reads what a client sends and [`response`] has what it gets, [`route`] decides what a
//! request may have, [`connection`] is one client with its limits, [`server`] the thread that serves them all. [`snapshot`] is what that
//! thread asks the device's for, by the queries of the control socket; [`metrics`] writes it for Prometheus.
//!
//! A request head is parsed by `httparse`, which is small and kept. The loop around it is ours: the small servers that there are have no
//! limits for headers or for slow clients, and a thread for each client. Each connection has one request.

pub mod address;
mod connection;
mod metrics;
mod request;
mod response;
mod route;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io;

use address::Listener;
pub use route::Rights;

use crate::control::Dispatcher;
use server::Server;

/// Serves a listener in a thread of its own. `wake` rings for the device's thread.
///
/// # Errors
/// The system has no more descriptors, or no more threads.
pub fn serve(listener: Listener, rights: Rights, wake: Box<dyn Fn() + Send>) -> io::Result<Dispatcher> {
    Dispatcher::start("http", wake, |ends| {
        let server = Server::new(listener, rights, ends);
        move || server.run()
    })
}
