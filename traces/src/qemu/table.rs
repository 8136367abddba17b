//! QEMU's trace events that this device has as well: names, arguments and formats, as QEMU's list has them (`trace-events-all`, QEMU 11.1).
//! One table: lines of text, binary records and the list that the user sees are made of it, and a test compares it with QEMU's own.
//!
//! A format is printf's, without the widths that C needs.

use std::fmt::{self, Write as _};

use controller::watch::Detail;

use crate::view::Argument;

/// What all names begin with.
pub const PREFIX: &str = "pci_nvme_";
/// The most arguments that an event has.
pub const ARGUMENTS_MAX: usize = 6;

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `uint8_t`.
    U8,
    /// `uint16_t`.
    U16,
    /// `uint32_t`.
    U32,
    /// `uint64_t`.
    U64,
    /// `int`.
    Int,
    /// `unsigned`.
    Unsigned,
    /// `size_t`.
    Size,
    /// `const char *`.
    Text,
}

impl Type {
    /// Its name in C.
    #[must_use]
    pub const fn in_c(self) -> &'static str {
        match self {
            Self::U8 => "uint8_t",
            Self::U16 => "uint16_t",
            Self::U32 => "uint32_t",
            Self::U64 => "uint64_t",
            Self::Int => "int",
            Self::Unsigned => "unsigned",
            Self::Size => "size_t",
            Self::Text => "const char *",
        }
    }

    /// Whether an argument has this type.
    fn holds(self, argument: Argument<'_>) -> bool {
        match (self, argument) {
            (Self::Text, Argument::Text(_)) => true,
            (Self::U8, Argument::Number(number)) => number <= u8::MAX.into(),
            (Self::U16, Argument::Number(number)) => number <= u16::MAX.into(),
            (Self::U32 | Self::Int | Self::Unsigned, Argument::Number(number)) => number <= u32::MAX.into(),
            (Self::U64 | Self::Size, Argument::Number(_)) => true,
            _ => false,
        }
    }
}

/// An event as QEMU's list has it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name, with [`PREFIX`].
    pub name: &'static str,
    /// Its arguments in their order.
    pub arguments: &'static [(Type, &'static str)],
    /// How they are written.
    pub format: &'static str,
}

macro_rules! events {
    ($($event:ident = $name:literal ($($type:ident $argument:ident),*) $format:literal;)*) => {
        /// An event by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Name {
            $(#[doc = $name] $event,)*
        }

        impl Name {
            /// All of them, in QEMU's order.
            pub const ALL: &[Self] = &[$(Self::$event,)*];
        }

        /// All of them, in QEMU's order; [`Name::index`] is the place.
        pub const EVENTS: &[Description] = &[$(Description {
            name: concat!("pci_nvme_", $name),
            arguments: &[$((Type::$type, stringify!($argument)),)*],
            format: $format,
        },)*];
    };
}

impl Name {
    /// Its place among all.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What QEMU's list says of it.
    #[must_use]
    pub const fn description(self) -> &'static Description {
        &EVENTS[self.index()]
    }
}

impl Name {
    /// How much has to be heard of the controller, so that none of these is missed.
    #[must_use]
    pub fn needs(self) -> Detail {
        match self {
            Self::MapAddr => Detail::Memory,
            _ if RARE.contains(&self) => Detail::Rare,
            _ => Detail::Commands,
        }
    }
}

