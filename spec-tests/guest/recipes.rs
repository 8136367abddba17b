//! What a driver's maintainer copies into a CI system works: each recipe is read as that system reads it, and its lines are run here, with
//! stand-ins for the build and for the installation.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use guest_harness::{Assets, Brownout, Kernel};
use yaml_rust2::{Yaml, YamlLoader};

fn recipe(name: &str) -> Result<Yaml> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ci").join(name);
    let documents = YamlLoader::load_from_str(&fs::read_to_string(&path)?).with_context(|| name.to_owned())?;
    documents.into_iter().next().context("a document")
}

/// The variables of a recipe as a shell's environment, and the lines that it runs.
struct Job {
    variables: Vec<(String, String)>,
    lines: Vec<String>,
}

fn words(of: &Yaml) -> Vec<String> {
    of.as_vec().into_iter().flatten().filter_map(Yaml::as_str).map(str::to_owned).collect()
}

fn variables(of: &Yaml) -> Vec<(String, String)> {
    let pairs = of.as_hash().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value.as_str()?.to_owned()))).collect()
}

fn script(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Runs a job's lines in a folder where its build has made our kernel; what they left of reports.
fn run(job: &Job) -> Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    let (place, tools) = (folder.path(), folder.path().join("tools"));
    fs::create_dir_all(place.join("arch/x86/boot"))?;
    fs::create_dir(&tools)?;
    let assets = Assets::load()?;
    symlink(assets.kernel(Kernel::Newest)?, place.join("arch/x86/boot/bzImage"))?;
    symlink(assets.initrd(Kernel::Newest)?, place.join("root.cpio"))?;
    script(&tools, "make", "[ \"$*\" = bzImage ]")?;
    script(&tools, "cargo", "[ \"$1\" = install ] && [ \"$4\" = \"$BROWNOUT\" ]")?;
    // One scenario, and as long as a busy machine takes for it.
    let program = Brownout::program()?;
    script(&tools, "brownout", &format!("exec '{}' \"$@\" --only C1 --timeouts boot=300", program.display()))?;
    for line in &job.lines {
        let mut shell = Command::new("bash");
        shell.args(["-e", "-c", line]).current_dir(place).envs(job.variables.iter().cloned());
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{path}", tools.display()));
        // What our image says when it is up.
        shell.env("EXPECT", "a shell instead").env_remove("BROWNOUT_CACHE");
        let status = shell.status()?;
        ensure!(status.success(), "{line}: {status}");
    }
    let report = |name: &str| fs::read_to_string(place.join(name)).with_context(|| name.to_owned());
    Ok((report("conform.xml")?, report("conform.json")?))
}

fn judge((junit, json): &(String, String)) {
    assert!(junit.contains("<testcase name=\"attach, copy, switch off\" classname=\"conform.C1\""), "{junit}");
    assert!(json.contains("\"failed\":0") && json.contains("\"cases\":1"), "{json}");
}

#[test]
fn the_recipe_for_github_does_what_it_says() -> Result<()> {
    let recipe = recipe("github.yml")?;
    let job = &recipe["jobs"]["conform"];
    let shards = job["strategy"]["matrix"]["shard"].as_vec().context("a matrix")?.len();
    let lines = job["steps"].as_vec().context("steps")?.iter().filter_map(|step| step["run"].as_str());
    // The first shard: it has the first scenario.
    let lines: Vec<String> = lines.map(|line| line.replace("${{ matrix.shard }}", "1")).collect();
    ensure!(lines.iter().any(|line| line.contains(&format!("--shard 1/{shards} "))), "{lines:?}");
    judge(&run(&Job { variables: variables(&recipe["env"]), lines })?);
    Ok(())
}

#[test]
fn the_recipe_for_gitlab_does_what_it_says() -> Result<()> {
    let recipe = recipe("gitlab.yml")?;
    let job = &recipe["conform"];
    let mut variables = variables(&job["variables"]);
    variables.retain(|(name, _)| name != "BROWNOUT_CACHE" && name != "CARGO_HOME");
    let home: PathBuf = tempfile::tempdir()?.path().to_owned();
    let parallel = job["parallel"].as_i64().context("a number")?.to_string();
    for (name, value) in
        [("CARGO_HOME", home.display().to_string()), ("CI_NODE_INDEX", "1".to_owned()), ("CI_NODE_TOTAL", parallel)]
    {
        variables.push((name.to_owned(), value));
    }
    judge(&run(&Job { variables, lines: words(&job["script"]) })?);
    Ok(())
}
