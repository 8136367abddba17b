//! The virtual machine: which QEMU to run, and the arguments that plug this device into it.

mod arguments;
mod child;
mod find;
mod script;

pub use arguments::{Front, MACHINE_MEMORY, Machine, shell_line, shell_word};
pub use child::{Ended, become_qemu, run};
pub use find::Search;
pub use script::{Script, exit_code, own_initrd, readable, stacks};
