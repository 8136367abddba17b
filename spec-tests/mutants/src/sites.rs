//! Where a file can be wrong, and how: its mutants, from the syntax tree. Knows nothing of how they are built or run.
//!
//! Left alone: what only tests see, constants and `const fn` (there is no switch at compile time), patterns, types, the insides of
//! macros (asserts and messages above all), `unsafe` blocks, and `Debug` and `Display`.

use std::collections::BTreeMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, BinOp, Block, Expr, ExprMatch, ExprMethodCall, Lit, Pat, Signature, Stmt, UnOp};

use crate::body;

/// How a site is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Statements put in front of a function's body.
    Body,
    /// A guard put behind the pattern of an arm.
    Arm,
    /// A statement that may be left out.
    Statement,
    /// An expression that may be another.
    Expression,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// `Type::function`.
    pub function: String,
    /// Line from 1.
    pub line: usize,
    /// What is there, as written.
    pub original: String,
    /// What would be there instead.
    pub replacement: String,
}

/// A place with its mutants.
#[derive(Clone, Debug)]
pub struct Site {
    /// Bytes of the file. Empty where something is only put in.
    pub range: Range<usize>,
    /// How it is switched.
    pub shape: Shape,
    /// At least one.
    pub mutants: Vec<Mutant>,
}

/// The sites of a file, in the order in which they are to be rendered: outer before inner.
///
/// # Errors
/// If the text is not Rust.
pub fn find(text: &str) -> syn::Result<Vec<Site>> {
    let file = syn::parse_file(text)?;
    if is_hidden(&file.attrs) {
        return Ok(Vec::new());
    }
    let mut finder = Finder { text, names: Vec::new(), sites: BTreeMap::new() };
    finder.visit_file(&file);
    let site = |((start, _, end, shape), mutants): (Key, Vec<Mutant>)| Site { range: start..end.0, shape, mutants };
    Ok(finder.sites.into_iter().map(site).collect())
}

/// Start; not empty; end, the longest first; shape.
type Key = (usize, bool, std::cmp::Reverse<usize>, Shape);

struct Finder<'text> {
    text: &'text str,
    /// Of the function and what it lies in.
    names: Vec<String>,
    sites: BTreeMap<Key, Vec<Mutant>>,
}

const TRUE: &str = "true";
const FALSE: &str = "false";

