//! Deliberate mistakes, one at a time, to see whether the power-cut tests would find them, in the media or in code above it. They exist
//! only with the feature `mutations`, which no default build has: without it every check is `false` at compile time.

crate::named! {
    /// A mistake.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    Mutation:
    /// Recovery takes a part of a group for a group.
    GroupCommit = "group-commit",
    /// A group counts as committed with its first page.
    GroupHorizon = "group-horizon",
    /// Recovery forgets which groups were given up: the next one may find them whole.
    GivenUp = "given-up",
    /// Of two voids next to each other recovery passes over one.
    TwoVoids = "two-voids",
    /// A flush leaves deallocations out.
    FlushDeallocation = "flush-deallocation",
    /// A flush of one namespace makes what was done to others durable, and leaves out what was done to it.
    FlushOther = "flush-other",
    /// What stays volatile at a flush of one namespace may be staged behind what has overwritten it.
    PostponedOrder = "postponed-order",
    /// What it overwrote is erased as if it were durable.
    PostponedErase = "postponed-erase",
    /// A write that ends at a boundary is taken for one that crosses it.
    Boundary = "boundary",
    /// In multiple atomicity mode a long write does not fall into windows.
    Windows = "windows",
    /// Force Unit Access of a write is not looked at.
    ForcedWrite = "forced-write",
    /// Force Unit Access of a read is not looked at.
    ForcedRead = "forced-read",
    /// Switching the cache off does not empty it.
    CacheSwitch = "cache-switch",
    /// A shutdown is complete before anything is durable.
    Shutdown = "shutdown",
    /// A line is erased while a power loss would still bring back what lies in it.
    EraseInvalidated = "erase-invalidated",
    /// A line is erased before what was moved out of it is programmed.
    EraseMoved = "erase-moved",
    /// What was overwritten is forgotten before what overwrote it is committed.
    ForgetUncommitted = "forget-uncommitted",
    /// Collection leaves the metadata of a block behind.
    MovedMetadata = "moved-metadata",
    /// An unsafe shutdown is not counted.
    UnsafeShutdown = "unsafe-shutdown",
    /// The Write of a fused pair is carried out although its Compare failed.
    PairRegardless = "pair-regardless",
    /// The Write of a fused pair gives its blocks away while it follows its Compare.
    PairApart = "pair-apart",
    /// A Compare looks at the first block only.
    CompareFirst = "compare-first",
    /// A Compare does not look at metadata.
    CompareMetadata = "compare-metadata",
    /// A Verify reads nothing.
    VerifyNothing = "verify-nothing",
    /// In normal operation only the units of a power loss are kept.
    NormalUnits = "normal-units",
    /// Where Disable Normal is set no unit is kept in normal operation.
    DisabledUnits = "disabled-units",
    /// Commands of one controller do not wait for those of another over the same blocks.
    OrderAcross = "order-across",
    /// What a deleted namespace held stays in the map, for the next one in its place.
    DeletedData = "deleted-data",
    /// A Format is durable before the map without the old blocks is.
    FormatFirst = "format-first",
    /// A command about registrations that persist is answered before these are durable.
    PtplLost = "ptpl-lost",
}

#[cfg(feature = "mutations")]
std::thread_local! {
    static MADE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Makes a mistake from now on, in this thread; none with `None`.
#[cfg(feature = "mutations")]
pub fn make(mutation: Option<Mutation>) {
    MADE.set(mutation);
}

/// Whether the mistake is to be made.
#[cfg(feature = "mutations")]
#[must_use]
pub fn mutated(mutation: Mutation) -> bool {
    MADE.get() == Some(mutation)
}

/// Whether the mistake is to be made: never.
#[cfg(not(feature = "mutations"))]
#[inline]
#[must_use]
pub const fn mutated(_: Mutation) -> bool {
    false
}
