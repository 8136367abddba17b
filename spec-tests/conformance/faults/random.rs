//! Any faults at once, under a host that does anything: no promise of the device to itself is broken, and when they are removed it is as
//! good as new.

use controller::ControllerId;
use std::collections::BTreeSet;

use controller::InterruptMode;
use controller::fault::{
    Action, CidChoice, Dword, FaultSpec, HexBytes, Injection, Matching, Order, QueueKind, Scope, Times, Unlimited,
    When, Whose,
};
use media::Nanoseconds;
use media::power::Cut;
use nvme_host::Setup;
use nvme_spec::feature::FeatureId;
use nvme_spec::log::LogId;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use spec_tests::random::Random;
use spec_tests::rig::{Build, MEMORY};

use super::{begin_read, blocks, builds};
use crate::verbs::TestHost;

/// How many kinds of actions there are.
const ACTIONS: usize = 34;

/// Mostly short, sometimes long.
fn time(random: &mut Random) -> u64 {
    let longest = 1 << random.below(27);
    random.below(longest)
}

fn maybe<T>(random: &mut Random, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
    random.coin().then(|| value(random))
}

fn cid(random: &mut Random) -> CidChoice {
    match random.below(4) {
        0 => CidChoice::Number(random.draw_u32().to_le_bytes()[0].into()),
        1 => CidChoice::Whose(Whose::InFlight),
        2 => CidChoice::Whose(Whose::Free),
        _ => CidChoice::Whose(Whose::Event),
    }
}

fn of_commands(random: &mut Random) -> Action {
    let delay_ns = time(random);
    match random.below(20) {
        0 => {
            let [sct, sc] = [random.draw_u8() & 7, random.draw_u8()];
            let [dnr, more, carried_out] = [random.coin(), random.coin(), random.coin()];
            Action::Status { sct, sc, dnr, more, crd: random.draw_u8() & 3, carried_out }
        }
        1 => Action::Drop { abortable: random.coin(), carried_out: random.coin() },
        2 => Action::Delay { delay_ns },
        3 => Action::Duplicate { copies: 1 + u16::from(random.draw_u8()) },
        4 => Action::WrongCid { cid: cid(random) },
        5 => Action::WrongSqid { sqid: random.draw_u8().into() },
        6 => Action::WrongSqHead { head: random.draw_u8().into() },
        7 => Action::OldPhase {},
        8 => Action::EarlyPhase { delay_ns },
        9 => Action::Stray { cid: cid(random) },
        10 => Action::NoData {},
        11 => Action::ShortData { blocks: 1 + u16::from(random.draw_u8()) },
        12 => Action::OtherBlock { lba: random.draw() >> random.below(64) },
        13 => {
            let (offset, xor) = (random.draw_u8().into(), random.coin());
            Action::Patch { offset, bytes: HexBytes(random.bytes(1 + random.clone().index(600))), xor }
        }
        14 => Action::Result { dword: random.draw_u32() },
        15 => {
            let order = random.pick(&[Order::Same, Order::Reversed, Order::Shuffled]);
            Action::Hold { commands: 2 + u32::from(random.draw_u8() & 7), most_ns: delay_ns, order }
        }
        16 => Action::FewerQueues { queues: 1 + u16::from(random.draw_u8() & 3) },
        18 => Action::Postpone { delay_ns },
        17 => Action::Stall { for_ns: maybe(random, time) },
        _ => Action::EarlyInterrupt { delay_ns },
    }
}

fn of_the_device(random: &mut Random) -> Action {
    let vector = u16::from(random.draw_u8() & 7);
    match random.below(14) {
        0 => Action::SlowReady { delay_ns: maybe(random, time) },
        1 => Action::SlowDisable { delay_ns: maybe(random, time) },
        2 => Action::SlowShutdown { delay_ns: maybe(random, time) },
        3 => Action::Fatal {},
        4 => Action::NotReady {},
        5 => Action::Gone { for_ns: maybe(random, time) },
        6 => Action::SubsystemReset {},
        7 => Action::Interrupt { vector, count: 1 + u16::from(random.draw_u8()) },
        8 => Action::IgnoreReset {},
        9 => {
            let offset = random.pick(&[0, 4, 0x14, 0x1c, 0x24, 0x28]);
            Action::Register { offset, mask: random.draw_u32(), value: random.draw_u32() }
        }
        10 => Action::LoseInterrupt {},
        11 => Action::WrongVector { vector },
        12 => Action::StuckPin { for_ns: maybe(random, time) },
        _ => Action::LateInterrupt { delay_ns: time(random) },
    }
}

/// A fault that can be; of those that cannot, `fault_add` says so.
fn spec(random: &mut Random) -> FaultSpec {
    let commands = random.below(3) > 0;
    let action = if commands { of_commands(random) } else { of_the_device(random) };
    let matching = Matching {
        queue: maybe(random, |random| random.pick(&[QueueKind::Admin, QueueKind::Io])).filter(|_| commands),
        opcode: maybe(random, |random| random.pick(&[1, 2, 6, 8, 0, 9])).filter(|_| commands),
        lba: maybe(random, |random| random.below(32)).filter(|_| commands && random.clone().coin()),
        dwords: if random.one_in(20) { vec![Dword { number: 12, mask: 1, value: 0 }] } else { Vec::new() },
        vector: maybe(random, |random| u16::from(random.draw_u8() & 1)).filter(|_| !commands),
        before_io: random.one_in(20),
        resets: random.below(6).saturating_sub(4),
        ..Matching::default()
    };
    let when = When {
        nth: maybe(random, |random| 1 + random.below(4)),
        every: maybe(random, |random| 1 + random.below(4)),
        after_ns: maybe(random, time),
        for_ns: maybe(random, |random| 1 + time(random)).filter(|_| random.clone().one_in(4)),
        ..When::default()
    };
    let times = maybe(random, |random| match random.below(4) {
        0 => Times::Word(Unlimited::UntilRemoved),
        few => Times::Count(few),
    });
    let scope = if random.coin() { Scope::Kept } else { Scope::UntilReset };
    FaultSpec { id: None, matching, when, times, scope, action }
}

