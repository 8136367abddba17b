//! Joins media, controller, transports and control socket into one [`Drive`].

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;

use anyhow::Context;
use controller::{Clock, ControllerId, ControllerSet, Subsystem};
use media::{Media, Nanoseconds};
use tape::{Marker, Taped, Writer};

use crate::audience::Audience;
use crate::control::{Device, Dispatcher, Event, Watcher};
use crate::device_loop::{Drive, StepResult};
use crate::fronts::{Fronts, function};
use crate::http::address::{Address, Listener};
use crate::http::{self, Rights};
use crate::open_media::open_media;
use crate::options::Settings;
pub use crate::ports::Places;
use crate::ports::Ports;
use crate::tracer::{Opened, Tracers};
use crate::warning_log::WarningLog;
use crate::watch::Watch;

/// Files that were opened for the device before it was confined.
#[derive(Default)]
pub struct Files {
    /// For traces from the start.
    pub traces: Vec<Opened>,
    /// For a tape.
    pub tape: Option<NewFile>,
    /// For the web socket, where it has a port.
    pub http: Option<Listener>,
    /// Who may have what there.
    pub rights: Rights,
}

impl Files {
    /// Those for the web socket, if it is asked for.
    ///
    /// # Errors
    /// Its port cannot be had.
    pub fn with_web(address: Option<&Address>) -> anyhow::Result<Self> {
        let http = address.map(Address::open_port).transpose()?.flatten();
        Ok(Self { http, ..Self::default() })
    }

    /// Where the web socket is.
    ///
    /// # Errors
    /// The system does not say.
    pub fn web(&self, address: Option<&Address>) -> anyhow::Result<Option<String>> {
        address.map(|address| address.listens(self.http.as_ref())).transpose()
    }

    /// What people are told of the web socket.
    ///
    /// # Errors
    /// The system does not say its port.
    pub fn invitation(&self, address: Option<&Address>) -> anyhow::Result<String> {
        let told = address.map(|address| address.invitation(self.http.as_ref(), &self.rights.token));
        Ok(told.transpose()?.unwrap_or_default())
    }
}

/// A file that was made, and goes again unless it is kept: where nothing comes of what it was made for.
pub struct NewFile {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl NewFile {
    /// A file that was just made there.
    pub const fn new(file: File, path: PathBuf) -> Self {
        Self { file, path, kept: false }
    }

    fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // Where that is not allowed an empty file is left, which says why it is there: it is no tape.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the device, begins its traces and its tape, and listens at the places. Runs in the thread that will attend to it. Nobody is
/// listened to before the media has recovered.
///
/// # Errors
/// The media cannot be used, or a socket cannot be made.
pub fn open(settings: Settings, places: &Places, files: Files) -> anyhow::Result<Wired> {
    let watch = Watch::new().context("cannot create the device's epoll descriptor")?;
    let mut media = open_media(&settings.media, watch.waker())?;
    let mut tape = None;
    if files.tape.is_some() || places.traces.is_some() {
        let taped = match &files.tape {
            Some(made) => Taped::new(media, Writer::new(made.file.try_clone().context("--tape")?).context("--tape")?),
            None => Taped::without_tape(media),
        };
        let taped = taped.with_copy_non_temporal(guest_memory::copy_past_caches);
        tape = Some(taped.marker());
        media = Box::new(taped);
    }
    let web = Web { listener: files.http, rights: files.rights };
    let mut wired = wire(settings, places, (files.traces, web), (media, tape), watch)?;
    // From here on it is a tape.
    wired.tape_file = files.tape.map(NewFile::keep);
    Ok(wired)
}

/// The same over a media that somebody has made.
///
/// # Errors
/// A socket cannot be made.
pub fn open_over(settings: Settings, places: &Places, media: Box<dyn Media>) -> anyhow::Result<Wired> {
    let watch = Watch::new().context("cannot create the device's epoll descriptor")?;
    wire(settings, places, (Vec::new(), Web::default()), (media, None), watch)
}

fn wire(
    settings: Settings,
    places: &Places,
    (traces, web): (Vec<Opened>, Web),
    (media, tape): (Box<dyn Media>, Option<Marker>),
    watch: Watch,
) -> anyhow::Result<Wired> {
    let mut subsystem = Subsystem::with_controllers(settings.controller.clone(), media, places.controllers());
    if places.socket_folder.is_some() {
        subsystem.announce_more();
    }
    let ports = Ports::new(places, function(&settings.controller, places));
    let tracers = Tracers::begin(traces, places.traces.clone(), &mut subsystem, Nanoseconds(0))?;
    let audience = Audience::new(tracers, &mut subsystem);
    for fault in &settings.faults {
        let id = ControllerId(fault.controller);
        anyhow::ensure!(
            subsystem.ids().any(|there| there == id),
            "[[fault]]: controller={id}: there is no such controller: give --socket once for each",
            id = id.0
        );
        subsystem.controller_mut(id).fault_add(fault.spec.clone()).context("[[fault]]")?;
    }
    let control = Control::open(places, web, &watch, &subsystem)?;
    let fronts = Fronts::open(subsystem, places, &watch)?;
    Ok(Wired {
        fronts,
        ports,
        watch,
        settings,
        control,
        audience,
        tape,
        tape_file: None,
        warnings: WarningLog::default(),
        heard: true,
    })
}

/// After so long no further order is carried out before the guest has its turn.
const ORDERS_TIME: Nanoseconds = Nanoseconds(500_000);

/// And so long after it what was begun is asked again.
const ORDERS_PAUSE: Nanoseconds = Nanoseconds(50_000);

/// The web socket, before it is served.
#[derive(Default)]
struct Web {
    listener: Option<Listener>,
    rights: Rights,
}

/// The sockets by which others ask and order: the control socket, the web socket; and what their peers were told last.
struct Control {
    dispatchers: Vec<Dispatcher>,
    watcher: Watcher,
    /// The notifier was signalled: there may be commands.
    signalled: bool,
}

impl Control {
    /// None where there is neither.
    fn open(places: &Places, web: Web, watch: &Watch, subsystem: &Subsystem) -> anyhow::Result<Option<Self>> {
        let control = places.control.as_deref().map(|path| Dispatcher::open(path, watch.waker()).context("--control"));
        let at_path = places.http.as_deref().map(|path| Listener::at_path(path).context("--http")).transpose()?;
        let http =
            web.listener.or(at_path).map(|listener| http::serve(listener, web.rights, watch.waker()).context("--http"));
        let dispatchers = [control, http].into_iter().flatten().collect::<anyhow::Result<Vec<_>>>()?;
        let watcher = Watcher::new(subsystem);
        Ok((!dispatchers.is_empty()).then_some(Self { dispatchers, watcher, signalled: false }))
    }

    /// Carries out what was ordered next, of each socket, if anything was.
    fn attend(&mut self, device: &mut Device<'_>) -> bool {
        self.dispatchers.iter_mut().fold(false, |attended, dispatcher| dispatcher.attend(device) | attended)
    }

    /// Whether something was begun that has to be looked after when the device has stepped.
    fn waits(&self) -> bool {
        self.dispatchers.iter().any(Dispatcher::waits)
    }

    /// Something happened.
    fn happened(&self, event: &Event) {
        self.dispatchers.iter().for_each(|dispatcher| dispatcher.happened(event.clone()));
    }

    /// Tells what has changed since the last look; `worked` says whether the device did anything in between.
    fn look(&mut self, now: Nanoseconds, subsystem: &Subsystem, clients: ControllerSet, worked: bool) {
        let Self { dispatchers, watcher, .. } = self;
        watcher.look(now, subsystem, clients, worked, |event| {
            dispatchers.iter().for_each(|dispatcher| dispatcher.happened(event.clone()));
        });
    }
}

/// A subsystem and the servers through which guests reach it.
pub struct Wired {
    fronts: Fronts,
    ports: Ports,
    watch: Watch,
    settings: Settings,
    control: Option<Control>,
    audience: Audience,
    /// Where there may be a tape: whoever begins one, and the last one's file.
    tape: Option<Marker>,
    tape_file: Option<PathBuf>,
    warnings: WarningLog,
    /// The notifier was signalled since the last step: the media may have something to say.
    heard: bool,
}

impl Wired {
    /// Carries out what the control socket's peers ordered, in their turn and for as long as a guest may wait: the rest comes after the
    /// step that follows.
    fn obey(&mut self, now: Nanoseconds, clock: &dyn Clock) -> bool {
        let control = self.control.as_mut().filter(|control| control.signalled || control.waits());
        let Some(control) = control else { return false };
        control.signalled = false;
        let clients = self.fronts.clients();
        let subsystem = &mut *self.fronts.subsystem();
        let audience = &mut self.audience;
        let mut device = Device {
            subsystem,
            id: ControllerId::FIRST,
            settings: &self.settings,
            audience,
            tape: self.tape.as_ref(),
            tape_file: &mut self.tape_file,
            now,
            clients,
            ports: &mut self.ports,
        };
        let mut obeyed = false;
        while control.attend(&mut device) {
            obeyed = true;
            control.look(now, device.subsystem, device.clients, true);
            if clock.now() >= now.plus(ORDERS_TIME) {
                control.signalled = true;
                break;
            }
        }
        obeyed
    }
}

impl Drive for Wired {
    fn service(&mut self, now: Nanoseconds) -> io::Result<bool> {
        // What the media has to say is said in the step that follows.
        let heard = self.watch.heard();
        self.heard |= heard;
        if let Some(control) = &mut self.control {
            control.signalled |= heard;
        }
        if let Some(broken) = self.audience.broken() {
            return Err(io::Error::other(format!("checks=strict: the host broke {broken}")));
        }
        // What the host does is dated when it arrives.
        self.fronts.subsystem().tell_time(now);
        Ok(self.fronts.service()? || heard)
    }

