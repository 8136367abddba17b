//! t
#![forbid(unsafe_code)]
mod options;
fn main() {}
