//! Which mistakes do the tests notice? As `cargo-mutants`, but with one build for all: each mutant stands behind a switch that is asked
//! at run time, so that a mutant costs a few processes and no compiler.
//!
//! In the order of a run: [`sites`] (and `body`) find the mutants of a file, [`splice`] writes them into a copy of the [`tree`],
//! [`build`] drops those that do not compile, [`trial`] runs the tests that reach each, [`report`] says what was missed. Those that
//! nobody could notice are kept in [`equivalent`].

mod body;
pub mod build;
pub mod equivalent;
pub mod report;
pub mod sites;
pub mod splice;
pub mod tree;
pub mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use build::{Cargo, Complaint};
use equivalent::{Equivalents, one_line};
use report::{Outcome, Report};
use sites::{Mutant, Site};
use splice::Spliced;
use trial::Suite;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of the repository.
    pub root: PathBuf,
    /// Where the copy and its build go.
    pub scratch: PathBuf,
    /// Files and folders to mutate, from the root.
    pub files: Vec<PathBuf>,
    /// Packages whose tests are run.
    pub packages: Vec<String>,
    /// Test binaries that are not run.
    pub without: Vec<String>,
    /// How many mutants to try; all if `None`.
    pub sample: Option<usize>,
    /// Which ones those are.
    pub seed: u64,
    /// Only mutants whose description has this in it.
    pub only: Option<String>,
    /// How long to go on with one mutant.
    pub budget: Duration,
    /// How long a test may take in any case before it counts as one that does not end.
    pub patience: Duration,
    /// How many mutants are tried at a time.
    pub jobs: usize,
}

/// A file with its mutants.
struct Mutated {
    path: PathBuf,
    source: String,
    sites: Vec<Site>,
    /// Number of its first mutant.
    first: usize,
}

impl Mutated {
    fn mutants(&self) -> impl Iterator<Item = (usize, &Mutant)> {
        self.sites.iter().flat_map(|site| &site.mutants).enumerate().map(|(index, mutant)| (self.first + index, mutant))
    }
}

/// Finds the mutants of files.
fn mutated(root: &Path, files: &[PathBuf]) -> Result<Vec<Mutated>> {
    let mut all: Vec<Mutated> = Vec::new();
    for path in tree::rust_files(root, files)? {
        let source = fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        let sites = sites::find(&source).with_context(|| format!("{} is not Rust", path.display()))?;
        let first = all.last().map_or(0, |last| last.first + last.mutants().count());
        all.push(Mutated { path, source, sites, first });
    }
    Ok(all)
}

/// Entries of the kept list that speak of no mutant of these files, though of one of the files.
///
/// # Errors
/// If a file cannot be read.
pub fn stale(root: &Path, files: &[PathBuf], list: &Equivalents) -> Result<Vec<String>> {
    let all = mutated(root, files)?;
    let is_stale = |entry: &&equivalent::Equivalent| {
        let file = all.iter().find(|file| file.path == Path::new(&entry.file));
        file.is_none_or(|file| !file.mutants().any(|(_, mutant)| entry.matches(&entry.file, mutant)))
    };
    let describe = |entry: &equivalent::Equivalent| format!("{} {} {:?}", entry.file, entry.function, entry.original);
    Ok(list.equivalent.iter().filter(is_stale).map(describe).collect())
}

/// Does it all. `tell` hears of progress.
///
/// # Errors
/// If the tree does not build, whatever is left out, or a test cannot be run.
pub fn run(plan: &Plan, list: &Equivalents, mut tell: impl FnMut(&str)) -> Result<Report> {
    let all = mutated(&plan.root, &plan.files)?;
    let count: usize = all.iter().map(|file| file.mutants().count()).sum();
    tell(&format!("{count} mutants in {} files", all.len()));
    let cargo = Cargo { tree: plan.scratch.join("tree"), target: plan.scratch.join("build") };
    let unviable = settle(plan, &all, count, &cargo, &mut tell)?;
    let binaries = cargo.tests(&plan.packages)?.into_iter();
    let binaries = binaries.filter(|binary| !plan.without.contains(&binary.name)).collect();
    let suite = Suite::observe(binaries, &plan.scratch, plan.jobs, &mut tell)?;
    let (tests, time) = suite.extent();
    tell(&format!(
        "{tests} tests, which take {:.0} s; {} do not pass without a mutant",
        time.as_secs_f64(),
        suite.broken.len()
    ));
    suite.broken.iter().for_each(|name| tell(&format!("not used: {name}")));
    judged(plan, list, &suite, &sample(plan, &all, &unviable), &mut tell)
}

