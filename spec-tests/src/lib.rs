//! Tools that the tests of this crate share. The tests are in the folders beside this one, one target each: `layout` (golden bytes
//! typed by hand from the figures), `conformance` (one file for each chapter of the rules), `power` (what survives), `control` (the
//! control socket) and `tidy` (imports, names, words, lengths, text).

pub mod golden;
pub mod paths;
pub mod qmp;
pub mod racing;
pub mod random;
pub mod rig;
pub mod slow_media;
pub mod socket_host;
pub mod variant;
pub mod waiting;
