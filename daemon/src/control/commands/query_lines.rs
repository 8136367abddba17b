//! `query-lines`.

use media::monitor::{LineReport, LineState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// The most cells of a field: a drive with more lines has several in each.
const CELLS_MAX: u32 = 4096;

/// The lines of the NAND: how many are in which state, and all of them as a field.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryLines {}

/// Lines.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Lines {
    total: u32,
    /// Erased.
    free: u32,
    /// A stream writes them.
    open: u32,
    /// Full, or given up.
    closed: u32,
    /// Being collected.
    victim: u32,
    /// They hold nothing that the map needs, but a power loss might still need them.
    drained: u32,
    /// Out of use.
    retired: u32,
    /// Lines in each cell of the field; the last one may have fewer.
    lines_per_cell: u32,
    /// A letter for each cell: F(ree), O(pen), C(losed), V(ictim), D(rained), R(etired); of several lines the state that most of them have.
    states: String,
    /// The share of units that hold data, in percent, for each cell.
    valid_percent: Vec<u8>,
}

impl Execute for QueryLines {
    const NAME: &'static str = "query-lines";
    type Answer = Lines;

    fn execute(self, device: &mut Device<'_>) -> Result<Lines, Refusal> {
        let monitor = device.monitor()?;
        let (total, units) = (monitor.geometry().lines, monitor.geometry().units_per_line);
        let lines_per_cell = total.div_ceil(CELLS_MAX).max(1);
        let mut field = Field { lines_per_cell, units, ..Field::default() };
        monitor.lines(&mut |line| field.add(line));
        field.close();
        let [free, open, closed, victim, drained, retired] = field.counts;
        let Field { states, valid_percent, .. } = field;
        Ok(Lines { total, free, open, closed, victim, drained, retired, lines_per_cell, states, valid_percent })
    }
}

const LETTERS: [char; 6] = ['F', 'O', 'C', 'V', 'D', 'R'];

const fn place(state: LineState) -> usize {
    match state {
        LineState::Free => 0,
        LineState::Open => 1,
        LineState::Closed => 2,
        LineState::Victim => 3,
        LineState::Drained => 4,
        LineState::Retired => 5,
    }
}

/// A field that is filled line by line.
#[derive(Debug, Default)]
struct Field {
    lines_per_cell: u32,
    units: u32,
    counts: [u32; 6],
    states: String,
    valid_percent: Vec<u8>,
    /// Of the cell at hand: lines by state, and units that hold data.
    cell: [u32; 6],
    valid: u64,
}

impl Field {
    fn add(&mut self, line: LineReport) {
        self.counts[place(line.state)] += 1;
        self.cell[place(line.state)] += 1;
        self.valid += u64::from(line.valid);
        if self.cell.iter().sum::<u32>() == self.lines_per_cell {
            self.close();
        }
    }

    fn close(&mut self) {
        let lines = u64::from(self.cell.iter().sum::<u32>());
        // Of states that as many lines have, the first.
        let most = (0..self.cell.len()).rev().max_by_key(|place| self.cell[*place]).unwrap_or(0);
        if lines > 0 {
            let percent = self.valid * 100 / (lines * u64::from(self.units.max(1)));
            self.states.push(LETTERS[most]);
            self.valid_percent.push(u8::try_from(percent).unwrap_or(100));
        }
        (self.cell, self.valid) = ([0; 6], 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_of_a_cell_have_the_state_of_most_and_the_share_of_all() {
        let mut field = Field { lines_per_cell: 3, units: 10, ..Field::default() };
        let lines = [
            (LineState::Closed, 10),
            (LineState::Free, 0),
            (LineState::Closed, 5),
            (LineState::Open, 1),
            (LineState::Victim, 1),
        ];
        lines.into_iter().for_each(|(state, valid)| field.add(LineReport { state, valid, erases: 0 }));
        field.close();
        field.close();
        assert_eq!((field.states.as_str(), field.valid_percent.as_slice()), ("CO", [50, 10].as_slice()));
        assert_eq!(field.counts, [1, 1, 2, 1, 0, 0]);
    }
}
