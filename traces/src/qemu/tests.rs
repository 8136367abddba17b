//! The mapping over a controller in this process, driven by a host. That names, arguments and formats are QEMU's is checked with the
//! guests, where QEMU's list is.

use controller::ControllerId;
use std::collections::BTreeSet;

use controller::reason::Reason;
use controller::watch::{CommandName, Detail, FatalReason, TraceEvent};
use machine::{Machine, MachineOptions};
use nvme_host::admin::admin_command;
use nvme_host::io::{block_command, nvm_command};
use nvme_host::{Host, Port, Setup};
use nvme_spec::feature::FeatureId;
use nvme_spec::identify::Cns;
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::{Command, Status, register};
use proptest::prelude::*;
use zerocopy::FromBytes as _;

use super::*;
use crate::facts::Facts;
use crate::view::Argument;

/// A host whose device is listened to.
struct Traced {
    host: Host<Machine>,
    mapping: Mapping,
}

impl Traced {
    /// From before the host enables it.
    fn new() -> Self {
        let mut machine = Machine::new(&MachineOptions::default()).expect("a machine");
        machine.controller_mut().listen(Detail::Memory);
        let mapping = Mapping::new(Facts::of(&machine.subsystem, ControllerId::FIRST));
        let setup = Setup::new(machine.memory.first_range());
        Self { host: Host::enable(machine, setup).expect("enabled"), mapping }
    }

    /// What QEMU would have said since the last call.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for traced in self.host.port_mut().controller_mut().take_traced() {
            self.mapping.take(&traced.event, &mut |event| lines.push(event.to_string()));
        }
        lines
    }

    /// The same without doorbells, interrupts and addresses.
    fn of_commands(&mut self) -> Vec<String> {
        let passed_over = ["mmio_", "irq_", "map_"];
        let mut lines = self.lines();
        lines.retain(|line| !passed_over.iter().any(|name| line[PREFIX.len()..].starts_with(name)));
        lines
    }
}

#[test]
fn a_driver_that_comes_up_is_told_as_qemu_tells_it() {
    let mut traced = Traced::new();
    let lines = traced.lines();
    let has =
        |line: &str| assert!(lines.iter().any(|found| found == line), "{line} is not among\n{}", lines.join("\n"));
    has("pci_nvme_mmio_read addr 0x0 size 8");
    has("pci_nvme_mmio_start_success setting controller enable bit succeeded");
    let written: Vec<&String> = lines.iter().filter(|line| line.contains("wrote MMIO")).collect();
    let names: BTreeSet<&str> = written.iter().filter_map(|line| line.split(' ').next()).collect();
    let expected = ["pci_nvme_mmio_acqaddr", "pci_nvme_mmio_aqattr", "pci_nvme_mmio_asqaddr", "pci_nvme_mmio_cfg"];
    assert!(names.is_superset(&BTreeSet::from(expected)), "{lines:#?}");

    traced.host.set_feature(FeatureId::NUMBER_OF_QUEUES, 0x0002_0001).expect("granted");
    let lines = traced.lines();
    let begins = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(begins("pci_nvme_mmio_doorbell_sq sqid 0 new_tail 1"), "{lines:#?}");
    assert!(begins("pci_nvme_setfeat_numq requested cq_count=3 sq_count=2, responding with cq_count="), "{lines:#?}");
    assert!(begins("pci_nvme_irq_msix raising MSI-X IRQ vector 0"), "{lines:#?}");
    let command = lines.iter().find(|line| line.contains("_admin_cmd ")).expect("it was fetched");
    assert!(command.ends_with(" sqid 0 opc 0x9 opname 'NVME_ADM_CMD_SET_FEATURES'"), "{command}");

    traced.host.disable().expect("disabled");
    assert!(traced.lines().iter().any(|line| line == "pci_nvme_mmio_stopped cleared controller enable bit"));
}

