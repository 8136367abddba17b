//! Submission and completion queues in guest memory: which may be created, who holds a completion slot, what was taken and what is
//! still to be answered. Moves entries, and knows nothing of their meaning.

mod cq;
mod id_set;
mod permit;
mod sq;
mod state;

use nvme_spec::command::fuse;
use nvme_spec::{Command, Completion, Status};

pub(crate) use cq::CompletionQueue;
pub(crate) use id_set::IdSet;
pub(crate) use permit::Permit;
pub(crate) use sq::SubmissionQueue;
pub use state::{CompletionQueueState, SubmissionQueueState};

use crate::dma::GuestMemory;

/// Why a doorbell was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadDoorbell {
    /// There is no such queue (B47).
    NoQueue,
    /// The value cannot be (B48, B49).
    BadValue,
}

/// What came of trying to take a command.
pub(crate) enum Take<'a> {
    /// A command, and the slot that its completion will use.
    Command(Permit, &'a Command),
    /// The queue has none.
    Empty,
    /// It cannot be taken now.
    Blocked(Blocked),
}

/// Why a command cannot be taken now.
pub(crate) enum Blocked {
    /// The completion queue has no slot free: try again when its head moves.
    NoSlot,
    /// The queue's memory is not there: try again when the table of mappings changes.
    MemoryGone,
}

/// All queues of a controller, by identifier; 0 is the admin pair.
pub(crate) struct Queues {
    submission: Vec<Option<SubmissionQueue>>,
    completion: Vec<Option<CompletionQueue>>,
    /// The completion queues of each interrupt vector.
    of_vector: Vec<Vec<u16>>,
    /// Permits that were given out and not come back.
    owed: usize,
    /// Commands that were taken since power-on.
    taken: u64,
}

impl Queues {
    /// Room for the admin pair and `io_pairs` I/O pairs.
    pub(crate) fn new(io_pairs: u16) -> Self {
        let count = usize::from(io_pairs) + 1;
        Self {
            submission: std::iter::repeat_with(|| None).take(count).collect(),
            completion: std::iter::repeat_with(|| None).take(count).collect(),
            of_vector: Vec::new(),
            owed: 0,
            taken: 0,
        }
    }

    /// Forgets every queue and every permit: what a controller reset does.
    pub(crate) fn clear(&mut self) {
        self.submission.fill_with(|| None);
        self.completion.fill_with(|| None);
        self.of_vector.clear();
        self.owed = 0;
    }

