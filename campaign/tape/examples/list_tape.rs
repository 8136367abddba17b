//! Lists a tape: an entry in each line, without data.

use std::path::Path;

use tape::{Change, Entry, Reader};

fn main() {
    let path = std::env::args().nth(1).expect("usage: list_tape FILE");
    let mut tape = Reader::open(Path::new(&path)).expect("a tape");
    for entry in tape.by_ref() {
        match entry {
            Entry::Changed { request, volume, force, change: Change::Write { range, data }, .. } => {
                println!("{request} write {volume:?} {range:?} force={force}, {} bytes", data.len());
            }
            other => println!("{other:?}"),
        }
    }
    println!("ends early: {:?}", tape.cut_off());
}
