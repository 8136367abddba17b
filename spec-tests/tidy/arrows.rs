//! Which crate may know which: the table of ARCHITECTURE.md, held against the manifests and against the paths in the code.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Violation;
use crate::rust::RustFile;

/// Importer, and what of ours it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("nvme-spec", &[]),
    ("media", &[]),
    ("controller", &["nvme-spec", "media"]),
    ("nvme-host", &["nvme-spec"]),
    ("guest-memory", &["controller"]),
    ("vfio", &["controller", "guest-memory"]),
    ("vhost", &["controller", "guest-memory", "nvme-host", "nvme-spec", "vfio"]),
    ("checker", &["controller", "media", "nvme-spec"]),
    ("tape", &["media"]),
    ("traces", &["nvme-host", "nvme-spec", "controller", "media"]),
    ("machine", &["nvme-host", "controller", "media"]),
    ("oracle", &["nvme-host", "nvme-spec", "controller", "media", "machine"]),
    (
        "brownout",
        &[
            "nvme-spec",
            "media",
            "controller",
            "guest-memory",
            "nvme-host",
            "vfio",
            "vhost",
            "traces",
            "oracle",
            "machine",
            "checker",
            "tape",
            "guest-harness",
        ],
    ),
    // It starts the binary and reads what the guest says; it links nothing of ours.
    ("guest-harness", &[]),
    // It reads sources and runs tests; it links nothing of ours either.
    ("mutants", &[]),
    (
        "bench",
        &[
            "nvme-spec",
            "media",
            "controller",
            "guest-memory",
            "nvme-host",
            "vfio",
            "vhost",
            "traces",
            "machine",
            "tape",
            "spec-tests",
            "guest-harness",
        ],
    ),
    (
        "spec-tests",
        &[
            "nvme-spec",
            "media",
            "controller",
            "guest-memory",
            "nvme-host",
            "vfio",
            "vhost",
            "traces",
            "oracle",
            "machine",
            "brownout",
            "guest-harness",
        ],
    ),
];

/// What tests of a crate may import beyond that.
const TEST_ARROWS: &[(&str, &[&str])] = &[("checker", &["machine", "nvme-host"]), ("traces", &["machine"])];

/// Modules of `media` that the controller may name; the rest is behind the seam.
const MEDIA_SEAM: &[&str] = &["volume", "unit", "power", "warning"];

/// A member of the workspace.
#[derive(Clone, Debug)]
pub struct Package {
    name: String,
    /// Folder of its manifest from the root.
    folder: String,
    /// Members that it depends on, and whether only its tests do.
    imports: Vec<(String, bool)>,
}

/// The members, from `cargo metadata`.
///
/// # Panics
/// If cargo cannot be run or says something else than it does today.
pub fn packages_of(root: &Path) -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages.iter().map(|package| package_of(package, root)).collect()
}

fn package_of(package: &Value, root: &Path) -> Package {
    let text = |value: &Value| value.as_str().expect("a string in cargo metadata").to_owned();
    let manifest = text(&package["manifest_path"]);
    let folder = Path::new(&manifest).parent().expect("a manifest lies in a folder");
    let real_root = root.canonicalize().expect("the root exists");
    let folder =
        folder.strip_prefix(root).or_else(|_| folder.strip_prefix(&real_root)).expect("a member lies below the root");
    let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
    Package {
        name: short(&text(&package["name"])),
        folder: folder.to_string_lossy().into_owned(),
        imports: (dependencies.iter())
            .filter(|dependency| dependency["path"].is_string())
            .map(|dependency| (short(&text(&dependency["name"])), dependency["kind"] == "dev"))
            .collect(),
    }
}

/// The name in the table: a package without what all of ours begin with. The binary's is `brownout` alone.
fn short(package: &str) -> String {
    package.strip_prefix("brownout-").unwrap_or(package).to_owned()
}

/// Whether the table has an arrow.
fn allowed(importer: &str, imported: &str, in_tests: bool) -> bool {
    let has = |table: &[(&str, &[&str])]| table.iter().any(|(from, to)| *from == importer && to.contains(&imported));
    has(ARROWS) || in_tests && has(TEST_ARROWS)
}

/// Holds the manifests against the table.
pub fn check_manifests(packages: &[Package]) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages {
        let manifest = format!("{}/Cargo.toml", package.folder);
        if !ARROWS.iter().any(|(name, _)| *name == package.name) {
            found.push(Violation::new(&manifest, 0, format!("{} has no row in the table of arrows", package.name)));
        }
        for (imported, in_tests) in &package.imports {
            if !allowed(&package.name, imported, *in_tests) {
                found.push(Violation::new(&manifest, 0, format!("{} may not import {imported}", package.name)));
            }
        }
    }
    found
}

