//! The rules of the specification, one file for each chapter, each test citing the rule that it checks. A host in this process drives
//! the controller; nothing here waits for real time.

mod admin;
mod arbitration;
mod atomic;
mod atomic_random;
mod copy;
mod deallocation;
mod doorbells;
mod events;
mod features;
mod fused;
mod fuzz;
mod hints;
mod hostile;
mod identify;
mod interrupts;
mod io;
mod logs;
mod media_faults;
mod metadata;
mod model;
mod namespaces;
mod options;
mod power;
mod prp;
mod queues;
mod registers;
mod reset;
mod resize;
mod sgl;
mod shutdown;
mod support;
mod uncorrectable;
mod variants;
mod verbs;
