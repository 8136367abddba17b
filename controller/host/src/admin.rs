//! Admin commands (Base 2.1 section 5). A helper here fails with [`HostError::Refused`] when the command does, because its caller
//! cannot go on; a test of a refusal matches that or uses [`Host::execute`].

use nvme_spec::feature::FeatureId;
use nvme_spec::identify::{self, Cns};
use nvme_spec::log::LogId;
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{COMMAND_BYTES, COMPLETION_BYTES, Command, Completion, IDENTIFY_BYTES};
use zerocopy::FromBytes;

use crate::doorbell::{Doorbell, Shadow};
use crate::host::{Host, HostError};
use crate::port::Port;
use crate::queue::{CompletionQueue, SubmissionQueue, entries_z};
use crate::setup::AdminDoorbells;

/// An admin command with nothing but an opcode.
#[must_use]
pub fn admin_command(opcode: AdminOpcode) -> Command {
    Command { opcode: opcode.0, ..Command::default() }
}

/// The completion, or the refusal it stands for.
fn accepted(completion: Completion) -> Result<Completion, HostError> {
    match completion.status() {
        status if status.is_success() => Ok(completion),
        status => Err(HostError::Refused(status)),
    }
}

/// Two 16-bit numbers in a dword, the low one first.
fn halves(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

/// What Identify is asked for (Base 2.1 figure 306); zero where it does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentifyArguments {
    /// NSID.
    pub nsid: u32,
    /// CNTID.
    pub cntid: u16,
    /// CSI: the command set.
    pub command_set: u8,
    /// CNS Specific Identifier.
    pub specific: u16,
}

/// What Get Log Page is asked for (Base 2.1 section 5.1.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogArguments {
    /// NSID; 0 or FFFFFFFFh for the controller.
    pub nsid: u32,
    /// Where to begin, in bytes.
    pub offset: u64,
    /// RAE: reading does not re-arm the event.
    pub retain_event: bool,
    /// LSP: log specific.
    pub specific: u8,
    /// LSI: log specific identifier, an endurance group for instance.
    pub specific_identifier: u16,
    /// CSI: the command set.
    pub command_set: u8,
}

impl<P: Port> Host<P> {
    /// Executes an admin command that must succeed.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute`].
    pub fn admin(&mut self, command: Command) -> Result<Completion, HostError> {
        self.execute(0, command).and_then(accepted)
    }

    /// Executes an admin command that must succeed and brings `length` bytes.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute_in`].
    pub fn admin_in(&mut self, command: Command, length: usize) -> Result<(Completion, Vec<u8>), HostError> {
        let (completion, bytes) = self.execute_in(0, command, length)?;
        accepted(completion).map(|completion| (completion, bytes))
    }

    /// Identify: the 4096 bytes of a data structure.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute_in`].
    pub fn identify(&mut self, cns: Cns, arguments: IdentifyArguments) -> Result<Vec<u8>, HostError> {
        let command = Command {
            nsid: arguments.nsid.into(),
            cdw10: halves(cns.0.into(), arguments.cntid).into(),
            cdw11: (u32::from(arguments.specific) | u32::from(arguments.command_set) << 24).into(),
            ..admin_command(AdminOpcode::IDENTIFY)
        };
        self.admin_in(command, IDENTIFY_BYTES).map(|(_, bytes)| bytes)
    }

    /// Identify Controller.
    ///
    /// # Errors
    /// Those of [`Host::identify`].
    pub fn identify_controller(&mut self) -> Result<identify::Controller, HostError> {
        self.identify(Cns::CONTROLLER, IdentifyArguments::default()).map(|bytes| parsed(&bytes))
    }

    /// Identify Namespace of the NVM command set.
    ///
    /// # Errors
    /// Those of [`Host::identify`].
    pub fn identify_namespace(&mut self, nsid: u32) -> Result<identify::Namespace, HostError> {
        self.identify(Cns::NAMESPACE, IdentifyArguments { nsid, ..Default::default() }).map(|bytes| parsed(&bytes))
    }