fn injection(random: &mut Random) -> Injection {
    match random.below(5) {
        0 => Injection::Smart {
            spare: random.coin(),
            temperature: random.coin(),
            reliability: random.coin(),
            read_only: random.coin(),
            kelvins: maybe(random, |random| u16::from(random.draw_u8())),
        },
        1 => Injection::NamespaceChanged { nsid: 1 },
        2 => Injection::FirmwareActivation { for_ns: time(random) },
        3 => Injection::Error { information: random.draw_u8() },
        _ => {
            Injection::Event { event_type: random.draw_u8() & 7, information: random.draw_u8(), log: random.draw_u8() }
        }
    }
}

/// Something that a host or its operator may do; how it ends is not looked at. (What Identify says of blocks is not believed.)
fn act(host: &mut TestHost, random: &mut Random) {
    match random.below(20) {
        opcode @ 0..9 => {
            let count = 1 + u32::from(random.draw_u8() & 7);
            let read = super::read_command(random.below(32), count, 0x8_0000);
            let opcode = if opcode < 6 { read.opcode } else { NvmOpcode::WRITE.0 };
            let _ = host.execute(1, Command { opcode, ..read });
        }
        9 => {
            if host.allocate(4096).is_ok() {
                // Several under way.
                for _ in 0..random.below(8) {
                    let command = super::read_command(random.below(32), 1, 0x8_0000);
                    let _ = host.submit(1, command);
                }
            }
        }
        10 => drop(host.abort(random.draw_u8().into(), random.draw_u8().into())),
        11 => drop(host.identify_controller()),
        12 => drop(host.get_log(LogId::SMART, 512, nvme_host::admin::LogArguments::default())),
        13 => drop(host.set_feature(FeatureId::NUMBER_OF_QUEUES, 3 << 16 | 3)),
        14 => drop(host.async_event_request()),
        15 => {
            let _ = host.delete_queue_pair(1);
            let _ = host.create_queue_pair(1, 64, Some(1));
        }
        16 => {
            let _ = host.start();
            let _ = host.create_queue_pair(1, 64, Some(1));
        }
        17 if random.coin() => drop(host.shutdown(nvme_host::Shutdown::Normal)),
        17 => host.port_mut().controller_mut().reset_by_host(),
        18 if random.one_in(4) => {
            let mode = random.pick(&[InterruptMode::Pin, InterruptMode::MsiX]);
            host.port_mut().controller_mut().set_interrupt_mode(mode);
        }
        18 => drop(host.port_mut().subsystem.inject_event(ControllerId::FIRST, injection(random))),
        _ => host.port_mut().wait(Nanoseconds(time(random))),
    }
    host.port_mut().run(3);
}

/// Returns the names of the actions that hit.
fn survives(build: &Build, seed: u64) -> BTreeSet<&'static str> {
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut hit = BTreeSet::new();
    let mut note = |host: &TestHost| {
        let faults = host.port().controller().faults();
        hit.extend(faults.iter().filter(|fault| fault.hits > 0).map(|fault| fault.spec.action.name()));
    };
    let setup = Setup { relax_max: 60, ..Setup::new(MEMORY) };
    let mut host = Build { setup, ..build.clone() }.host();
    for _ in 0..60 {
        if random.one_in(4) {
            // Some of them cannot be.
            let _ = host.port_mut().controller_mut().fault_add(spec(&mut random));
        }
        if random.one_in(12) {
            let faults = host.port().controller().faults();
            if !faults.is_empty() {
                let id = faults[random.index(faults.len())].spec.id.expect("a number");
                assert!(host.port_mut().controller_mut().fault_remove(id));
            }
        }
        if random.one_in(60) {
            host.port_mut().cut_power(&Cut::default());
            host.port_mut().restore_power(None).expect("power is back");
        }
        act(&mut host, &mut random);
        note(&host);
    }
    let numbers: Vec<u32> = host.port().controller().faults().iter().filter_map(|fault| fault.spec.id).collect();
    for id in numbers {
        assert!(host.port_mut().controller_mut().fault_remove(id));
    }
    // What was paused goes on by itself.
    host.port_mut().wait(Nanoseconds(1 << 30));
    host.port_mut().run_until_idle();
    host.port_mut().controller_mut().reset_function();
    host.port_mut().controller_mut().set_interrupt_mode(InterruptMode::MsiX);
    host.port_mut().run_until_idle();
    assert!(!host.port().controller().pin_asserted());
    host.start().expect("it comes up");
    host.create_queue_pair(1, 64, Some(1)).expect("queues");
    assert_eq!(host.write(1, 0, &blocks(0, 8), false), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 0, 8), Ok((Status::SUCCESS, blocks(0, 8))));
    let (own, _) = begin_read(&mut host, 1);
    host.port_mut().wait(Nanoseconds(1 << 30));
    host.port_mut().run_until_idle();
    assert!(host.poll(1, own).is_some());
    assert!(host.port_mut().take_vectors().contains(&1), "the interrupt comes");
    assert!(host.identify_controller().is_ok());
    hit
}

#[test]
fn any_faults_at_once_break_nothing_for_good() {
    for build in builds() {
        let build = build.with_registers();
        let hit: BTreeSet<&str> = (0..400).flat_map(|seed| survives(&build, seed)).collect();
        assert_eq!(hit.len(), ACTIONS, "{hit:?}");
    }
}
