//! `namespace-add`, `-remove`, `-format`, and the namespaces that a media file keeps.

use std::process::Output;

use guest_harness::Brownout;
use nvme_host::admin::admin_command;
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{Command, Status};
use serde_json::{Value, json};

use super::Bench;

/// The identifiers, sizes in blocks and block sizes of the namespaces.
fn listed(bench: &mut Bench) -> Vec<(u64, u64, u64)> {
    let all = bench.peer.execute("query-namespaces", &json!({})).expect("an answer");
    let number = |value: &Value| value.as_u64().expect("a number");
    let of = |one: &Value| (number(&one["nsid"]), number(&one["size-blocks"]), number(&one["format"]["block-bytes"]));
    all.as_array().expect("a list").iter().map(of).collect()
}

fn refusal(bench: &mut Bench, command: &str, arguments: &Value) -> String {
    format!("{:?}", bench.peer.execute(command, arguments).expect_err("it cannot be"))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn namespaces_come_and_go_and_the_file_keeps_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("drive");
    let store = format!("store=file:{}", file.display());
    let media = format!("{store},capacity=64MiB,namespaces=3");
    let mut bench = Bench::with_arguments("size=16MiB,lba=4096", &["--media", &media]);
    let mut host = bench.host();
    assert_eq!(host.write(1, 0, &[1; 4096], false), Ok(Status::SUCCESS));
    let add = |size: &str, lba: u32| json!({ "size": size, "lba": lba });
    assert_eq!(bench.peer.execute("namespace-add", &add("32MiB", 512)), Ok(json!({ "nsid": 2 })));
    assert_eq!(host.active_namespaces(0), Ok(vec![1, 2]), "all controllers have it");
    assert_eq!(host.write(2, 65535, &[2; 512], false), Ok(Status::SUCCESS));
    assert_eq!(listed(&mut bench), [(1, 4096, 4096), (2, 65536, 512)]);
    for (command, arguments, why) in [
        ("namespace-add", add("16388KiB", 4096), "size=16388KiB: 16MiB are free"),
        ("namespace-add", add("1000B", 512), "give a multiple of the block size, 512"),
        ("namespace-add", add("1MiB", 1000), "give a power of two from 512 to 65536"),
        ("namespace-add", add("1MiB", 65536), "the media has no blocks of 65536 bytes"),
        ("namespace-remove", json!({ "nsid": 3 }), "there is no namespace 3: the namespaces are 1, 2"),
        ("namespace-format", json!({ "nsid": 3 }), "there is no namespace 3: the namespaces are 1, 2"),
        ("namespace-format", json!({ "nsid": 1, "ms": 7 }), "the media has no blocks of 512 bytes with 7 of metadata"),
    ] {
        let said = refusal(&mut bench, command, &arguments);
        assert!(said.contains(why), "{said}");
    }
    let formatted = json!({ "nsid": 1, "lba": 512, "erase": true });
    let answer = json!({ "size-blocks": 32768, "size-bytes": 16 << 20 });
    assert_eq!(bench.peer.execute("namespace-format", &formatted), Ok(answer));
    assert_eq!(bench.peer.execute("namespace-detach", &json!({ "nsid": 1, "controller": 0 })), Ok(json!({})));
    assert_eq!(bench.peer.execute("namespace-add", &add("8MiB", 4096)), Ok(json!({ "nsid": 3 })));
    assert!(refusal(&mut bench, "namespace-add", &add("4096B", 512)).contains("as many as there may be"));
    assert_eq!(bench.peer.execute("namespace-remove", &json!({ "nsid": 3 })), Ok(json!({})));
    assert_eq!(host.flush(2), Ok(Status::SUCCESS));
    drop(host);
    let Bench { daemon, peer, folder: _first } = bench;
    drop(peer);
    daemon.stop().expect("it ends");

    let info = text(&Brownout::run(&["media", "info", &file.display().to_string()]).expect("it runs"));
    assert!(info.contains("namespace 1: 16MiB") && info.contains("namespace 2: 32MiB"), "{info}");
    let socket = folder.path().join("other.sock");
    let arguments = ["serve", "--socket", &socket.display().to_string(), "--media", &store, "--namespace", "size=1MiB"];
    let refused = Brownout::run(&arguments).expect("it runs");
    assert!(refused.status.code() == Some(2) && text(&refused).contains("keeps its namespaces itself"), "{refused:?}");
    // As before, but for what the file knows itself.
    let mut bench = Bench::over(&store);
    assert_eq!(listed(&mut bench), [(1, 32768, 512), (2, 65536, 512)]);
    let mut host = bench.host();
    assert_eq!(host.active_namespaces(0), Ok(vec![2]), "an attachment is kept, too");
    assert_eq!(host.read(2, 65535, 1), Ok((Status::SUCCESS, vec![2; 512])));
    assert_eq!(bench.peer.execute("namespace-attach", &json!({ "nsid": 1, "controller": 0 })), Ok(json!({})));
    assert_eq!(host.read(1, 0, 1), Ok((Status::SUCCESS, vec![0; 512])));
    drop(host);
    bench.daemon.stop().expect("it ends");
}