/// Tries what was chosen, some at a time.
fn judged(
    plan: &Plan,
    list: &Equivalents,
    suite: &Suite,
    chosen: &[(&Mutated, usize, &Mutant)],
    tell: &mut impl FnMut(&str),
) -> Result<Report> {
    let next = AtomicUsize::new(0);
    let outcomes = std::thread::scope(|scope| -> Result<BTreeMap<usize, Outcome>> {
        let (done, each) = mpsc::channel();
        for _ in 0..plan.jobs.max(1) {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                while let Some(index) = Some(next.fetch_add(1, Relaxed)).filter(|index| *index < chosen.len()) {
                    let (file, number, mutant) = chosen[index];
                    if done.send((index, outcome(plan, list, suite, file, number, mutant))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut outcomes = BTreeMap::new();
        for (index, outcome) in each {
            let outcome = outcome?;
            let (file, _, mutant) = chosen[index];
            tell(&format!("{}/{} {}", outcomes.len() + 1, chosen.len(), report::line(&file.path, mutant, &outcome)));
            outcomes.insert(index, outcome);
        }
        Ok(outcomes)
    })?;
    let mut report = Report::default();
    for (index, outcome) in &outcomes {
        report.add(&chosen[*index].0.path, chosen[*index].2, outcome);
    }
    Ok(report)
}

fn outcome(
    plan: &Plan,
    list: &Equivalents,
    suite: &Suite,
    file: &Mutated,
    number: usize,
    mutant: &Mutant,
) -> Result<Outcome> {
    let path = file.path.to_string_lossy();
    Ok(match list.reason(&path, mutant) {
        Some(reason) => Outcome::Equivalent(reason.to_owned()),
        None => {
            let within = format!("{path} {}", mutant.function);
            Outcome::Tried(suite.judge(number, &within, plan.budget, plan.patience)?)
        }
    })
}

/// Writes the tree until it compiles; says which mutants had to go.
fn settle(
    plan: &Plan,
    all: &[Mutated],
    count: usize,
    cargo: &Cargo,
    tell: &mut impl FnMut(&str),
) -> Result<BTreeSet<usize>> {
    let known = Known::read(plan, all);
    let mut unviable = known.numbers(all);
    let packages = packages(plan, all)?;
    for round in 1.. {
        let spliced: Vec<Spliced> = all.iter().map(|file| spliced(plan, file, &unviable)).collect::<Result<_>>()?;
        tree::copy(&plan.root, &cargo.tree, &changed(plan, all, &spliced, count)?)?;
        let complaints = cargo.check(&packages)?;
        if complaints.is_empty() {
            break;
        }
        let before = unviable.len();
        for complaint in &complaints {
            unviable.extend(blamed(all, &spliced, complaint));
        }
        tell(&format!("round {round}: {} complaints, {} mutants left out", complaints.len(), unviable.len()));
        if unviable.len() == before {
            bail!("the tree does not compile, whatever is left out:\n{}", complaints[0].message);
        }
    }
    Known::write(plan, all, &unviable)?;
    Ok(unviable)
}

/// What a crate with mutants begins with, so that no lint finds fault with them.
const LENIENT: &str = "#![allow(warnings, arithmetic_overflow, unconditional_panic)] ";

fn spliced(plan: &Plan, file: &Mutated, unviable: &BTreeSet<usize>) -> Result<Spliced> {
    let number = |index: usize| Some(file.first + index).filter(|number| !unviable.contains(number));
    let mut spliced = splice::splice(&file.source, &file.sites, number);
    if tree::crate_root(&plan.root, &file.path)? == file.path {
        spliced.begin_with(LENIENT);
    }
    Ok(spliced)
}

fn blamed(all: &[Mutated], spliced: &[Spliced], complaint: &Complaint) -> BTreeSet<usize> {
    let in_file = |(file, spliced): (&Mutated, &Spliced)| {
        let places = complaint.places.iter().filter(|(path, _)| *path == file.path);
        let places: Vec<_> = places.map(|(_, place)| place.clone()).collect();
        spliced.blamed(&places)
    };
    all.iter().zip(spliced).flat_map(in_file).collect()
}

/// The files that differ from the repository's: those with mutants, the roots of their crates, the switches, and the manifest whose
/// lints would find fault with mutants.
fn changed(plan: &Plan, all: &[Mutated], spliced: &[Spliced], count: usize) -> Result<BTreeMap<PathBuf, String>> {
    let mut changed: BTreeMap<PathBuf, String> =
        all.iter().zip(spliced).map(|(file, spliced)| (file.path.clone(), spliced.text.clone())).collect();
    for file in all {
        let root = tree::crate_root(&plan.root, &file.path)?;
        let text = match changed.get(&root) {
            Some(text) => text.clone(),
            None => format!("{LENIENT}{}", fs::read_to_string(plan.root.join(&root))?),
        };
        if !text.contains("mod mutant_switch;") {
            let text = format!("{text}\nmod mutant_switch;\n");
            changed.insert(root.with_file_name("mutant_switch.rs"), splice::switch_module(count));
            changed.insert(root, text);
        }
    }
    let manifest = fs::read_to_string(plan.root.join("Cargo.toml")).context("cannot read Cargo.toml")?;
    let lenient = manifest.replace("= \"deny\"", "= \"allow\"").replace("= \"warn\"", "= \"allow\"");
    changed.insert("Cargo.toml".into(), lenient);
    Ok(changed)
}

/// The packages that have mutants.
fn packages(plan: &Plan, all: &[Mutated]) -> Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for file in all {
        let root = tree::crate_root(&plan.root, &file.path)?;
        let folder = root.parent().and_then(Path::parent).context("a crate has a folder")?;
        let manifest = fs::read_to_string(plan.root.join(folder).join("Cargo.toml"))?;
        let manifest: toml::Table = manifest.parse()?;
        let name = manifest.get("package").and_then(|package| package.get("name")?.as_str());
        names.insert(name.context("a package has a name")?.to_owned());
    }
    Ok(names.into_iter().collect())
}

/// What is tried: the viable mutants in an order that the seed and their own texts give, so that the sample outlives edits elsewhere.
fn sample<'all>(
    plan: &Plan,
    all: &'all [Mutated],
    unviable: &BTreeSet<usize>,
) -> Vec<(&'all Mutated, usize, &'all Mutant)> {
    let wanted = |file: &Mutated, mutant: &Mutant| {
        plan.only.as_ref().is_none_or(|text| report::description(&file.path, mutant).contains(text))
    };
    let mut chosen = Vec::new();
    for file in all {
        let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
        for (number, mutant) in file.mutants() {
            let key = identity(&file.path, mutant);
            let occurrence = seen.entry(key).or_default();
            *occurrence += 1;
            if !unviable.contains(&number) && wanted(file, mutant) {
                chosen.push((mixed(mixed(key, *occurrence), plan.seed), (file, number, mutant)));
            }
        }
    }
    chosen.sort_by_key(|(order, (_, number, _))| (*order, *number));
    chosen.truncate(plan.sample.unwrap_or(usize::MAX));
    chosen.sort_by_key(|(_, (_, number, _))| *number);
    chosen.into_iter().map(|(_, mutant)| mutant).collect()
}

fn identity(path: &Path, mutant: &Mutant) -> u64 {
    let parts =
        [&path.to_string_lossy(), &*mutant.function, &*one_line(&mutant.original), &*one_line(&mutant.replacement)];
    parts.join("\n").bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| mixed(hash, byte.into()))
}