#[test]
fn io_commands_have_their_blocks_and_their_ranges() {
    let mut traced = Traced::new();
    traced.host.create_queue_pair(1, 16, Some(1)).expect("made");
    let lines = traced.of_commands();
    let made = lines.iter().filter(|line| line.contains("_create_")).collect::<Vec<_>>();
    assert!(made[0].ends_with(", cqid=1, vector=1, qsize=15, qflags=3, ien=1"), "{made:?}");
    assert!(made[1].contains(", sqid=1, cqid=1, qsize=15, qflags=1"), "{made:?}");

    assert!(traced.host.write(1, 5, &[7; 8192], true).expect("answered").is_success());
    let block = traced.host.block_bytes(1).expect("known") as u64;
    let (blocks, lines) = (8192 / block, traced.of_commands());
    let expected = format!("opname 'NVME_NVM_CMD_WRITE' nsid 1 nlb {blocks} count 8192 lba 0x5");
    assert!(
        lines.iter().any(|line| line.starts_with("pci_nvme_write cid ") && line.ends_with(&expected)),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("_io_cmd ") && line.contains(" nsid 0x1 sqid 1 opc 0x1 ")),
        "{lines:#?}"
    );
    let last = lines.last().expect("there are some");
    assert!(
        last.starts_with("pci_nvme_enqueue_req_completion cid ")
            && last.ends_with(" cqid 1 dw0 0x0 dw1 0x0 status 0x0")
    );

    assert!(traced.host.deallocate(1, &[(16, 8), (32, 4)]).expect("answered").is_success());
    let lines = traced.of_commands();
    let named: Vec<&String> = lines.iter().filter(|line| line.starts_with("pci_nvme_dsm")).collect();
    assert_eq!(
        named,
        [
            "pci_nvme_dsm nr 2 attr 0x4",
            "pci_nvme_dsm_deallocate slba 16 nlb 8",
            "pci_nvme_dsm_deallocate slba 32 nlb 4"
        ]
    );

    traced.host.copy(1, &[(5, 2), (40, 1)], 100, false).expect("answered");
    let lines = traced.of_commands();
    let named: Vec<&String> = lines.iter().filter(|line| line.starts_with("pci_nvme_copy_")).collect();
    assert_eq!(named, ["pci_nvme_copy_source_range slba 0x5 nlb 2", "pci_nvme_copy_source_range slba 0x28 nlb 1"]);
    assert!(
        lines.iter().any(|line| line.starts_with("pci_nvme_copy cid ") && line.ends_with(" nsid 1 nr 2 format 0x0"))
    );

    traced.host.flush(u32::MAX).expect("answered");
    assert!(traced.of_commands().iter().any(|line| line == "pci_nvme_flush_ns nsid 0x1"));
}

#[test]
fn pointers_are_told_with_their_memory() {
    let mut traced = Traced::new();
    traced.lines();
    traced.host.create_queue_pair(1, 16, Some(1)).expect("made");
    traced.lines();
    traced.host.write(1, 0, &[1; 12288], false).expect("answered");
    let lines = traced.lines();
    let start = "pci_nvme_map_prp trans_len 4096 len 12288 prp1 0x";
    assert!(lines.iter().any(|line| line.starts_with(start) && line.ends_with(" num_prps 4")), "{lines:#?}");
    let pieces: u64 = lines
        .iter()
        .filter_map(|line| line.strip_prefix("pci_nvme_map_addr ")?.split(" len ").nth(1)?.parse::<u64>().ok())
        .sum();
    // The page of an Identify among them.
    assert_eq!(pieces, 12288 + 4096, "{lines:#?}");
}

