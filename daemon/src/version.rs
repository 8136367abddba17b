//! Which brownout this is. Nothing of it depends on where or when it was built.

use std::sync::LazyLock;

/// The commit, where whoever built it said which: `make install` and packages do, by `BROWNOUT_COMMIT`.
pub fn commit() -> Option<&'static str> {
    option_env!("BROWNOUT_COMMIT").filter(|commit| !commit.is_empty())
}

/// Release and commit.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match commit() {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    });
    &TEXT
}
