//! A drive in a process of its own, who orders it about, and a guest that uses it: what every campaign with guests needs. It knows how
//! power goes and comes back, and not what is judged.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use guest_harness::{ASKED_EVERY, Brownout, BrownoutBuilder, Device, Guest, Machine};
use media::Nanoseconds;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::plan::Plan;
use crate::crash::bounds::Bounds;
use crate::ctl::client::Client;

/// A guest that takes longer is stuck.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// How often to look whether the guest makes progress, while a point is waited for, and how often in between whether to go on at all.
const LOOK_EVERY: Nanoseconds = Nanoseconds(2_000_000_000);
const ASKED_PER_LOOK: u32 = 8;
/// A guest whose writes do not go on for this many looks does nothing any more: the point is not going to be met.
const LOOKS_WITHOUT_PROGRESS: u32 = 30;
/// Why the cut at hand comes to nothing.
const TOLD_TO_END: &str = "the campaign was told to end";
/// What was cut has been told by then.
const EVENT_PATIENCE: Nanoseconds = Nanoseconds(60_000_000_000);

/// A drive, who orders it about, and a guest that uses it.
pub struct Bench {
    // In this order they go.
    guest: Option<Guest>,
    orders: Client,
    events: Client,
    drive: Brownout,
    _folder: TempDir,
    machine: Machine,
    /// Asked while the guest is waited for: it may take minutes.
    bounds: Bounds,
}

impl Bench {
    /// Starts a drive, which has a folder for the campaign, and boots a guest on it.
    ///
    /// # Errors
    /// A drive or a guest cannot be had.
    pub fn start(
        drive: BrownoutBuilder,
        media: &[String],
        misbehave: &[String],
        machine: Machine,
        folder: TempDir,
    ) -> anyhow::Result<Self> {
        let control: PathBuf = folder.path().join("control");
        let ourselves = std::env::current_exe().context("cannot find this program to start the drive")?;
        let mut drive = drive.name("crash").binary(&ourselves);
        drive = drive.argument("--control").argument(control.to_str().context("the temporary folder is not UTF-8")?);
        let mut words = media.to_vec();
        if !misbehave.is_empty() {
            words.push(format!("misbehave={}", misbehave.join("+")));
        }
        if !words.is_empty() {
            drive = drive.argument("--media").argument(&words.join(","));
        }
        let drive = drive.start()?;
        let (orders, events) = (Client::connect(&control)?, Client::connect(&control)?);
        let mut bench =
            Self { guest: None, orders, events, drive, _folder: folder, machine, bounds: Bounds::new(None)? };
        bench.boot()?;
        Ok(bench)
    }

    /// Boots the guest.
    ///
    /// # Errors
    /// It does not come up.
    pub fn boot(&mut self) -> anyhow::Result<()> {
        self.boot_with(&[])
    }

    /// Boots the guest with these files besides its own.
    ///
    /// # Errors
    /// It does not come up.
    pub fn boot_with(&mut self, files: &[(&str, &str)]) -> anyhow::Result<()> {
        let device = Device::VfioUser { socket: self.drive.socket().to_owned() };
        let machine = self.machine.clone().device(device).timeout(PATIENCE);
        let machine = files.iter().fold(machine, |machine, (name, text)| machine.file(name, text.as_bytes()));
        self.guest = Some(machine.spawn()?);
        self.hears("guest: ready", PATIENCE)
    }

