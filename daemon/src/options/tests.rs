//! Options as a user gives them: what they come to, and what is refused in which words.

use controller::config::Doorbells;

use super::media_words::{Life, Store};
use super::*;

fn given(device: &str, namespaces: &[&str]) -> Given {
    let namespaces = namespaces.iter().map(|text| (*text).to_owned()).collect();
    Given { device: Some(device.to_owned()), namespaces, ..Given::default() }
}

fn refusal(device: &str, namespaces: &[&str]) -> String {
    Settings::read(&given(device, namespaces)).expect_err("meant to be refused").to_string()
}

fn with_file(text: &str, mut given: Given) -> Result<Settings, OptionError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("drive.toml");
    std::fs::write(&path, text).expect("a file");
    given.file = Some(path);
    Settings::read(&given).map_err(|error| OptionError {
        place: error.place.replace(&folder.path().display().to_string(), ""),
        option: error.option.replace(&folder.path().display().to_string(), ""),
        ..error
    })
}

#[test]
fn nothing_given_is_one_namespace_of_a_gibibyte() {
    let settings = Settings::read(&Given::default()).expect("the defaults are meant to work");
    let volume = VolumeConfig::new(512, 0, 2 << 20);
    assert_eq!(settings.media.ssd.volumes, [volume]);
    assert_eq!(settings.media.store, Store::Ram);
    assert_eq!(settings.controller.namespaces.len(), 1);
}

#[test]
fn qemu_spellings_reach_the_controller_and_the_media() {
    let device = "nvme,serial=S1,mdts=5,doorbells=mapped,dbcs=off,x-pci-vendor-id=0x1234,firmware-version=1.0";
    let settings = Settings::read(&given(device, &["size=1GB,lba=512", "size=64MiB,lba=16KiB,eui64=0x10,nsid=7"]))
        .expect("all legal");
    let controller = &settings.controller;
    assert_eq!(&controller.serial[..3], b"S1 ");
    assert_eq!((controller.mdts, controller.doorbells, controller.vendor_id), (5, Doorbells::Mapped, 0x1234));
    assert!(!controller.shadow_doorbells);
    assert_eq!(settings.volumes()[0].capacity_blocks, 1_000_000_000 / 512);
    assert_eq!(settings.volumes()[1], VolumeConfig::new(16384, 0, 4096));
    assert_eq!((controller.namespaces[1].nsid, controller.namespaces[1].eui64), (7, 16));
}

#[test]
fn a_refusal_names_place_option_value_and_remedy() {
    assert_eq!(refusal("", &["lba=3000"]), "--namespace lba=3000: give a power of two from 512 to 65536");
    let remedy = "--namespace size=1GB: give a multiple of the block size, 4KiB, such as 999997440";
    assert_eq!(refusal("", &["size=1GB,lba=4096"]), remedy);
    assert_eq!(refusal("", &["store=disk"]), "--namespace store=disk: give ram or file:PATH");
    assert_eq!(refusal("max_ioqpairs=0", &[]), "--device max_ioqpairs=0: give 1 to 511");
    assert!(refusal("", &["size=lots"]).starts_with("--namespace size=lots: give a size such as 512MiB"));
    assert!(refusal("", &["uuid=7"]).starts_with("--namespace uuid=7: "));
    assert!(refusal("", &["sise=1GiB"]).starts_with("--namespace sise: no such option; known are size, "));
    assert!(refusal("mtds=3", &[]).starts_with("--device mtds: no such option; known are mdts, "));
}

#[test]
fn the_command_line_wins_over_the_file() {
    let file =
        "[device]\nserial = \"from-file\"\nmdts = 3\n[[namespace]]\nsize = \"2MiB\"\n[[namespace]]\nsize = 4096\n";
    let settings = with_file(file, given("mdts=4", &[])).expect("legal");
    assert_eq!((&settings.controller.serial[..9], settings.controller.mdts), (b"from-file".as_slice(), 4));
    assert_eq!(settings.volumes().iter().map(|volume| volume.capacity_blocks).collect::<Vec<_>>(), [4096, 8]);
    let settings = with_file(file, given("", &["lba=4096"])).expect("legal");
    assert_eq!(settings.volumes().len(), 1);
}