    /// The active namespaces with an identifier above `after`, at most 1024.
    ///
    /// # Errors
    /// Those of [`Host::identify`].
    pub fn active_namespaces(&mut self, after: u32) -> Result<Vec<u32>, HostError> {
        let arguments = IdentifyArguments { nsid: after, ..Default::default() };
        let list = self.identify(Cns::ACTIVE_NAMESPACES, arguments)?;
        let (dwords, _) = list.as_chunks::<4>();
        Ok(dwords.iter().map(|dword| u32::from_le_bytes(*dword)).take_while(|&nsid| nsid != 0).collect())
    }

    /// Get Features with a `select` of [`nvme_spec::feature::select`]: dword 0 of the completion.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute`].
    pub fn get_feature(&mut self, feature: FeatureId, select: u32) -> Result<u32, HostError> {
        self.admin(get_feature_command(feature, select)).map(|completion| completion.dw0.get())
    }

    /// Get Features of a feature with a data structure: dword 0 and the data.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute_in`].
    pub fn get_feature_data(
        &mut self,
        feature: FeatureId,
        select: u32,
        length: usize,
    ) -> Result<(u32, Vec<u8>), HostError> {
        let (completion, data) = self.admin_in(get_feature_command(feature, select), length)?;
        Ok((completion.dw0.get(), data))
    }

    /// Set Features of dword 11: dword 0 of the completion.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute`].
    pub fn set_feature(&mut self, feature: FeatureId, value: u32) -> Result<u32, HostError> {
        self.admin(set_feature_command(feature, value)).map(|completion| completion.dw0.get())
    }

    /// Set Features of a feature with a data structure: dword 0 of the completion.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute_out`].
    pub fn set_feature_data(&mut self, feature: FeatureId, value: u32, data: &[u8]) -> Result<u32, HostError> {
        let completion = self.execute_out(0, set_feature_command(feature, value), data)?;
        accepted(completion).map(|completion| completion.dw0.get())
    }

    /// Get Log Page: `bytes` bytes, which must be a multiple of 4.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute_in`].
    ///
    /// # Panics
    /// If `bytes` is not a positive multiple of 4 that fits the command.
    pub fn get_log(&mut self, log: LogId, bytes: usize, arguments: LogArguments) -> Result<Vec<u8>, HostError> {
        self.admin_in(get_log_command(log, bytes, arguments), bytes).map(|(_, data)| data)
    }

    /// Creates an I/O completion queue, interrupting on `vector` if there is one.
    ///
    /// # Errors
    /// [`HostError::Refused`], [`HostError::OutOfMemory`] and those of [`Host::execute`].
    pub fn create_completion_queue(&mut self, cqid: u16, entries: u32, vector: Option<u16>) -> Result<(), HostError> {
        let base = self.allocate_zeroed(u64::from(entries) * COMPLETION_BYTES as u64)?;
        self.clear_shadow(Doorbell::CompletionHead(cqid));
        let interrupts = u16::from(vector.is_some()) << 1;
        let command = Command {
            prp1: base.into(),
            cdw10: halves(cqid, entries_z(entries)).into(),
            cdw11: halves(1 | interrupts, vector.unwrap_or(0)).into(),
            ..admin_command(AdminOpcode::CREATE_COMPLETION_QUEUE)
        };
        let made = self.admin(command);
        self.keep_queue_memory(base, made)?;
        self.completion.insert(cqid, CompletionQueue::new(base, entries));
        Ok(())
    }

    /// Creates an I/O submission queue that completes on `cqid`, of priority class `priority` (0 urgent to 3 low).
    ///
    /// # Errors
    /// [`HostError::Refused`], [`HostError::OutOfMemory`] and those of [`Host::execute`].
    pub fn create_submission_queue(
        &mut self,
        sqid: u16,
        entries: u32,
        cqid: u16,
        priority: u8,
    ) -> Result<(), HostError> {
        let base = self.allocate_zeroed(u64::from(entries) * COMMAND_BYTES as u64)?;
        self.clear_shadow(Doorbell::SubmissionTail(sqid));
        let command = Command {
            prp1: base.into(),
            cdw10: halves(sqid, entries_z(entries)).into(),
            cdw11: halves(1 | u16::from(priority & 0b11) << 1, cqid).into(),
            ..admin_command(AdminOpcode::CREATE_SUBMISSION_QUEUE)
        };
        let made = self.admin(command);
        self.keep_queue_memory(base, made)?;
        self.submission.insert(sqid, SubmissionQueue::new(base, entries, cqid));
        Ok(())
    }

