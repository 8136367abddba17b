//! Pages in HTML that stand by themselves: one file each, nothing fetched, nothing that runs. [`element`] escapes whatever is put into
//! it, so that text of a guest stays text; [`page`] has the parts that reports are made of, and what they all look like. Knows no verb.

mod element;
mod page;
#[cfg(test)]
pub mod testing;

pub use page::{Cell, Mark, Page, Problem, STYLE, Table};