#[test]
fn a_drive_of_fixed_namespaces_formats_them_and_says_why_it_makes_none() {
    let mut bench = Bench::start();
    let said = refusal(&mut bench, "namespace-add", &json!({ "size": "1MiB" }));
    assert!(said.contains("--media capacity=SIZE"), "{said}");
    let said = refusal(&mut bench, "namespace-remove", &json!({ "nsid": 1 }));
    assert!(said.contains("--media capacity=SIZE"), "{said}");
    let answer = json!({ "size-blocks": 32768, "size-bytes": 16 << 20 });
    assert_eq!(bench.peer.execute("namespace-format", &json!({ "nsid": 1 })), Ok(answer));
    bench.daemon.stop().expect("it ends");
}

/// FMT15, and FMT7 of what lies below: a drive that offers it (FNA) leaves no byte of the old data in its media file, neither after a user
/// data erase nor after a cryptographic one, by the time that the host has its answer and the drive has ended; a Format alone may.
#[test]
fn a_media_file_has_nothing_left_of_what_a_secure_erase_took_away() {
    const OLD: u8 = 0x77;
    for (secure_erase, gone) in [(0, false), (1, true), (2, true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("drive");
        let media = format!("store=file:{},capacity=16MiB", file.display());
        let bench = Bench::with_arguments("size=8MiB,lba=512", &["--media", &media]);
        let mut host = bench.host();
        for lba in 0..150 {
            assert_eq!(host.write(1, lba * 8, &[OLD; 4096], false), Ok(Status::SUCCESS));
        }
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
        let left = || {
            let bytes = std::fs::read(&file).expect("it is there");
            bytes.chunks(512).filter(|sector| sector.starts_with(&[OLD; 64])).count()
        };
        assert!(left() >= 1000, "{}", left());
        assert_eq!(host.identify_controller().expect("mandatory").fna, 0b100, "a cryptographic erase is offered");
        let format =
            Command { nsid: 1.into(), cdw10: (secure_erase << 9).into(), ..admin_command(AdminOpcode::FORMAT) };
        assert!(host.execute(0, format).expect("answered").status().is_success());
        assert_eq!(host.read(1, 8, 1).expect("read").1, [0; 512]);
        drop(host);
        bench.daemon.stop().expect("it ends");
        assert_eq!(left() == 0, gone, "SES {secure_erase}: {} sectors", left());
    }
}

/// The virtio disk's host is in the drive's process and has commands on the way: a Format that would give them blocks of another size is
/// refused, whoever asks for it. One that only empties the namespace is not.
#[test]
fn the_blocks_of_a_virtio_disk_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk.sock");
    let mut bench =
        Bench::with_arguments("size=8MiB,lba=4096", &["--vhost-user", disk.to_str().expect("a path of ours")]);
    let mut host = bench.host();
    assert_eq!(host.write(1, 0, &[7; 4096], false), Ok(Status::SUCCESS));
    let other = json!({ "nsid": 1, "lba": 512 });
    assert!(refusal(&mut bench, "namespace-format", &other).contains("namespace 1 is a virtio disk"));
    let namespace = host.identify_namespace(1).expect("active");
    let number = |lbads: u8| (0_u32..).zip(namespace.lbaf).find(|(_, one)| one.lbads == lbads).expect("offered").0;
    let mut format = |lbads: u8| {
        let command = Command { nsid: 1.into(), cdw10: number(lbads).into(), ..admin_command(AdminOpcode::FORMAT) };
        host.execute(0, command).expect("answered").status()
    };
    assert_eq!(format(9), Status::INVALID_FORMAT.with_more());
    assert_eq!(format(12), Status::SUCCESS);
    assert_eq!(host.read(1, 0, 1).expect("read").1, [0; 4096]);
}
