//! The dispatcher between two threads: the one that serves the control socket hands commands over, the device's carries them out
//! between two steps and hands back what came of them, and what happened meanwhile. Neither waits for the other.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use vfio::socket::listen_at;

use super::commands::Device;
use super::event::Event;
use super::order::{News, Order};
use super::server::Server;
use crate::clock::since_1970;
use crate::watch::Watch;

/// The device's side, and with it the control socket: it is gone when this is dropped.
pub struct Dispatcher {
    orders: Receiver<Order>,
    /// Those that were begun and have not ended.
    begun: Vec<Order>,
    /// Taken away at the end, by which the other side knows that it is the end.
    news: Option<Sender<News>>,
    wake: Box<dyn Fn() + Send>,
    thread: Option<JoinHandle<()>>,
}

impl Dispatcher {
    /// Listens at `path`, for this user only. `wake` rings for the device's thread.
    ///
    /// # Errors
    /// The path cannot be a socket of ours, or the system has no more descriptors.
    pub fn open(path: &Path, wake: Box<dyn Fn() + Send>) -> io::Result<Self> {
        let (listener, file) = listen_at(path)?;
        let watch = Watch::new()?;
        let wake_server = watch.waker();
        let (order, orders) = channel();
        let (news, heard) = channel();
        let server = Server::new(listener, watch, order, wake, heard);
        let body = move || {
            let _file = file;
            server.run();
        };
        let thread = Builder::new().name("control".to_owned()).spawn(body)?;
        Ok(Self { orders, begun: Vec::new(), news: Some(news), wake: wake_server, thread: Some(thread) })
    }

    /// Carries out what was ordered next, if anything was. Each peer has at most one order here.
    pub fn attend(&mut self, device: &mut Device<'_>) -> bool {
        // What was begun hears of the device before the next order changes it.
        let answered = self.go_on(device);
        let Ok(order) = self.orders.try_recv() else { return answered };
        self.carry_out(order, device);
        true
    }

    /// Whether something was begun that has to be looked after when the device has stepped.
    pub const fn waits(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Answers what was begun and has ended. True if anything has.
    fn go_on(&mut self, device: &mut Device<'_>) -> bool {
        let begun = std::mem::take(&mut self.begun);
        let count = begun.len();
        begun.into_iter().for_each(|order| self.carry_out(order, device));
        self.begun.len() < count
    }

    fn carry_out(&mut self, mut order: Order, device: &mut Device<'_>) {
        match (order.command)(device) {
            Some(result) => self.tell(News::Answer { peer: order.peer, id: order.id, result }),
            None => self.begun.push(order),
        }
    }

    /// Something happened.
    pub fn happened(&self, event: Event) {
        tracing::debug!(?event);
        self.tell(News::Happened(event, since_1970()));
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &self.news {
            // A server that ended has said why; the device goes on without it.
            let _ = sender.send(news);
        }
        (self.wake)();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.news = None;
        (self.wake)();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the control socket panicked; its message is above");
        }
    }
}
