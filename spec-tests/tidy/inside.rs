//! Which folder of the controller may know which (ARCHITECTURE.md): what parses untrusted bytes stands alone, and the two families of
//! commands do not know each other.

use crate::Violation;
use crate::rust::{NamePath, RustFile};

/// The crate that this file is about.
const SOURCE: &str = "controller/src/";
/// Modules that import nothing of the crate but [`ALONE_MAY`].
const ALONE: &[&str] = &["queue", "prp", "sgl", "command", "atomic"];
/// What those may import.
const ALONE_MAY: &[&str] = &["dma", "reason"];
/// Modules that do not know each other.
const STRANGERS: &[(&str, &str)] = &[("io", "admin"), ("admin", "io")];

/// Checks every file of the controller.
pub fn check(files: &[RustFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files {
        let Some(module) = module_of(&file.path) else { continue };
        let Some(top) = module.first() else { continue };
        for path in file.paths().iter().filter(|path| !file.is_test(path.line)) {
            let Some(named) = named_module(&module, path) else { continue };
            if let Some(why) = objection(top, &named) {
                found.push(Violation::new(&file.path, path.line, why));
            }
        }
    }
    found
}

/// Why `top` may not know `named`, if it may not.
fn objection(top: &str, named: &str) -> Option<String> {
    if ALONE.contains(&top) && named != top && !ALONE_MAY.contains(&named) {
        return Some(format!(
            "{top} imports nothing of the crate but {ALONE_MAY:?}, not {named}: pass it in, or move this out"
        ));
    }
    STRANGERS.contains(&(top, named)).then(|| format!("{top} does not know {named}: what both need lies beside them"))
}

/// The path of a file's module within the controller: `["queue", "sq"]` for `queue/sq.rs`, nothing for `lib.rs`.
fn module_of(path: &str) -> Option<Vec<&str>> {
    let inner = path.strip_prefix(SOURCE)?.strip_suffix(".rs")?;
    let mut module: Vec<&str> = inner.split('/').collect();
    if matches!(module.last(), Some(&("mod" | "lib"))) {
        module.pop();
    }
    Some(module)
}

/// The topmost module that a path names, if it is one of this crate: what follows `crate`, or where enough `super` lead.
fn named_module(module: &[&str], path: &NamePath) -> Option<String> {
    let mut at = match path.segments[0].as_str() {
        "crate" => Vec::new(),
        "super" | "self" => module.to_vec(),
        _ => return None,
    };
    for segment in &path.segments {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => drop(at.pop()),
            name => at.push(name),
        }
    }
    at.first().map(|&name| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::rust::RustFile;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&[RustFile::parse(path, text).unwrap()]).iter().map(|found| found.message.clone()).collect()
    }

    #[test]
    fn what_reads_untrusted_bytes_stands_alone() {
        let text =
            "use crate::dma::GuestMemory;\nuse crate::queue::permit;\nuse super::sq::Ring;\nuse nvme_spec::Command;\n";
        assert!(messages("controller/src/queue/cq.rs", text).is_empty());
        assert_eq!(messages("controller/src/queue/cq.rs", "use crate::{dma, irq::Vector};").len(), 1);
        assert_eq!(messages("controller/src/queue/cq.rs", "fn f() { super::super::state::go() }").len(), 1);
        assert_eq!(messages("controller/src/prp.rs", "use super::config::Config;").len(), 1);
        assert_eq!(
            messages("controller/src/prp.rs", "#[cfg(test)]\nmod tests { use crate::config::Config; }").len(),
            0
        );
        assert_eq!(messages("controller/src/bar.rs", "use crate::config::Config;").len(), 0);
    }

    #[test]
    fn io_and_admin_are_strangers() {
        assert_eq!(messages("controller/src/io/read.rs", "use crate::admin::identify;").len(), 1);
        assert_eq!(messages("controller/src/admin/mod.rs", "use super::io;").len(), 1);
        assert_eq!(messages("controller/src/admin/mod.rs", "use crate::namespace::Namespace;").len(), 0);
    }
}