#[test]
fn a_refusal_of_a_file_names_the_file() {
    let refusal = |text| with_file(text, Given::default()).expect_err(text).to_string();
    assert_eq!(
        refusal("[device]\nmqes = 0"),
        "/drive.toml [device] mqes=0: a queue has at least 2 entries, and mqes is one less: give 1 to 65535"
    );
    assert_eq!(
        refusal("[[namespace]]\nlba = 1"),
        "/drive.toml [[namespace]] 1 lba=1: give a power of two from 512 to 65536"
    );
    assert!(refusal("[drive]\n").contains("there is no [drive]: give [device], [media], [[namespace]] or [[fault]]"));
    assert!(
        refusal("device")
            .starts_with("--config /drive.toml: give TOML with [device], [media], [[namespace]] and [[fault]]: ")
    );
    let absent = Given { file: Some("/nowhere/drive.toml".into()), ..Given::default() };
    let error = Settings::read(&absent).expect_err("no such file").to_string();
    assert!(error.starts_with("--config /nowhere/drive.toml: give a file that can be read: "), "{error}");
}

#[test]
fn metadata_reaches_the_media_and_the_controller() {
    let settings = Settings::read(&given("", &["size=8MiB,ms=8", "size=8MiB,lba=4096,ms=64,mset=1"])).expect("legal");
    let bytes: Vec<_> = settings.volumes().iter().map(|volume| volume.metadata_bytes).collect();
    assert_eq!(bytes, [8, 64]);
    let extended: Vec<_> = settings.controller.namespaces.iter().map(|namespace| namespace.extended_metadata).collect();
    assert_eq!(extended, [false, true]);
    assert_eq!(refusal("", &["ms=7"]), "--namespace ms=7: give 0, 8, 16 or 64 bytes of metadata");
}

#[test]
fn the_printed_configuration_reads_back_as_itself() {
    let options = given(
        "mdts=0,serial=ab,ana=on",
        &["size=8MB,nguid=00112233445566778899aabbccddeeff", "eui64=0xffffffffffffffff,anagrpid=7"],
    );
    let settings = Settings::read(&options).expect("legal");
    let printed = settings.to_toml().expect("printable");
    let again = with_file(&printed, Given::default()).expect(&printed);
    assert_eq!((again.controller, again.media), (settings.controller, settings.media));
}

#[test]
fn namespaces_say_which_controllers_have_them() {
    let words = ["size=8MiB", "size=8MiB,shared=off", "size=8MiB,detached=on", "size=8MiB,controllers=1:3"];
    let settings = Settings::read(&given("", &words)).expect("legal");
    let attached: Vec<_> =
        settings.controller.namespaces.iter().map(|namespace| (namespace.shared, namespace.attached)).collect();
    let some = |bits| ControllerSet(bits);
    assert_eq!(attached, [(true, ControllerSet::ALL), (false, some(1)), (true, some(0)), (true, some(0b1010))]);
    let printed = settings.to_toml().expect("printable");
    let again = with_file(&printed, Given::default()).expect(&printed);
    assert_eq!(again.controller, settings.controller, "{printed}");
    for (word, remedy) in [
        ("controllers=64", "give identifiers from 0 to 63, ascending, such as 0:2"),
        ("controllers=1:0", "give identifiers from 0 to 63, ascending, such as 0:2"),
    ] {
        assert_eq!(refusal("", &[&format!("size=8MiB,{word}")]), format!("--namespace {word}: {remedy}"));
    }
    let both = refusal("", &["size=8MiB,controllers=0,detached=on"]);
    assert!(both.contains("detached=on leaves the namespace to no controller"), "{both}");
    let two = refusal("", &["size=8MiB,controllers=0:1,shared=off"]);
    assert!(two.contains("with shared=off one controller at a time has it"), "{two}");
}

