//! What is to be traced, where to, and in which form: as `--trace` says it, in QEMU's words where QEMU has them.

use std::fs;
use std::path::{Path, PathBuf};

use controller::{CONTROLLERS_MAX, ControllerId};
use traces::live::Format;
use traces::qemu::{EVENTS, Selection};

use crate::options::{OptionError, split_at_commas};

const OPTION: &str = "--trace";

/// One trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Of which controller.
    pub controller: ControllerId,
    /// In which form.
    pub format: Format,
    /// Which events, where the form consists of events.
    pub selection: Selection,
    /// Lines begin with the time.
    pub timestamps: bool,
    /// The data of commands is kept.
    pub data: bool,
    /// Where to; standard error if nowhere else.
    pub file: Option<PathBuf>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            controller: ControllerId::FIRST,
            format: Format::default(),
            selection: Selection::default(),
            timestamps: false,
            data: false,
            file: None,
        }
    }
}

/// What one `--trace` says.
#[derive(Clone, Debug, Default)]
struct Words {
    patterns: Vec<String>,
    controller: Option<ControllerId>,
    format: Option<Format>,
    timestamps: Option<bool>,
    data: Option<bool>,
    file: Option<PathBuf>,
}

/// The names of all events that there are, one in a line: what `--trace help` prints.
pub fn names() -> String {
    EVENTS.iter().map(|event| format!("{}\n", event.name)).collect()
}

/// Reads all `--trace` of a command line. Those of the same file, or of none, are one trace: later patterns count after earlier ones.
///
/// # Errors
/// The first word that cannot be.
pub fn read(texts: &[String]) -> Result<Vec<Order>, OptionError> {
    let mut traces: Vec<Words> = Vec::new();
    for text in texts {
        let more = words(text)?;
        match traces.iter_mut().find(|known| known.file == more.file) {
            Some(known) => known.join(more, text)?,
            None => traces.push(more),
        }
    }
    traces.into_iter().map(Words::check).collect()
}

/// Applies patterns in their order.
///
/// # Errors
/// The first one that matches nothing.
pub fn select<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Selection, String> {
    let mut selection = Selection::default();
    for pattern in patterns {
        selection.apply(pattern).map_err(|error| error.to_string())?;
    }
    Ok(selection)
}

impl Order {
    /// Whether it can be at all.
    ///
    /// # Errors
    /// What is missing or too much, and what would do.
    pub fn check(self) -> Result<Self, String> {
        let name = self.format.name();
        if self.format.has_events() && self.selection.is_empty() {
            return Err(format!("{name} consists of events, and none is wanted: give a pattern such as pci_nvme*"));
        }
        if self.data && !self.format.has_data() {
            return Err(format!("{name} holds no data: leave data=on out, or give format=pcap or format=recording"));
        }
        if self.format != Format::Log && self.file.is_none() {
            return Err(format!("{name} is not for a terminal: give file="));
        }
        Ok(self)
    }
}

impl Words {
    fn take(&mut self, item: &str) -> Result<(), OptionError> {
        match item.split_once('=').unwrap_or(("enable", item)) {
            ("enable", "") => return Err(wrong(item, "give a pattern such as pci_nvme*")),
            ("enable", pattern) => self.patterns.push(pattern.to_owned()),
            ("controller", number) => self.controller = Some(controller(item, number)?),
            ("events", path) => self.patterns.extend(patterns_in(Path::new(path))?),
            ("file", "") => return Err(wrong(item, "give a path")),
            ("file", path) => self.file = Some(path.into()),
            ("format", name) => {
                let remedy = || format!("give one of {}", Format::NAMES.join(", "));
                self.format = Some(Format::named(name).ok_or_else(|| wrong(item, remedy()))?);
            }
            ("timestamp", switch) => self.timestamps = Some(on(item, switch)?),
            ("data", switch) => self.data = Some(on(item, switch)?),
            (name, _) => {
                let known = ["enable", "controller", "events", "file", "format", "timestamp", "data"];
                return Err(OptionError::unknown(OPTION, name, &known));
            }
        }
        Ok(())
    }

    fn join(&mut self, more: Self, text: &str) -> Result<(), OptionError> {
        if let (Some(one), Some(other)) = (self.controller, more.controller)
            && one != other
        {
            let remedy = format!("this file has a trace of controller {} already: give another file=", one.0);
            return Err(OptionError::new(OPTION, text, remedy));
        }
        if let (Some(one), Some(other)) = (self.format, more.format)
            && one != other
        {
            let remedy = format!("this file is written as {} already: give another file=", one.name());
            return Err(OptionError::new(OPTION, text, remedy));
        }
        self.patterns.extend(more.patterns);
        self.controller = self.controller.or(more.controller);
        self.format = self.format.or(more.format);
        self.timestamps = more.timestamps.or(self.timestamps);
        self.data = more.data.or(self.data);
        Ok(())
    }