/// What admin commands, resets, writes to registers and whatever failed tell: [`Detail::Rare`] has it.
const RARE: &[Name] = &[
    Name::AdminCmd,
    Name::CreateSq,
    Name::CreateCq,
    Name::DelSq,
    Name::DelCq,
    Name::DbbufConfig,
    Name::Identify,
    Name::IdentifyCtrl,
    Name::IdentifyCtrlCsi,
    Name::IdentifyNs,
    Name::IdentifyNsInd,
    Name::IdentifyCtrlList,
    Name::IdentifyNsCsi,
    Name::IdentifyNslist,
    Name::IdentifyNslistCsi,
    Name::IdentifyCmdSet,
    Name::IdentifyNsDescrList,
    Name::GetLog,
    Name::Getfeat,
    Name::Setfeat,
    Name::GetfeatVwcache,
    Name::GetfeatNumq,
    Name::SetfeatNumq,
    Name::Aer,
    Name::AerAerlExceeded,
    Name::AerPostCqe,
    Name::EnqueueEvent,
    Name::MmioIntmSet,
    Name::MmioIntmClr,
    Name::MmioCfg,
    Name::MmioAqattr,
    Name::MmioAsqaddr,
    Name::MmioAcqaddr,
    Name::MmioAsqaddrHi,
    Name::MmioAcqaddrHi,
    Name::MmioStartSuccess,
    Name::MmioStopped,
    Name::MmioShutdownSet,
    Name::MmioShutdownCleared,
    Name::PciReset,
    Name::ErrReqStatus,
    Name::ErrCfs,
    Name::ErrInvalidAdminOpc,
    Name::ErrInvalidDelSq,
    Name::ErrInvalidCreateSqCqid,
    Name::ErrInvalidCreateSqSqid,
    Name::ErrInvalidCreateSqSize,
    Name::ErrInvalidCreateSqAddr,
    Name::ErrInvalidCreateSqQflags,
    Name::ErrInvalidDelCqCqid,
    Name::ErrInvalidDelCqNotempty,
    Name::ErrInvalidCreateCqCqid,
    Name::ErrInvalidCreateCqSize,
    Name::ErrInvalidCreateCqAddr,
    Name::ErrInvalidCreateCqVector,
    Name::ErrInvalidCreateCqQflags,
    Name::ErrInvalidCreateCqEntrySize,
    Name::ErrInvalidIdentifyCns,
    Name::ErrInvalidGetfeat,
    Name::ErrInvalidSetfeat,
    Name::ErrInvalidLogPage,
    Name::ErrStartfailAsqMisaligned,
    Name::ErrStartfailAcqMisaligned,
    Name::ErrStartfailPageTooLarge,
    Name::ErrStartfailCss,
    Name::ErrStartfailAsqentSzZero,
    Name::ErrStartfailAcqentSzZero,
    Name::ErrStartfail,
    Name::UbMmiowrMisaligned32,
    Name::UbMmiowrToosmall,
    Name::UbMmiowrIntmaskWithMsix,
    Name::UbMmiowrRoCsts,
    Name::UbMmiowrInvalid,
    Name::UbDbWrMisaligned,
    Name::UbDbWrInvalidCq,
    Name::UbDbWrInvalidCqhead,
    Name::UbDbWrInvalidSq,
    Name::UbDbWrInvalidSqtail,
];

/// An event that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Which.
    pub name: Name,
    arguments: [Argument<'static>; ARGUMENTS_MAX],
}

impl Emitted {
    /// An event with its arguments, in their order.
    ///
    /// # Panics
    /// If they are not those of the table.
    #[must_use]
    pub fn new<const N: usize>(name: Name, given: [Argument<'static>; N]) -> Self {
        let described = name.description().arguments;
        assert_eq!(described.len(), N, "arguments of {name:?}");
        let mut arguments = [Argument::Number(0); ARGUMENTS_MAX];
        for ((place, argument), (kind, what)) in arguments.iter_mut().zip(given).zip(described) {
            assert!(kind.holds(argument), "{name:?}: {what} is {argument:?}");
            *place = argument;
        }
        Self { name, arguments }
    }

    /// Its arguments, in their order.
    #[must_use]
    pub fn arguments(&self) -> &[Argument<'static>] {
        &self.arguments[..self.name.description().arguments.len()]
    }
}

/// The line that QEMU's log has of it: its name, a blank, and the arguments in its format.
impl fmt::Display for Emitted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Description { name, format, .. } = self.name.description();
        write!(formatter, "{name} ")?;
        let mut arguments = self.arguments().iter();
        let mut pieces = format.split('%');
        formatter.write_str(pieces.next().unwrap_or_default())?;
        for piece in pieces {
            let (kind, text) = piece.split_at_checked(1).unwrap_or(("%", ""));
            match (kind, arguments.next()) {
                ("u", Some(Argument::Number(number))) => write!(formatter, "{number}")?,
                ("x", Some(Argument::Number(number))) => write!(formatter, "{number:x}")?,
                ("d", Some(Argument::Number(number))) => {
                    let [a, b, c, d, ..] = number.to_le_bytes();
                    write!(formatter, "{}", i32::from_le_bytes([a, b, c, d]))?;
                }
                ("s", Some(Argument::Text(text))) => formatter.write_str(text)?,
                _ => formatter.write_char('?')?,
            }
            formatter.write_str(text)?;
        }
        Ok(())
    }
}

