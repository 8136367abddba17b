//! The rules: identifier, slug, severity, what a driver has to do, and where that stands. The identifiers are those that reports, JUnit
//! files and `--allow` use; they do not change from release to release.

use schemars::JsonSchema;
use serde::Serialize;

/// How bad it is to break a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Legal, and slower than it need be.
    Performance,
    /// The specification recommends otherwise, or the driver will not survive a fault that drives have.
    Should,
    /// The specification says shall.
    Must,
}

macro_rules! rules {
    ($($id:ident, $slug:literal, $severity:ident, $section:literal, $text:literal;)*) => {
        /// A rule for the driver of the host.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Rule {
            $(#[doc = $text] $id,)*
        }

        impl Rule {
            /// All rules that can be judged from what the device sees, ascending.
            pub const ALL: &[Self] = &[$(Self::$id,)*];

            /// The identifier: `H19`, `S3`.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$id => stringify!($id),)* }
            }

            /// A short name.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$id => $slug,)* }
            }

            /// How bad it is to break it. A violation may be milder.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$id => Severity::$severity,)* }
            }

            /// Where it stands: the specification and its section.
            #[must_use]
            pub const fn section(self) -> &'static str {
                match self { $(Self::$id => $section,)* }
            }

            /// What the driver has to do.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$id => $text,)* }
            }
        }
    };
}

