//! Tools that the tests of this crate share. The tests are in the folders beside this one, one target each: `layout` (golden bytes
//! typed by hand from the figures) and `tidy` (arrows, names, lengths, text).

pub mod golden;
