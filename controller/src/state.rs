//! Controller properties and the states behind CC and CSTS: enable, reset, shutdown (NVMe Base 2.1 sections 3.1.4, 3.5 to 3.7). A
//! register write only records what the host wants; the controller does it in its next step.

use nvme_spec::register::{self, AdminQueueAttributes, Capabilities, Configuration, ControllerStatus};

use crate::config::Config;
use crate::watch::{FatalReason, RegisterRefusal};

/// How far a reset reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reset {
    /// CC.EN went to 0: the admin queue attributes stay (B7).
    Controller,
    /// Function level reset, device reset, a new client: every property is as at power-on.
    Function,
    /// NSSR: the same, and CSTS says so.
    Subsystem,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shutdown {
    No,
    /// The host asked; nothing is done yet.
    Asked,
    /// The media is being flushed.
    Flushing,
    Complete,
}

impl Shutdown {
    /// A shutdown is complete only when all that was completed is durable (B23, B24). A media that could not flush leaves it running:
    /// the host sees that it never completes.
    pub(crate) fn after_flush(outcome: media::Outcome) -> Self {
        if outcome.is_ok() { Self::Complete } else { Self::Flushing }
    }
}

/// Why CSTS.CFS is set, with the value that is to blame and the bound or alignment that it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fatal {
    pub(crate) reason: FatalReason,
    pub(crate) value: u64,
    pub(crate) bound: u64,
}

/// The registers, and what the host asked for by writing them.
#[derive(Debug)]
pub(crate) struct Registers {
    capabilities: Capabilities,
    pub(crate) configuration: Configuration,
    pub(crate) status: ControllerStatus,
    pub(crate) admin_attributes: AdminQueueAttributes,
    pub(crate) admin_submission: u64,
    pub(crate) admin_completion: u64,
    pub(crate) shutdown: Shutdown,
    reset: Option<Reset>,
}

/// CAP.TO and CRTO: how long the host should wait for us, in units of 500 ms. We need one step; a slow machine may need long for that.
const READY_TIMEOUT_HALF_SECONDS: u64 = 20;
/// The largest page: 2^(12 + 4) bytes.
const MPS_MAX: u64 = 4;

impl Registers {
    pub(crate) fn new(config: &Config) -> Self {
        let capabilities = u64::from(config.mqes_z)
            | Capabilities::CQR
            | READY_TIMEOUT_HALF_SECONDS << 24
            | Capabilities::NSSRS
            | Capabilities::CSS_NVM
            | Capabilities::CSS_IO
            | MPS_MAX << 52
            | Capabilities::CRWMS;
        Self {
            capabilities: Capabilities(capabilities),
            configuration: Configuration(0),
            status: ControllerStatus::empty(),
            admin_attributes: AdminQueueAttributes(0),
            admin_submission: 0,
            admin_completion: 0,
            shutdown: Shutdown::No,
            reset: None,
        }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// log2 of the memory page size in bytes that the host chose.
    pub(crate) fn page_shift(&self) -> u32 {
        12 + u32::from(self.configuration.mps())
    }

    /// The dword at `offset`, which is a multiple of 4; 0 where there is no register. INTMS and INTMC are the interrupts' to answer.
    pub(crate) fn read(&self, offset: u64) -> u32 {
        let [cap_low, cap_high] = halves(self.capabilities.0);
        let [asq_low, asq_high] = halves(self.admin_submission);
        let [acq_low, acq_high] = halves(self.admin_completion);
        match offset {
            register::CAP => cap_low,
            0x04 => cap_high,
            register::VS => register::VERSION_2_1,
            register::CC => self.configuration.0,
            register::CSTS => self.status_bits().bits(),
            register::AQA => self.admin_attributes.0,
            // The low twelve bits are reserved: they read as zero, and a queue that they would move does not come up (B9).
            register::ASQ => asq_low & !0xfff,
            0x2c => asq_high,
            register::ACQ => acq_low & !0xfff,
            0x34 => acq_high,
            // Base 2.1 section 3.1.4.22: CRWMT in the same units as CAP.TO; CRIMT is not offered.
            register::CRTO => u32::try_from(READY_TIMEOUT_HALF_SECONDS).unwrap_or(0),
            _ => 0,
        }
    }

    /// The host writes the dword at `offset`, a multiple of 4. What is read-only or reserved stays as it is.
    pub(crate) fn write(&mut self, offset: u64, value: u32) -> Result<(), RegisterRefusal> {
        let enabled = self.configuration.enabled();
        match offset {
            register::CC => return self.write_configuration(Configuration(value)),
            // NSSRO is cleared by writing 1; the rest is read-only.
            register::CSTS if value & ControllerStatus::SUBSYSTEM_RESET.bits() != 0 => {
                self.status -= ControllerStatus::SUBSYSTEM_RESET;
            }
            register::NSSR if value == register::NSSR_KEY => self.ask_reset(Reset::Subsystem),
            register::NSSR => return Err(RegisterRefusal::Key),
            register::AQA | register::ASQ | 0x2c | register::ACQ | 0x34 if enabled => {
                return Err(RegisterRefusal::WhileEnabled);
            }
            register::AQA => self.admin_attributes = AdminQueueAttributes(value & 0x0fff_0fff),
            register::ASQ => self.admin_submission = with_low(self.admin_submission, value),
            0x2c => self.admin_submission = with_high(self.admin_submission, value),
            register::ACQ => self.admin_completion = with_low(self.admin_completion, value),
            0x34 => self.admin_completion = with_high(self.admin_completion, value),
            register::CAP | 0x04 | register::VS | register::CSTS | register::CRTO => {
                return Err(RegisterRefusal::ReadOnly);
            }
            _ => return Err(RegisterRefusal::Reserved),
        }
        Ok(())
    }

    fn write_configuration(&mut self, new: Configuration) -> Result<(), RegisterRefusal> {
        let old = self.configuration;
        if new.shutdown() != 0 && new.shutdown() != old.shutdown() && self.shutdown == Shutdown::No {
            self.shutdown = Shutdown::Asked;
        }
        self.configuration = match (old.enabled(), new.enabled()) {
            // While enabled only SHN may change (B15).
            (true, true) => old.with_shutdown(new.shutdown()),
            (true, false) => {
                self.ask_reset(Reset::Controller);
                Configuration(0).with_shutdown(new.shutdown())
            }
            (false, _) => new,
        };
        let live = old.enabled() && new.enabled() && old.with_shutdown(0) != new.with_shutdown(0);
        if live { Err(RegisterRefusal::WhileEnabled) } else { Ok(()) }
    }

    /// Notes a reset; the one that reaches furthest wins.
    pub(crate) fn ask_reset(&mut self, reset: Reset) {
        self.reset = self.reset.max(Some(reset));
        if reset > Reset::Controller {
            self.configuration = Configuration(0);
        }
    }

    /// The reset that was asked for and not carried out.
    pub(crate) fn asked_reset(&self) -> Option<Reset> {
        self.reset
    }

    /// CSTS.PP.
    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.status.set(ControllerStatus::PROCESSING_PAUSED, paused);
    }