    /// One more than the largest identifier.
    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.submission.len()).unwrap_or(u16::MAX)
    }

    #[inline]
    pub(crate) fn submission(&self, id: u16) -> Option<&SubmissionQueue> {
        self.submission.get(usize::from(id))?.as_ref()
    }

    pub(crate) fn completion(&self, id: u16) -> Option<&CompletionQueue> {
        self.completion.get(usize::from(id))?.as_ref()
    }

    pub(crate) fn submission_mut(&mut self, id: u16) -> Option<&mut SubmissionQueue> {
        self.submission.get_mut(usize::from(id))?.as_mut()
    }

    #[inline]
    pub(crate) fn completion_mut(&mut self, id: u16) -> Option<&mut CompletionQueue> {
        self.completion.get_mut(usize::from(id))?.as_mut()
    }

    /// The same, to look at.
    pub(crate) fn completions(&self) -> impl Iterator<Item = (u16, &CompletionQueue)> {
        (0..).zip(&self.completion).filter_map(|(id, queue)| queue.as_ref().map(|queue| (id, queue)))
    }

    /// The completion queues with interrupts that have this vector, or any.
    pub(crate) fn completions_of(&self, vector: Option<u16>) -> impl Iterator<Item = &CompletionQueue> {
        let vectors = match vector.map(usize::from) {
            Some(vector) => self.of_vector.get(vector..=vector).unwrap_or_default(),
            None => &self.of_vector,
        };
        vectors.iter().flatten().filter_map(|id| self.completion(*id))
    }

    /// The submission queues that exist, with their identifiers.
    pub(crate) fn submissions(&self) -> impl Iterator<Item = (u16, &SubmissionQueue)> {
        (0..).zip(&self.submission).filter_map(|(id, queue)| queue.as_ref().map(|queue| (id, queue)))
    }

    /// Whether any I/O queue exists.
    pub(crate) fn any_io(&self) -> bool {
        self.submission.iter().skip(1).any(Option::is_some) || self.completion.iter().skip(1).any(Option::is_some)
    }

    /// Puts a queue where there is none yet.
    pub(crate) fn insert_submission(&mut self, id: u16, queue: SubmissionQueue) {
        let place = &mut self.submission[usize::from(id)];
        assert!(place.is_none(), "the identifier was checked before");
        *place = Some(queue);
    }

    /// Puts a queue where there is none yet.
    pub(crate) fn insert_completion(&mut self, id: u16, queue: CompletionQueue) {
        let place = &mut self.completion[usize::from(id)];
        assert!(place.is_none(), "the identifier was checked before");
        if let Some(vector) = queue.vector() {
            let vectors = self.of_vector.len().max(usize::from(vector) + 1);
            self.of_vector.resize(vectors, Vec::new());
            self.of_vector[usize::from(vector)].push(id);
        }
        *place = Some(queue);
    }

    /// Takes a queue away; every command that was taken from it must have been completed.
    pub(crate) fn remove_submission(&mut self, id: u16) {
        self.submission[usize::from(id)] = None;
    }

    /// Takes a queue away; no submission queue may use it any more.
    pub(crate) fn remove_completion(&mut self, id: u16) {
        assert!(self.submissions().all(|(_, queue)| queue.completion_queue() != id));
        self.of_vector.iter_mut().for_each(|ids| ids.retain(|of_vector| *of_vector != id));
        self.completion[usize::from(id)] = None;
    }

    /// A completion slot first, then the command: so a full completion queue is not a case for anybody behind.
    #[inline]
    pub(crate) fn take<M: GuestMemory>(&mut self, id: u16, memory: &M) -> Take<'_> {
        let Some(queue) = self.submission.get_mut(usize::from(id)).and_then(Option::as_mut) else {
            return Take::Empty;
        };
        if queue.is_empty() {
            return Take::Empty;
        }
        let cqid = queue.completion_queue();
        let Some(completion) = self.completion.get_mut(usize::from(cqid)).and_then(Option::as_mut) else {
            return Take::Empty;
        };
        if !completion.reserve() {
            return Take::Blocked(Blocked::NoSlot);
        }
        match queue.fetch(memory) {
            Ok(command) => {
                self.owed += 1;
                self.taken += 1;
                Take::Command(Permit::new(id, cqid, command.cid.get(), self.taken), command)
            }
            Err(_) => {
                completion.release();
                Take::Blocked(Blocked::MemoryGone)
            }
        }
    }

    /// A submission queue with its completion queue, to take many commands from.
    #[inline]
    pub(crate) fn pair(&mut self, id: u16) -> Option<Pair<'_>> {
        let submission = self.submission.get_mut(usize::from(id))?.as_mut()?;
        let completion = self.completion.get_mut(usize::from(submission.completion_queue()))?.as_mut()?;
        Some(Pair { id, submission, completion, owed: &mut self.owed, taken: &mut self.taken })
    }

    /// The second command of a fused pair, right behind the first that was just taken; `None` if what is there is none, which then
    /// stays. A pair needs two slots at a time: two queues that held one each would wait for each other.
    ///
    /// # Errors
    /// Why neither can be taken now.
    pub(crate) fn take_second<M: GuestMemory>(
        &mut self,
        first: &Permit,
        memory: &M,
    ) -> Result<Option<(Permit, Command)>, Blocked> {
        let queue = self.submission[usize::from(first.sqid())].as_mut().expect("the first was just taken from it");
        let cqid = queue.completion_queue();
        let completion = self.completion[usize::from(cqid)].as_mut().expect("it holds the first's slot");
        if queue.is_empty() || !completion.holds_two() {
            return Ok(None);
        }
        let command = *queue.peek(memory).map_err(|_| Blocked::MemoryGone)?;
        if command.fuse() != fuse::SECOND {
            return Ok(None);
        }
        if !completion.reserve() {
            return Err(Blocked::NoSlot);
        }
        queue.advance();
        self.owed += 1;
        self.taken += 1;
        Ok(Some((Permit::new(first.sqid(), cqid, command.cid.get(), self.taken), command)))
    }

    /// Puts the command that was just taken back into its queue.
    pub(crate) fn put_back(&mut self, permit: Permit) {
        let queue = self.submission_mut(permit.sqid()).expect("the command was just taken from it");
        queue.step_back();
        self.taken -= 1;
        self.abandon(permit);
    }

    /// A slot of the admin completion queue for a command that gave its own back while it waited.
    pub(crate) fn renew(&mut self, cid: u16) -> Option<Permit> {
        let reserved = self.completion_mut(0)?.reserve();
        reserved.then(|| {
            self.owed += 1;
            Permit::new(0, 0, cid, 0)
        })
    }

    /// Answers a command: the entry is written at the next [`CompletionQueue::publish`] of the queue whose identifier is returned.
    #[inline]
    pub(crate) fn complete(&mut self, permit: Permit, status: Status, dw0: u32) -> u16 {
        let sq_head = self.submission(permit.sqid()).map_or(0, SubmissionQueue::head);
        let (entry, ordinal) = (answer(&permit, sq_head, status, dw0), permit.ordinal());
        let cqid = self.settle(permit);
        self.completion_mut(cqid)
            .expect("a queue with slots held cannot be deleted")
            .push(zerocopy::transmute!(entry), ordinal);
        cqid
    }

    /// The entry that answers a command.
    pub(crate) fn entry(&self, permit: &Permit, status: Status, dw0: u32) -> Completion {
        let sq_head = self.submission(permit.sqid()).map_or(0, SubmissionQueue::head);
        answer(permit, sq_head, status, dw0)
    }

    /// Answers a command by an entry that somebody put together. Where its phase bit is set, it is written with the wrong phase.
    pub(crate) fn complete_as(&mut self, permit: Permit, entry: Completion) -> u16 {
        let ordinal = permit.ordinal();
        let cqid = self.settle(permit);
        let queue = self.completion_mut(cqid).expect("a queue with slots held cannot be deleted");
        queue.push(zerocopy::transmute!(entry), ordinal);
        cqid
    }

    /// Puts an entry that answers nothing into a completion queue; `false` if it has no slot free.
    pub(crate) fn complete_nothing(&mut self, cqid: u16, entry: Completion) -> bool {
        let Some(queue) = self.completion_mut(cqid) else { return false };
        let reserved = queue.reserve();
        if reserved {
            queue.push(zerocopy::transmute!(entry), 0);
        }
        reserved
    }

    /// Gives a slot back unused: the command waits without it.
    pub(crate) fn abandon(&mut self, permit: Permit) {
        let cqid = self.settle(permit);
        self.completion_mut(cqid).expect("a queue with slots held cannot be deleted").release();
    }

    /// How many commands were taken since power-on.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the answer to the command with this ordinal waits to be written.
    pub(crate) fn awaits_writing(&self, ordinal: u64) -> bool {
        self.completion.iter().flatten().any(|queue| queue.awaits_writing(ordinal))
    }

    /// How many permits are out.
    pub(crate) fn owed(&self) -> usize {
        self.owed
    }

    #[inline]
    fn settle(&mut self, permit: Permit) -> u16 {
        assert!(self.owed > 0, "a permit is settled once");
        self.owed -= 1;
        permit.settle()
    }
}