    /// Gives the memory of a queue back if the controller said that it does not exist.
    fn keep_queue_memory(&mut self, base: u64, made: Result<Completion, HostError>) -> Result<(), HostError> {
        if let Err(HostError::Refused(_)) = made {
            self.memory.release(base);
        }
        made.map(|_| ())
    }

    /// Creates a completion and a submission queue of the same identifier, in that order.
    ///
    /// # Errors
    /// Those of the two; a completion queue that was made stays if the submission queue is refused.
    pub fn create_queue_pair(&mut self, qid: u16, entries: u32, vector: Option<u16>) -> Result<(), HostError> {
        self.create_completion_queue(qid, entries, vector)?;
        self.create_submission_queue(qid, entries, qid, 0)
    }

    /// Deletes an I/O submission queue. Completions of its last commands may still be reaped.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute`].
    pub fn delete_submission_queue(&mut self, sqid: u16) -> Result<(), HostError> {
        let opcode = admin_command(AdminOpcode::DELETE_SUBMISSION_QUEUE);
        self.admin(Command { cdw10: halves(sqid, 0).into(), ..opcode })?;
        if let Some(cqid) = self.submission.get(&sqid).map(|queue| queue.cqid) {
            // The completions of aborted commands came before that of the deletion; book them while the queue is known.
            self.collect(cqid);
        }
        if let Some(queue) = self.submission.remove(&sqid) {
            self.memory.release(queue.base);
        }
        Ok(())
    }