rules! {
    H1, "reg-width", Must, "Base 2.1 3.1.4", "Access registers with 4 bytes, naturally aligned, or 8 bytes where the register has them";
    H2, "reg-readonly", Must, "Base 2.1 3.1.4", "Do not write read-only or reserved registers";
    H3, "admin-queue", Must, "Base 2.1 3.5.1", "Before CC.EN is set, give AQA, ASQ and ACQ queues that can be used";
    H4, "admin-regs-live", Must, "Base 2.1 3.1.4", "Do not write AQA, ASQ or ACQ while CC.EN is 1";
    H5, "cc-fields", Must, "Base 2.1 3.1.4.5", "Set CC.MPS, CSS, AMS, IOSQES and IOCQES to what CAP and Identify offer";
    H6, "cc-live", Must, "Base 2.1 3.1.4.5", "Do not change CC.MPS, CSS or AMS while CC.EN is 1";
    H7, "en-toggle", Must, "Base 2.1 3.1.4.5", "Set CC.EN only while CSTS.RDY is 0, and clear it only while CSTS.RDY is 1";
    H8, "wait-rdy", Must, "Base 2.1 3.5.1", "Wait for CSTS.RDY before the first command";
    H9, "ready-timeout", Should, "Base 2.1 3.1.4.1", "Wait for CSTS.RDY as long as CAP.TO and CRTO say";
    H10, "cfs", Should, "Base 2.1 3.1.4.6", "Reset a controller that sets CSTS.CFS, and submit no more commands";
    H11, "shutdown", Should, "Base 2.1 3.6.1", "Ask for a shutdown by CC.SHN and wait for it before power goes";
    H12, "io-after-shn", Must, "Base 2.1 3.6.1", "Submit no I/O after CC.SHN, and wait for CSTS.SHST before CC.EN is cleared";
    H13, "nssr", Must, "Base 2.1 3.1.4.7", "Write NSSR only with 4E564D65h";
    H14, "all-ones", Must, "PCIe Transport 1.1 3.1", "Stop writing once registers read as all ones: the device is gone";
    H15, "bus-master", Must, "PCIe Transport 1.1 3.2", "Keep bus master enabled while the controller is enabled";
    H16, "db-range", Must, "Base 2.1 3.3.1.2", "Write tails that lie inside the queue";
    H17, "db-queue", Must, "Base 2.1 3.3.1.2", "Ring doorbells of queues that exist";
    H18, "db-disabled", Must, "Base 2.1 3.3.1.2", "Ring no doorbell while the controller is disabled";
    H19, "sq-overrun", Must, "Base 2.1 3.3.1.2", "Do not overwrite entries whose slots no completion has given back";
    H20, "cq-head", Must, "Base 2.1 3.3.1.2", "Move a completion queue's head forward, and not past what was posted";
    H21, "db-same", Performance, "Base 2.1 3.3.1.2", "Do not ring a doorbell with the value that it has";
    H22, "cq-stuck", Should, "Base 2.1 3.3.1.2", "Give completion entries back before the queue is full";
    H23, "db-read", Performance, "PCIe Transport 1.1 3.1.2", "Do not read doorbells";
    H24, "db-width", Should, "PCIe Transport 1.1 3.1.2", "Write 0 to bits 31:16 of a doorbell";
    H25, "dbbuf", Must, "Base 2.1 5.2.5", "With shadow doorbells, store the value before the register is rung";
    H26, "cq-first", Must, "Base 2.1 5.2.1", "Create a completion queue before, and delete it after, its submission queues";
    H27, "qid", Must, "Base 2.1 5.2.1", "Use queue identifiers that were granted and are free";
    H28, "qsize", Must, "Base 2.1 5.2.1", "Create queues of 2 to CAP.MQES + 1 entries";
    H29, "num-queues", Should, "Base 2.1 5.1.25.1.5", "Set Number of Queues before the first I/O queue is created";
    H30, "cid", Must, "Base 2.1 4.1", "Use a command identifier once among the outstanding commands of a queue";
    H31, "cid-ffff", Should, "Base 2.1 4.1", "Do not use command identifier FFFFh";
    H34, "cq-phase", Must, "Base 2.1 4.2.4", "Clear a completion queue's memory before it is created";
    H35, "queue-memory", Must, "Base 2.1 5.2.1", "Give queues memory that is aligned, contiguous and nobody else's";
    H36, "vector", Must, "Base 2.1 5.2.1", "Name an interrupt vector that the table has";
    H37, "opcode", Should, "Base 2.1 5", "Send only commands that the controller offers; one try each does no harm";
    H38, "reserved", Should, "Base 2.1 4.1", "Leave reserved dwords and bits 0";
    H39, "nsid", Must, "Base 2.1 3.2.1", "Name active namespaces, and 0 where the NSID is not used";
    H40, "fused", Must, "Base 2.1 3.4.2", "Put both halves of a fused pair into adjacent slots, over the same blocks";
    H41, "psdt", Must, "Base 2.1 4.1.1", "Use PRPs for admin commands, and SGLs as SGLS allows";
    H42, "mdts", Must, "Base 2.1 5.1.13", "Keep transfers within MDTS, and Verify and Copy within their limits";
    H43, "lba-range", Must, "NVM 1.1 3.3", "Keep SLBA + NLB within NSZE";
    H44, "prp-align", Must, "Base 2.1 4.3.1", "Align PRP1 to a dword, PRP2 to a page, and a list pointer to a quadword";
    H45, "prp-list", Must, "Base 2.1 4.3.1", "Align the entries of a PRP list to pages, and chain lists by their last entry";
    H46, "sgl", Must, "Base 2.1 4.3.2", "Describe all of the data by descriptors that SGLS offers";
    H47, "mptr", Must, "Base 2.1 4.1.1", "Align MPTR to a dword";
    H49, "pi", Must, "NVM 1.1 5.3", "Ask for protection information only of formats that have it";
    H50, "buf-mapped", Must, "Base 2.1 4.3", "Keep queues, lists and data mapped from doorbell to completion";
    H51, "buf-readonly", Must, "Base 2.1 4.3", "Read into memory that the device may write";
    H52, "buf-overlap", Should, "Base 2.1 4.3", "Give commands that are under way together buffers of their own";
    H53, "buf-in-queue", Must, "Base 2.1 4.3", "Keep data out of queues";
    H55, "sqe-changed", Must, "Base 2.1 4.1", "Leave an entry alone until a completion gives its slot back";
    H57, "intm-msix", Must, "Base 2.1 3.1.4.3", "Do not write INTMS or INTMC while MSI-X is enabled";
    H58, "irq-deaf", Should, "Base 2.1 3.3.1.2", "Take completions that an interrupt told of within two seconds";
    H59, "irq-storm", Should, "PCIe Transport 1.1 3.5.1", "Take completions, or mask, while the interrupt pin is asserted";
    H62, "aer-none", Should, "Base 2.1 5.1.2", "Keep an Asynchronous Event Request outstanding";
    H63, "aer-too-many", Must, "Base 2.1 5.1.2", "Have no more than AERL + 1 Asynchronous Event Requests outstanding";
    H64, "aer-unread", Should, "Base 2.1 5.1.2", "Read the log page of an event, so that others of its type are told";
    H65, "aer-loop", Should, "Base 2.1 5.1.2", "Do not send an Asynchronous Event Request again that failed with DNR";
    H67, "dnr", Should, "Base 2.1 4.2.3", "Do not repeat a command that failed with DNR";
    H68, "retry-limit", Should, "Base 2.1 4.2.3", "Give a command up that fails again and again";
    H70, "acl", Should, "Base 2.1 5.1.1", "Have no more than ACL + 1 Aborts outstanding";
    H71, "timeout-action", Should, "Base 2.1 5.1.1", "Abort a command or reset the controller before its identifier or slot is used again";
    H72, "after-reset", Must, "Base 2.1 3.7.2", "Set features again after a reset";
    H73, "after-removal", Should, "PCIe Transport 1.1 3.1", "Ring no doorbell of a device that is gone";
    H74, "media-loop", Should, "NVM 1.1 3.3.4", "Do not read an unreadable block over and over";
    H75, "feature-late", Must, "Base 2.1 5.1.25", "Set Number of Queues before queues exist, and save only features that can be saved";
    H76, "ns-stale", Must, "Base 2.1 5.1.2", "Stop I/O beyond the end of a namespace that shrank";
    H77, "ns-rescan", Should, "Base 2.1 5.1.2", "Read the list of namespaces after a notice that it changed";
    H79, "flush-never", Should, "NVM 1.1 3.3.2", "Flush the volatile write cache before power goes";
    H80, "flush-order", Should, "NVM 1.1 3.3.2", "Flush after writes have completed: a Flush covers no others";
    S1, "doorbells-per-command", Performance, "Base 2.1 3.3.1.2", "Ring once for several commands";
    S2, "queue-depth", Performance, "Base 2.1 3.3", "Have more than two commands outstanding";
    S4, "alignment", Performance, "NVM 1.1 4.1.5.1", "Begin and end writes at multiples of NPWG + 1";
    S6, "interrupts-per-completion", Performance, "Base 2.1 5.1.25.1.6", "Take several completions for one interrupt";
    S7, "transfer-size", Performance, "Base 2.1 5.1.13", "Make sequential transfers as long as MDTS allows";
    S8, "register-reads", Performance, "Base 2.1 3.1.4", "Do not poll registers while I/O goes on";
    S9, "identify-storm", Performance, "Base 2.1 5.1.13", "Read the list of active namespaces instead of trying each identifier";
    S10, "flush-per-write", Performance, "NVM 1.1 3.3.2", "Flush once for several writes";
    S11, "single-ranges", Performance, "NVM 1.1 3.3.3", "Deallocate several ranges by one command";
}

impl Rule {
    /// The rule with this identifier or slug.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.id().eq_ignore_ascii_case(name) || rule.slug() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn identifiers_and_slugs_name_one_rule_each() {
        for rule in Rule::ALL {
            assert_eq!(Rule::named(rule.id()), Some(*rule));
            assert_eq!(Rule::named(rule.slug()), Some(*rule));
        }
        assert_eq!(Rule::named("h19"), Some(Rule::H19));
        assert_eq!(Rule::named("H999"), None);
    }
}
