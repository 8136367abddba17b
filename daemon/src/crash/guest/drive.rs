//! The drive of a campaign with guests: a process of its own, who orders it about, and how power goes and comes back. Knows nothing of who
//! uses it, nor of what is judged.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use guest_harness::{Brownout, BrownoutBuilder, Device, Machine};
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
pub const TOLD_TO_END: &str = "the campaign was told to end";
/// What was cut has been told by then.
const EVENT_PATIENCE: Nanoseconds = Nanoseconds(60_000_000_000);

/// A drive, and who orders it about.
pub struct Drive {
    // In this order they go.
    orders: Client,
    events: Client,
    process: Brownout,
    folder: TempDir,
    /// Asked while anybody is waited for: it may take minutes.
    bounds: Bounds,
}

impl Drive {
    /// Starts a drive, which has a folder for the campaign.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn start(
        drive: BrownoutBuilder,
        media: &[String],
        misbehave: &[String],
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
        let process = drive.start()?;
        let (orders, events) = (Client::connect(&control)?, Client::connect(&control)?);
        Ok(Self { orders, events, process, folder, bounds: Bounds::new(None)? })
    }

    /// A folder that goes with the drive.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// This machine, with the drive.
    pub fn plugged_into(&self, machine: Machine) -> Machine {
        machine.device(Device::VfioUser { socket: self.process.socket().to_owned() })
    }

    /// Nothing, unless the campaign was told to end.
    ///
    /// # Errors
    /// It was.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        ensure!(!self.asked(), TOLD_TO_END);
        Ok(())
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

    /// The drive is stopped.
    ///
    /// # Errors
    /// It does not end as it should.
    pub fn stop(self) -> anyhow::Result<()> {
        drop((self.orders, self.events));
        self.process.stop().map(drop)
    }
}