#[test]
fn failures_say_why() {
    let mut traced = Traced::new();
    traced.host.create_queue_pair(1, 16, Some(1)).expect("made");
    let blocks = traced.host.identify_namespace(1).expect("there").nsze.get();
    traced.of_commands();
    let failures = |traced: &mut Traced| -> Vec<String> {
        let lines = traced.of_commands();
        lines.into_iter().filter(|line| line.starts_with("pci_nvme_err_")).collect()
    };

    traced.host.io(block_command(NvmOpcode::VERIFY, 1, blocks, 1)).expect("answered");
    let lines = failures(&mut traced);
    assert_eq!(lines[0], format!("pci_nvme_err_invalid_lba_range Invalid LBA start={blocks} len=1 limit={blocks}"));
    assert!(lines[1].ends_with(" nsid 1 status 0x4080 opc 0xc"), "{lines:?}");

    traced.host.io(nvm_command(NvmOpcode(0x7f), 1)).expect("answered");
    assert_eq!(failures(&mut traced)[0], "pci_nvme_err_invalid_opc invalid opcode 0x7f");
    let unknown = |opcode, dword_10: u32| Command { cdw10: dword_10.into(), ..admin_command(opcode) };
    let refused = [
        (unknown(AdminOpcode(0xc1), 0), "pci_nvme_err_invalid_admin_opc invalid admin opcode 0xc1"),
        (
            unknown(AdminOpcode::DELETE_SUBMISSION_QUEUE, 9),
            "pci_nvme_err_invalid_del_sq invalid submission queue deletion, sid=9",
        ),
        (
            unknown(AdminOpcode::DELETE_COMPLETION_QUEUE, 1),
            "pci_nvme_err_invalid_del_cq_notempty failed deleting completion queue, it is not empty, cqid=1",
        ),
        (unknown(AdminOpcode::GET_FEATURES, 0x7f), "pci_nvme_err_invalid_getfeat invalid get features, dw10=0x7f"),
    ];
    for (command, expected) in refused {
        traced.host.execute(0, command).expect("answered");
        assert_eq!(failures(&mut traced)[0], expected);
    }
    traced.host.identify(Cns(0x33), Default::default()).expect_err("refused");
    assert!(failures(&mut traced)[0].starts_with("pci_nvme_err_invalid_identify_cns "));
}

#[test]
fn mistakes_with_registers_and_doorbells_are_the_drivers() {
    let mut traced = Traced::new();
    traced.lines();
    let port = traced.host.port_mut();
    port.register_read(0x1000, &mut [0; 4]);
    port.register_write(register::CSTS, &[1, 0, 0, 0]);
    port.register_write(0x41, &[1, 0]);
    port.register_write(register::INTMS, &[1, 0, 0, 0]);
    port.register_write(0x1000 + 4 * 2 * 7, &[1, 0, 0, 0]);
    port.register_write(0x1000, &[0xff, 0xff, 0, 0]);
    let lines = traced.lines();
    let mistakes: Vec<&str> =
        lines.iter().filter(|line| line.starts_with("pci_nvme_ub_")).map(String::as_str).collect();
    let expected = [
        "pci_nvme_ub_mmiord_invalid_ofs MMIO read beyond last register, offset=0x1000, returning 0",
        "pci_nvme_ub_mmiowr_ro_csts attempted to set a read only bit of controller status",
        "pci_nvme_ub_mmiowr_misaligned32 MMIO write not 32-bit aligned, offset=0x41",
        "pci_nvme_ub_mmiowr_toosmall MMIO write smaller than 32 bits, offset=0x41, size=2",
        "pci_nvme_ub_mmiowr_intmask_with_msix undefined access to interrupt mask set when MSI-X is enabled",
        "pci_nvme_ub_db_wr_invalid_sq submission queue doorbell write for nonexistent queue, sqid=7, ignoring",
        "pci_nvme_ub_db_wr_invalid_sqtail submission queue doorbell write value beyond queue size, sqid=0, new_head=65535, \
         ignoring",
    ];
    assert_eq!(mistakes, expected);
    assert!(lines.iter().any(|line| line.ends_with("interrupt mask set, data=0x1, new_mask=0x1")), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "pci_nvme_enqueue_event type 0x0 info 0x1 lid 0x1"), "{lines:#?}");
}