events! {
    IrqMsix = "irq_msix" (U32 vector) "raising MSI-X IRQ vector %u";
    DbbufConfig = "dbbuf_config" (U64 dbs_addr, U64 eis_addr) "dbs_addr=0x%x eis_addr=0x%x";
    MapAddr = "map_addr" (U64 addr, U64 len) "addr 0x%x len %u";
    MapPrp = "map_prp" (U64 trans_len, U32 len, U64 prp1, U64 prp2, Int num_prps)
        "trans_len %u len %u prp1 0x%x prp2 0x%x num_prps %d";
    MapSgl = "map_sgl" (U8 typ, U64 len) "type 0x%x len %u";
    IoCmd = "io_cmd" (U16 cid, U32 nsid, U16 sqid, U8 opcode, Text opname) "cid %u nsid 0x%x sqid %u opc 0x%x opname '%s'";
    AdminCmd = "admin_cmd" (U16 cid, U16 sqid, U8 opcode, Text opname) "cid %u sqid %u opc 0x%x opname '%s'";
    FlushNs = "flush_ns" (U32 nsid) "nsid 0x%x";
    Read = "read" (U16 cid, U32 nsid, U32 nlb, U64 count, U64 lba) "cid %u nsid %u nlb %u count %u lba 0x%x";
    Write = "write" (U16 cid, Text verb, U32 nsid, U32 nlb, U64 count, U64 lba)
        "cid %u opname '%s' nsid %u nlb %u count %u lba 0x%x";
    Copy = "copy" (U16 cid, U32 nsid, U16 nr, U8 format) "cid %u nsid %u nr %u format 0x%x";
    CopySourceRange = "copy_source_range" (U64 slba, U32 nlb) "slba 0x%x nlb %u";
    Verify = "verify" (U16 cid, U32 nsid, U64 slba, U32 nlb) "cid %u nsid %u slba 0x%x nlb %u";
    Dsm = "dsm" (U32 nr, U32 attr) "nr %u attr 0x%x";
    DsmDeallocate = "dsm_deallocate" (U64 slba, U32 nlb) "slba %u nlb %u";
    Compare = "compare" (U16 cid, U32 nsid, U64 slba, U32 nlb) "cid %u nsid %u slba 0x%x nlb %u";
    CreateSq = "create_sq" (U64 addr, U16 sqid, U16 cqid, U16 qsize, U16 qflags)
        "create submission queue, addr=0x%x, sqid=%u, cqid=%u, qsize=%u, qflags=%u";
    CreateCq = "create_cq" (U64 addr, U16 cqid, U16 vector, U16 size, U16 qflags, Int ien)
        "create completion queue, addr=0x%x, cqid=%u, vector=%u, qsize=%u, qflags=%u, ien=%d";
    DelSq = "del_sq" (U16 qid) "deleting submission queue sqid=%u";
    DelCq = "del_cq" (U16 cqid) "deleted completion queue, cqid=%u";
    Identify = "identify" (U16 cid, U8 cns, U16 ctrlid, U8 csi) "cid %u cns 0x%x ctrlid %u csi 0x%x";
    IdentifyCtrl = "identify_ctrl" () "identify controller";
    IdentifyCtrlCsi = "identify_ctrl_csi" (U8 csi) "identify controller, csi=0x%x";
    IdentifyNs = "identify_ns" (U32 ns) "nsid %u";
    IdentifyNsInd = "identify_ns_ind" (U32 nsid) "nsid %u";
    IdentifyCtrlList = "identify_ctrl_list" (U8 cns, U16 cntid) "cns 0x%x cntid %u";
    IdentifyNsCsi = "identify_ns_csi" (U32 ns, U8 csi) "nsid=%u, csi=0x%x";
    IdentifyNslist = "identify_nslist" (U32 ns) "nsid %u";
    IdentifyNslistCsi = "identify_nslist_csi" (U16 ns, U8 csi) "nsid=%u, csi=0x%x";
    IdentifyCmdSet = "identify_cmd_set" () "identify i/o command set";
    IdentifyNsDescrList = "identify_ns_descr_list" (U32 ns) "nsid %u";
    GetLog = "get_log" (U16 cid, U8 lid, U8 lsp, U8 rae, U32 len, U64 off) "cid %u lid 0x%x lsp 0x%x rae 0x%x len %u off %u";
    Getfeat = "getfeat" (U16 cid, U32 nsid, U8 fid, U8 sel, U32 cdw11) "cid %u nsid 0x%x fid 0x%x sel 0x%x cdw11 0x%x";
    Setfeat = "setfeat" (U16 cid, U32 nsid, U8 fid, U8 save, U32 cdw11) "cid %u nsid 0x%x fid 0x%x save 0x%x cdw11 0x%x";
    GetfeatVwcache = "getfeat_vwcache" (Text result) "get feature volatile write cache, result=%s";
    GetfeatNumq = "getfeat_numq" (Int result) "get feature number of queues, result=%d";
    SetfeatNumq = "setfeat_numq" (Int reqcq, Int reqsq, Int gotcq, Int gotsq)
        "requested cq_count=%d sq_count=%d, responding with cq_count=%d sq_count=%d";
    Aer = "aer" (U16 cid) "cid %u";
    AerAerlExceeded = "aer_aerl_exceeded" () "aerl exceeded";
    AerPostCqe = "aer_post_cqe" (U8 typ, U8 info, U8 log_page) "type 0x%x info 0x%x lid 0x%x";
    EnqueueEvent = "enqueue_event" (U8 typ, U8 info, U8 log_page) "type 0x%x info 0x%x lid 0x%x";
    EnqueueReqCompletion = "enqueue_req_completion" (U16 cid, U16 cqid, U32 dw0, U32 dw1, U16 status)
        "cid %u cqid %u dw0 0x%x dw1 0x%x status 0x%x";
    MmioRead = "mmio_read" (U64 addr, Unsigned size) "addr 0x%x size %d";
    MmioWrite = "mmio_write" (U64 addr, U64 data, Unsigned size) "addr 0x%x data 0x%x size %d";
    MmioDoorbellCq = "mmio_doorbell_cq" (U16 cqid, U16 new_head) "cqid %u new_head %u";
    MmioDoorbellSq = "mmio_doorbell_sq" (U16 sqid, U16 new_tail) "sqid %u new_tail %u";
    MmioIntmSet = "mmio_intm_set" (U64 data, U64 new_mask) "wrote MMIO, interrupt mask set, data=0x%x, new_mask=0x%x";
    MmioIntmClr = "mmio_intm_clr" (U64 data, U64 new_mask) "wrote MMIO, interrupt mask clr, data=0x%x, new_mask=0x%x";
    MmioCfg = "mmio_cfg" (U64 data) "wrote MMIO, config controller config=0x%x";
    MmioAqattr = "mmio_aqattr" (U64 data) "wrote MMIO, admin queue attributes=0x%x";
    MmioAsqaddr = "mmio_asqaddr" (U64 data) "wrote MMIO, admin submission queue address=0x%x";
    MmioAcqaddr = "mmio_acqaddr" (U64 data) "wrote MMIO, admin completion queue address=0x%x";
    MmioAsqaddrHi = "mmio_asqaddr_hi" (U64 data, U64 new_addr)
        "wrote MMIO, admin submission queue high half=0x%x, new_address=0x%x";
    MmioAcqaddrHi = "mmio_acqaddr_hi" (U64 data, U64 new_addr)
        "wrote MMIO, admin completion queue high half=0x%x, new_address=0x%x";
    MmioStartSuccess = "mmio_start_success" () "setting controller enable bit succeeded";
    MmioStopped = "mmio_stopped" () "cleared controller enable bit";
    MmioShutdownSet = "mmio_shutdown_set" () "shutdown bit set";
    MmioShutdownCleared = "mmio_shutdown_cleared" () "shutdown bit cleared";
    UpdateCqHead = "update_cq_head" (U16 cqid, U16 new_head) "cqid %u new_head %u";
    UpdateSqTail = "update_sq_tail" (U16 sqid, U16 new_tail) "sqid %u new_tail %u";
    PciReset = "pci_reset" () "PCI Function Level Reset";
    ErrMdts = "err_mdts" (Size len) "len %u";
    ErrReqStatus = "err_req_status" (U16 cid, U32 nsid, U16 status, U8 opc) "cid %u nsid %u status 0x%x opc 0x%x";
    ErrCfs = "err_cfs" () "controller fatal status";
    ErrCopyInvalidFormat = "err_copy_invalid_format" (U8 format) "format 0x%x";
    ErrInvalidDma = "err_invalid_dma" () "PRP/SGL is too small for transfer size";
    ErrInvalidPrp2Align = "err_invalid_prp2_align" (U64 prp2) "PRP2 is not page aligned: 0x%x";
    ErrInvalidOpc = "err_invalid_opc" (U8 opc) "invalid opcode 0x%x";
    ErrInvalidAdminOpc = "err_invalid_admin_opc" (U8 opc) "invalid admin opcode 0x%x";
    ErrInvalidLbaRange = "err_invalid_lba_range" (U64 start, U64 len, U64 limit) "Invalid LBA start=%u len=%u limit=%u";
    ErrInvalidDelSq = "err_invalid_del_sq" (U16 qid) "invalid submission queue deletion, sid=%u";
    ErrInvalidCreateSqCqid = "err_invalid_create_sq_cqid" (U16 cqid) "failed creating submission queue, invalid cqid=%u";
    ErrInvalidCreateSqSqid = "err_invalid_create_sq_sqid" (U16 sqid) "failed creating submission queue, invalid sqid=%u";
    ErrInvalidCreateSqSize = "err_invalid_create_sq_size" (U16 qsize) "failed creating submission queue, invalid qsize=%u";
    ErrInvalidCreateSqAddr = "err_invalid_create_sq_addr" (U64 addr) "failed creating submission queue, addr=0x%x";
    ErrInvalidCreateSqQflags = "err_invalid_create_sq_qflags" (U16 qflags) "failed creating submission queue, qflags=%u";
    ErrInvalidDelCqCqid = "err_invalid_del_cq_cqid" (U16 cqid) "failed deleting completion queue, cqid=%u";
    ErrInvalidDelCqNotempty = "err_invalid_del_cq_notempty" (U16 cqid) "failed deleting completion queue, it is not empty, cqid=%u";
    ErrInvalidCreateCqCqid = "err_invalid_create_cq_cqid" (U16 cqid) "failed creating completion queue, cqid=%u";
    ErrInvalidCreateCqSize = "err_invalid_create_cq_size" (U16 size) "failed creating completion queue, size=%u";
    ErrInvalidCreateCqAddr = "err_invalid_create_cq_addr" (U64 addr) "failed creating completion queue, addr=0x%x";
    ErrInvalidCreateCqVector = "err_invalid_create_cq_vector" (U16 vector) "failed creating completion queue, vector=%u";
    ErrInvalidCreateCqQflags = "err_invalid_create_cq_qflags" (U16 qflags) "failed creating completion queue, qflags=%u";
    ErrInvalidCreateCqEntrySize = "err_invalid_create_cq_entry_size" (U8 iosqes, U8 iocqes) "iosqes %u iocqes %u";
    ErrInvalidIdentifyCns = "err_invalid_identify_cns" (U16 cns) "identify, invalid cns=0x%x";
    ErrInvalidGetfeat = "err_invalid_getfeat" (Int dw10) "invalid get features, dw10=0x%x";
    ErrInvalidSetfeat = "err_invalid_setfeat" (U32 dw10) "invalid set features, dw10=0x%x";
    ErrInvalidLogPage = "err_invalid_log_page" (U16 cid, U16 lid) "cid %u lid 0x%x";
    ErrStartfailAsqMisaligned = "err_startfail_asq_misaligned" (U64 addr)
        "nvme_start_ctrl failed because the admin submission queue address is misaligned: 0x%x";
    ErrStartfailAcqMisaligned = "err_startfail_acq_misaligned" (U64 addr)
        "nvme_start_ctrl failed because the admin completion queue address is misaligned: 0x%x";
    ErrStartfailPageTooLarge = "err_startfail_page_too_large" (U8 log2ps, U8 maxlog2ps)
        "nvme_start_ctrl failed because the page size is too large: log2size=%u, max=%u";
    ErrStartfailCss = "err_startfail_css" (U8 css) "nvme_start_ctrl failed because invalid command set selected:%u";
    ErrStartfailAsqentSzZero = "err_startfail_asqent_sz_zero" ()
        "nvme_start_ctrl failed because the admin submission queue size is zero";
    ErrStartfailAcqentSzZero = "err_startfail_acqent_sz_zero" ()
        "nvme_start_ctrl failed because the admin completion queue size is zero";
    ErrStartfail = "err_startfail" () "setting controller enable bit failed";
    UbMmiowrMisaligned32 = "ub_mmiowr_misaligned32" (U64 offset) "MMIO write not 32-bit aligned, offset=0x%x";
    UbMmiowrToosmall = "ub_mmiowr_toosmall" (U64 offset, Unsigned size) "MMIO write smaller than 32 bits, offset=0x%x, size=%u";
    UbMmiowrIntmaskWithMsix = "ub_mmiowr_intmask_with_msix" () "undefined access to interrupt mask set when MSI-X is enabled";
    UbMmiowrRoCsts = "ub_mmiowr_ro_csts" () "attempted to set a read only bit of controller status";
    UbMmiowrInvalid = "ub_mmiowr_invalid" (U64 offset, U64 data) "invalid MMIO write, offset=0x%x, data=0x%x";
    UbMmiordMisaligned32 = "ub_mmiord_misaligned32" (U64 offset) "MMIO read not 32-bit aligned, offset=0x%x";
    UbMmiordToosmall = "ub_mmiord_toosmall" (U64 offset) "MMIO read smaller than 32-bits, offset=0x%x";
    UbMmiordInvalidOfs = "ub_mmiord_invalid_ofs" (U64 offset) "MMIO read beyond last register, offset=0x%x, returning 0";
    UbDbWrMisaligned = "ub_db_wr_misaligned" (U64 offset) "doorbell write not 32-bit aligned, offset=0x%x, ignoring";
    UbDbWrInvalidCq = "ub_db_wr_invalid_cq" (U32 qid) "completion queue doorbell write for nonexistent queue, cqid=%u, ignoring";
    UbDbWrInvalidCqhead = "ub_db_wr_invalid_cqhead" (U32 qid, U16 new_head)
        "completion queue doorbell write value beyond queue size, cqid=%u, new_head=%u, ignoring";
    UbDbWrInvalidSq = "ub_db_wr_invalid_sq" (U32 qid) "submission queue doorbell write for nonexistent queue, sqid=%u, ignoring";
    UbDbWrInvalidSqtail = "ub_db_wr_invalid_sqtail" (U32 qid, U16 new_tail)
        "submission queue doorbell write value beyond queue size, sqid=%u, new_head=%u, ignoring";
}
