//! An image that somebody has been at: bytes flipped, ranges overwritten, numbers replaced and checksums made right again, the end cut
//! off. It is refused in words, or opened with every invariant in place and then used; never a panic.
//!
//! `MEDIA_SEED=n` and `MEDIA_CASES=n` as elsewhere.

use media::codec::checksum;
use media::geometry::{Geometry, GeometryConfig};
use media::journal::{
    HEADER_BYTES, HeaderState, Kind, LineHeader, METADATA_PAGE, RECORD_BYTES, Record, map_page_checksum,
};
use media::power::Random;
use media::root::{Layout, Root};
use media::ssd::{CacheConfig, Ssd, SsdConfig, VolumeConfig};
use media::store::{ImageStore, StoreError};
use media::testing::OpenDisk;
use media::volume::{Fault, Media, MediaError, Request, Sink, Source, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds};

const BLOCKS: u64 = 512;

fn config() -> SsdConfig {
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 2,
            pages_per_block: 8,
            page_bytes: 4096,
            unit_bytes: 4096,
            user_bytes: BLOCKS * 4096,
            spare_per_million_of_user: 250_000,
            replacement_blocks_per_plane: 2,
            factory_bad_blocks: 0,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: vec![VolumeConfig::new(4096, 8, BLOCKS)],
        cache: CacheConfig { bytes: 32 << 10, ..CacheConfig::default() },
        tuning: media::config::Tuning { journal_entries: 128, ..media::config::Tuning::default() },
        power_atomic_bytes: 16 << 10,
        ..SsdConfig::default()
    }
}

struct Blank;

impl Source for Blank {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(u8::try_from(offset % 251).unwrap());
        Ok(())
    }
    fn fill_metadata(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.fill(9);
        Ok(())
    }
}