#[test]
fn a_controller_that_does_not_come_up_says_why() {
    let mut traced = Traced::new();
    traced.host.disable().expect("disabled");
    traced.lines();
    let port = traced.host.port_mut();
    port.register_write(register::ASQ, &0x1234_u64.to_le_bytes());
    port.register_write(register::CC, &0x0046_0001_u32.to_le_bytes());
    port.run_until_idle();
    let lines = traced.lines();
    let failed: Vec<&str> = lines.iter().filter(|line| line.contains("_startfail")).map(String::as_str).collect();
    let expected = [
        "pci_nvme_err_startfail_asq_misaligned nvme_start_ctrl failed because the admin submission queue address is misaligned: \
         0x1234",
        "pci_nvme_err_startfail setting controller enable bit failed",
    ];
    assert_eq!(failed, expected);
}

#[test]
fn patterns_switch_on_and_off_in_their_order() {
    let wanted = |patterns: &[&str]| {
        let mut selection = Selection::default();
        patterns.iter().for_each(|pattern| selection.apply(pattern).expect("known"));
        EVENTS.iter().zip(Name::ALL).filter(|(_, name)| selection.has(**name)).map(|(event, _)| event.name).collect()
    };
    let queues: Vec<&str> = wanted(&["pci_nvme_create_?q"]);
    assert_eq!(queues, ["pci_nvme_create_sq", "pci_nvme_create_cq"]);
    assert_eq!(wanted(&["pci_nvme*"]).len(), EVENTS.len());
    assert_eq!(wanted(&["pci_nvme*", "-pci_nvme_mmio*"]).len(), EVENTS.len() - 16);
    assert_eq!(wanted(&["-pci_nvme_*", "pci_nvme_aer"]), ["pci_nvme_aer"]);
    for (pattern, name) in
        [("*", ""), ("a*b*c", "aXXbYYc"), ("?*", "x"), ("", ""), ("a**", "a"), ("*sq", "create_sq_sq")]
    {
        assert!(matches(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in [("?", ""), ("a*b", "abX"), ("", "x"), ("abc", "ab"), ("a?c", "ac")] {
        assert!(!matches(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn a_pattern_that_matches_nothing_is_told_its_neighbours_or_its_reason() {
    let mut selection = Selection::default();
    let said = |selection: &mut Selection, pattern: &str| selection.apply(pattern).expect_err("unknown").to_string();
    let text = said(&mut selection, "pci_nvme_admin_cmds");
    assert!(text.starts_with("no event matches pci_nvme_admin_cmds: pci_nvme_admin_cmd, "), "{text}");
    let text = said(&mut selection, "pci_nvme_open_zone");
    assert!(text.contains("does not have: needs zoned namespaces"), "{text}");
    assert!(selection.needs().is_none());
    selection.apply("pci_nvme_admin_cmd").expect("known");
    assert_eq!(selection.needs(), Some(Detail::Rare));
    selection.apply("pci_nvme_map_addr").expect("known");
    assert_eq!(selection.needs(), Some(Detail::Memory));
    let states: Vec<(String, State)> = selection.states("pci_nvme_map_addr*").collect();
    let expected = [("pci_nvme_map_addr", State::Enabled), ("pci_nvme_map_addr_cmb", State::Unavailable)];
    assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state)));
}

proptest! {
    /// A host may write any bytes into its queue, and every line that follows keeps the types of the table (`Emitted::new` asserts them).
    #[test]
    fn any_entry_is_told_whatever_comes_of_it(
        bytes in prop::collection::vec(any::<u8>(), 64),
        opcode in prop::sample::select(vec![0_u8, 1, 2, 4, 5, 6, 8, 9, 0x0a, 0x0c, 0x19, 0x7c]),
        any_opcode in any::<bool>(),
        queue in 0_u16..3,
        reason in prop::option::of(prop::sample::select(Reason::ALL)),
        (result, value, bytes_moved) in any::<(u32, u64, u64)>(),
    ) {
        let mut entry = Command::read_from_bytes(&bytes).expect("64 bytes");
        if !any_opcode {
            entry.opcode = opcode;
            entry.nsid = 1.into();
        }
        let machine = Machine::new(&MachineOptions::default()).expect("a machine");
        let mut mapping = Mapping::new(Facts::of(&machine.subsystem, ControllerId::FIRST));
        let command = CommandName { queue, identifier: entry.cid.get(), ordinal: 1 };
        let status = reason.map_or(Status::SUCCESS, Reason::status);
        let (opcode, nsid) = (entry.opcode, entry.nsid.get());
        let events = [
            TraceEvent::Fetched { command, entry },
            TraceEvent::Range { command, first: value, blocks: result },
            TraceEvent::Pointers { command, pieces: 1, bytes: bytes_moved },
            TraceEvent::Completed { command, opcode, nsid, status, result, reason },
            TraceEvent::RegisterWritten { offset: value % 0x3000, bytes: entry.flags, value, refused: None },
            TraceEvent::RegisterRead { offset: value % 0x3000, bytes: entry.flags, value, refused: None },
            TraceEvent::Fatal { reason: FatalReason::PageSize, value, bound: value },
        ];
        let mut told = 0;
        for event in &events {
            mapping.take(event, &mut |event| told += usize::from(!event.to_string().contains('?')));
        }
        prop_assert!(told >= 6);
    }
}

/// How much is heard decides what is told, and never what it says: what needs little comes out the same.
#[test]
fn what_needs_little_comes_out_with_little() {
    let run = |detail| {
        let mut machine = Machine::new(&MachineOptions::default()).expect("a machine");
        machine.controller_mut().listen(detail);
        let mut mapping = Mapping::new(Facts::of(&machine.subsystem, ControllerId::FIRST));
        let setup = Setup::new(machine.memory.first_range());
        let mut host = Host::enable(machine, setup).expect("enabled");
        host.async_event_request().expect("sent");
        host.set_feature(FeatureId::NUMBER_OF_QUEUES, 0x0002_0001).expect("granted");
        host.get_feature(FeatureId::VOLATILE_WRITE_CACHE, 0).expect("told");
        host.create_queue_pair(1, 16, Some(1)).expect("made");
        host.write(1, 0, &[1; 4096], false).expect("answered");
        host.io(nvm_command(NvmOpcode(0x7f), 1)).expect("answered");
        host.write_doorbell(nvme_host::doorbell::Doorbell::SubmissionTail(5), 1);
        host.delete_queue_pair(1).expect("deleted");
        host.disable().expect("disabled");
        let mut lines = Vec::new();
        for traced in host.port_mut().controller_mut().take_traced() {
            mapping.take(&traced.event, &mut |event| {
                if event.name.needs() == Detail::Rare {
                    lines.push(event.to_string());
                }
            });
        }
        lines
    };
    let little = run(Detail::Rare);
    assert!(little.len() > 20, "{little:#?}");
    assert_eq!(little, run(Detail::Memory));
}

#[test]
fn lines_have_the_arguments_of_the_table() {
    let event = Emitted::new(Name::GetfeatNumq, [Argument::Number(0xffff_fffe)]);
    assert_eq!(event.to_string(), "pci_nvme_getfeat_numq get feature number of queues, result=-2");
    for (event, name) in EVENTS.iter().zip(Name::ALL) {
        let conversions: Vec<char> = event.format.split('%').skip(1).filter_map(|piece| piece.chars().next()).collect();
        assert_eq!(conversions.len(), event.arguments.len(), "{name:?}");
        for (conversion, (kind, _)) in conversions.iter().zip(event.arguments) {
            assert_eq!(*conversion == 's', *kind == Type::Text, "{name:?}");
        }
    }
    let mut all: Vec<&str> = UNAVAILABLE.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    all.extend(EVENTS.iter().map(|event| &event.name[PREFIX.len()..]));
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a name stands in both lists");
}