    /// Kills the guest, if there is one.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.guest.take().map_or(Ok(()), Guest::kill)
    }

    /// Waits until the guest says this, unless the campaign is told to end.
    fn hears(&mut self, words: &str, time: Duration) -> anyhow::Result<()> {
        let guest = self.guest.as_mut().context("there is no guest")?;
        guest.wait_for_while(words, time, || !self.bounds.asked())?.context(TOLD_TO_END).map(drop)
    }

    /// The guest that runs.
    ///
    /// # Errors
    /// There is none.
    pub fn guest(&mut self) -> anyhow::Result<&mut Guest> {
        self.guest.as_mut().context("there is no guest")
    }

    /// Gives the guest an order, waits until it says that it is done, and returns what it said meanwhile.
    ///
    /// # Errors
    /// It does not say so.
    pub fn tell(&mut self, order: &str, done: &str) -> anyhow::Result<String> {
        self.tell_within(order, done, PATIENCE)
    }

    /// As [`Bench::tell`], with an end to patience.
    ///
    /// # Errors
    /// As [`Bench::tell`].
    pub fn tell_within(&mut self, order: &str, done: &str, time: Duration) -> anyhow::Result<String> {
        let guest = self.guest()?;
        let before = guest.console().len();
        guest.send_line(order)?;
        self.hears(&format!("guest: {done}"), time).with_context(|| format!("the guest was told to {order}"))?;
        Ok(self.guest()?.console().split_off(before))
    }

    /// Has the drive do something.
    ///
    /// # Errors
    /// It does not.
    pub fn order(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        self.orders.execute(command, arguments)
    }

    /// Whether the campaign was told to end.
    pub fn asked(&mut self) -> bool {
        self.bounds.asked()
    }

    /// How often the drive says that it lost power.
    ///
    /// # Errors
    /// The drive does not answer.
    pub fn unsafe_shutdowns(&mut self) -> anyhow::Result<u64> {
        let log = self.orders.execute("query-log", &json!({}))?;
        log["smart"]["unsafe-shutdowns"].as_u64().context("the drive counts its unsafe shutdowns")
    }

    /// How many writes of the guest the drive has carried out.
    fn writes(&mut self) -> anyhow::Result<u64> {
        let log = self.orders.execute("query-log", &json!({}))?;
        log["smart"]["host-write-commands"].as_u64().context("the drive counts what it writes")
    }

    /// Waits until the point that was chosen is met, for as long as the guest goes on writing, however slowly that is, up to so many writes.
    /// False if it was not.
    fn meets_point(&mut self, writes_max: u64) -> anyhow::Result<bool> {
        let (begun, mut before, mut looks) = (self.writes()?, 0, 0);
        while looks < LOOKS_WITHOUT_PROGRESS {
            for _ in 0..ASKED_PER_LOOK {
                let time = Nanoseconds(LOOK_EVERY.0 / u64::from(ASKED_PER_LOOK));
                if self.events.event_within("POWER_CUT", time)?.is_some() {
                    return Ok(true);
                }
                ensure!(!self.bounds.asked(), TOLD_TO_END);
            }
            let writes = self.writes()?.saturating_sub(begun);
            if writes > writes_max {
                break;
            }
            looks = if writes > before { 0 } else { looks + 1 };
            before = writes;
        }
        Ok(false)
    }

    /// The point that was chosen counts from now on.
    ///
    /// # Errors
    /// The drive does not arm it.
    pub fn arm(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.orders.execute("crash-arm", &plan.arming()).map(drop)
    }

    /// Waits for the point that was armed, and cuts where it does not come. Returns the drive's report.
    ///
    /// # Errors
    /// The drive does not do it.
    pub fn lose_power(&mut self, plan: &Plan) -> anyhow::Result<Value> {
        if !self.meets_point(plan.writes_max)? {
            // If the point comes just now, neither of these is done; the event says that power is gone.
            let _ = self.orders.execute("crash-disarm", &json!({}));
            let _ = self.orders.execute("power-cut", &plan.policy);
            self.events.event_within("POWER_CUT", EVENT_PATIENCE)?.context("power does not go")?;
        }
        let mut crash = self.orders.execute("query-crash", &json!({}))?;
        Ok(crash["report"].take())
    }

    /// Power comes back; true where it went once more before it stayed.
    ///
    /// # Errors
    /// The drive does not come back.
    pub fn restore(&mut self, plan: &Plan) -> anyhow::Result<bool> {
        let mut again = false;
        if let Some(step) = plan.again {
            again = self.orders.execute("power-restore", &json!({ "at": { "step": step } })).is_err();
        }
        if again || plan.again.is_none() {
            self.orders.execute("power-restore", &json!({})).context("the drive does not come back")?;
        }
        Ok(again)
    }

    /// The guest is switched off, and the drive stopped.
    ///
    /// # Errors
    /// They do not end as they should.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.guest()?.send_line("off")?;
        while !self.guest()?.is_off_within(ASKED_EVERY)? {
            ensure!(!self.bounds.asked(), TOLD_TO_END);
        }
        self.guest.take().context("there is no guest")?.wait_within(PATIENCE)?.require_success()?;
        drop((self.orders, self.events));
        self.drive.stop().map(drop)
    }
}
