//! Files of a crate that import each other in a loop. A name that a module only hands on is imported from where it is defined. What a
//! module and those that declare it take from each other does not count: they are one room.

use std::collections::{BTreeMap, BTreeSet};

use crate::Violation;
use crate::rust::RustFile;

/// Names of a module from the crate's root; the root has none.
type Module = Vec<String>;

/// How many times a name may be handed on before it is taken for a loop of its own.
const HANDED_ON_MAX: usize = 8;

/// The modules of a crate that have a file, and what they import.
struct Crate<'a> {
    modules: BTreeMap<Module, &'a RustFile>,
}

/// Finds the loops of all crates.
pub fn check(files: &[RustFile]) -> Vec<Violation> {
    let mut crates: BTreeMap<String, BTreeMap<Module, &RustFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.is_test(1) || file.path.starts_with("spec-tests/")) {
        if let Some((root, module)) = module_of(&file.path) {
            crates.entry(root).or_default().insert(module, file);
        }
    }
    crates.into_values().flat_map(|modules| Crate { modules }.loops()).collect()
}

/// The source folder that a file belongs to, and the module that it is.
fn module_of(path: &str) -> Option<(String, Module)> {
    let (root, within) = path.split_once("/src/")?;
    let stem = within.strip_suffix(".rs")?;
    let mut module: Module = stem.split('/').map(str::to_owned).collect();
    let is_root = module.len() == 1 && ["lib", "main"].contains(&stem);
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    Some((root.to_owned(), module))
}

impl Crate<'_> {
    fn loops(&self) -> Vec<Violation> {
        let arrows: BTreeMap<&Module, BTreeMap<Module, String>> =
            self.modules.iter().map(|(module, file)| (module, self.imports(module, file))).collect();
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            arrows.keys().map(|&module| (module, reachable(&arrows, module))).collect();
        let mut found = Vec::new();
        for (&from, imports) in &arrows {
            for (to, name) in imports.iter().filter(|(to, _)| reached[to].contains(from)) {
                let to = &self.modules[to].path;
                let message =
                    format!("takes {name} from {to}, which takes something from here, by itself or by others");
                found.push(Violation::new(&self.modules[from].path, 0, message));
            }
        }
        found
    }

    /// The modules that a file imports, each with one of the names.
    fn imports(&self, module: &Module, file: &RustFile) -> BTreeMap<Module, String> {
        let mut found = BTreeMap::new();
        for path in file.paths().iter().filter(|path| file.path.starts_with("spec-tests/") || !file.is_test(path.line))
        {
            let Some(full) = self.path_from_root(module, &path.segments) else { continue };
            let Some((target, name)) = self.defined_in(&full, HANDED_ON_MAX) else { continue };
            let one_room = target.starts_with(module) || module.starts_with(&target);
            if !one_room {
                found.entry(target).or_insert(name);
            }
        }
        found
    }

    /// A path of a module's code as one from the root of its crate.
    fn path_from_root(&self, module: &Module, segments: &[String]) -> Option<Vec<String>> {
        match segments.first()?.as_str() {
            "crate" => Some(segments[1..].to_vec()),
            "self" => Some([module, &segments[1..]].concat()),
            "super" => self.path_from_root(&module.split_last()?.1.to_vec(), &with_self(&segments[1..])),
            child => {
                let declared = [&module[..], &[child.to_owned()]].concat();
                self.modules.contains_key(&declared).then(|| [&module[..], segments].concat())
            }
        }
    }

    /// The module with the file in which the first name of a path behind its modules is defined, and that name.
    fn defined_in(&self, full: &[String], patience: usize) -> Option<(Module, String)> {
        let length = (0..=full.len()).rev().find(|&length| self.modules.contains_key(&full[..length]))?;
        let module = full[..length].to_vec();
        let name = full.get(length).cloned().unwrap_or_else(|| "it".to_owned());
        let file = self.modules[&module];
        let handed_on =
            file.uses.iter().filter(|path| !file.is_test(path.line)).find(|path| path.segments.last() == Some(&name));
        let source = handed_on.and_then(|path| self.path_from_root(&module, &path.segments));
        match source {
            Some(source) if patience > 0 => self.defined_in(&[&source, &full[length + 1..]].concat(), patience - 1),
            _ => Some((module, name)),
        }
    }
}

/// `super::super::x` goes on from the parent; `super::x` is `self::x` there.
fn with_self(rest: &[String]) -> Vec<String> {
    let goes_on = rest.first().is_some_and(|first| first == "super");
    if goes_on { rest.to_vec() } else { [&["self".to_owned()], rest].concat() }
}

/// What is reached by one import or more.
fn reachable<'a>(arrows: &'a BTreeMap<&'a Module, BTreeMap<Module, String>>, from: &Module) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for (to, _) in arrows.get(module).into_iter().flatten() {
            if found.insert(to) {
                next.push(to);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::rust::RustFile;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<RustFile> = files.iter().map(|(path, text)| RustFile::parse(path, text).unwrap()).collect();
        check(&files).iter().map(|violation| format!("{}: {}", violation.file, violation.message)).collect()
    }

    #[test]
    fn a_loop_is_found_whatever_hands_the_names_on() {
        let files = [
            ("a/src/lib.rs", "mod x; mod y; mod z; pub use z::Z;"),
            ("a/src/x.rs", "use crate::y::Y; struct X;"),
            ("a/src/y.rs", "fn f() -> crate::Z { super::z::g() }"),
            ("a/src/z.rs", "use super::x::X as Other; pub struct Z;"),
        ];
        let circle = found(&files);
        assert_eq!(circle.len(), 3, "{circle:?}");
        assert!(circle[0].starts_with("a/src/x.rs: takes Y from a/src/y.rs"), "{circle:?}");
        assert!(circle[1].starts_with("a/src/y.rs: takes Z from a/src/z.rs"), "{circle:?}");
        assert!(circle[2].starts_with("a/src/z.rs: takes X from a/src/x.rs"), "{circle:?}");
    }

    #[test]
    fn a_module_and_its_parent_are_one_room_and_tests_are_none() {
        let files = [
            ("a/src/lib.rs", "mod x; fn f() { x::g() } pub struct A;"),
            ("a/src/x.rs", "mod deep; use crate::A; fn g() { deep::h() }"),
            ("a/src/x/deep.rs", "use super::g; fn h() {} #[cfg(test)] mod tests { use crate::y::Y; }"),
            ("a/src/y.rs", "use crate::x::deep::h; pub struct Y;"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