    /// The reset that was asked for, once.
    pub(crate) fn take_reset(&mut self) -> Option<Reset> {
        self.reset.take()
    }

    /// What a reset does to the properties. CC was set when the reset was asked for and may have been written again since.
    pub(crate) fn apply_reset(&mut self, reset: Reset) {
        let kept = self.status & ControllerStatus::SUBSYSTEM_RESET;
        self.status = match reset {
            Reset::Controller => kept,
            Reset::Function => ControllerStatus::empty(),
            Reset::Subsystem => ControllerStatus::SUBSYSTEM_RESET,
        };
        if reset > Reset::Controller {
            self.admin_attributes = AdminQueueAttributes(0);
            self.admin_submission = 0;
            self.admin_completion = 0;
        }
        let asked = self.configuration.shutdown() != 0;
        self.shutdown = if asked { Shutdown::Asked } else { Shutdown::No };
    }

    /// Whether the host enabled us and we have not come up yet.
    pub(crate) fn wants_enable(&self) -> bool {
        self.configuration.enabled() && !self.is_ready() && !self.is_fatal()
    }

    /// Checks what the host set before CC.EN; on any of these we do not come up (B9).
    pub(crate) fn enable(&mut self) -> Result<(), Fatal> {
        let checked = self.check_enable();
        self.status |= if checked.is_ok() { ControllerStatus::READY } else { ControllerStatus::FATAL };
        checked
    }

    fn check_enable(&self) -> Result<(), Fatal> {
        let configuration = self.configuration;
        let attributes = self.admin_attributes;
        let page_bytes = 1 << self.page_shift();
        let refuse = |reason, value: u64, bound| Err(Fatal { reason, value, bound });
        if attributes.submission_z() == 0 {
            return refuse(FatalReason::AdminSubmissionSize, 1, 2);
        }
        if attributes.completion_z() == 0 {
            return refuse(FatalReason::AdminCompletionSize, 1, 2);
        }
        if !matches!(configuration.command_set(), 0b000 | 0b110) {
            return refuse(FatalReason::CommandSet, configuration.command_set().into(), 0b110);
        }
        if u64::from(configuration.mps()) > MPS_MAX {
            return refuse(FatalReason::PageSize, configuration.mps().into(), MPS_MAX);
        }
        if configuration.arbitration() != 0 {
            return refuse(FatalReason::Arbitration, configuration.arbitration().into(), 0);
        }
        if self.admin_submission.trailing_zeros() < self.page_shift() {
            return refuse(FatalReason::AdminSubmissionMisaligned, self.admin_submission, page_bytes);
        }
        if self.admin_completion.trailing_zeros() < self.page_shift() {
            return refuse(FatalReason::AdminCompletionMisaligned, self.admin_completion, page_bytes);
        }
        Ok(())
    }

    /// CSTS.CFS: nothing more is done until the host resets us (B20).
    pub(crate) fn set_fatal(&mut self) {
        self.status |= ControllerStatus::FATAL;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.status.contains(ControllerStatus::READY)
    }

    pub(crate) fn is_fatal(&self) -> bool {
        self.status.contains(ControllerStatus::FATAL)
    }

    /// Whether commands may be taken and doorbells count: enabled, ready, not fatal, and no reset is waiting.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.configuration.enabled() && self.is_ready() && !self.is_fatal() && self.reset.is_none()
    }

    pub(crate) fn status_bits(&self) -> ControllerStatus {
        // A fatal status belongs to the life that the host has ended, even if it enables us before we come to it.
        let stale = if self.reset.is_some() { ControllerStatus::FATAL } else { ControllerStatus::empty() };
        (self.status - stale)
            | match self.shutdown {
                Shutdown::No => ControllerStatus::empty(),
                Shutdown::Asked | Shutdown::Flushing => ControllerStatus::SHUTDOWN_RUNNING,
                Shutdown::Complete => ControllerStatus::SHUTDOWN_COMPLETE,
            }
    }
}

fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

fn with_low(value: u64, low: u32) -> u64 {
    value & !0xffff_ffff | u64::from(low)
}

fn with_high(value: u64, high: u32) -> u64 {
    value & 0xffff_ffff | u64::from(high) << 32
}