impl Finder<'_> {
    fn source(&self, range: &Range<usize>) -> &str {
        &self.text[range.clone()]
    }

    fn add(&mut self, shape: Shape, range: &Range<usize>, original: &str, replacement: impl Into<String>) {
        let mutant = Mutant {
            function: self.names.join("::"),
            line: self.text[..range.start].matches('\n').count() + 1,
            original: original.into(),
            replacement: replacement.into(),
        };
        let key = (range.start, !range.is_empty(), std::cmp::Reverse(range.end), shape);
        let mutants = self.sites.entry(key).or_default();
        if !mutants.iter().any(|known| known.replacement == mutant.replacement) {
            mutants.push(mutant);
        }
    }

    fn replace(&mut self, range: &Range<usize>, replacement: impl Into<String>) {
        let original = self.source(range).to_owned();
        self.add(Shape::Expression, range, &original, replacement);
    }

    /// Whether an expression is already known to be a condition, so that it is tried as true and as false.
    fn is_condition(&self, range: &Range<usize>) -> bool {
        let key = (range.start, true, std::cmp::Reverse(range.end), Shape::Expression);
        self.sites.get(&key).is_some_and(|mutants| mutants.iter().any(|mutant| mutant.replacement == FALSE))
    }

    /// A condition: true and false, unless it is made of conditions, which will each be tried.
    fn condition(&mut self, expression: &Expr, alternatives: &[&str]) {
        match expression {
            Expr::Paren(paren) => self.condition(&paren.expr, alternatives),
            Expr::Let(_) | Expr::Lit(_) => {}
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) => {}
            _ => {
                let constant = constant(expression).map(|value| if value { TRUE } else { FALSE });
                for &alternative in alternatives.iter().filter(|alternative| Some(**alternative) != constant) {
                    self.replace(&expression.span().byte_range(), alternative);
                }
            }
        }
    }

    fn function(&mut self, attributes: &[Attribute], signature: &Signature, block: &Block) {
        let name = signature.ident.to_string();
        let is_unsafe = matches!(signature.safety, syn::Safety::Unsafe(_));
        if signature.constness.is_some() || is_unsafe || is_hidden(attributes) {
            return;
        }
        self.names.push(name);
        let inside = block.brace_token.span.open().byte_range().end;
        if !block.stmts.is_empty() {
            // A body that does nothing but that is no mistake.
            let only = self.only_value(block);
            for value in body::replacements(signature).into_iter().filter(|value| Some(value) != only.as_ref()) {
                self.add(Shape::Body, &(inside..inside), "the body", value);
            }
        }
        visit::visit_block(self, block);
        self.names.pop();
    }

    /// What a body returns that does nothing else, as a statement.
    fn only_value(&self, block: &Block) -> Option<String> {
        let (last, before) = block.stmts.split_last()?;
        let idle = |statement: &Stmt| matches!(statement, Stmt::Local(local) if matches!(local.pat, Pat::Wild(_)));
        let Stmt::Expr(value, None) = last else { return None };
        before.iter().all(idle).then(|| format!("return {}", self.source(&value.span().byte_range())))
    }

    fn binary(&mut self, binary: &syn::ExprBinary) {
        let range = binary.span().byte_range();
        let is_condition = self.is_condition(&range);
        if matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) {
            self.condition(&binary.left, &[TRUE, FALSE]);
            self.condition(&binary.right, &[TRUE, FALSE]);
            if has_let(&binary.left) || has_let(&binary.right) {
                return;
            }
        }
        let operator = binary.op.span().byte_range();
        for &(written, other, negation) in OPERATORS {
            if self.source(&operator) == written && !(negation && is_condition) {
                let (left, right) = (range.start..operator.start, operator.end..range.end);
                let replaced = format!("{}{other}{}", self.source(&left), self.source(&right));
                self.replace(&range, replaced);
            }
        }
    }

    fn method(&mut self, call: &ExprMethodCall) {
        let (range, name) = (call.span().byte_range(), call.method.span().byte_range());
        for &(one, other, is_negation) in METHODS {
            let written = self.source(&name);
            let instead = if written == one { other } else { one };
            if (written == one || written == other) && !(is_negation && self.is_condition(&range)) {
                let (before, after) = (range.start..name.start, name.end..range.end);
                let replaced = format!("{}{instead}{}", self.source(&before), self.source(&after));
                self.replace(&range, replaced);
            }
        }
    }

    fn arms(&mut self, chosen: &ExprMatch) {
        let catches_all = |pattern: &Pat| match pattern {
            Pat::Wild(_) => true,
            Pat::Ident(name) => name.subpat.is_none() && name.ident.to_string().starts_with(char::is_lowercase),
            _ => false,
        };
        let Some(rest) = chosen.arms.iter().position(|arm| catches_all(&arm.pat)) else { return };
        for arm in chosen.arms.iter().take(rest).filter(|arm| !matches!(arm.pat, Pat::Guard(_))) {
            let range = arm.pat.span().byte_range();
            let original = format!("the arm {}", self.source(&range));
            self.add(Shape::Arm, &(range.end..range.end), &original, NOTHING);
        }
    }

    fn literal(&mut self, literal: &Lit, range: &Range<usize>) {
        match literal {
            Lit::Int(number) => {
                if let Ok(value) = number.base10_parse::<u64>()
                    && let Some(next) = value.checked_add(1)
                {
                    self.replace(range, format!("{next}{}", number.suffix()));
                }
            }
            Lit::Bool(value) => self.replace(range, (!value.value).to_string()),
            _ => {}
        }
    }
}

/// What a mutant that leaves something out puts in its place.
pub const NOTHING: &str = "nothing";

/// Operator, what it may be mistaken for, and whether that is merely the opposite, which a condition is tried as anyway.
const OPERATORS: &[(&str, &str, bool)] = &[
    ("==", "!=", true),
    ("!=", "==", true),
    ("<", "<=", false),
    ("<", ">=", true),
    ("<=", "<", false),
    ("<=", ">", true),
    (">", ">=", false),
    (">", "<=", true),
    (">=", ">", false),
    (">=", "<", true),
    ("&&", "||", false),
    ("||", "&&", false),
    ("+", "-", false),
    ("-", "+", false),
    ("*", "/", false),
    ("/", "*", false),
    ("%", "/", false),
    ("&", "|", false),
    ("|", "&", false),
    ("^", "|", false),
    ("<<", ">>", false),
    (">>", "<<", false),
    ("+=", "-=", false),
    ("-=", "+=", false),
    ("*=", "/=", false),
    ("|=", "&=", false),
    ("&=", "|=", false),
    ("^=", "|=", false),
    ("<<=", ">>=", false),
    (">>=", "<<=", false),
];

