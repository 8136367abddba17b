//! The rules of the specification, one file for each chapter, each test citing the rule that it checks. A host in this process drives
//! the controller; nothing here waits for real time.

mod io;
