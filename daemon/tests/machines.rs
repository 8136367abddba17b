//! Campaigns over machines, as campaign/machines shows them. GNU parallel really runs, and what it takes for ssh to two machines runs
//! here; a shard is killed in between. Of Kubernetes, the manifest is read, and what a pod would run is run. Slurm's own daemons are
//! started by `make machines`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use Kind::{Number, OneOf, Quantity, Switch, Text};

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

fn machines(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../campaign/machines").join(name)
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// Takes a machine and a command, as ssh does, and runs it here. Like sshd it says which shell the user has, which GNU parallel starts
/// there: this test's own environment need not say so.
const SSH: &str = r#"#!/bin/sh
while :; do case $1 in -o | -p | -l | -S) shift 2 ;; -*) shift ;; *) break ;; esac; done
echo "$1" >>FOLDER/ssh.log
shift
[ "$1" != -- ] || shift
SHELL=/bin/sh exec sh -c "$*"
"#;

/// The first time that shard 2 is run, it is killed in the middle of a longer campaign.
const KILLED_ONCE: &str = r#"#!/bin/sh
case " $* " in *" --shard 2/3 "*)
    for report; do :; done
    if mkdir FOLDER/killed 2>/dev/null; then
        BROWNOUT crash --in-process --cuts 1000000000 --seed 7 --shard 2/3 --json "$report" &
        while [ "$(wc -l <"$report")" -lt 3 ]; do sleep 0.01; done
        kill -9 $!
        wait $!
        exit 137
    fi
    ;;
esac
exec BROWNOUT "$@"
"#;

fn last_line(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("a report");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn gnu_parallel_runs_a_killed_shard_again_and_the_verdict_is_that_of_one_process() {
    if Command::new("parallel").arg("--version").output().is_err() {
        println!("SKIPPED: there is no GNU parallel (Debian: parallel)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fill = |text: &str| text.replace("FOLDER", &folder.path().display().to_string()).replace("BROWNOUT", BROWNOUT);
    script(&path("ssh"), &fill(SSH));
    script(&path("brownout"), &fill(KILLED_ONCE));
    fs::write(path("hosts"), "1/alpha\n1/beta\n").expect("written");
    let campaign = ["--in-process", "--cuts", "3000", "--seed", "7", "--keep-going"];
    let output = Command::new(machines("parallel.sh"))
        .args([&path("hosts"), Path::new("3"), &path("out")])
        .args(campaign)
        .env("PARALLEL_SSH", path("ssh"))
        .env("HOME", folder.path())
        .env("BROWNOUT", path("brownout"))
        .output()
        .expect("it starts");
    let log = fs::read_to_string(path("out/output.log")).unwrap_or_default();
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{log}");
    assert!(path("killed").exists());
    let hosts = fs::read_to_string(path("ssh.log")).expect("somebody was called");
    assert!(hosts.contains("alpha") && hosts.contains("beta") && hosts.lines().count() >= 4, "{hosts}");
    Command::new(BROWNOUT).arg("crash").args(campaign).arg("--json").arg(path("one")).output().expect("it starts");
    let (merged, one) = (last_line(&path("out/campaign.json")), last_line(&path("one")));
    for counted in ["drives", "cuts", "illegal", "did", "steps", "missed"] {
        assert_eq!(merged[counted], one[counted], "{counted}");
    }
    assert_eq!(merged["merged"], 3);
}

#[test]
fn slurm_runs_each_shard_of_an_array_and_asks_for_killed_ones_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    script(&path("scontrol"), "#!/bin/sh\necho \"$*\"\n");
    let run = |code: u32, restarts: &str| {
        script(&path("brownout"), &format!("#!/bin/sh\necho \"$*\"\nexit {code}\n"));
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("a PATH"));
        let output = Command::new(machines("slurm.sh"))
            .args(["--in-process", "--cuts", "9000"])
            .env("PATH", path)
            .envs([
                ("SLURM_ARRAY_TASK_ID", "3"),
                ("SHARDS", "8"),
                ("SLURM_JOB_ID", "77"),
                ("SLURM_RESTART_COUNT", restarts),
            ])
            .output()
            .expect("it starts");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let ran = "crash --in-process --cuts 9000 --shard 3/8 --json shard-3.json\n";
    assert_eq!(run(0, "0"), (Some(0), ran.to_owned()));
    assert_eq!(run(1, "0"), (Some(1), ran.to_owned()));
    assert_eq!(run(137, "2"), (Some(137), format!("{ran}requeue 77\n")));
    assert_eq!(run(137, "3"), (Some(137), ran.to_owned()));
}

/// What a field of a Kubernetes object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Quantity,
    Number,
    Switch,
    OneOf(&'static [&'static str]),
}

