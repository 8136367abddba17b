//! A Rust file as the rules look at it: a flat list of tokens (comments and the insides of literals are gone, the insides of macros
//! are not), the leaves of `use` trees, functions with their lengths, and which lines are test code.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::tree::{TextFile, Tree};

/// One token; `::` is one, brackets are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The token as written; literals are `""`.
    pub text: String,
    /// Line from 1.
    pub line: usize,
}

/// Names joined by `::`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePath {
    /// The names, raw prefix and generics left out.
    pub segments: Vec<String>,
    /// Line from 1.
    pub line: usize,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// From the line of `fn` to that of the closing brace.
    pub lines: RangeInclusive<usize>,
}

impl Function {
    /// How many lines it has.
    pub fn length(&self) -> usize {
        self.lines.end() + 1 - self.lines.start()
    }
}

/// A parsed file.
#[derive(Clone, Debug)]
pub struct RustFile {
    /// Path from the root.
    pub path: String,
    /// Number of lines.
    pub line_count: usize,
    /// Everything outside comments.
    pub tokens: Vec<Token>,
    /// Leaves of `use` trees, in full.
    pub uses: Vec<NamePath>,
    /// Lines of `use` items.
    use_lines: Vec<RangeInclusive<usize>>,
    /// Functions, nested ones too.
    pub functions: Vec<Function>,
    /// The whole file is test code.
    all_test: bool,
    /// Lines of items that are only there in tests.
    test_lines: Vec<RangeInclusive<usize>>,
    /// Files that are modules only in tests, by stem: `a/b` for `a/b.rs` and all below `a/b/`.
    test_modules: Vec<String>,
}

impl RustFile {
    /// Parses a file. `Err` is the message of the parser.
    pub fn parse(path: &str, text: &str) -> Result<Self, String> {
        let stream: TokenStream = text.parse().map_err(|error| format!("not Rust: {error}"))?;
        let file: syn::File = syn::parse2(stream.clone()).map_err(|error| format!("not Rust: {error}"))?;
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let mut parsed = Self {
            path: path.into(),
            line_count: text.lines().count(),
            tokens,
            uses: Vec::new(),
            use_lines: Vec::new(),
            functions: Vec::new(),
            all_test: is_test_path(path) || is_test_only(&file.attrs),
            test_lines: Vec::new(),
            test_modules: Vec::new(),
        };
        parsed.visit_file(&file);
        Ok(parsed)
    }

    /// Whether a line is test code.
    pub fn is_test(&self, line: usize) -> bool {
        self.all_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// How many lines are not test code.
    pub fn product_lines(&self) -> usize {
        (1..=self.line_count).filter(|&line| !self.is_test(line)).count()
    }

    /// Every path in the file: leaves of `use` trees, and names joined in the code.
    pub fn paths(&self) -> Vec<NamePath> {
        let mut found = self.uses.clone();
        let mut rest = self.tokens.as_slice();
        while let Some(first) = rest.first() {
            let mut length = 1;
            if is_name(&first.text) {
                while rest.get(length).is_some_and(|token| token.text == "::")
                    && rest.get(length + 1).is_some_and(|token| is_name(&token.text))
                {
                    length += 2;
                }
            }
            // The middle of a `use` tree looks like a path from the root, and its leaves are known already.
            let in_use = self.use_lines.iter().any(|lines| lines.contains(&first.line));
            if length > 1 && !in_use {
                let segments = rest[..length].iter().step_by(2).map(|token| token.text.clone()).collect();
                found.push(NamePath { segments, line: first.line });
            }
            rest = &rest[length..];
        }
        found
    }

    /// Where modules of this file that have no body lie: `a` for `a/lib.rs`, `a/b` for `a/b.rs`.
    fn module_folder(&self) -> &str {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let parent = |name| stem.strip_suffix(name);
        parent("/lib").or_else(|| parent("/main")).or_else(|| parent("/mod")).unwrap_or(stem)
    }

    fn add_function(&mut self, attributes: &[syn::Attribute], signature: &syn::Signature, block: &syn::Block) {
        let lines = signature.fn_token.span.start().line..=block.brace_token.span.close().end().line;
        if is_test_only(attributes) {
            self.test_lines.push(lines.clone());
        }
        self.functions.push(Function { name: signature.ident.to_string(), lines });
    }
}

/// Parses every Rust file of the tree, and marks those that are modules of tests.
///
/// # Panics
/// If a file cannot be parsed: the compiler would not take it either.
pub fn parse_all(tree: &Tree) -> Vec<RustFile> {
    let is_rust = |file: &&TextFile| file.path.ends_with(".rs");
    let mut files: Vec<RustFile> = (tree.files.iter().filter(is_rust))
        .map(|file| RustFile::parse(&file.path, &file.text).unwrap_or_else(|why| panic!("{}: {why}", file.path)))
        .collect();
    mark_test_modules(&mut files);
    files
}

/// Marks the files that other files declare as modules of tests.
fn mark_test_modules(files: &mut [RustFile]) {
    let stems: Vec<String> = files.iter().flat_map(|file| file.test_modules.clone()).collect();
    for file in files {
        let within = |stem: &String| {
            file.path.strip_prefix(stem.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        file.all_test |= stems.iter().any(within);
    }
}

/// Folders that hold only tests, examples and benches. All of `spec-tests` does.
fn is_test_path(path: &str) -> bool {
    path.starts_with("spec-tests/") || path.split('/').any(|folder| ["tests", "benches", "examples"].contains(&folder))
}

/// Whether an item is only there in tests: `#[test]`, or a `#[cfg(...)]` that asks for `test`.
fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("test") {
            return true;
        }
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let mut tokens = Vec::new();
        flatten(list.tokens.clone(), &mut tokens);
        let mentions = |name: &str| tokens.iter().any(|token| token.text == name);
        attribute.path().is_ident("cfg") && mentions("test") && !mentions("not")
    })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    let mut joint_colon = false;
    for tree in stream {
        let line = tree.span().start().line;
        let mut push = |text: &str, line| into.push(Token { text: text.into(), line });
        let after_colon = std::mem::take(&mut joint_colon);
        match tree {
            TokenTree::Ident(name) => push(name.to_string().trim_start_matches("r#"), line),
            TokenTree::Literal(_) => push("\"\"", line),
            TokenTree::Punct(punct) if after_colon && punct.as_char() == ':' => {
                into.last_mut().expect("a colon came before").text = "::".into();
            }
            TokenTree::Punct(punct) => {
                joint_colon = punct.as_char() == ':' && punct.spacing() == Spacing::Joint;
                push(&punct.as_char().to_string(), line);
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open, line);
                flatten(group.stream(), into);
                into.push(Token { text: close.into(), line: group.span_close().end().line });
            }
        }
    }
}