    /// Deletes an I/O completion queue, and forgets what was not reaped from it.
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute`].
    pub fn delete_completion_queue(&mut self, cqid: u16) -> Result<(), HostError> {
        let opcode = admin_command(AdminOpcode::DELETE_COMPLETION_QUEUE);
        self.admin(Command { cdw10: halves(cqid, 0).into(), ..opcode })?;
        self.forget_arrived(cqid);
        if let Some(queue) = self.completion.remove(&cqid) {
            self.memory.release(queue.base);
        }
        Ok(())
    }

    /// Deletes both queues of an identifier, the submission queue first.
    ///
    /// # Errors
    /// Those of the two.
    pub fn delete_queue_pair(&mut self, qid: u16) -> Result<(), HostError> {
        self.delete_submission_queue(qid)?;
        self.delete_completion_queue(qid)
    }

    /// Abort: whether the controller says that it aborted the command (dword 0 bit 0 clear).
    ///
    /// # Errors
    /// [`HostError::Refused`] and those of [`Host::execute`].
    pub fn abort(&mut self, sqid: u16, cid: u16) -> Result<bool, HostError> {
        let command = Command { cdw10: halves(sqid, cid).into(), ..admin_command(AdminOpcode::ABORT) };
        self.admin(command).map(|completion| completion.dw0.get() & 1 == 0)
    }

    /// Submits an Asynchronous Event Request and returns its identifier; [`Host::poll`] on queue 0 finds the event.
    ///
    /// # Errors
    /// Those of [`Host::submit`].
    pub fn async_event_request(&mut self) -> Result<u16, HostError> {
        self.submit(0, admin_command(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST))
    }

    /// Whether Identify Controller offers Doorbell Buffer Config (OACS).
    pub(crate) fn offers_shadow_doorbells(&mut self) -> Result<bool, HostError> {
        let commands = identify::AdminCommands::from_bits_retain(self.identify_controller()?.oacs.get());
        Ok(commands.contains(identify::AdminCommands::DOORBELL_BUFFER))
    }

    /// Doorbell Buffer Config: from now on the doorbells of I/O queues go through shadows, and those of the admin queue as
    /// [`AdminDoorbells`] says. Queues that exist keep their positions, which the controller puts there.
    ///
    /// # Errors
    /// [`HostError::Refused`], [`HostError::OutOfMemory`] and those of [`Host::execute`].
    pub fn use_shadow_doorbells(&mut self) -> Result<(), HostError> {
        let page = self.memory.page_bytes();
        let shadow = Shadow { doorbells: self.allocate_zeroed(page)?, event_indices: self.allocate_zeroed(page)? };
        // Some drivers put the positions of their queues there, others leave zeroes to the controller.
        if self.setup.admin_doorbells == AdminDoorbells::Registers {
            let told: Vec<(Doorbell, u16)> = (self.submission.iter())
                .map(|(&sqid, queue)| (Doorbell::SubmissionTail(sqid), queue.tail_told))
                .chain(self.completion.iter().map(|(&cqid, queue)| (Doorbell::CompletionHead(cqid), queue.head_told)))
                .collect();
            for (doorbell, position) in told {
                let place = shadow.doorbells + doorbell.offset(self.capabilities.doorbell_stride());
                self.port.memory_write(place, &u32::from(position).to_le_bytes());
            }
        }
        // Buffers from before count until this command is done, and which of its doorbells come before or after that nobody knows.
        self.shadow = None;
        self.admin(Command {
            prp1: shadow.doorbells.into(),
            prp2: shadow.event_indices.into(),
            ..admin_command(AdminOpcode::DOORBELL_BUFFER_CONFIG)
        })?;
        self.shadow = Some(shadow);
        Ok(())
    }

    /// Puts the shadow doorbell of a new queue at its start, where an old queue of that identifier may have left another number.
    fn clear_shadow(&mut self, doorbell: Doorbell) {
        let Some(shadow) = self.shadow else { return };
        let offset = doorbell.offset(self.capabilities.doorbell_stride());
        self.port.memory_write(shadow.doorbells + offset, &[0; 4]);
        self.port.memory_write(shadow.event_indices + offset, &[0; 4]);
    }
}

/// A data structure from bytes of at least its size.
fn parsed<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_prefix(bytes).map(|(value, _)| value).unwrap_or_else(|_| unreachable!("Identify brings 4096 bytes"))
}

/// Get Features of a feature, without data.
#[must_use]
pub fn get_feature_command(feature: FeatureId, select: u32) -> Command {
    let cdw10 = u32::from(feature.0) | (select & 0b111) << 8;
    Command { cdw10: cdw10.into(), ..admin_command(AdminOpcode::GET_FEATURES) }
}

/// Set Features of a feature, without data, not saved.
#[must_use]
pub fn set_feature_command(feature: FeatureId, value: u32) -> Command {
    Command { cdw10: u32::from(feature.0).into(), cdw11: value.into(), ..admin_command(AdminOpcode::SET_FEATURES) }
}

/// Get Log Page.
///
/// # Panics
/// If `bytes` is not a positive multiple of 4 that fits the command.
#[must_use]
pub fn get_log_command(log: LogId, bytes: usize, arguments: LogArguments) -> Command {
    assert!(bytes.is_multiple_of(4), "{bytes} bytes are not dwords");
    let dwords_z =
        (bytes / 4).checked_sub(1).and_then(|z| u32::try_from(z).ok()).expect("a length the command can say");
    let retain = u32::from(arguments.retain_event) << 15;
    let specific = u32::from(arguments.specific & 0x7f) << 8;
    let offset = arguments.offset.to_le_bytes();
    let [low, high] = [0, 4].map(|at| u32::from_le_bytes([offset[at], offset[at + 1], offset[at + 2], offset[at + 3]]));
    Command {
        nsid: arguments.nsid.into(),
        cdw10: (u32::from(log.0) | specific | retain | (dwords_z & 0xffff) << 16).into(),
        cdw11: (dwords_z >> 16 | u32::from(arguments.specific_identifier) << 16).into(),
        cdw12: low.into(),
        cdw13: high.into(),
        cdw14: (u32::from(arguments.command_set) << 24).into(),
        ..admin_command(AdminOpcode::GET_LOG_PAGE)
    }
}