/// The fields of batch/v1 Job that the manifest uses, as the API's reference describes them; `*` is each item of a list.
const FIELDS: &[(&str, Kind)] = &[
    ("apiVersion", OneOf(&["batch/v1"])),
    ("kind", OneOf(&["Job"])),
    ("metadata.name", Text),
    ("spec.completionMode", OneOf(&["Indexed", "NonIndexed"])),
    ("spec.completions", Number),
    ("spec.parallelism", Number),
    ("spec.suspend", Switch),
    ("spec.backoffLimit", Number),
    ("spec.backoffLimitPerIndex", Number),
    ("spec.podFailurePolicy.rules.*.action", OneOf(&["Ignore", "FailIndex", "FailJob", "Count"])),
    ("spec.podFailurePolicy.rules.*.onPodConditions.*.type", Text),
    ("spec.podFailurePolicy.rules.*.onPodConditions.*.status", OneOf(&["True", "False", "Unknown"])),
    ("spec.podFailurePolicy.rules.*.onExitCodes.containerName", Text),
    ("spec.podFailurePolicy.rules.*.onExitCodes.operator", OneOf(&["In", "NotIn"])),
    ("spec.podFailurePolicy.rules.*.onExitCodes.values.*", Number),
    ("spec.template.spec.restartPolicy", OneOf(&["Never", "OnFailure"])),
    ("spec.template.spec.containers.*.name", Text),
    ("spec.template.spec.containers.*.image", Text),
    ("spec.template.spec.containers.*.command.*", Text),
    ("spec.template.spec.containers.*.args.*", Text),
    ("spec.template.spec.containers.*.resources.requests.cpu", Quantity),
    ("spec.template.spec.containers.*.resources.requests.memory", Quantity),
    ("spec.template.spec.containers.*.securityContext.allowPrivilegeEscalation", Switch),
    ("spec.template.spec.containers.*.securityContext.readOnlyRootFilesystem", Switch),
    ("spec.template.spec.containers.*.securityContext.capabilities.drop.*", Text),
    ("spec.template.spec.containers.*.volumeMounts.*.name", Text),
    ("spec.template.spec.containers.*.volumeMounts.*.mountPath", Text),
    ("spec.template.spec.volumes.*.name", Text),
    ("spec.template.spec.volumes.*.persistentVolumeClaim.claimName", Text),
];

fn is_quantity(text: &str) -> bool {
    let number = text.trim_end_matches(['K', 'M', 'G', 'T', 'i', 'm']);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Each value with its path, and what is wrong with it.
fn wrong_fields(path: &str, value: &Yaml, wrong: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Yaml::Hash(fields) => {
            for (name, value) in fields {
                wrong_fields(&below(name.as_str().unwrap_or("?")), value, wrong);
            }
        }
        Yaml::Array(items) => items.iter().for_each(|item| wrong_fields(&below("*"), item, wrong)),
        _ => {
            let kind = FIELDS.iter().find(|(field, _)| *field == path).map(|(_, kind)| *kind);
            let fits = match (kind, value) {
                (Some(Text), Yaml::String(text)) => !text.is_empty(),
                (Some(Quantity), Yaml::String(text)) => is_quantity(text),
                (Some(Number), Yaml::Integer(number)) => *number >= 0,
                (Some(Switch), Yaml::Boolean(_)) => true,
                (Some(OneOf(words)), Yaml::String(text)) => words.contains(&text.as_str()),
                _ => false,
            };
            if !fits {
                wrong.push(format!("{path}: {value:?} is not {kind:?}"));
            }
        }
    }
}