/// Methods that are mistaken for each other, and whether they are opposites.
const METHODS: &[(&str, &str, bool)] = &[
    ("min", "max", false),
    ("any", "all", false),
    ("is_some", "is_none", true),
    ("is_ok", "is_err", true),
    ("is_some_and", "is_none_or", false),
    ("first", "last", false),
    ("min_by_key", "max_by_key", false),
    ("div_ceil", "div_euclid", false),
];

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        Expr::Paren(paren) => has_let(&paren.expr),
        _ => false,
    }
}

/// What a switch of deliberate mistakes says while none is made: that is all there is in a build without them.
fn constant(expression: &Expr) -> Option<bool> {
    match expression {
        Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => constant(&unary.expr).map(|value| !value),
        Expr::Call(call) => match &*call.func {
            Expr::Path(path) if path.path.is_ident("mutated") => Some(false),
            _ => None,
        },
        Expr::MethodCall(call) if call.method == "kept" && call.args.is_empty() => Some(true),
        _ => None,
    }
}

/// Whether an item is there only sometimes, or is a test.
fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| ["cfg", "test"].iter().any(|name| attribute.path().is_ident(name)))
}

/// Whether a path is a constant's: `PAGE_BYTES`, `register::CC`.
fn is_constant(path: &syn::Path) -> bool {
    let name = path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    name.len() > 1 && name.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
}

/// Whether a statement does something that can be left out.
fn is_effect(expression: &Expr) -> bool {
    match expression {
        Expr::MethodCall(_) | Expr::Assign(_) => true,
        Expr::Call(call) => !matches!(&*call.func, Expr::Path(path) if path.path.is_ident("drop")),
        Expr::Try(inner) => is_effect(&inner.expr),
        Expr::Binary(binary) => {
            // Only the compound ones stand alone.
            !matches!(binary.op, BinOp::And(_) | BinOp::Or(_))
        }
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Fn(function) => self.function(&function.attrs, &function.sig, &function.block),
            syn::Item::Impl(block) if !is_hidden(&block.attrs) => self.visit_item_impl(block),
            syn::Item::Trait(definition) if !is_hidden(&definition.attrs) => {
                self.names.push(definition.ident.to_string());
                visit::visit_item_trait(self, definition);
                self.names.pop();
            }
            syn::Item::Mod(module) if !is_hidden(&module.attrs) => {
                self.names.push(module.ident.to_string());
                visit::visit_item_mod(self, module);
                self.names.pop();
            }
            _ => {}
        }
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        let of_trait = block.trait_.as_ref().and_then(|(path, _)| path.segments.last());
        if of_trait.is_some_and(|name| ["Debug", "Display"].iter().any(|skipped| name.ident == skipped)) {
            return;
        }
        let name = match &*block.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.names.push(name.unwrap_or_else(|| "_".into()));
        visit::visit_item_impl(self, block);
        self.names.pop();
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.attrs, &function.sig, &function.block);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.function(&function.attrs, &function.sig, block);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if let Stmt::Expr(expression, Some(end)) = statement
            && is_effect(expression)
        {
            let expression = expression.span().byte_range();
            let range = expression.start..end.span().byte_range().end;
            let original = self.source(&range).to_owned();
            self.add(Shape::Statement, &range, &original, NOTHING);
        }
        if let Stmt::Local(local) = statement
            && is_hidden(&local.attrs)
        {
            return;
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        let range = expression.span().byte_range();
        match expression {
            Expr::If(chosen) => {
                self.condition(&chosen.cond, &[TRUE, FALSE]);
                if constant(&chosen.cond) == Some(false) {
                    // What a deliberate mistake does is not there otherwise.
                    return chosen.else_branch.iter().for_each(|(_, otherwise)| self.visit_expr(otherwise));
                }
            }
            // A loop that never ends is found by its time alone, which is slow.
            Expr::While(repeated) => self.condition(&repeated.cond, &[FALSE]),
            Expr::Binary(binary) => self.binary(binary),
            Expr::MethodCall(call) => self.method(call),
            Expr::Match(chosen) => self.arms(chosen),
            Expr::Lit(literal) => self.literal(&literal.lit, &range),
            Expr::Path(path) if is_constant(&path.path) => {
                let more = format!("{} + 1", self.source(&range));
                self.replace(&range, more);
            }
            Expr::Unary(unary) if !matches!(unary.op, UnOp::Deref(_)) && !self.is_condition(&range) => {
                let operand = unary.expr.span().byte_range();
                self.replace(&range, self.source(&operand).to_owned());
            }
            Expr::Call(call) if matches!(*call.func, Expr::Path(_)) => {
                return call.args.iter().for_each(|argument| self.visit_expr(argument));
            }
            Expr::Repeat(repeat) => return self.visit_expr(&repeat.expr),
            Expr::Unsafe(_) | Expr::Const(_) | Expr::Macro(_) => return,
            _ => {}
        }
        visit::visit_expr(self, expression);
    }

    fn visit_pat(&mut self, pattern: &'ast Pat) {
        if let Pat::Guard(guarded) = pattern {
            self.condition(&guarded.guard, &[TRUE, FALSE]);
            self.visit_expr(&guarded.guard);
        }
    }

    fn visit_type(&mut self, _: &'ast syn::Type) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
}