#[test]
fn room_to_grow_is_kept_in_the_media_and_printed() {
    let settings = Settings::read(&given("", &["size=64MiB,size_max=256MiB,lba=4096", "size=16MiB"])).expect("legal");
    assert_eq!(settings.volumes()[0], VolumeConfig::new(4096, 0, 16 << 10).with_room(64 << 10));
    assert_eq!(settings.media.ssd.geometry.user_bytes, 272 << 20, "spare is counted from what may be used at most");
    let printed = settings.to_toml().expect("printable");
    assert_eq!(printed.matches("size_max").count(), 1, "{printed}");
    let again = with_file(&printed, Given::default()).expect(&printed);
    assert_eq!((again.controller, again.media), (settings.controller, settings.media));
    let remedy = "give a multiple of 4KiB, the block size, from size to 1PiB";
    for (word, size) in [("size_max=32MiB", "64MiB"), ("size_max=2PiB", "64MiB"), ("size_max=70000000", "64MiB")] {
        let refused = refusal("", &[&format!("size={size},lba=4096,{word}")]);
        assert_eq!(refused, format!("--namespace {word}: {remedy}"));
    }
}

/// B158 to B162, as a user writes them; the log commits what is asked for.
#[test]
fn atomic_units_reach_the_controller_and_the_log() {
    let device = "atomic.dn=on,atomic.awun=7,atomic.awupf=3,atomic.acwu=1";
    let namespaces = ["lba=4KiB,atomic.nawupf=15,atomic.nabspf=15", "lba=4KiB,atomic.mam=on,atomic.nabsn=7"];
    let settings = Settings::read(&given(device, &namespaces)).expect("legal");
    let atomics = settings.controller.atomics;
    assert_eq!((atomics.disable_normal, atomics.awun_z, atomics.awupf_z, atomics.acwu_z), (true, 7, 3, 1));
    assert_eq!(settings.media.ssd.power_atomic_bytes, 64 << 10);
    let printed = settings.to_toml().expect("printable");
    let again = with_file(&printed, Given::default()).expect(&printed);
    assert_eq!((again.controller, again.media), (settings.controller, settings.media));
    let bytes = |device: &str, namespaces: &[&str]| {
        Settings::read(&given(device, namespaces)).expect("legal").media.ssd.power_atomic_bytes
    };
    assert_eq!(bytes("", &["lba=4KiB,atomic.nawupf=0"]), 4096, "what is asked for and no more");
    assert_eq!(bytes("", &["lba=512,atomic.nawupf=255"]), 128 << 10, "as far as a line can hold it");
    assert_eq!(bytes("atomic.awun=31,atomic.awupf=31", &["lba=4KiB"]), 128 << 10);
    assert_eq!(bytes("", &["lba=4KiB,atomic.nawupf=0", "lba=512"]), 64 << 10);
}

#[test]
fn an_atomic_unit_that_breaks_a_rule_is_refused_where_it_stands() {
    let refused = |device: &str, namespace: &str, start: &str| {
        let text = refusal(device, &[namespace]);
        assert!(text.starts_with(start), "{text}");
    };
    refused("atomic.awupf=1", "", "--device atomic.awupf=1: AWUPF is at most AWUN");
    refused("", "atomic.nawun=3,atomic.nawupf=7", "--namespace atomic.nawupf=7: NAWUPF is at most NAWUN");
    refused("", "atomic.nawupf=7,atomic.nabspf=3", "--namespace atomic.nabspf=3: a boundary holds the atomic unit");
    refused("", "atomic.nabo=1", "--namespace atomic.nabo=1: NABO is at most NABSN and NABSPF");
    refused("", "size=16MiB,atomic.nawupf=65535", "--namespace atomic.nawupf=65535: the media commits at most ");
    refused("", "atomic.mam=on,atomic.nabsn=3,atomic.nabspf=7", "--namespace atomic.mam=on: ");
}

fn media(text: &str, namespaces: &[&str]) -> Given {
    Given { media: Some(text.to_owned()), ..given("", namespaces) }
}