/// A submission queue with its completion queue: what taking a command and answering it needs of all queues.
pub(crate) struct Pair<'a> {
    id: u16,
    submission: &'a mut SubmissionQueue,
    completion: &'a mut CompletionQueue,
    owed: &'a mut usize,
    taken: &'a mut u64,
}

impl Pair<'_> {
    /// The identifier of the completion queue.
    pub(crate) fn completion_queue(&self) -> u16 {
        self.submission.completion_queue()
    }

    /// Whether there is nothing more to take.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.submission.is_empty()
    }

    /// The next commands, `most` at most, which stay where they are: those that are read together, and no more than there are slots
    /// for their completions; and the ordinal that the first of them will have. None where there are none or they cannot be read.
    #[inline]
    pub(crate) fn look<M: GuestMemory>(&mut self, memory: &M, most: usize) -> (&[Command], u64) {
        let first = *self.taken + 1;
        (self.submission.look(memory, most.min(self.completion.free())), first)
    }

    /// Takes the first `count` of the commands that [`Self::look`] showed and answers them with success.
    #[inline]
    pub(crate) fn succeed(&mut self, count: usize) {
        let first = *self.taken + 1;
        let (id, waiting) = (self.id, self.completion.hold(count, first));
        waiting.extend(self.submission.take(count).map(|(cid, head)| success(id, cid, head)));
        *self.taken += count as u64;
    }

    /// Takes the first of the commands that [`Self::look`] showed.
    #[cold]
    pub(crate) fn take(&mut self) -> (Permit, Command) {
        assert!(self.completion.reserve(), "it was shown because there is a slot");
        self.submission.advance();
        *self.taken += 1;
        *self.owed += 1;
        let command = *self.submission.latest();
        (Permit::new(self.id, self.completion_queue(), command.cid.get(), *self.taken), command)
    }
}

