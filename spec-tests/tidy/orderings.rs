//! Every ordering of the disk that has a name stands at one place, so that the test that leaves it out leaves out what its name says, and
//! nobody orders anything under the name of something else. That an ordering has a name at all, the types see to.

use crate::Violation;
use crate::rust::RustFile;

/// The crate that orders a disk.
const SOURCE: &str = "media/src/";
/// Where the names are.
const LIST: &str = "media/src/ordering.rs";
/// What belongs to the list.
const TESTS: &str = "media/src/ordering/";

/// Checks all files together.
pub fn check(files: &[RustFile]) -> Vec<Violation> {
    let list = files.iter().filter(|file| file.path == LIST);
    list.flat_map(names).filter_map(|(name, line)| objection(files, &name, line)).collect()
}

/// The names with their lines: those with a text behind them, as `named!` wants it.
fn names(list: &RustFile) -> Vec<(String, usize)> {
    let named = list.tokens.windows(4).filter(|four| {
        let texts: Vec<_> = four[1..].iter().map(|token| token.text.as_str()).collect();
        texts == ["=", "\"\"", ","] && four[0].text.starts_with(char::is_uppercase)
    });
    named.map(|four| (four[0].text.clone(), four[0].line)).collect()
}

fn objection(files: &[RustFile], name: &str, line: usize) -> Option<Violation> {
    let mut places = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with(SOURCE) && !file.path.starts_with(TESTS)) {
        let uses = file.tokens.windows(3).filter(|three| {
            three[0].text == "Order" && three[1].text == "::" && three[2].text == name && !file.is_test(three[0].line)
        });
        places.extend(uses.map(|three| format!("{}:{}", file.path, three[0].line)));
    }
    match places.len() {
        1 => None,
        0 => Some(Violation::new(LIST, line, format!("nothing is ordered by {name}: remove it"))),
        _ => {
            let message = format!("{name} stands at {}: give each place a name of its own", places.join(" and "));
            Some(Violation::new(LIST, line, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LIST, check};
    use crate::rust::RustFile;

    fn messages(text: &str) -> Vec<String> {
        let list = "named! {\n /// The order.\n Order:\n /// A before B.\n BAfterA = \"b-after-a\",\n}";
        let files = [(LIST, list), ("media/src/store/image.rs", text)];
        let files = files.map(|(path, text)| RustFile::parse(path, text).unwrap());
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_ordering_stands_at_one_place() {
        let used = "fn f() { barrier(Order::BAfterA) }";
        assert_eq!(messages(used), [""; 0]);
        assert!(messages("fn f() {}")[0].contains("nothing is ordered"));
        assert!(messages(&format!("{used} fn g() {{ sync(Order::BAfterA) }}"))[0].contains("image.rs:1 and"));
        assert_eq!(
            messages(&format!("{used} #[cfg(test)] mod tests {{ fn g() {{ sync(Order::BAfterA) }} }}")).len(),
            1
        );
        let below = format!("{used}\n#[cfg(test)]\nmod tests {{ fn g() {{ sync(Order::BAfterA) }} }}");
        assert_eq!(messages(&below), [""; 0]);
    }
}
