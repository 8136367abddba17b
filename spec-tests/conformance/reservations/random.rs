//! Random sequences of all commands, by one to four hosts on one to four controllers that come and go, against the model.

use std::collections::BTreeMap;

use nvme_host::reservation::{acquire_command, register_command, release_command};
use nvme_spec::Status;
use nvme_spec::reservation::{NO_CONTROLLER, ReservationType, STATUS_HOLDS, acquire_action, release_action};
use spec_tests::random::{Random, cases, seed};

use super::model::{Act, Ends, Model, Who};
use super::notifications::heard;
use super::{CONFLICT, INVALID, OK, Party, name, parties, report};
use crate::verbs::bare;

/// The hosts of each run, by their controllers: 0 has no name.
const WORLDS: [&[u8]; 6] = [&[1], &[0], &[1, 2], &[1, 1, 2, 3], &[1, 0, 0, 2], &[1, 2, 2, 1]];
const KEYS: u64 = 4;

fn who(names: &[u8], controller: usize) -> Who {
    match names[controller] {
        0 => 100 + u8::try_from(controller).expect("few"),
        named => named,
    }
}

fn random_act(random: &mut Random, model: &Model, own: Option<u64>) -> Act {
    // Mostly with the right key: otherwise little happens.
    let mut key = || if random.below(4) == 0 { random.below(KEYS) } else { own.unwrap_or(1) };
    let (current, new) = (key(), key());
    let preempted = random.below(KEYS);
    let rtype = match model.rtype {
        held if held != 0 && random.coin() => held,
        _ => u8::try_from(random.below(6)).expect("small") + 1,
    };
    match random.below(12) {
        0..3 => Act::Register { action: 0, ignore: random.coin(), current, new: random.below(KEYS) },
        3 => {
            let action = u32::try_from(random.below(3)).expect("small");
            Act::Register { action, ignore: random.below(4) == 0, current, new }
        }
        4 | 5 => Act::Acquire { key: current, rtype },
        6 | 7 => Act::Preempt { key: current, preempted, rtype, abort: random.coin() },
        8 => Act::Release { key: current, rtype },
        9 if random.below(4) == 0 => Act::Clear { key: current },
        10 => Act::Read,
        _ => Act::Write,
    }
}

fn carry_out(host: &mut Party, act: Act) -> Status {
    let answered = match act {
        Act::Register { action, ignore, current, new } => {
            host.register_key(register_command(1, action, ignore, 0), current, new)
        }
        Act::Acquire { key, rtype } => {
            host.acquire_reservation(acquire_command(1, acquire_action::ACQUIRE, ReservationType(rtype)), key, 0)
        }
        Act::Preempt { key, preempted, rtype, abort } => {
            let action = if abort { acquire_action::PREEMPT_AND_ABORT } else { acquire_action::PREEMPT };
            host.acquire_reservation(acquire_command(1, action, ReservationType(rtype)), key, preempted)
        }
        Act::Release { key, rtype } => {
            host.release_reservation(release_command(1, release_action::RELEASE, ReservationType(rtype)), key)
        }
        Act::Clear { key } => {
            host.release_reservation(release_command(1, release_action::CLEAR, ReservationType(0)), key)
        }
        Act::Read => host.read(1, 3, 2).map(|(status, _)| status),
        Act::Write => host.write(1, 3, &[1; 1024], false),
    };
    bare(answered.expect("answered"))
}

/// Entries of the report, in no particular order: controller, key, whether it holds.
fn expected_entries(model: &Model, names: &[u8]) -> Vec<(u16, u64, bool)> {
    let mut entries = Vec::new();
    for (who_it_is, key) in &model.keys {
        let serves = |controller: &usize| who(names, *controller) == *who_it_is;
        let mut ids: Vec<u16> = (0..names.len()).filter(serves).map(|id| u16::try_from(id).expect("few")).collect();
        if ids.is_empty() {
            ids.push(NO_CONTROLLER);
        }
        entries.extend(ids.into_iter().map(|id| (id, *key, model.holds(*who_it_is))));
    }
    entries.sort_unstable();
    entries
}

/// What the hosts see is what the model says.
fn compare(hosts: &mut [Party], names: &[u8], model: &mut Model, by: usize, case: &str) {
    let report = report(&mut hosts[by]);
    assert_eq!((report.status.rtype, report.status.generation.get()), (model.rtype, model.generation), "{case}");
    let mut entries: Vec<(u16, u64, bool)> = (report.registered.iter())
        .map(|entry| (entry.controller, entry.key, entry.status & STATUS_HOLDS != 0))
        .collect();
    entries.sort_unstable();
    assert_eq!(entries, expected_entries(model, names), "{case}");
    let mut told: BTreeMap<Who, Vec<u8>> = BTreeMap::new();
    model.heard.drain(..).for_each(|(host, what)| told.entry(host).or_default().push(what));
    for (controller, host) in hosts.iter_mut().enumerate() {
        let expected = told.get(&who(names, controller)).cloned().unwrap_or_default();
        assert_eq!(heard(host), expected, "{case}: controller {controller}");
    }
}

fn run(random: &mut Random, names: &'static [u8], steps: u64) {
    let mut hosts = parties(names);
    let mut now_called = names.to_vec();
    let mut model = Model::default();
    for step in 0..steps {
        let by = usize::try_from(random.below(names.len() as u64)).expect("few");
        let me = who(&now_called, by);
        if random.below(40) == 0 {
            // The host starts its controller again; at once or later it says who it is.
            hosts[by].start().expect("reset and enabled");
            hosts[by].create_queue_pair(1, 64, Some(1)).expect("room");
            if now_called[by] == 0 {
                model.vanish(me);
            }
            now_called[by] = 0;
            // What its other controllers have not read is lost on this one only, and nothing is unread here.
            compare(&mut hosts, &now_called, &mut model, by, &format!("step {step}: controller {by} is reset"));
            if names[by] != 0 {
                hosts[by].set_host_identifier(&name(names[by])).expect("it has none");
                now_called[by] = names[by];
            }
            continue;
        }
        let act = random_act(random, &model, model.keys.get(&me).copied());
        let expected = match model.act(me, act) {
            Ends::Well => OK,
            Ends::Conflict => CONFLICT,
            Ends::Invalid => INVALID,
        };
        let case = format!("step {step}: {act:?} by host {me}, {model:?} then");
        assert_eq!(carry_out(&mut hosts[by], act), expected, "{case}");
        compare(&mut hosts, &now_called, &mut model, by, &case);
    }
}

#[test]
fn random_sequences_go_as_the_model_says() {
    let mut random = Random::new(seed(0x5e5));
    for _ in 0..cases(3) {
        for names in WORLDS {
            run(&mut random, names, 250);
        }
    }
}