fn wrong_in(jobs: &[Yaml]) -> Vec<String> {
    let mut wrong = Vec::new();
    jobs.iter().for_each(|job| wrong_fields("", job, &mut wrong));
    for job in jobs {
        let pod = &job["spec"]["template"]["spec"];
        let names = |list: &Yaml| {
            list.clone().into_iter().map(|item| item["name"].as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>()
        };
        let (containers, volumes) = (names(&pod["containers"]), names(&pod["volumes"]));
        let mounts = pod["containers"].clone().into_iter().flat_map(|container| names(&container["volumeMounts"]));
        wrong.extend(mounts.filter(|mount| !volumes.contains(mount)).map(|mount| format!("no volume {mount}")));
        let rules = job["spec"]["podFailurePolicy"]["rules"].clone().into_iter();
        let named = rules.filter_map(|rule| rule["onExitCodes"]["containerName"].as_str().map(str::to_owned));
        wrong.extend(named.filter(|name| !containers.contains(name)).map(|name| format!("no container {name}")));
        // A policy for pods that fail is only for pods that are not restarted in place; a limit for each index, only for jobs that have them.
        let policy = !job["spec"]["podFailurePolicy"].is_badvalue();
        if policy && pod["restartPolicy"].as_str() != Some("Never") {
            wrong.push("podFailurePolicy without restartPolicy Never".to_owned());
        }
        if !job["spec"]["backoffLimitPerIndex"].is_badvalue()
            && job["spec"]["completionMode"].as_str() != Some("Indexed")
        {
            wrong.push("backoffLimitPerIndex without Indexed".to_owned());
        }
    }
    wrong
}

#[test]
fn the_manifest_has_only_fields_that_kubernetes_knows() {
    let text = fs::read_to_string(machines("kubernetes.yaml")).expect("it is there");
    let jobs = YamlLoader::load_from_str(&text).expect("YAML");
    assert_eq!(jobs.len(), 2);
    assert_eq!(wrong_in(&jobs), [""; 0]);
    // Would it notice?
    for (right, wrong) in [
        ("backoffLimitPerIndex: 3", "backOffLimitPerIndex: 3"),
        ("completions: 8", "completions: \"8\""),
        ("cpu: \"4\"", "cpu: four"),
        ("restartPolicy: Never", "restartPolicy: Always"),
        ("containerName: crash", "containerName: crush"),
        ("completionMode: Indexed", "completionMode: NonIndexed"),
    ] {
        let changed = text.replacen(right, wrong, 1);
        assert_ne!(changed, text, "{right}");
        assert_ne!(wrong_in(&YamlLoader::load_from_str(&changed).expect("YAML")), [""; 0], "{wrong}");
    }
}

#[test]
fn a_pod_runs_the_shard_of_its_index_and_the_command_line_knows_it() {
    let text = fs::read_to_string(machines("kubernetes.yaml")).expect("it is there");
    let jobs = YamlLoader::load_from_str(&text).expect("YAML");
    let folder = tempfile::tempdir().expect("a folder");
    script(&folder.path().join("brownout"), "#!/bin/sh\necho \"$*\"\n");
    let run = |job: &Yaml, index: i64| {
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        let words = [&container["command"], &container["args"]].into_iter().flat_map(|list| list.clone().into_iter());
        let words: Vec<_> = words.map(|word| word.as_str().expect("text").to_owned()).collect();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").expect("a PATH"));
        let index = index.to_string();
        let output =
            Command::new(&words[0]).args(&words[1..]).env("PATH", path).env("JOB_COMPLETION_INDEX", index).output();
        String::from_utf8(output.expect("a shell").stdout).expect("text").trim().to_owned()
    };
    let shards = jobs[0]["spec"]["completions"].as_i64().expect("a number");
    let expected = "crash --in-process --cuts 1000000 --seed 1 --keep-going --shard 8/8 --json /reports/shard-8.json";
    assert_eq!(run(&jobs[0], shards - 1), expected);
    let known = |line: &str| {
        let words = line.replace("/reports", "/nowhere");
        Command::new(BROWNOUT).args(words.split_whitespace()).output().expect("the program starts").status.code()
    };
    // 1: the report cannot be written. What is wrong on the command line is 2.
    assert_eq!(known(expected), Some(1));
    assert!(run(&jobs[1], 0).starts_with("crash --merge /reports/shard-"));
}