    fn check(self) -> Result<Order, OptionError> {
        let refused = |why: String| OptionError::new(OPTION, "", why);
        let format = self.format.unwrap_or_default();
        if !format.has_events() && !self.patterns.is_empty() {
            let why = format!("{} has every command, and no pattern: leave it out", format.name());
            return Err(OptionError::new(OPTION, self.patterns.join(","), why));
        }
        let mut selection = Selection::default();
        for pattern in &self.patterns {
            selection.apply(pattern).map_err(|error| OptionError::new(OPTION, pattern.as_str(), error.to_string()))?;
        }
        let (timestamps, data) = (self.timestamps.unwrap_or_default(), self.data.unwrap_or_default());
        let controller = self.controller.unwrap_or(ControllerId::FIRST);
        Order { controller, format, selection, timestamps, data, file: self.file }.check().map_err(refused)
    }
}

fn words(text: &str) -> Result<Words, OptionError> {
    let mut words = Words::default();
    split_at_commas(text).iter().try_for_each(|item| words.take(item))?;
    Ok(words)
}

/// A word that cannot be, and what would do.
fn wrong(item: &str, remedy: impl Into<String>) -> OptionError {
    OptionError::new(OPTION, item, remedy)
}

fn controller(item: &str, number: &str) -> Result<ControllerId, OptionError> {
    let id = number.parse().ok().filter(|id| *id < CONTROLLERS_MAX);
    id.map(ControllerId)
        .ok_or_else(|| wrong(item, format!("give the CNTLID of a controller, 0 to {}", CONTROLLERS_MAX - 1)))
}

fn on(item: &str, switch: &str) -> Result<bool, OptionError> {
    match switch {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(wrong(item, "give on or off")),
    }
}

/// One pattern in a line; what follows a # is for people.
fn patterns_in(path: &Path) -> Result<Vec<String>, OptionError> {
    let place = || format!("events={}", path.display());
    let text = fs::read_to_string(path).map_err(|error| OptionError::new(OPTION, place(), error.to_string()))?;
    let patterns = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(patterns.filter(|pattern| !pattern.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use traces::qemu::Name;

    use super::*;

    fn orders(texts: &[&str]) -> Result<Vec<Order>, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        read(&texts).map_err(|error| error.to_string())
    }

    #[test]
    fn a_trace_is_said_in_qemus_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let events = folder.path().join("events");
        fs::write(&events, "# what comes up\npci_nvme_mmio_*\n\n-pci_nvme_mmio_read  # too many\n").expect("a file");
        let orders = orders(&[
            "pci_nvme_admin_cmd,file=a.log",
            "enable=pci_nvme_io_cmd,timestamp=on,file=a.log,controller=2",
            &format!("events={}", events.display()),
            "format=pcap,file=b.pcap,data=on",
        ])
        .expect("possible");
        let [log, error, capture] = orders.as_slice() else { panic!("{orders:?}") };
        assert_eq!((log.format, log.timestamps, log.file.as_deref()), (Format::Log, true, Some(Path::new("a.log"))));
        assert!(log.selection.has(Name::AdminCmd) && log.selection.has(Name::IoCmd) && !log.selection.has(Name::Read));
        assert!(error.file.is_none() && error.selection.has(Name::MmioWrite) && !error.selection.has(Name::MmioRead));
        assert_eq!((capture.format, capture.data), (Format::Pcap, true));
        assert_eq!((log.controller, capture.controller), (ControllerId(2), ControllerId::FIRST));
        assert_eq!(orders_of_nothing(), Ok(Vec::new()));
    }

    fn orders_of_nothing() -> Result<Vec<Order>, String> {
        orders(&[])
    }

    #[test]
    fn what_cannot_be_traced_is_refused_with_what_would_do() {
        let wrong = [
            ("pci_nvme_raed", "--trace pci_nvme_raed: no event matches pci_nvme_raed: pci_nvme_read, "),
            ("pci_nvme_reset_zone", "--trace pci_nvme_reset_zone: pci_nvme_reset_zone is an event of QEMU's"),
            ("timestamp=on", "--trace: log consists of events, and none is wanted: give a pattern such as pci_nvme*"),
            ("pci_nvme*,format=text", "--trace format=text: give one of log, simple, chrome, pcap, recording"),
            ("pci_nvme*,format=simple", "--trace: simple is not for a terminal: give file="),
            ("pci_nvme*,format=pcap,file=a", "--trace pci_nvme*: pcap has every command, and no pattern: leave it out"),
            ("format=chrome,file=a,data=on", "--trace: chrome holds no data"),
            ("pci_nvme*,data=perhaps", "--trace data=perhaps: give on or off"),
            ("pci_nvme*,fiel=a", "--trace fiel: no such option; known are file, "),
            ("pci_nvme*,controller=64", "--trace controller=64: give the CNTLID of a controller, 0 to 63"),
            ("events=/nowhere/at/all", "--trace events=/nowhere/at/all: No such file"),
            ("", "--trace: give a pattern such as pci_nvme*"),
        ];
        for (text, said) in wrong {
            let refused = orders(&[text]).expect_err(text);
            assert!(refused.starts_with(said), "{refused}");
        }
        let refused = orders(&["pci_nvme*,file=a", "format=pcap,file=a"]).map(|_| ());
        assert!(refused.is_err(), "one file, two forms");
        let refused =
            orders(&["pci_nvme*,file=a,controller=1", "file=a,controller=0,pci_nvme*"]).expect_err("one file");
        assert!(refused.contains("this file has a trace of controller 1 already"), "{refused}");
    }
}
