//! Says which file of an ext2, ext3 or ext4 a block belongs to, where the host has debugfs. Knows no tape.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the tools are besides PATH, which of an ordinary user often lacks these.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];
/// Of a piece so many blocks of the file system are looked at, from its first.
const BLOCKS_MAX: u64 = 64;
/// The inode of the journal.
const JOURNAL: u64 = 8;

/// What the blocks of a file system are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    /// By block: its inode.
    inodes: BTreeMap<u64, u64>,
    /// By inode: a path.
    paths: BTreeMap<u64, String>,
    /// Blocks of the file system itself.
    own: Vec<(Range<u64>, &'static str)>,
}

/// What ranges of bytes of an image are, a text for each; empty where that is not known. The journal of the image is replayed first, so that
/// files are found which are only there: the image is changed. None of the texts where the image holds something else.
///
/// # Errors
/// A tool is missing: which.
pub fn of(image: &Path, ranges: &[Range<u64>]) -> Result<Vec<String>, &'static str> {
    let nothing = || vec![String::new(); ranges.len()];
    let Some(block_bytes) = block_bytes(image) else { return Ok(nothing()) };
    let debugfs = tool("debugfs").ok_or("debugfs")?;
    if let Some(e2fsck) = tool("e2fsck") {
        said(Command::new(e2fsck).args(["-y", "-E", "journal_only"]).arg(image));
    }
    let blocks = |range: &Range<u64>| {
        let first = range.start / block_bytes;
        first..range.end.div_ceil(block_bytes).min(first + BLOCKS_MAX)
    };
    let ask = |request: &str| said(Command::new(&debugfs).args(["-R", request]).arg(image));
    let words = |numbers: &BTreeSet<u64>| numbers.iter().map(|number| format!(" {number}")).collect::<String>();
    let wanted: BTreeSet<u64> = ranges.iter().flat_map(blocks).collect();
    if wanted.is_empty() {
        return Ok(nothing());
    }
    let inodes = numbered(&ask(&format!("icheck{}", words(&wanted))));
    let inodes: BTreeMap<u64, u64> =
        inodes.into_iter().filter_map(|(block, inode)| Some((block, inode.parse().ok()?))).collect();
    let files = inodes.values().copied().filter(|inode| *inode != JOURNAL).collect();
    let paths = numbered(&ask(&format!("ncheck{}", words(&files))));
    let known = Known { inodes, paths, own: own_blocks(&ask("stats"), block_bytes) };
    Ok(ranges.iter().map(|range| known.of(blocks(range))).collect())
}

impl Known {
    fn of(&self, blocks: Range<u64>) -> String {
        let mut names: Vec<String> = Vec::new();
        for name in blocks.filter_map(|block| self.of_block(block)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(" and ")
    }

    fn of_block(&self, block: u64) -> Option<String> {
        match self.inodes.get(&block) {
            Some(&JOURNAL) => Some("the journal".to_owned()),
            Some(inode) => Some(match self.paths.get(inode) {
                // Some releases begin with two.
                Some(path) => format!("file /{}", path.trim_start_matches('/')),
                None => format!("inode {inode}"),
            }),
            None => self.own.iter().find(|(blocks, _)| blocks.contains(&block)).map(|(_, name)| (*name).to_owned()),
        }
    }
}

/// Bytes of a block of the file system, if it is one of these.
fn block_bytes(image: &Path) -> Option<u64> {
    let mut superblock = [0; 1024];
    File::open(image).ok()?.read_exact_at(&mut superblock, 1024).ok()?;
    let is_one = superblock[56..58] == [0x53, 0xef];
    let shift = u32::from_le_bytes(*superblock[24..].first_chunk()?);
    (is_one && shift <= 6).then(|| 1024 << shift)
}

fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// What a command says; nothing where it cannot.
fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines of a number and what belongs to it, behind a title.
fn numbered(text: &str) -> BTreeMap<u64, String> {
    let line =
        |line: &str| line.split_once('\t').and_then(|(number, rest)| Some((number.parse().ok()?, rest.to_owned())));
    text.lines().filter_map(line).collect()
}

/// Bitmaps and inode tables, from what debugfs says of the groups.
fn own_blocks(stats: &str, block_bytes: u64) -> Vec<(Range<u64>, &'static str)> {
    let field = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    let inodes = field("Inodes per group:").unwrap_or(0) * field("Inode size:").unwrap_or(0);
    let mut own = vec![(0..1024_u64.div_ceil(block_bytes) + 1024 / block_bytes, "the superblock")];
    for line in stats.lines() {
        for (title, name, count) in [
            ("block bitmap at ", "a block bitmap", 1),
            ("inode bitmap at ", "an inode bitmap", 1),
            ("inode table at ", "an inode table", inodes.div_ceil(block_bytes)),
        ] {
            let digits = line.split_once(title).map(|(_, rest)| rest);
            let digits =
                digits.map(|rest| rest.split(|digit: char| !digit.is_ascii_digit()).next().unwrap_or_default());
            if let Some(first) = digits.and_then(|digits| digits.parse::<u64>().ok()) {
                own.push((first..first + count, name));
            }
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_debugfs_says_is_understood() {
        let text = "Block\tInode number\n1201\t12\n7\t<block not found>\n";
        let expected = [(7, "<block not found>".to_owned()), (1201, "12".to_owned())];
        assert_eq!(numbered(text), BTreeMap::from(expected));
        let stats = "Inodes per group:         2048\nInode size:               256\n\
                     \x20Group  0: block bitmap at 33, inode bitmap at 34, inode table at 35\n\
                     \x20          2 free blocks, 3 free inodes\n";
        let known = Known {
            inodes: BTreeMap::from([(1201, 12), (1202, 12), (1203, 8), (1204, 99)]),
            paths: BTreeMap::from([(12, "/f12".to_owned())]),
            own: own_blocks(stats, 4096),
        };
        for (blocks, name) in [
            (0..1, "the superblock"),
            (33..34, "a block bitmap"),
            (34..36, "an inode bitmap and an inode table"),
            (162..163, "an inode table"),
            (163..164, ""),
            (1201..1203, "file /f12"),
            (1202..1204, "file /f12 and the journal"),
            (1204..1206, "inode 99"),
        ] {
            assert_eq!(known.of(blocks.clone()), name, "{blocks:?}");
        }
    }

    #[test]
    fn a_file_of_an_image_is_found_by_its_block_and_other_images_have_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("image");
        let image = File::create(&path).and_then(|image| image.set_len(8 << 20));
        image.expect("an image");
        assert_eq!(of(&path, &[0..4096, 8192..16384]), Ok(vec![String::new(); 2]));
        let (Some(mkfs), Some(debugfs)) = (tool("mkfs.ext4"), tool("debugfs")) else {
            println!("without e2fsprogs there is nothing to look at");
            return;
        };
        said(Command::new(mkfs).args(["-q", "-b", "4096"]).arg(&path));
        let data = folder.path().join("data");
        std::fs::write(&data, vec![7; 8192]).expect("written");
        said(Command::new(debugfs).args(["-w", "-R", &format!("write {} f12", data.display())]).arg(&path));
        let bytes = std::fs::read(&path).expect("an image");
        let block = (0_u64..).zip(bytes.chunks(4096)).find(|(_, block)| block.iter().all(|byte| *byte == 7));
        let start = block.expect("it is somewhere").0 * 4096;
        let named = of(&path, &[start..start + 512, 0..4096]).expect("debugfs is there");
        assert_eq!(named, ["file /f12", "the superblock"]);
    }
}
