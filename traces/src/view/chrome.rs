//! The JSON that Perfetto and chrome://tracing open. A controller is a process and a queue a thread of it; commands, which overlap, are
//! asynchronous slices (b, e); what the drive does by itself are complete ones (X), amounts are counters (C), and what happens at a moment
//! is a mark (i). Names of processes and threads are metadata (M), written when one is met first.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use media::ledger::Ledger;
use nvme_spec::{Command, Completion, opcode};
use serde_json::{Map, Value, json};
use zerocopy::FromBytes;

use crate::watched::{Begun, Drive, Ended, Watcher};

/// Threads of a process that are no queues stand behind all queues.
const TRACKS: u64 = 1 << 16;

/// Something that the drive does for a while: a step of the translation layer, a collection, an erase.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// When it began.
    pub time_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// Of which controller's drive.
    pub controller: u16,
    /// The row that it stands in; what is in the same row does not overlap.
    pub track: &'a str,
    /// What it is.
    pub name: &'a str,
    /// What else is known of it: an object, or nothing.
    pub details: &'a Value,
}

/// Writes such a file.
#[derive(Debug)]
pub struct Chrome<W: Write> {
    into: W,
    begun: bool,
    /// Names of commands that are under way, by controller, queue and identifier.
    under_way: BTreeMap<(u16, u16, u16), String>,
    /// How many of them each queue has.
    depths: BTreeMap<(u16, u16), u64>,
    /// Processes and threads whose names are written.
    named: BTreeSet<(u64, Option<u64>)>,
    tracks: BTreeMap<(u16, String), u64>,
}