/// What [`answer`] makes for success, put together in one piece.
#[inline]
fn success(sqid: u16, cid: u16, sq_head: u16) -> [u64; 2] {
    [0, (u64::from(cid) << 32 | u64::from(sqid) << 16 | u64::from(sq_head)).to_le()]
}

#[inline]
fn answer(permit: &Permit, sq_head: u16, status: Status, dw0: u32) -> Completion {
    Completion {
        dw0: dw0.into(),
        dw1: 0.into(),
        sq_head: sq_head.into(),
        sqid: permit.sqid().into(),
        cid: permit.cid().into(),
        status_and_phase: (status.0 << 1).into(),
    }
}

#[cfg(test)]
mod tests {
    use nvme_spec::COMMAND_BYTES;
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::dma::FlatMemory;

    /// A pair of four entries each, in which three commands with the identifiers 7, 8 and 9 wait.
    fn queues() -> (Queues, FlatMemory) {
        let memory = FlatMemory::new(vec![0; 4096]);
        for (n, cid) in (0..).zip([7_u16, 8, 9]) {
            let command = Command { cid: cid.into(), ..Command::default() };
            memory.bytes()[n * COMMAND_BYTES..][..COMMAND_BYTES].copy_from_slice(command.as_bytes());
        }
        let mut queues = Queues::new(1);
        queues.insert_submission(1, SubmissionQueue::new(0, 4, 1));
        queues.insert_completion(1, CompletionQueue::new(2048, 4, 0, true));
        queues.submission_mut(1).expect("it was made").ring(3).expect("inside");
        (queues, memory)
    }

    fn take(queues: &mut Queues, memory: &FlatMemory) -> (Permit, u16) {
        match queues.take(1, memory) {
            Take::Command(permit, command) => {
                let cid = command.cid.get();
                (permit, cid)
            }
            _ => panic!("a command waits"),
        }
    }

    fn free(queues: &Queues) -> usize {
        queues.completion(1).expect("it was made").free()
    }

    #[test]
    fn a_command_that_is_put_back_leaves_neither_a_slot_nor_a_number_behind() {
        let (mut queues, memory) = queues();
        for _ in 0..5 {
            let (permit, cid) = take(&mut queues, &memory);
            assert_eq!((cid, permit.ordinal(), queues.taken(), queues.owed(), free(&queues)), (7, 1, 1, 1, 2));
            queues.put_back(permit);
            assert_eq!((queues.taken(), queues.owed(), free(&queues)), (0, 0, 3));
        }
        let (permit, _) = take(&mut queues, &memory);
        queues.abandon(permit);
        assert_eq!((queues.taken(), queues.owed(), free(&queues)), (1, 0, 3), "it was taken, and waits without a slot");
    }

    #[test]
    fn commands_that_are_answered_together_have_the_numbers_that_they_were_shown_with() {
        let (mut queues, memory) = queues();
        let mut pair = queues.pair(1).expect("both are there");
        let (shown, first) = pair.look(&memory, 8);
        assert_eq!((shown.len(), first, pair.completion_queue()), (3, 1, 1));
        pair.succeed(2);
        let (shown, first) = pair.look(&memory, 8);
        assert_eq!((shown.len(), first), (1, 3));
        let (permit, command) = pair.take();
        assert!(pair.is_empty());
        assert_eq!((permit.ordinal(), permit.cid(), permit.sqid(), command.cid.get()), (3, 9, 1, 9));
        assert_eq!((queues.taken(), queues.owed(), free(&queues)), (3, 1, 0));
        let waits: Vec<bool> = (0..5).map(|ordinal| queues.awaits_writing(ordinal)).collect();
        assert_eq!(waits, [false, true, true, false, false]);
        assert_eq!(queues.complete(permit, Status::SUCCESS, 0), 1);
        assert!(queues.awaits_writing(3) && queues.owed() == 0);
    }
}