fn media_refusal(text: &str, namespaces: &[&str]) -> String {
    Settings::read(&media(text, namespaces)).expect_err("meant to be refused").to_string()
}

#[test]
fn the_words_of_the_media_reach_the_drive() {
    let text = "iu=16KiB,op=12.5%,store=file:/nowhere/disk,gc=fifo,vwc=on,plp=on,cache=unsafe,cache_size=512KiB,cache_age=30s,\
                flush=namespace,open_units=1,timing=tlc,\
                channels=2,dies=1,planes=1,pages=32,page_size=8KiB,bad_blocks=3";
    let settings = Settings::read(&media(text, &["size=64MiB,lba=4KiB"])).expect("legal").media;
    let (geometry, cache) = (&settings.ssd.geometry, &settings.ssd.cache);
    assert_eq!((geometry.unit_bytes, geometry.spare_per_million_of_user), (16384, 125_000));
    assert_eq!((geometry.channels, geometry.pages_per_block, geometry.page_bytes), (2, 32, 8192));
    assert_eq!(geometry.factory_bad_blocks, 3);
    assert_eq!((cache.present, cache.capacitors, cache.bytes, cache.open_units), (true, true, 512 << 10, 1));
    assert_eq!((cache.age_max, cache.flush_apart), (::media::Nanoseconds(30_000_000_000), true));
    assert_eq!(settings.cache, HostCache::Unsafe);
    assert_eq!(settings.ssd.times, Some(::media::nand::timing::NandTimes::TLC));
}

#[test]
fn a_drive_wears_out_as_it_was_told_to_or_not_within_a_week() {
    use ::media::config::Endurance;
    let life = |words: &str| Settings::read(&media(words, &["size=64MiB,lba=4KiB"])).expect(words).media;
    assert_eq!(life("").ssd.endurance, Endurance::Endless);
    assert_eq!(life("endurance=3000").ssd.endurance, Endurance::Erases(3000));
    let [timed, file] = ["timing=tlc", "store=file:/nowhere/disk"].map(|words| life(words).ssd.endurance);
    assert_eq!(timed, file);
    let (writes, lines, amplification) = (604_800_u64 << 30, 274, 10);
    let erases = writes / (64 << 20) * amplification * u64::from(lines);
    assert!((1..100).contains(&timed.percentage_used(erases, lines, writes)), "{timed:?}");
    let daily = life("endurance=0.3dwpd").ssd;
    assert_eq!(daily.endurance, Endurance::HostBytes(daily.geometry.user_bytes * 30 / 100 * 5 * 365));
    assert_eq!(daily.endurance.percentage_used(0, 1, daily.geometry.user_bytes * 1825), 255);
    assert_eq!(daily.endurance.percentage_used(1 << 40, 1, daily.geometry.user_bytes * 54), 9);
    for text in ["none", "3000", "1dwpd", "0.3dwpd", "10dwpd", "2.05dwpd"] {
        let life = Life::try_from(text.to_owned()).expect(text);
        assert_eq!(String::from(life), text);
    }
    for text in ["", "0", "-1", "+3", "0dwpd", "dwpd", "1.dwpd", "1.234dwpd", "99999999999", "3 000"] {
        Life::try_from(text.to_owned()).expect_err(text);
    }
}

#[test]
fn options_without_effect_are_refused_and_defaults_that_are_printed_are_not() {
    let seed = refusal("interleave_seed=7", &[]);
    assert!(seed.starts_with("--device interleave_seed=7: it has no effect without interleave=seeded"), "{seed}");
    assert!(refusal("doorbells=mapped,dbcs=on", &[]).starts_with("--device dbcs=on: with doorbells=mapped"));
    assert!(media_refusal("vwc=off,plp=on", &[]).starts_with("--media plp=on: without a volatile write cache"));
    assert!(media_refusal("cache=unsafe", &[]).starts_with("--media cache=unsafe: a drive in memory"));
    for device in ["interleave_seed=0", "doorbells=mapped,dbcs=off", "interleave=seeded"] {
        Settings::read(&given(device, &[])).expect(device);
    }
    for words in ["vwc=off,plp=off", "vwc=off", "plp=on", "cache=writeback,store=ram"] {
        Settings::read(&media(words, &[])).expect(words);
    }
}