    fn step(&mut self, now: Nanoseconds, clock: &dyn Clock) -> StepResult {
        let obeyed = self.obey(now, clock);
        if self.ports.wait()
            && let Err(error) = self.fronts.replug(&mut self.ports, &self.watch)
        {
            tracing::warn!(%error, "a new controller cannot be served");
        }
        // An order may take its time: a drive recovers when its power comes back.
        let now = if obeyed { clock.now() } else { now };
        let Self { fronts, control, .. } = self;
        let result = fronts.step(now, clock, |id, event| {
            if let Some(control) = control {
                control.happened(&Event::reported(id, event));
            }
        });
        let worked = obeyed || result.worked;
        let heard = std::mem::take(&mut self.heard);
        let clients = fronts.clients();
        let subsystem = &mut *fronts.subsystem();
        self.audience.look(
            now,
            subsystem,
            |id| fronts.is_nvme(id),
            |news| {
                if let Some(control) = control {
                    control.happened(&news.into());
                }
            },
        );
        if let Some(reason) = self.tape.as_ref().and_then(Marker::look) {
            tracing::warn!("the tape ends here: {reason}; the drive goes on");
            let file = self.tape_file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            if let Some(control) = control {
                control.happened(&Event::TapeEnded { file, reason: reason.to_owned() });
            }
        }
        self.warnings.look(now, subsystem.media_warnings());
        let mut due = self.warnings.due(subsystem.media_warnings());
        if let Some(control) = control {
            control.look(now, subsystem, clients, worked || heard);
            // What was begun goes on piece by piece, also while no guest does anything.
            let begun = control.waits().then(|| now.plus(ORDERS_PAUSE));
            due = [due, control.watcher.due(), begun].into_iter().flatten().min();
        }
        StepResult { worked, next_event: [result.next_event, due].into_iter().flatten().min() }
    }

    fn stepped(&mut self, now: Nanoseconds) {
        self.fronts.subsystem().step_ended(now);
    }

    fn arm(&mut self) -> bool {
        self.fronts.arm()
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn quiesce(&mut self, now: Nanoseconds) -> Option<Result<(), String>> {
        let ended = self.quiesce_media(now)?;
        if let Some(Err(error)) = self.tape.take().map(|tape| tape.finish()) {
            tracing::warn!(%error, "the tape is not complete");
        }
        Some(ended)
    }

    fn must_be_polled(&self) -> bool {
        self.fronts.must_be_polled()
    }
}

impl Wired {
    fn quiesce_media(&mut self, now: Nanoseconds) -> Option<Result<(), String>> {
        let subsystem = &mut *self.fronts.subsystem();
        // What was to be lost is lost already without power: this end takes nothing from it.
        let outcome = if subsystem.power_is_on() { subsystem.quiesce(now)? } else { Ok(()) };
        self.audience.finish(now, subsystem);
        Some(outcome.map_err(|error| {
            let standing: String =
                subsystem.media_warnings().standing().map(|warning| format!(" ({})", warning.detail)).collect();
            format!(
                "the media did not quiesce: {error}{standing}; what was written since the last flush that succeeded \
                 may be lost"
            )
        }))
    }
}
