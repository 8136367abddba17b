//! What a power loss may no longer take away (NVM Command Set 1.1 section 2.1.4.2 and Base 2.1 section 7.2; our C2). Pure: a
//! history in, promises out.

use crate::history::{Command, CommandId, History, Time, Verb};

/// Why a command's version of its blocks is guaranteed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// No volatile cache was in use while it ran.
    Uncached,
    /// It was forced.
    Forced,
    /// This Flush was submitted after it had ended, and succeeded.
    Flushed(CommandId),
    /// A shutdown completed after it.
    ShutDown(CommandId),
    /// This forced Read, Compare or Verify of the block was submitted after it had ended, and succeeded.
    ReadForced(CommandId),
    /// The cache was switched off after it had ended.
    SwitchedOff(CommandId),
}

impl History {
    /// Why a command's version of a block is guaranteed, if it is.
    #[must_use]
    pub fn promise(&self, id: CommandId, block: u64) -> Option<Promise> {
        let write = self.command(id)?;
        let ended = write.succeeded().filter(|_| write.changes() && write.covers(write.nsid, block))?;
        if write.force {
            return Some(Promise::Forced);
        }
        if !self.namespace(write.nsid).cached || !self.may_be_cached(write.rung?, ended) {
            return Some(Promise::Uncached);
        }
        self.iter().find_map(|(later, command)| {
            let done = command.succeeded()?;
            let after = command.rung? > ended;
            match command.verb {
                Verb::Flush if after && command.nsid == write.nsid => Some(Promise::Flushed(later)),
                Verb::FlushAll if after && self.flushes(later, write.nsid) => Some(Promise::Flushed(later)),
                Verb::Shutdown if done > ended => Some(Promise::ShutDown(later)),
                _ if command.looks() && after && command.force && command.covers(write.nsid, block) => {
                    Some(Promise::ReadForced(later))
                }
                Verb::SetCache(false) if after => Some(Promise::SwitchedOff(later)),
                _ => None,
            }
        })
    }

    /// Whether the cache may have been enabled at some moment of a time.
    fn may_be_cached(&self, from: Time, until: Time) -> bool {
        self.may_be_on(self.cache_enabled, from, until, |command| match command.verb {
            Verb::SetCache(enabled) => Some(enabled),
            _ => None,
        })
    }

    /// Whether Disable Normal may have been set for a controller at some moment of a time.
    pub(crate) fn may_be_disabled(&self, controller: u16, from: Time, until: Time) -> bool {
        self.may_be_on(self.normal_disabled, from, until, |command| match command.verb {
            Verb::DisableNormal(disabled) if command.controller == controller => Some(disabled),
            _ => None,
        })
    }

    /// Whether a switch may have been on at some moment of a time: `sets` says what a command does to it.
    fn may_be_on(&self, at_first: bool, from: Time, until: Time, sets: impl Fn(&Command) -> Option<bool>) -> bool {
        let switches = || self.commands.iter().filter_map(|command| Some((sets(command)?, command)));
        let settled = switches().filter_map(|(on, command)| Some((command.succeeded().filter(|at| *at < from)?, on)));
        if settled.max().map_or(at_first, |(_, on)| on) {
            return true;
        }
        // A switch that was under way, and one that failed, may have switched.
        switches().any(|(on, command)| {
            on && command.rung.is_some_and(|rung| rung < until)
                && command.ended.is_none_or(|ended| ended.at > from || !ended.success)
        })
    }
}