#[test]
fn one_path_is_given_for_one_thing() {
    let sockets = |one: &str, other: &str| vec![("--socket", one.into()), ("--control", other.into())];
    let twice = Given { sockets: sockets("a", "./a"), ..Given::default() };
    let refused = |given: &Given| Settings::read(given).expect_err("one path twice").to_string();
    assert_eq!(refused(&twice), "--control ./a: --socket has this path already: give another one");
    let media = Given { sockets: sockets("a", "b"), ..media("store=file:b", &[]) };
    assert_eq!(refused(&media), "--control b: the media has this path already: give another one");
    let file = Given { file: Some("b".into()), sockets: sockets("a", "b"), ..Given::default() };
    assert_eq!(refused(&file), "--control b: --config has this path already: give another one");
}

#[test]
fn the_unit_is_4_kib_or_the_largest_block_unless_given() {
    let unit = |given: Given| Settings::read(&given).expect("legal").media.ssd.geometry.unit_bytes;
    assert_eq!(unit(given("", &["lba=512"])), 4096);
    assert_eq!(unit(given("", &["lba=16KiB", "lba=512"])), 16384);
    assert_eq!(unit(given("", &["lba=512,iu=512"])), 512);
    assert_eq!(unit(media("iu=4MiB", &["size=1GiB"])), 4 << 20);
    assert_eq!(unit(media("iu=64MiB", &["size=16GiB"])), 64 << 20);
}

#[test]
fn a_word_of_the_media_that_cannot_be_is_refused_by_name() {
    let refusal = |text| media_refusal(text, &["lba=16KiB"]);
    assert_eq!(refusal("iu=8KiB"), "--media iu=8KiB: give a power of two from 16KiB, the largest lba, to 64MiB");
    assert_eq!(refusal("channels=0"), "--media channels=0: give 1 to 256");
    assert!(refusal("bad_blocks=65").contains("64 can be replaced"));
    assert!(refusal("page_size=3000").starts_with("--media page_size=3000: give a power of two"));
    assert!(refusal("op=7").starts_with("--media op=7: give a share"));
    assert!(refusal("gc=gready").starts_with("--media gc=gready: give one of greedy, "));
    assert!(refusal("timing=mlc").starts_with("--media timing=mlc: give one of "));
    assert!(refusal("stor=ram").starts_with("--media stor: no such option; known are store, "));
    assert!(refusal("pages=1,channels=1,dies=1,planes=1").contains("pages=1: a line"), "{}", refusal("pages=1"));
    assert!(refusal("cache_size=1TiB").contains("a line of this drive holds 16MiB: give at most that"));
    assert!(refusal("cache_age=forever").starts_with("--media cache_age=forever: give a time such as 100ms"));
    assert!(refusal("memory_max=1MiB").starts_with("--media memory_max=1MiB: give at least "));
    let of_file = refusal("store=file:nowhere,memory_max=1GiB");
    assert_eq!(of_file, "--media memory_max=1GiB: it is for store=ram: leave it out for a file");
}

#[test]
fn what_namespaces_say_of_the_media_moves_there_and_must_agree() {
    let settings = Settings::read(&given("", &["iu=16KiB", "iu=16384"])).expect("they agree");
    assert_eq!(settings.media.ssd.geometry.unit_bytes, 16384);
    let refusal = refusal("", &["iu=16KiB", "iu=32KiB"]);
    let remedy = "--namespace iu=32KiB: --namespace says iu=16KiB, and all namespaces share one media: give iu once";
    assert_eq!(refusal, remedy);
    assert!(
        media_refusal("store=ram", &["store=file:x"]).starts_with("--namespace store=file:x: --media says store=ram")
    );
}

