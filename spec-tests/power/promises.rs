//! What a drive has promised, and whether it kept it. Each block written says which write it is of, where it belongs, and whether it is
//! whole; the book knows for each block the oldest write that it may show.

/// Bytes of a block.
pub const BLOCK: usize = 4096;

/// The bytes of one block of a write.
pub fn stamp(writer: u64, order: u64, lba: u64) -> Vec<u8> {
    let mut words = vec![writer, order, lba];
    let mut state = writer ^ order.rotate_left(21) ^ lba.rotate_left(42);
    while words.len() < BLOCK / 8 - 1 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        words.push(state);
    }
    words.push(words.iter().fold(0, |sum, word| (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3)));
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The number of the write that a block shows; 0 for one that was never written.
///
/// # Errors
/// In words, if it shows none that could be there.
pub fn shown(writer: u64, lba: u64, block: &[u8]) -> Result<u64, String> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let word = |index: usize| u64::from_le_bytes(block[index * 8..index * 8 + 8].try_into().expect("eight bytes"));
    let order = word(1);
    if block == stamp(writer, order, lba) {
        return Ok(order);
    }
    Err(format!("block {lba} is torn, misplaced or damaged: it begins {:x} {order} {}", word(0), word(2)))
}

/// A write that was begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub order: u64,
    pub lba: u64,
    pub blocks: u64,
}

/// The book.
pub struct Promises {
    /// For each block, the oldest write that it may show after a power loss.
    least: Vec<u64>,
    /// For each block, the newest write that was acknowledged.
    accepted: Vec<u64>,
    /// The writes of this life of the daemon.
    begun: Vec<Begun>,
    orders: u64,
}

impl Promises {
    /// Nothing was promised of this many blocks.
    pub fn new(blocks: usize) -> Self {
        Self { least: vec![0; blocks], accepted: vec![0; blocks], begun: Vec::new(), orders: 0 }
    }

    /// A write begins; its number.
    pub fn begin(&mut self, lba: u64, blocks: u64) -> u64 {
        self.orders += 1;
        self.begun.push(Begun { order: self.orders, lba, blocks });
        self.orders
    }

    /// A write was acknowledged; `durable` if it was forced.
    pub fn acknowledge(&mut self, write: Begun, durable: bool) {
        for block in range(write) {
            self.accepted[block] = self.accepted[block].max(write.order);
            if durable {
                self.least[block] = self.least[block].max(write.order);
            }
        }
    }

    /// What a flush that is submitted now will promise.
    pub fn flush_begins(&self) -> Vec<u64> {
        self.accepted.clone()
    }

    /// A flush was acknowledged.
    pub fn flushed(&mut self, covered: &[u64]) {
        for (least, covered) in self.least.iter_mut().zip(covered) {
            *least = (*least).max(*covered);
        }
    }

    /// Compares what a drive shows after a power loss with what was promised; from here on, what it shows is what it holds.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn check(&mut self, shown: Vec<u64>) -> Result<(), String> {
        for (block, (shown, least)) in shown.iter().zip(&self.least).enumerate() {
            if shown < least || *shown > self.orders {
                return Err(format!("block {block} shows write {shown}, and {least} was promised"));
            }
        }
        for write in std::mem::take(&mut self.begun) {
            let blocks = &shown[range(write)];
            let (there, missing) = (blocks.contains(&write.order), blocks.iter().any(|shown| *shown < write.order));
            if there && missing {
                return Err(format!("{write:?} is torn, and is no longer than a power loss leaves whole"));
            }
        }
        self.least.clone_from(&shown);
        self.accepted = shown;
        Ok(())
    }
}

fn range(write: Begun) -> std::ops::Range<usize> {
    let index = |number: u64| usize::try_from(number).expect("a small drive");
    index(write.lba)..index(write.lba + write.blocks)
}

#[test]
fn the_book_notices_what_is_lost_torn_or_damaged() {
    let mut book = Promises::new(4);
    let order = book.begin(0, 2);
    book.acknowledge(Begun { order, lba: 0, blocks: 2 }, true);
    assert!(book.check(vec![0, 0, 0, 0]).expect_err("lost").contains("was promised"));
    let mut book = Promises::new(4);
    let order = book.begin(0, 2);
    assert!(book.check(vec![order, 0, 0, 0]).expect_err("torn").contains("is torn"));
    assert_eq!(shown(7, 3, &stamp(7, 9, 3)), Ok(9));
    let mut block = stamp(7, 9, 3);
    block[2000] ^= 1;
    assert!(shown(7, 3, &block).is_err());
    assert!(shown(7, 4, &stamp(7, 9, 3)).is_err());
}
