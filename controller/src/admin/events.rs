//! Asynchronous Event Requests (NVMe Base 2.1 section 5.1.2): they wait, without a completion slot, until something happens.

use std::collections::VecDeque;

use nvme_spec::log::{Event, LogId};

use crate::reason::Reason;

/// Requests that wait for events, events that wait for requests, and which types the host has not read up on yet.
#[derive(Debug)]
pub(crate) struct Events {
    requests: VecDeque<u16>,
    queued: VecDeque<Event>,
    /// Types that were reported and are silent until the host reads this log page.
    masked: [Option<LogId>; 8],
    requests_max: usize,
    queued_max: usize,
}

impl Events {
    /// At most `requests_max` requests wait, and `queued_max` events are kept.
    pub(crate) fn new(requests_max: usize, queued_max: usize) -> Self {
        Self { requests: VecDeque::new(), queued: VecDeque::new(), masked: [None; 8], requests_max, queued_max }
    }

    /// A controller reset: requests end without an answer, events and masks are forgotten.
    pub(crate) fn reset(&mut self) {
        self.requests.clear();
        self.queued.clear();
        self.masked = [None; 8];
    }

    /// Takes a request in (B73).
    pub(super) fn park(&mut self, cid: u16) -> Result<(), Reason> {
        if self.requests.len() >= self.requests_max {
            return Err(Reason::EventRequestLimit);
        }
        self.requests.push_back(cid);
        Ok(())
    }

    /// The identifier of the request that waits longest.
    pub(crate) fn first_parked(&self) -> Option<u16> {
        self.requests.front().copied()
    }

    pub(crate) fn is_parked(&self, cid: u16) -> bool {
        self.requests.contains(&cid)
    }

    pub(super) fn unpark(&mut self, cid: u16) {
        if let Some(index) = self.requests.iter().position(|parked| *parked == cid) {
            self.requests.remove(index);
        }
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Something happened. It waits for a request and for its type to be unmasked; the same event twice in the queue says no more than
    /// once, so a host that floods us with errors fills nothing (B74). An event for which a request waits already is about to be
    /// reported, and takes no place that the queue would have to have.
    pub(crate) fn raise(&mut self, event: Event) {
        let about_to_be_reported = self.queued.iter().filter(|event| !self.is_masked(**event)).count();
        let meets = !self.is_masked(event) && about_to_be_reported < self.requests.len();
        let waiting = self.queued.len() - about_to_be_reported.min(self.requests.len());
        if (meets || waiting < self.queued_max) && !self.queued.contains(&event) {
            self.queued.push_back(event);
        }
    }

    /// The next event that may be reported and the request that reports it, if there are both.
    pub(crate) fn due(&self) -> Option<(u16, Event)> {
        let cid = *self.requests.front()?;
        let event = self.queued.iter().find(|event| !self.is_masked(**event))?;
        Some((cid, *event))
    }

    /// The event of [`Self::due`] was reported: its type is silent from now on (B75).
    pub(crate) fn reported(&mut self, event: Event) {
        self.requests.pop_front();
        self.queued.retain(|queued| *queued != event);
        self.masked[usize::from(event.kind & 0x7)] = Some(event.log);
    }

    /// An event that waits is no longer worth a report.
    pub(crate) fn forget(&mut self, event: Event) {
        self.queued.retain(|queued| *queued != event);
    }

    /// The host read a log page and did not ask to retain the event.
    pub(super) fn log_read(&mut self, log: LogId) {
        self.masked.iter_mut().for_each(|masked| _ = masked.take_if(|by| *by == log));
    }

    fn is_masked(&self, event: Event) -> bool {
        self.masked[usize::from(event.kind & 0x7)].is_some()
    }
}