/// Adds the leaves of a `use` tree.
fn leaves(tree: &syn::UseTree, before: &[String], into: &mut Vec<NamePath>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    let mut leaf = |segments| into.push(NamePath { segments, line: tree.span().start().line });
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), into),
        syn::UseTree::Name(name) => leaf(with(&name.ident)),
        syn::UseTree::Rename(rename) => leaf(with(&rename.ident)),
        syn::UseTree::Glob(_) => leaf([before, &["*".into()]].concat()),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| leaves(item, before, into)),
    }
}

impl<'ast> Visit<'ast> for RustFile {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let lines = item.span().start().line..=item.span().end().line;
        if is_test_only(&item.attrs) {
            self.test_lines.push(lines.clone());
        }
        self.use_lines.push(lines);
        leaves(&item.tree, &[], &mut self.uses);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test_only(&item.attrs) {
            self.test_lines.push(item.span().start().line..=item.span().end().line);
            if item.content.is_none() {
                self.test_modules.push(format!("{}/{}", self.module_folder(), item.ident));
            }
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_test_only(&item.attrs) {
            self.test_lines.push(item.span().start().line..=item.span().end().line);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add_function(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add_function(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add_function(&item.attrs, &item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::{RustFile, mark_test_modules};

    fn parse(path: &str, text: &str) -> RustFile {
        RustFile::parse(path, text).unwrap()
    }

    fn joined(file: &RustFile) -> Vec<String> {
        file.paths().iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn use_trees_are_spread_out_and_macros_are_seen_into() {
        let file = parse("a/src/b.rs", "use std::{net, io::{self, Read as R}};\nfn f() { assert!(x::y(1)); } // z::z");
        assert_eq!(joined(&file), ["std::net", "std::io::self", "std::io::Read", "x::y"]);
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let file = parse("a/src/b.rs", "/// Text.\nfn f(\n) {\n\n}\nimpl A { fn g() {} }\n");
        let lengths: Vec<(&str, usize)> = file.functions.iter().map(|f| (f.name.as_str(), f.length())).collect();
        assert_eq!(lengths, [("f", 4), ("g", 1)]);
    }

    #[test]
    fn test_code_is_known_by_its_attributes() {
        let file =
            parse("a/src/b.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n#[cfg(not(test))]\nfn c() {}");
        let tests: Vec<usize> = (1..=7).filter(|&line| file.is_test(line)).collect();
        assert_eq!(tests, [2, 3, 4, 5]);
        assert_eq!(file.product_lines(), 3);
    }

    #[test]
    fn test_code_is_known_by_its_place() {
        let mut files = [
            parse("a/src/lib.rs", "#[cfg(test)] mod fake;"),
            parse("a/src/fake.rs", "fn f() {}"),
            parse("a/src/fake/more.rs", "fn f() {}"),
            parse("a/src/fakes.rs", "fn f() {}"),
            parse("a/tests/b.rs", "fn f() {}"),
            parse("a/src/loop.rs", "#[cfg(test)] mod tests;"),
            parse("a/src/loop/tests.rs", "fn f() {}"),
        ];
        mark_test_modules(&mut files);
        assert_eq!(files.map(|file| file.all_test), [false, true, true, false, true, false, true]);
    }
}
