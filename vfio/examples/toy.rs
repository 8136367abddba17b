//! Serves a device with registers that only remember, so that a monitor's start can be watched without a controller:
//! `cargo run --example toy -- /tmp/toy.sock [mapped]`, with `RUST_LOG=vfio=debug` for more.

use std::error::Error;

use rustix::event::{PollFd, PollFlags, poll};
use vfio::testing::ToyDevice;
use vfio::{Doorbells, Server, ServerConfig};

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give the path of a socket")?;
    let doorbells = if arguments.next().is_some() { Doorbells::Mapped } else { Doorbells::Trapped };
    let mut server = Server::bind(&path, &ServerConfig { doorbells, ..ServerConfig::default() })?;
    let mut device = ToyDevice::default();
    println!("listening at {path}");
    loop {
        let progress = server.service(&mut device, 64)?;
        server.set_pin(device.pin);
        if progress.client_changed {
            let connected = server.client_connected();
            println!("client connected: {connected}, resets {}, writes {}", device.resets, device.writes);
        }
        if !progress.more {
            poll(&mut [PollFd::new(&server, PollFlags::IN)], None)?;
        }
    }
}