/// A step of SplitMix64, keyed.
pub(crate) fn mixed(one: u64, other: u64) -> u64 {
    let mut mixed = (one ^ other.wrapping_mul(0xff51_afd7_ed55_8ccd)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What did not compile the last time, for files that are as they were.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Known {
    /// File, its text's hash, and which of its mutants.
    files: BTreeMap<String, (u64, Vec<usize>)>,
}

impl Known {
    fn path(plan: &Plan) -> PathBuf {
        plan.scratch.join("unviable.json")
    }

    fn read(plan: &Plan, all: &[Mutated]) -> Self {
        let text = fs::read_to_string(Self::path(plan)).unwrap_or_default();
        let mut known: Self = serde_json::from_str(&text).unwrap_or_default();
        known
            .files
            .retain(|name, (hash, _)| all.iter().any(|file| file.path == Path::new(name) && hash_of(file) == *hash));
        known
    }

    fn numbers(&self, all: &[Mutated]) -> BTreeSet<usize> {
        let of = |file: &Mutated| {
            let known = self.files.get(&*file.path.to_string_lossy());
            let first = file.first;
            known.into_iter().flat_map(move |(_, list)| list.iter().map(move |index| first + index)).collect::<Vec<_>>()
        };
        all.iter().flat_map(of).collect()
    }

    fn write(plan: &Plan, all: &[Mutated], unviable: &BTreeSet<usize>) -> Result<()> {
        let of = |file: &Mutated| {
            let list = file.mutants().map(|(number, _)| number).filter(|number| unviable.contains(number));
            let list = list.map(|number| number - file.first).collect();
            (file.path.to_string_lossy().into_owned(), (hash_of(file), list))
        };
        let known = Self { files: all.iter().map(of).collect() };
        fs::write(Self::path(plan), serde_json::to_string(&known)?).context("cannot write what did not compile")
    }
}

/// Of the text and of its mutants, so that a change of this tool counts as one of the file.
fn hash_of(file: &Mutated) -> u64 {
    let text = file.source.bytes().fold(1, |hash, byte| mixed(hash, byte.into()));
    file.mutants().fold(text, |hash, (_, mutant)| mixed(hash, identity(&file.path, mutant)))
}

/// Reads a list of files: one path a line, `#` begins a remark.
///
/// # Errors
/// If it cannot be read, or is empty.
pub fn read_list(path: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let list: Vec<PathBuf> = lines.filter(|line| !line.is_empty()).map(PathBuf::from).collect();
    ensure!(!list.is_empty(), "{} names no files", path.display());
    Ok(list)
}