impl<W: Write> Chrome<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of `into`.
    pub fn create(mut into: W) -> io::Result<Self> {
        into.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        Ok(Self {
            into,
            begun: false,
            under_way: BTreeMap::new(),
            depths: BTreeMap::new(),
            named: BTreeSet::new(),
            tracks: BTreeMap::new(),
        })
    }

    /// A command began.
    ///
    /// # Errors
    /// Those of what is written to.
    ///
    /// # Panics
    /// Never: 64 bytes are a command.
    pub fn command_begun(&mut self, begun: &Begun<'_>) -> io::Result<()> {
        let command = Command::read_from_bytes(begun.command).expect("an entry has 64 bytes");
        let place = (begun.controller, begun.queue, command.cid.get());
        let name = name_of(begun.queue, command.opcode);
        self.name_queue(begun.controller, begun.queue)?;
        let mut details =
            json!({ "cid": place.2, "nsid": command.nsid.get(), "opcode": format!("{:#04x}", command.opcode) });
        if begun.queue != 0 && has_blocks(command.opcode) {
            details["slba"] = json!(command.slba());
            details["blocks"] = json!(u32::from(command.nlb_z()) + 1);
            if command.force_unit_access() {
                details["fua"] = json!(true);
            }
        }
        self.slice('b', &name, place, begun.time_ns, &details)?;
        if self.under_way.insert(place, name).is_none() {
            self.depth(begun.time_ns, place, 1)?;
        }
        Ok(())
    }

    /// A command ended. One whose beginning was not seen is left out.
    ///
    /// # Errors
    /// Those of what is written to.
    ///
    /// # Panics
    /// Never: 16 bytes are a completion.
    pub fn command_ended(&mut self, ended: &Ended<'_>) -> io::Result<()> {
        let completion = Completion::read_from_bytes(ended.completion).expect("an entry has 16 bytes");
        let place = (ended.controller, completion.sqid.get(), completion.cid.get());
        let Some(name) = self.under_way.remove(&place) else { return Ok(()) };
        let details = json!({ "status": format!("{:?}", completion.status()) });
        self.slice('e', &name, place, ended.time_ns, &details)?;
        self.depth(ended.time_ns, place, -1)
    }

    /// A controller forgot its commands, by a reset or a power loss: their slices end here.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn forgotten(&mut self, time_ns: u64, controller: u16) -> io::Result<()> {
        let gone: Vec<_> = self.under_way.extract_if(.., |place, _| place.0 == controller).collect();
        for (place, name) in gone {
            self.slice('e', &name, place, time_ns, &json!({ "status": "forgotten" }))?;
            self.depth(time_ns, place, -1)?;
        }
        Ok(())
    }

    /// The drive did something for a while.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn work(&mut self, work: &Work<'_>) -> io::Result<()> {
        let pid = process(work.controller);
        self.name_process(work.controller)?;
        let next = TRACKS + self.tracks.len() as u64;
        let tid = *self.tracks.entry((work.controller, work.track.to_owned())).or_insert(next);
        self.name_thread(pid, tid, work.track)?;
        let more = format!("\"dur\":{},\"tid\":{tid}", Microseconds(work.duration_ns));
        self.event('X', work.name, pid, work.time_ns, &more, work.details)
    }

    /// What there is of something at a moment: bytes in the cache, free lines.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn counter(&mut self, time_ns: u64, controller: u16, name: &str, series: &[(&str, u64)]) -> io::Result<()> {
        self.name_process(controller)?;
        let values: Map<_, _> = series.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        self.event('C', name, process(controller), time_ns, "\"tid\":0", &Value::Object(values))
    }

    /// What the drive did in a step: a slice for each kind of work, the reasons of what was programmed beside it, and what there is now.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn drive(&mut self, controller: u16, drive: &Drive) -> io::Result<()> {
        let Drive { time_ns, duration_ns, programmed, victims, erased, .. } = *drive;
        let Ledger { host, fill, collected, wear, padding, metadata, .. } = programmed;
        let kinds = [
            (
                "program",
                host + fill + padding,
                json!({ "host bytes": host, "fill bytes": fill, "padding bytes": padding }),
            ),
            (
                "collection",
                collected + wear + victims,
                json!({ "moved bytes": collected, "wear levelling bytes": wear, "victims": victims }),
            ),
            ("erase", erased, json!({ "lines": erased })),
            ("metadata", metadata, json!({ "bytes": metadata })),
        ];
        for (name, amount, details) in kinds {
            if amount > 0 {
                // Each kind has a row: they share the step.
                self.work(&Work { time_ns, duration_ns, controller, track: name, name, details: &details })?;
            }
        }
        self.counter(time_ns, controller, "volatile write cache", &[("bytes", drive.volatile_bytes)])?;
        self.counter(time_ns, controller, "free lines", &[("lines", drive.free_lines.into())])
    }

    /// Something happened at a moment: a reset, a power loss, a violation.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn mark(&mut self, time_ns: u64, controller: u16, name: &str, details: &Value) -> io::Result<()> {
        self.name_process(controller)?;
        self.event('i', name, process(controller), time_ns, "\"s\":\"p\",\"tid\":0", details)
    }

    /// Ends the file. What is under way has no end in it.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.into.write_all(b"\n]}\n")?;
        self.into.flush()?;
        Ok(self.into)
    }

    fn slice(
        &mut self,
        phase: char,
        name: &str,
        place: (u16, u16, u16),
        time_ns: u64,
        details: &Value,
    ) -> io::Result<()> {
        let (controller, queue, cid) = place;
        let category = if queue == 0 { "admin" } else { "io" };
        let more = format!("\"cat\":\"{category}\",\"id\":\"{controller}.{queue}.{cid}\",\"tid\":{queue}");
        self.event(phase, name, process(controller), time_ns, &more, details)
    }

    fn depth(&mut self, time_ns: u64, place: (u16, u16, u16), change: i64) -> io::Result<()> {
        let (controller, queue, _) = place;
        let depth = self.depths.entry((controller, queue)).or_default();
        *depth = depth.saturating_add_signed(change);
        let depth = *depth;
        self.counter(time_ns, controller, &format!("depth of SQ {queue}"), &[("commands", depth)])
    }

    fn name_queue(&mut self, controller: u16, queue: u16) -> io::Result<()> {
        self.name_process(controller)?;
        let name = if queue == 0 { "admin queue".to_owned() } else { format!("SQ {queue}") };
        self.name_thread(process(controller), queue.into(), &name)
    }

    fn name_process(&mut self, controller: u16) -> io::Result<()> {
        let pid = process(controller);
        if !self.named.insert((pid, None)) {
            return Ok(());
        }
        self.event('M', "process_name", pid, 0, "\"tid\":0", &json!({ "name": format!("controller {controller}") }))
    }

    fn name_thread(&mut self, pid: u64, tid: u64, name: &str) -> io::Result<()> {
        if !self.named.insert((pid, Some(tid))) {
            return Ok(());
        }
        self.event('M', "thread_name", pid, 0, &format!("\"tid\":{tid}"), &json!({ "name": name }))
    }

    /// `more` is what else stands in the object, as JSON.
    fn event(
        &mut self,
        phase: char,
        name: &str,
        pid: u64,
        time_ns: u64,
        more: &str,
        details: &Value,
    ) -> io::Result<()> {
        let separator = if std::mem::replace(&mut self.begun, true) { ",\n" } else { "\n" };
        let (name, time) = (Value::from(name), Microseconds(time_ns));
        let details = if details.is_object() { details } else { &json!({}) };
        write!(
            self.into,
            "{separator}{{\"ph\":\"{phase}\",\"name\":{name},\"ts\":{time},\"pid\":{pid},{more},\"args\":{details}}}"
        )
    }
}

impl<W: Write> Watcher for Chrome<W> {
    fn begun(&mut self, begun: &Begun<'_>) -> io::Result<()> {
        self.command_begun(begun)
    }

    fn ended(&mut self, ended: &Ended<'_>) -> io::Result<()> {
        self.command_ended(ended)
    }

    fn forgotten(&mut self, time_ns: u64, controller: u16) -> io::Result<()> {
        Self::forgotten(self, time_ns, controller)
    }

    fn mark(&mut self, time_ns: u64, controller: u16, name: &str, details: &Value) -> io::Result<()> {
        Self::mark(self, time_ns, controller, name, details)
    }

    fn drive(&mut self, controller: u16, drive: &Drive) -> io::Result<()> {
        Self::drive(self, controller, drive)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.finish().map(drop)
    }
}

/// Processes count from 1: some viewers take 0 for the kernel.
fn process(controller: u16) -> u64 {
    u64::from(controller) + 1
}

fn name_of(queue: u16, opcode: u8) -> String {
    opcode::name(queue, opcode).map_or_else(|| format!("opcode {opcode:02x}h"), str::to_owned)
}

/// Whether dwords 10 to 12 of an I/O command are a first block and a number of blocks.
fn has_blocks(opcode: u8) -> bool {
    [0x01, 0x02, 0x04, 0x05, 0x08, 0x0c].contains(&opcode)
}

/// Nanoseconds as JSON writes microseconds, without rounding.
struct Microseconds(u64);

impl std::fmt::Display for Microseconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