impl Sink for Blank {
    fn take(&mut self, _offset: usize, _from: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
    fn take_metadata(&mut self, _offset: usize, _from: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

fn submit(ssd: &mut Ssd<ImageStore<OpenDisk>>, request: Request<'_>) -> Result<(), MediaError> {
    match ssd.submit(Nanoseconds(0), Token(0), VolumeId(0), request) {
        Submitted::Done(outcome) => outcome,
        Submitted::Pending => {
            let mut ended = None;
            ssd.poll(Nanoseconds(0), &mut |_, outcome| ended = Some(outcome));
            ended.expect("this disk is never late")
        }
    }
}

/// Random requests; those that fail fail.
fn use_it(ssd: &mut Ssd<ImageStore<OpenDisk>>, random: &mut Random, requests: u64) {
    for _ in 0..requests {
        let capacity = ssd.shape(VolumeId(0)).map_or(1, |shape| shape.capacity_blocks);
        let blocks = (1 + random.below(4)).min(capacity);
        let range = LbaRange::new(Lba(random.below(capacity - blocks + 1)), blocks);
        let _ = match random.below(10) {
            0 => submit(ssd, Request::Deallocate { ranges: &[range] }),
            1 => submit(ssd, Request::Read { range, into: &mut Blank, force: false }),
            2 => submit(ssd, Request::Flush),
            _ => submit(ssd, Request::Write { range, from: &mut Blank, force: false }),
        };
    }
}

/// The bytes of a drive that was used and then lost power, and their geometry.
fn valid_image() -> (Vec<u8>, Geometry) {
    let config = config();
    let geometry = config.checked().unwrap();
    let disk = OpenDisk::default();
    let mut ssd = Ssd::create(config, ImageStore::create(&geometry, 1 << 20, disk.clone()).unwrap()).unwrap();
    use_it(&mut ssd, &mut Random::new(1), 3000);
    ssd.fail_program(1);
    use_it(&mut ssd, &mut Random::new(2), 200);
    let bytes = disk.bytes().clone();
    (bytes, geometry)
}

/// Where things lie in an image.
struct Places {
    layout: Layout,
    lines: usize,
    first_line: usize,
    stride: usize,
}

fn places(geometry: &Geometry) -> Places {
    let records = (geometry.units_per_line as usize * RECORD_BYTES).next_multiple_of(METADATA_PAGE);
    Places {
        layout: Layout::of(geometry, 128),
        lines: geometry.lines as usize,
        first_line: METADATA_PAGE + (1 << 20),
        stride: METADATA_PAGE + records + geometry.line_bytes.next_multiple_of(METADATA_PAGE),
    }
}

fn interesting(random: &mut Random) -> u64 {
    match random.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << random.below(64),
        3 => u64::MAX >> random.below(64),
        4 => random.below(300),
        _ => random.draw(),
    }
}

/// Replaces a number, four or eight bytes wide.
fn poke(bytes: &mut [u8], at: usize, random: &mut Random) {
    let value = interesting(random).to_le_bytes();
    let width = if random.below(2) == 0 { 4 } else { 8 };
    let end = (at + width).min(bytes.len());
    bytes[at..end].copy_from_slice(&value[..end - at]);
}

fn below(random: &mut Random, most: usize) -> usize {
    usize::try_from(random.below(most as u64)).unwrap()
}

/// Changes numbers of a root, and its checksum to match.
fn change_root(image: &mut [u8], places: &Places, random: &mut Random) {
    let magic = u64::from_le_bytes(*b"bro root");
    for generation in 0..2 {
        let start = METADATA_PAGE + usize::try_from(places.layout.root_at(generation)).unwrap();
        let length = u64::from_le_bytes(image[start + 8..start + 16].try_into().unwrap());
        let Ok(length) = usize::try_from(length) else {
            continue;
        };
        let Some(body) = image.get_mut(start + 24..start + 24 + length).filter(|body| !body.is_empty()) else {
            continue;
        };
        for _ in 0..=random.below(2) {
            let at = below(random, body.len() / 4) * 4;
            poke(body, at, random);
        }
        let sum = checksum(magic, body);
        image[start + 16..start + 24].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Changes a number of a line's header, and its checksum to match.
fn change_header(image: &mut [u8], places: &Places, random: &mut Random) {
    let line = below(random, places.lines);
    let start = places.first_line + line * places.stride;
    let header = &mut image[start..start + HEADER_BYTES];
    let at = below(random, 26) * 4;
    poke(header, at, random);
    if random.below(3) == 0 {
        header[0] = u8::try_from(random.below(6)).unwrap();
    }
    let sum = checksum(u64::try_from(line).unwrap(), &header[..HEADER_BYTES - 8]);
    header[HEADER_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
}

/// Changes a number of some records of a line, and their checksums to match.
fn change_records(image: &mut [u8], places: &Places, random: &mut Random) {
    let start = places.first_line + below(random, places.lines) * places.stride;
    let opened = u64::from_le_bytes(image[start + 8..start + 16].try_into().unwrap());
    for _ in 0..4 {
        let slot = start + METADATA_PAGE + below(random, 16) * RECORD_BYTES;
        let record = &mut image[slot..slot + RECORD_BYTES];
        let at = [0, 8, 12, 16][below(random, 4)];
        poke(&mut record[..24], at, random);
        record[20] = u8::try_from(random.below(6)).unwrap();
        record[21..24].fill(0);
        let check = media::journal::fold(checksum(opened, &record[..RECORD_BYTES - 4]));
        record[RECORD_BYTES - 4..].copy_from_slice(&check.to_le_bytes());
    }
}

/// Changes entries of the map, mostly with the checksums of their pages, which the root holds, and the root's own to match.
fn change_map(image: &mut [u8], places: &Places, random: &mut Random) {
    for generation in 0..2 {
        let start = METADATA_PAGE + usize::try_from(places.layout.root_at(generation)).unwrap();
        let Some(mut root) = Root::decode(&image[start..]) else {
            continue;
        };
        for _ in 0..=random.below(4) {
            let page = below(random, root.basis.sums.len());
            let second = root.basis.homes[page / 64] >> (page % 64) & 1 == 1;
            let home = METADATA_PAGE + usize::try_from(places.layout.map_at(page as u64, second)).unwrap();
            let value = if random.below(2) == 0 { random.below(1 << 9) } else { interesting(random) };
            let at = home + below(random, METADATA_PAGE / 4) * 4;
            image[at..at + 4].copy_from_slice(&value.to_le_bytes()[..4]);
            if random.below(8) != 0 {
                let bytes = image[home..].first_chunk().unwrap();
                root.basis.sums[page] = map_page_checksum(page as u64, bytes);
            }
        }
        let root = root.encode();
        image[start..start + root.len()].copy_from_slice(&root);
    }
}

fn change_anything(image: &mut Vec<u8>, random: &mut Random) {
    match random.below(4) {
        0 => {
            let at = below(random, image.len());
            image[at] ^= 1 << random.below(8);
        }
        1 => {
            let from = below(random, image.len());
            let to = (from + below(random, 70_000)).min(image.len());
            image[from..to].fill_with(|| u8::try_from(random.below(256)).unwrap());
        }
        2 => {
            let from = below(random, image.len());
            let to = (from + below(random, 70_000)).min(image.len());
            image[from..to].fill(0);
        }
        _ => {
            let length = below(random, image.len());
            image.truncate(length);
        }
    }
}

fn change(image: &mut Vec<u8>, places: &Places, random: &mut Random) {
    match random.below(8) {
        0 | 1 => change_root(image, places, random),
        2 | 3 => change_header(image, places, random),
        4 => change_records(image, places, random),
        5 => change_map(image, places, random),
        _ => change_anything(image, random),
    }
}

fn open(image: Vec<u8>, geometry: &Geometry) -> Result<Ssd<ImageStore<OpenDisk>>, StoreError> {
    Ssd::open(config(), ImageStore::open(geometry, OpenDisk::holding(image))?)
}

#[test]
fn a_changed_image_is_refused_or_works_and_never_brings_the_process_down() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (valid, geometry) = valid_image();
    open(valid.clone(), &geometry).expect("the image is good as it is").ftl().assert_invariants();
    let places = places(&geometry);
    let (mut refused, mut opened) = (0, 0);
    let seeds = match variable("MEDIA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("MEDIA_CASES").unwrap_or(1500),
    };
    for seed in seeds.clone() {
        let mut random = Random::new(seed);
        let mut image = valid.clone();
        println!("MEDIA_SEED={seed}");
        change(&mut image, &places, &mut random);
        match open(image, &geometry) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
            Ok(mut ssd) => {
                ssd.ftl().assert_invariants();
                use_it(&mut ssd, &mut random, 300);
                ssd.ftl().assert_invariants();
                opened += 1;
            }
        }
    }
    println!("{refused} refused, {opened} opened");
    assert!(seeds.end - seeds.start < 100 || (refused > 0 && opened > 0), "{refused} refused, {opened} opened");
}

/// A byte for each map page, of either home, flipped in turn; the root says which of the two counts.
#[test]
fn a_map_page_that_is_not_what_was_written_is_refused_by_name_and_its_other_home_does_not_matter() {
    let (valid, geometry) = valid_image();
    let places = places(&geometry);
    let roots = [0, 1].map(|generation| {
        let start = METADATA_PAGE + usize::try_from(places.layout.root_at(generation)).unwrap();
        Root::decode(&valid[start..])
    });
    let root = roots.into_iter().flatten().max_by_key(|root| root.generation).expect("a root");
    assert!(root.basis.sums.iter().all(|sum| *sum != 0), "all of the map was written");
    for page in 0..places.layout.map_pages {
        let at = usize::try_from(page).unwrap();
        let second = root.basis.homes[at / 64] >> (at % 64) & 1 == 1;
        for home in [false, true] {
            let mut image = valid.clone();
            image[METADATA_PAGE + usize::try_from(places.layout.map_at(page, home)).unwrap() + 1234] ^= 16;
            let words = open(image, &geometry).err().map(|error| error.to_string());
            let (first, last) = (page * 1024, page * 1024 + 1023);
            let expected = format!("the media is damaged: the map of units {first} to {last} is not what was written");
            assert_eq!(words, (home == second).then_some(expected), "page {page}, home {home}");
        }
    }
}

/// Lets the map of a drive that was shut down in order say that more units lie in what is programmed of an open line than fit there: by
/// their places alone each of them could. What the line takes up later would be counted on top, beyond its slots.
#[test]
fn an_open_line_that_would_hold_more_units_than_are_programmed_in_it_is_refused_by_name() {
    let (valid, geometry) = valid_image();
    let disk = OpenDisk::holding(valid);
    let mut ssd = Ssd::open(config(), ImageStore::open(&geometry, disk.clone()).unwrap()).unwrap();
    ssd.shutdown();
    let valid = disk.bytes().clone();
    let places = places(&geometry);
    let mut tried = 0;
    for line in 0..geometry.lines {
        let start = places.first_line + line as usize * places.stride;
        let header = LineHeader::decode(line, &valid[start..]).expect("a header");
        if header.state != HeaderState::Open {
            continue;
        }
        let records = valid[start + METADATA_PAGE..].chunks(RECORD_BYTES).take(geometry.units_per_line as usize);
        let programmed = records.map_while(|bytes| Record::decode(header.opened, bytes));
        let programmed = programmed.filter(|(record, _)| record.kind != Kind::Hole).count();
        if programmed == 0 || programmed == geometry.units_per_line as usize {
            continue;
        }
        let mut image = valid.clone();
        let held = fill_by_map(&mut image, &places, &geometry, line, programmed);
        assert_eq!(held, programmed);
        open(image, &geometry).expect("as many units as are programmed").ftl().assert_invariants();
        let mut image = valid.clone();
        fill_by_map(&mut image, &places, &geometry, line, programmed + 1);
        let words = open(image, &geometry).err().map(|error| error.to_string());
        let many = programmed + 1;
        let expected =
            format!("the media is damaged: {many} units lie in the {programmed} programmed slots of line {line}");
        assert_eq!(words, Some(expected));
        tried += 1;
    }
    assert!(tried > 0, "no line is open, begun and not full");
}

/// Lets units of the map point at the first slot of a line until this many lie in it, all checksums right; returns how many do.
fn fill_by_map(image: &mut [u8], places: &Places, geometry: &Geometry, line: u32, units: usize) -> usize {
    let roots = [0, 1].map(|generation| {
        let start = METADATA_PAGE + usize::try_from(places.layout.root_at(generation)).unwrap();
        Root::decode(&image[start..]).map(|root| (start, root))
    });
    let (start, mut root) = roots.into_iter().flatten().max_by_key(|(_, root)| root.generation).expect("a root");
    // These drives have one map page.
    let second = root.basis.homes[0] & 1 == 1;
    let home = METADATA_PAGE + usize::try_from(places.layout.map_at(0, second)).unwrap();
    let page = &mut image[home..home + METADATA_PAGE];
    let first = geometry.physical(line, 0).0 + 1;
    let last = first + geometry.units_per_line;
    let inside = |entry: &[u8]| (first..last).contains(&u32::from_le_bytes(entry.try_into().unwrap()));
    let mut held = page.chunks(4).filter(|entry| inside(entry)).count();
    for entry in page.chunks_mut(4).take(geometry.user_units as usize) {
        if held < units && !inside(entry) {
            entry.copy_from_slice(&first.to_le_bytes());
            held += 1;
        }
    }
    root.basis.sums[0] = map_page_checksum(0, image[home..].first_chunk().unwrap());
    let root = root.encode();
    image[start..start + root.len()].copy_from_slice(&root);
    held
}

/// An image that claims to be giant is refused before memory is taken for its lines: here a hundred gigabytes.
/// Roots whose lists are as long as those of another drive.
#[test]
fn a_root_of_another_map_is_refused_by_name() {
    let (image, geometry) = valid_image();
    let places = places(&geometry);
    for longer in [false, true] {
        for of_homes in [false, true] {
            let mut image = image.clone();
            for generation in 0..2 {
                let start = METADATA_PAGE + usize::try_from(places.layout.root_at(generation)).unwrap();
                let mut root = Root::decode(&image[start..]).expect("a root");
                let list = if of_homes { &mut root.basis.homes } else { &mut root.basis.sums };
                if longer {
                    list.push(0);
                } else {
                    list.clear();
                }
                let encoded = root.encode();
                image[start..start + encoded.len()].copy_from_slice(&encoded);
            }
            let error = open(image, &geometry).err().expect("it is of another drive").to_string();
            assert_eq!(error, "the media is damaged: the root does not fit the geometry", "{longer} {of_homes}");
        }
    }
}

#[test]
fn a_giant_image_on_a_small_disk_is_refused_before_it_takes_memory() {
    let mut geometry = config().checked().unwrap();
    let disk = OpenDisk::default();
    drop(ImageStore::create(&geometry, 1 << 20, disk.clone()).unwrap());
    geometry.lines = u32::MAX;
    let refused = ImageStore::open_whole(&geometry, disk, 1 << 30).err().expect("it does not fit");
    assert!(refused.to_string().contains("the file is cut off: 1073741824 bytes of"), "{refused}");
}
