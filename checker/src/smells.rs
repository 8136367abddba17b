//! What makes a driver slow, as ratios over a whole run: S1 to S11. They are findings when the run is over.

use std::collections::BTreeMap;

use controller::watch::{TraceEvent, Traced};
use nvme_spec::Command;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};

use crate::facts::Facts;
use crate::found::{Finding, Found};
use crate::host::HostState;
use crate::rules::Rule;

/// Fewer commands say nothing about a habit.
const COMMANDS_MIN: u64 = 1000;

/// Counts over a run.
#[derive(Debug, Default)]
pub(crate) struct Smells {
    commands: u64,
    rings: u64,
    depth_max: usize,
    writes: u64,
    unaligned_writes: u64,
    flushes: u64,
    interrupts: u64,
    completions: u64,
    sequential: u64,
    sequential_bytes: u64,
    ends: BTreeMap<(u32, bool), u64>,
    register_reads: u64,
    namespaces_tried: u64,
    deallocations: u64,
    single_ranges: u64,
}

impl Smells {
    pub(crate) fn count(&mut self, host: &HostState, facts: &Facts, traced: &Traced) {
        match traced.event {
            TraceEvent::RegisterRead { .. } if host.outstanding.keys().any(|(queue, _)| *queue != 0) => {
                self.register_reads += 1;
            }
            TraceEvent::Doorbell { queue, tail: true, refused: None, .. } if queue != 0 => self.rings += 1,
            TraceEvent::Message { .. } => self.interrupts += 1,
            TraceEvent::CompletionWritten { queue, .. } if queue != 0 => self.completions += 1,
            TraceEvent::Fetched { command, entry } if command.queue == 0 => {
                let cns = entry.cdw10.get() & 0xff;
                if AdminOpcode(entry.opcode) == AdminOpcode::IDENTIFY && cns == 0 {
                    self.namespaces_tried += u64::from(facts.namespace(entry.nsid.get()).is_none());
                }
            }
            TraceEvent::Fetched { entry, .. } => self.command(host, facts, &entry),
            _ => {}
        }
    }

    fn command(&mut self, host: &HostState, facts: &Facts, entry: &Command) {
        self.commands += 1;
        let depth = host.outstanding.keys().filter(|(queue, _)| *queue != 0).count() + 1;
        self.depth_max = self.depth_max.max(depth);
        let blocks = u64::from(entry.nlb_z()) + 1;
        let namespace = facts.namespace(entry.nsid.get());
        match NvmOpcode(entry.opcode) {
            NvmOpcode::FLUSH => self.flushes += 1,
            NvmOpcode::DATASET_MANAGEMENT => {
                self.deallocations += 1;
                self.single_ranges += u64::from(entry.cdw10.get() & 0xff == 0);
            }
            opcode @ (NvmOpcode::READ | NvmOpcode::WRITE) => {
                let writes = opcode == NvmOpcode::WRITE;
                let Some(namespace) = namespace else { return };
                let unit = u64::from(namespace.preferred_blocks);
                if writes {
                    self.writes += 1;
                    self.unaligned_writes +=
                        u64::from(!entry.slba().is_multiple_of(unit) || !blocks.is_multiple_of(unit));
                }
                let end = self.ends.insert((entry.nsid.get(), writes), entry.slba().wrapping_add(blocks));
                if end == Some(entry.slba()) {
                    self.sequential += 1;
                    self.sequential_bytes += blocks * u64::from(namespace.block_bytes);
                }
            }
            _ => {}
        }
    }

    /// One finding for each habit.
    pub(crate) fn finish(&self, facts: &Facts, found: &mut Found) {
        let mut habit = |rule, smells: bool, value: u64, of: u64, text: String| {
            if smells {
                found.report(Finding::new(rule, value, of, text));
            }
        };
        let per_cent = |part: u64, whole: u64| (part * 100).checked_div(whole).unwrap_or(0);
        let many = self.commands >= COMMANDS_MIN;
        let deep = self.depth_max > 4;
        let (commands, rings) = (self.commands, self.rings);
        let text = format!("{rings} doorbells for {commands} commands, up to {} of them under way", self.depth_max);
        habit(Rule::S1, many && deep && rings * 10 >= commands * 9, rings, commands, text);
        let text = format!("never more than {} commands under way", self.depth_max);
        habit(Rule::S2, many && self.depth_max <= 2, self.depth_max as u64, 3, text);
        let share = per_cent(self.unaligned_writes, self.writes);
        let text = format!("{share} % of {} writes begin or end inside a unit of NPWG + 1 blocks", self.writes);
        habit(Rule::S4, self.writes >= COMMANDS_MIN && share >= 10, share, 10, text);
        let text = format!("{} interrupts for {} completions", self.interrupts, self.completions);
        let each = self.interrupts * 10 >= self.completions * 9;
        habit(Rule::S6, many && self.depth_max > 8 && each, self.interrupts, self.completions, text);
        let mean = self.sequential_bytes.checked_div(self.sequential).unwrap_or(0);
        let bound = facts.transfer_bytes_max;
        let text = format!("{} sequential transfers of {mean} bytes on the average; MDTS is {bound}", self.sequential);
        habit(Rule::S7, self.sequential >= COMMANDS_MIN && mean * 4 < bound, mean, bound, text);
        let text = format!("registers were read {} times with commands under way", self.register_reads);
        habit(Rule::S8, many && self.register_reads * 10 > commands, self.register_reads, commands / 10, text);
        let text = format!("{} namespaces were tried that do not exist", self.namespaces_tried);
        habit(Rule::S9, self.namespaces_tried > 8, self.namespaces_tried, 8, text);
        let text = format!("{} Flushes for {} writes", self.flushes, self.writes);
        let flushing = self.writes >= COMMANDS_MIN && self.flushes * 10 >= self.writes * 9;
        habit(Rule::S10, flushing, self.flushes, self.writes, text);
        let share = per_cent(self.single_ranges, self.deallocations);
        let text = format!("{share} % of {} Dataset Managements name one range", self.deallocations);
        habit(Rule::S11, self.deallocations >= COMMANDS_MIN && share >= 90, share, 90, text);
    }
}
