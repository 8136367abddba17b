//! `brownout waf` from outside: what it prints, what it draws, and what it refuses.

use std::fs;
use std::process::{Command, Output};

fn waf(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_brownout");
    Command::new(program).arg("waf").args(arguments).output().expect("the program starts")
}

fn printed(arguments: &[&str]) -> String {
    let output = waf(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn refusal(arguments: &[&str]) -> String {
    let output = waf(arguments);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn twenty_kib_at_twelve_on_a_unit_of_sixteen_is_one_point_six() {
    let line = printed(&["--iu", "16KiB", "--offset", "12KiB", "--len", "20KiB"]);
    assert_eq!(line, "16KiB: 32768 bytes touched, WAF 1.6\n");
}

#[test]
fn the_same_numbers_are_there_as_json_and_exact() {
    let text = printed(&["--iu", "4KiB,16KiB", "--offset", "8KiB", "--len", "12KiB", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let units = serde_json::json!([
        { "iu": 4096, "touched": 12288, "waf": [1, 1] },
        { "iu": 16384, "touched": 32768, "waf": [8, 3] },
    ]);
    assert_eq!(said, serde_json::json!({ "offset": 8192, "length": 12288, "units": units }));
    assert!(refusal(&["--iu", "4KiB", "--plot", "x.svg", "--json"]).contains("--json: leave it out"));
}

#[test]
fn several_units_are_compared_and_no_digit_is_made_up() {
    let lines = printed(&["--iu", "4KiB,16KiB,64KiB", "--offset", "8KiB", "--len", "12KiB"]);
    let expected = "4KiB: 12288 bytes touched, WAF 1\n\
                    16KiB: 32768 bytes touched, WAF 2.667 (8/3)\n\
                    64KiB: 65536 bytes touched, WAF 5.333 (16/3)\n";
    assert_eq!(lines, expected);
}

#[test]
fn a_curve_is_drawn_in_either_format_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, beginning) in [("waf.svg", b"<svg".as_slice()), ("waf.PNG", b"\x89PNG")] {
        let path = folder.path().join(name);
        let path = path.to_str().expect("a plain path");
        let draw = || {
            let said = printed(&["--iu", "16KiB,4KiB,64KiB", "--plot", path, "--grid", "4KiB", "--max-len", "1MiB"]);
            assert_eq!(said, format!("drew {path}\n"));
            fs::read(path).expect("a file")
        };
        let first = draw();
        assert!(first.starts_with(beginning), "{name}");
        assert_eq!(first, draw(), "{name}");
    }
}

#[test]
fn wrong_values_are_2_and_name_option_value_and_remedy() {
    let write = |iu, length| refusal(&["--iu", iu, "--offset", "0", "--len", length]);
    assert_eq!(write("3000", "4KiB"), "brownout: --iu 3000: give a power of two from 512 to 1GiB\n");
    assert_eq!(write("16KiB,0", "4KiB"), "brownout: --iu 0: give a power of two from 512 to 1GiB\n");
    assert_eq!(write("2GiB", "4KiB"), "brownout: --iu 2GiB: give a power of two from 512 to 1GiB\n");
    assert!(write("16KiB", "0").starts_with("brownout: --len 0: give at least 1"));
    assert!(write("16XB", "4KiB").contains("'16XB' for '--iu <SIZE,...>': give a size such as 512MiB"));

    let plot = |file, more: &[&str]| refusal(&[&["--iu", "16KiB", "--plot", file], more].concat());
    assert_eq!(plot("waf.pdf", &[]), "brownout: --plot waf.pdf: give a file that ends in .svg or .png\n");
    let grid = "brownout: --grid 3KiB: give a power of two from 512 to 1GiB\n";
    assert_eq!(plot("waf.svg", &["--grid", "3KiB"]), grid);
    let least = "brownout: --max-len 4KiB: give 8KiB to 64MiB, which are 2 and 16384 steps of --grid 4KiB\n";
    assert_eq!(plot("waf.svg", &["--max-len", "4KiB"]), least);
    let most = "brownout: --max-len 1GiB: give 1KiB to 8MiB, which are 2 and 16384 steps of --grid 512\n";
    assert_eq!(plot("waf.svg", &["--max-len", "1GiB", "--grid", "512"]), most);
}

#[test]
fn options_that_do_not_belong_together_are_2() {
    assert!(refusal(&["--iu", "16KiB"]).contains("--offset"));
    assert!(refusal(&["--iu", "16KiB", "--offset", "0"]).contains("--len"));
    assert!(refusal(&["--offset", "0", "--len", "4KiB"]).contains("--iu"));
    assert!(refusal(&["--iu", "16KiB", "--plot", "a.svg", "--len", "4KiB"]).contains("cannot be used with"));
    let plotted = refusal(&["--iu", "16KiB", "--offset", "0", "--len", "4KiB", "--grid", "512"]);
    assert!(plotted.starts_with("brownout: --grid 512: give --plot FILE instead of"), "{plotted}");
}

#[test]
fn a_file_that_cannot_be_written_is_1_and_named() {
    let output = waf(&["--iu", "16KiB", "--plot", "/nowhere/waf.svg"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("brownout: cannot write /nowhere/waf.svg: "), "{stderr}");
}

#[test]
fn an_experiment_prints_its_table_draws_and_repeats_from_its_seed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("theory.svg");
    let path = path.to_str().expect("a plain path");
    let theory = |seed| printed(&["--theory", "--coarse", "--seed", seed, "--plot", path]);
    let (first, drawn) = (theory("7"), fs::read(path).expect("a file"));
    assert!(first.starts_with("seed 7\nF1 ") && first.ends_with(&format!("drew {path}\n")), "{first}");
    for part in
        [" 7.0 %     7.817 ", " 28.0 %     2.481 ", "F2 ", "not judged", "\n    size=16MiB op=7%         7.817 "]
    {
        assert!(first.contains(part), "{part} in\n{first}");
    }
    assert_eq!((theory("7"), fs::read(path).expect("a file")), (first.clone(), drawn));
    assert_ne!(theory("8"), first);
}

#[test]
fn a_card_with_two_open_units_absorbs_one_change_of_place_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("card.png");
    let output = waf(&["--sd-card", "--plot", path.to_str().expect("a plain path")]);
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert_eq!(table.matches("kept").count(), 8, "{table}");
    assert!(fs::read(path).expect("a file").starts_with(b"\x89PNG"));
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(progress.contains(" s  streaming, 1 open\n") && progress.ends_with(" s  done\n"), "{progress}");
}

#[test]
fn the_recovery_of_a_drive_of_any_size_is_measured_alone() {
    let table = printed(&["--numbers", "--drive", "64MiB", "--seed", "3"]);
    assert!(table.starts_with("seed 3\nF6 ") && table.ends_with(": kept\n"), "{table}");
    assert!(table.contains("\n        0.0625   0.0625 ") && table.lines().count() == 4, "{table}");
}

#[test]
fn experiments_refuse_what_is_not_theirs_before_they_begin() {
    for experiment in ["--theory", "--sd-card", "--numbers"] {
        assert!(refusal(&[experiment, "--iu", "16KiB"]).contains("cannot be used with"));
    }
    assert!(refusal(&["--theory", "--sd-card"]).contains("cannot be used with"));
    assert!(refusal(&["--numbers", "--plot", "a.svg"]).contains("cannot be used with"));
    assert!(refusal(&["--theory", "--drive", "1GiB"]).contains("cannot be used with"));
    assert!(refusal(&["--drive", "1GiB"]).contains("--numbers"));
    for size in ["0", "1KiB", "32TiB"] {
        let words = refusal(&["--numbers", "--drive", size]);
        assert!(words.starts_with(&format!("brownout: --drive {size}: give 4KiB or more")), "{words}");
    }
    assert!(refusal(&["--iu", "16KiB", "--offset", "0", "--len", "4KiB", "--coarse"]).contains("--theory"));
    assert_eq!(
        refusal(&["--theory", "--plot", "a.pdf"]),
        "brownout: --plot a.pdf: give a file that ends in .svg or .png\n"
    );
    let output = waf(&["--theory", "--plot", "/nowhere/a.svg"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("brownout: cannot write /nowhere/a.svg: "), "{stderr}");
}

/// What an experiment found, for programs, and nothing else on standard output.
#[test]
fn experiments_are_there_as_json() {
    let found = |experiment: &str| {
        let text = printed(&[experiment, "--coarse", "--json", "--seed", "3"]);
        let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&said["seed"], &said["coarse"], &said["held"]), (&3.into(), &true.into(), &true.into()), "{text}");
        said
    };
    let theory = found("--theory");
    assert_eq!(theory["experiment"], "theory");
    let points = theory["found"]["points"].as_array().expect("points");
    assert_eq!(points.len(), 4);
    assert!(points.iter().all(|point| point["greedy"].as_f64() > Some(1.0) && point["kept"].is_null()), "{points:?}");
    assert_eq!(theory["found"]["served"][0]["drive"], "size=16MiB");
    let card = found("--sd-card");
    let movements = card["found"]["movements"].as_array().expect("movements");
    assert_eq!((&movements[0]["movement"], movements.len()), (&"streaming".into(), 8));
    let numbers = found("--numbers");
    let numbers = &numbers["found"];
    assert!(numbers["units"].as_array().is_some_and(|units| units.iter().all(|unit| unit["first-wrong"].is_null())));
    assert_eq!((&numbers["memory"][0]["kept"], &numbers["recovery"][0]["kept"]), (&true.into(), &true.into()));
    assert!(numbers["wear"]["levelled"]["write-amplification"].as_f64() > Some(1.0), "{numbers}");
}