#[cfg(test)]
mod tests {
    use super::find;

    /// The mutants of the function `f` with this text, as `original -> replacement`.
    fn mutants(text: &str) -> Vec<String> {
        let sites = find(text).expect("Rust");
        let all = sites.iter().flat_map(|site| &site.mutants);
        all.map(|mutant| format!("{} -> {}", mutant.original, mutant.replacement)).collect()
    }

    #[test]
    fn a_comparison_is_moved_and_turned_round() {
        assert_eq!(
            mutants("fn f(a: &T, b: &T) -> &bool { a < b }"),
            ["a < b -> a <= b", "a < b -> a >= b"],
            "a reference is not made up"
        );
        assert_eq!(
            mutants("fn f() -> impl T { if a < b { c } }"),
            ["a < b -> true", "a < b -> false", "a < b -> a <= b"]
        );
    }

    #[test]
    fn each_part_of_a_condition_is_tried_as_true_and_as_false() {
        let found = mutants("fn f() -> &T { if a && let Some(b) = c && (d || e) { g } }");
        let expected = ["a", "d || e", "d", "e"].map(|name| format!("{name} -> "));
        for name in ["a", "d", "e"] {
            assert!(
                found.contains(&format!("{name} -> true")) && found.contains(&format!("{name} -> false")),
                "{name}"
            );
        }
        assert!(found.contains(&"d || e -> d && e".into()));
        assert!(found.iter().all(|mutant| expected.iter().any(|begin| mutant.starts_with(begin))), "{found:?}");
    }

    #[test]
    fn a_switch_of_deliberate_mistakes_is_not_tried_as_what_it_says_anyway() {
        assert_eq!(mutants("fn f() -> &T { if mutated(a) { g } }"), ["mutated(a) -> true"]);
        assert_eq!(mutants("fn f() -> &T { g(if mutated(a) { 1 } else { 2 }) }"), ["mutated(a) -> true", "2 -> 3"]);
        assert_eq!(
            mutants("fn f() -> &T { if !mutated(a) && Order::A.kept() { g } }")
                .iter()
                .filter(|it| it.contains("true"))
                .count(),
            0
        );
    }

    #[test]
    fn statements_arms_numbers_and_constants() {
        assert_eq!(mutants("fn f() -> &T { a.b(); c }"), ["a.b(); -> nothing"]);
        assert_eq!(
            mutants("fn f() -> &T { match a { B => c, _ => d } }"),
            ["the arm B -> nothing"],
            "the last arm takes everything else"
        );
        assert_eq!(mutants("fn f() -> &T { g(7_u8, MAX) }"), ["7_u8 -> 8u8", "MAX -> MAX + 1"]);
        assert_eq!(mutants("fn f() -> &T { g(!a, -b, true) }"), ["!a -> a", "-b -> b", "true -> false"]);
        assert_eq!(mutants("fn f() -> &T { a.min(b) }"), ["a.min(b) -> a.max(b)"]);
    }

    #[test]
    fn what_has_no_switch_is_left_alone() {
        for text in [
            "const A: u8 = 1 + 2;",
            "const fn f() -> bool { a < b }",
            "#[cfg(test)] mod tests { fn f() -> bool { a < b } }",
            "#[test] fn f() { a.b(); }",
            "#![cfg(test)] fn f() -> bool { a < b }",
            "fn f(a: u8) -> Result<(), E> { let _ = a; Ok(()) }",
            "impl fmt::Debug for A { fn fmt(&self) -> bool { a < b } }",
            "fn f() -> &T { assert!(a < 1, \"{}\", 1 + 2) }",
            "fn f() -> &T { unsafe { a + b } }",
            "fn f() -> &[u8; 1 + 2] { &[a; 1 + 2] }",
            "fn f() -> &T { if let 1..3 = a { b } else { c } }",
        ] {
            assert!(mutants(text).is_empty(), "{text}: {:?}", mutants(text));
        }
    }

    #[test]
    fn a_mutant_knows_its_function_and_line() {
        let sites = find("impl<T> A<T> {\n    fn f() -> &T {\n        a + b\n    }\n}\n").expect("Rust");
        assert_eq!((sites[0].mutants[0].function.as_str(), sites[0].mutants[0].line), ("A::f", 3));
    }
}
