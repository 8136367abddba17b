//! A trace in the order in which its commands began. A recording has them in the order in which they ended, and the foreign ones are not
//! strict either. Holds as much as a window has room for: what began before what has left it already comes late, and is counted.

use std::collections::BTreeMap;

use crate::record::{Entry, Trace, TraceError};

/// Entries in the window: more than all queues of most hosts hold together.
const ENTRIES_MAX: usize = 1 << 16;
/// Bytes of data in the window.
const DATA_BYTES_MAX: usize = 256 << 20;

/// See the file's text. Namespaces come as soon as they are told of.
pub struct Ordered<T> {
    trace: T,
    /// By time and order in the file.
    window: BTreeMap<(u64, u64), Entry>,
    data_bytes: usize,
    ordinal: u64,
    left_ns: u64,
    late: u64,
    /// What ended the trace, until everything before it has left the window.
    end: Option<Result<(), TraceError>>,
}

impl<T: Trace> Ordered<T> {
    /// Over a trace.
    pub const fn new(trace: T) -> Self {
        Self { trace, window: BTreeMap::new(), data_bytes: 0, ordinal: 0, left_ns: 0, late: 0, end: None }
    }

    /// How many entries came late: the window was too small for the trace's disorder.
    pub const fn late(&self) -> u64 {
        self.late
    }

    fn full(&self) -> bool {
        self.window.len() >= ENTRIES_MAX || self.data_bytes > DATA_BYTES_MAX
    }

    /// Takes entries in until the window is full or nothing comes; a namespace is handed through.
    fn fill(&mut self) -> Option<Entry> {
        while self.end.is_none() && !self.full() {
            match self.trace.next() {
                Ok(Some(namespace @ Entry::Namespace(_))) => return Some(namespace),
                Ok(Some(entry)) => {
                    self.ordinal += 1;
                    self.data_bytes += data_bytes(&entry);
                    self.window.insert((time_ns(&entry), self.ordinal), entry);
                }
                Ok(None) => self.end = Some(Ok(())),
                Err(error) => self.end = Some(Err(error)),
            }
        }
        None
    }
}

fn time_ns(entry: &Entry) -> u64 {
    match entry {
        Entry::Command(record) => record.begin_ns,
        Entry::Sample(sample) => sample.time_ns,
        Entry::Namespace(_) => 0,
    }
}

fn data_bytes(entry: &Entry) -> usize {
    match entry {
        Entry::Command(record) => record.data.as_ref().map_or(0, Vec::len),
        Entry::Sample(_) | Entry::Namespace(_) => 0,
    }
}

impl<T: Trace> Trace for Ordered<T> {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        if let Some(namespace) = self.fill() {
            return Ok(Some(namespace));
        }
        let Some(((time, _), entry)) = self.window.pop_first() else {
            return self.end.replace(Ok(())).unwrap_or(Ok(())).map(|()| None);
        };
        self.data_bytes -= data_bytes(&entry);
        self.late += u64::from(time < self.left_ns);
        self.left_ns = self.left_ns.max(time);
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::record::{Namespace, Record};

    struct List(VecDeque<Result<Entry, TraceError>>);

    impl Trace for List {
        fn next(&mut self) -> Result<Option<Entry>, TraceError> {
            self.0.pop_front().transpose()
        }
    }

    fn at(begin_ns: u64) -> Entry {
        Entry::Command(Record { begin_ns, ..Record::default() })
    }

    #[test]
    fn commands_come_in_the_order_in_which_they_began_and_an_error_behind_them() {
        let namespace = Entry::Namespace(Namespace { nsid: 1, block_bytes: 512, name: String::new() });
        let error = TraceError::Unfinished { entries: 4 };
        let list = vec![Ok(at(30)), Ok(at(10)), Ok(namespace.clone()), Ok(at(20)), Ok(at(10)), Err(error)];
        let mut ordered = Ordered::new(List(list.into()));
        let mut found = Vec::new();
        let error = loop {
            match ordered.next() {
                Ok(Some(entry)) => found.push(entry),
                Ok(None) => panic!("the trace ends with an error"),
                Err(error) => break error,
            }
        };
        assert_eq!(found, [namespace, at(10), at(10), at(20), at(30)]);
        assert!(matches!(error, TraceError::Unfinished { entries: 4 }));
        assert!(matches!(ordered.next(), Ok(None)) && ordered.late() == 0);
    }

    #[test]
    fn what_comes_too_late_for_the_window_is_counted() {
        let many = (0..ENTRIES_MAX as u64 + 1).map(|time| Ok(at(time + 5))).chain([Ok(at(1))]).collect();
        let mut ordered = Ordered::new(List(many));
        let mut count = 0;
        while ordered.next().expect("sound").is_some() {
            count += 1;
        }
        assert_eq!((count, ordered.late()), (ENTRIES_MAX + 2, 1));
    }
}