/// Holds the paths in the code against the table, and those of the controller against the seam of `media`.
pub fn check_paths(packages: &[Package], files: &[RustFile]) -> Vec<Violation> {
    let reexports: Vec<(String, String)> =
        files.iter().filter(|file| file.path == "media/src/lib.rs").flat_map(reexports_of).collect();
    let mut found = Vec::new();
    for file in files {
        let Some(owner) = owner_of(packages, &file.path) else { continue };
        for path in file.paths() {
            let in_tests = file.is_test(path.line);
            let first = path.segments[0].as_str();
            let imported = packages.iter().find(|package| package.name.replace('-', "_") == first);
            // Without a line in the manifest it is a module of the same name.
            if let Some(imported) = imported
                && owner.imports.iter().any(|(name, _)| *name == imported.name)
                && !allowed(&owner.name, &imported.name, in_tests)
            {
                let message = format!("{} may not import {}", owner.name, imported.name);
                found.push(Violation::new(&file.path, path.line, message));
            }
            if owner.name == "controller" && first == "media" && !in_tests && !is_seam(&path.segments[1], &reexports) {
                let message =
                    format!("media::{} is behind the seam; the controller knows {MEDIA_SEAM:?}", path.segments[1]);
                found.push(Violation::new(&file.path, path.line, message));
            }
        }
    }
    found
}

/// Whether a name directly under `media` belongs to the seam: a module of it, or a name re-exported from one.
fn is_seam(name: &str, reexports: &[(String, String)]) -> bool {
    MEDIA_SEAM.contains(&name)
        || reexports.iter().any(|(item, module)| item == name && MEDIA_SEAM.contains(&module.as_str()))
}

/// Names that a file re-exports from its modules, with the module.
fn reexports_of(file: &RustFile) -> Vec<(String, String)> {
    let parts = |segments: &[String]| match segments {
        [module, .., item] if module != "crate" && module != "self" => Some((item.clone(), module.clone())),
        [_, module, item] => Some((item.clone(), module.clone())),
        _ => None,
    };
    file.uses.iter().filter_map(|path| parts(&path.segments)).collect()
}

/// The member in whose folder a file lies; the innermost, as one member may lie in another.
fn owner_of<'a>(packages: &'a [Package], path: &str) -> Option<&'a Package> {
    let within = |package: &&Package| path.strip_prefix(&package.folder).is_some_and(|rest| rest.starts_with('/'));
    packages.iter().filter(within).max_by_key(|package| package.folder.len())
}

#[cfg(test)]
mod tests {
    use super::{Package, check_manifests, check_paths};
    use crate::rust::RustFile;

    fn package(name: &str, folder: &str, imports: &[(&str, bool)]) -> Package {
        let imports = imports.iter().map(|&(name, dev)| (name.into(), dev)).collect();
        Package { name: name.into(), folder: folder.into(), imports }
    }

    #[test]
    fn an_arrow_that_the_table_lacks_is_found_in_a_manifest() {
        let good = package("controller", "controller", &[("media", false), ("nvme-spec", false)]);
        let bad = package("media", "media", &[("controller", true)]);
        let unknown = package("extra", "extra", &[]);
        let found: Vec<String> = check_manifests(&[good, bad, unknown]).iter().map(ToString::to_string).collect();
        let expected = [
            "media/Cargo.toml:0: media may not import controller",
            "extra/Cargo.toml:0: extra has no row in the table of arrows",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_arrow_is_found_in_the_code_of_the_innermost_member() {
        let packages = [
            package("controller", "controller", &[("nvme-host", true), ("media", false)]),
            package("nvme-host", "controller/host", &[("media", false)]),
            package("media", "media", &[]),
        ];
        let files = [
            RustFile::parse("controller/src/a.rs", "use media::Lba;\nuse nvme_host::Port;").unwrap(),
            RustFile::parse("controller/host/src/a.rs", "fn f() -> media::Lba { 0 }").unwrap(),
            RustFile::parse("media/src/lib.rs", "mod controller; pub use unit::Lba; use controller::own;").unwrap(),
        ];
        let found: Vec<String> = check_paths(&packages, &files).iter().map(ToString::to_string).collect();
        let expected = [
            "controller/src/a.rs:2: controller may not import nvme-host",
            "controller/host/src/a.rs:1: nvme-host may not import media",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_controller_stays_on_its_side_of_the_seam() {
        let packages = [package("controller", "controller", &[]), package("media", "media", &[])];
        let files = [
            RustFile::parse("media/src/lib.rs", "pub use store::Ram;\npub use self::volume::Media;").unwrap(),
            RustFile::parse(
                "controller/src/a.rs",
                "use media::{Media, Ram, unit, ftl::Map};\n#[cfg(test)]\nuse media::store;",
            )
            .unwrap(),
        ];
        let found = check_paths(&packages, &files);
        let named: Vec<&str> = found.iter().map(|violation| violation.message.split(' ').next().unwrap()).collect();
        assert_eq!(named, ["media::Ram", "media::ftl"]);
    }
}