#[test]
fn sizes_round_up_to_whole_units_inside_the_media() {
    let settings = Settings::read(&media("iu=64KiB", &["size=4KiB,lba=512", "size=68KiB,lba=4KiB"])).expect("legal");
    assert_eq!(settings.media.geometry().user_units, 3);
    assert_eq!(settings.volumes()[0].capacity_blocks, 8);
}

#[test]
fn a_file_that_exists_decides_what_was_not_given_and_contradicts_what_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk");
    let store = format!("store=file:{}", path.display());
    let new =
        Settings::read(&media(&format!("{store},iu=16KiB,op=9%"), &["size=32MiB,lba=4KiB"])).expect("legal").media;
    let file = ::media::store::FileStore::create_file(
        &path,
        &new.geometry(),
        new.ssd.tuning.journal_entries,
        ::media::store::FileOptions::default(),
    );
    drop(::media::ssd::Ssd::create(new.ssd.clone(), file.expect("a file")).expect("a drive"));
    let again = Settings::read(&media(&store, &[])).expect("the file decides").media;
    assert_eq!(again.ssd, new.ssd);
    // Such a file is from before files had identities; it is known by its place.
    let serial = |settings: Settings| settings.controller.serial;
    let known = serial(Settings::read(&media(&store, &[])).expect("legal"));
    let elsewhere = Given { sockets: vec![("--socket", "/run/other.sock".into())], ..media(&store, &[]) };
    assert_eq!(known, serial(Settings::read(&elsewhere).expect("legal")));
    assert!(known.starts_with(b"brownout-") && known != serial(Settings::read(&media("", &[])).expect("legal")));
    let refusal = |words: &str, namespaces: &[&str]| {
        media_refusal(&format!("{store}{words}"), namespaces).replace(&folder.path().display().to_string(), "")
    };
    assert_eq!(refusal(",iu=4KiB", &[]), "--media iu=4KiB: /disk has iu=16KiB: leave iu out, or give another file");
    assert_eq!(refusal(",op=7%", &[]), "--media op=7%: /disk has op=9%: leave op out, or give another file");
    let remedy = "--namespace size=1GiB: /disk has size=32MiB: leave size out, or give another file";
    assert_eq!(refusal("", &["size=1GiB"]), remedy);
    assert!(refusal("", &["lba=512"]).starts_with("--namespace lba=512: /disk has lba=4KiB"));
    assert!(refusal("", &["", ""]).starts_with("--namespace given 2 times: /disk has 1"));
    std::fs::write(&path, b"something else").expect("written");
    assert!(refusal("", &[]).contains("this is not a brownout media file"), "{}", refusal("", &[]));
}

/// MDTS and the size of a block are possible one by one; together they must let a command carry a block.
#[test]
fn a_command_must_carry_a_block() {
    let shifts = |lba: u32| (0..=9).filter(move |mdts| *mdts == 0 || 4096_u32 << mdts >= lba);
    for lba in [512, 4096, 8192, 16384, 32768, 65536] {
        for mdts in 0..=9 {
            let read = Settings::read(&given(&format!("mdts={mdts}"), &[&format!("lba={lba}")]));
            assert_eq!(read.is_ok(), shifts(lba).any(|enough| enough == mdts), "mdts={mdts}, lba={lba}");
        }
    }
    assert_eq!(
        refusal("mdts=1", &["lba=64KiB"]),
        "--device mdts=1: a command carries at most 8192 bytes then, and a block of namespace 1 with lba=65536 has 65536: give mdts=4 or \
         more, or a smaller lba"
    );
    assert_eq!(
        refusal("mdts=4", &["lba=512", "lba=64KiB,ms=64,mset=1"]),
        "--device mdts=4: a command carries at most 65536 bytes then, and a block of namespace 2 with lba=65536 and ms=64 with mset=1 has \
         65600: give mdts=5 or more, or a smaller lba, or mset=0"
    );
    assert!(Settings::read(&given("mdts=4", &["lba=64KiB,ms=64,mset=0"])).is_ok(), "metadata in a buffer of its own");
    assert!(Settings::read(&given("mdts=5", &["lba=64KiB,ms=64,mset=1"])).is_ok());
}
