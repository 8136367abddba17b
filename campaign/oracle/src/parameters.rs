//! The atomic sizes of a namespace as they take effect, and what of a command is one piece under them (NVM Command Set 1.1 section
//! 2.1.4; our C1). Knows the raw fields of Identify, and no command.

use nvme_spec::identify;

/// Consecutive logical blocks: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocks {
    /// The first block.
    pub start: u64,
    /// The block behind the last.
    pub end: u64,
}

impl Blocks {
    /// `count` blocks from `start` on.
    #[must_use]
    pub const fn new(start: u64, count: u64) -> Self {
        Self { start, end: start + count }
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.end - self.start
    }

    /// Whether a block is among them.
    #[must_use]
    pub const fn contains(self, block: u64) -> bool {
        self.start <= block && block < self.end
    }

    /// Each of them.
    pub fn each(self) -> std::ops::Range<u64> {
        self.start..self.end
    }
}

/// Atomic boundaries: at `offset` and every `size` blocks from there on. What lies below `offset` is a window of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// NABO.
    pub offset: u64,
    /// NABSN or NABSPF, decoded: at least 1.
    pub size: u64,
}

impl Boundary {
    /// The first edge above a block.
    fn above(self, block: u64) -> u64 {
        match block.checked_sub(self.offset) {
            None => self.offset,
            Some(beyond) => self.offset + (beyond / self.size + 1) * self.size,
        }
    }

    /// Whether an edge lies inside the blocks.
    #[must_use]
    pub fn crossed_by(self, blocks: Blocks) -> bool {
        self.above(blocks.start) < blocks.end
    }

    /// The blocks, cut at every edge.
    fn split(self, blocks: Blocks) -> Vec<Blocks> {
        let mut windows = Vec::new();
        let mut start = blocks.start;
        while start < blocks.end {
            let end = self.above(start).min(blocks.end);
            windows.push(Blocks { start, end });
            start = end;
        }
        windows
    }
}

/// The atomic sizes of one situation: of normal operation, or of a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// AWUN or AWUPF in blocks: holds everywhere.
    pub controller: u64,
    /// The namespace's own size, or again the controller's: holds between boundaries.
    pub namespace: u64,
    /// NABSN or NABSPF.
    pub boundary: Option<Boundary>,
}

/// The effective parameters of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Beside other commands.
    pub normal: Unit,
    /// At a power loss.
    pub power: Unit,
    /// ACWU in blocks: a fused Compare and Write of this many is atomic everywhere.
    pub compare_and_write: u64,
    /// The namespace's own size for that, or again the controller's: holds between boundaries.
    pub own_compare_and_write: u64,
    /// The namespace has sizes of its own (NSABP).
    pub own: bool,
    /// Multiple atomicity mode.
    pub multiple: bool,
}

/// The fields of Identify that say so, as they are on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the specification, in lower case")]
pub struct Fields {
    pub awun_z: u16,
    pub awupf_z: u16,
    pub acwu_z: u16,
    /// NSFEAT bit 1.
    pub nsabp: bool,
    pub nawun_z: u16,
    pub nawupf_z: u16,
    pub nacwu_z: u16,
    pub nabsn_z: u16,
    pub nabo: u16,
    pub nabspf_z: u16,
    /// NSFEAT bit 6.
    pub mam: bool,
}

impl Fields {
    /// The fields of the two structures.
    #[must_use]
    pub const fn of(controller: &identify::Controller, namespace: &identify::Namespace) -> Self {
        Self {
            awun_z: controller.awun_z.get(),
            awupf_z: controller.awupf_z.get(),
            acwu_z: controller.acwu_z.get(),
            nsabp: namespace.features().contains(identify::NamespaceFeatures::OWN_ATOMICS),
            nawun_z: namespace.nawun_z.get(),
            nawupf_z: namespace.nawupf_z.get(),
            nacwu_z: namespace.nacwu_z.get(),
            nabsn_z: namespace.nabsn_z.get(),
            nabo: namespace.nabo.get(),
            nabspf_z: namespace.nabspf_z.get(),
            mam: namespace.features().contains(identify::NamespaceFeatures::MULTIPLE_ATOMICITY),
        }
    }
}

impl From<Fields> for Parameters {
    /// A namespace's field counts where it is given (NSABP) and not 0; boundaries of 0 are none.
    fn from(fields: Fields) -> Self {
        let decoded = |raw: u16| u64::from(raw) + 1;
        let own = |raw: u16, controller: u16| decoded(if fields.nsabp && raw != 0 { raw } else { controller });
        let boundary = |raw: u16| {
            let given = fields.nsabp && raw != 0;
            given.then(|| Boundary { offset: fields.nabo.into(), size: decoded(raw) })
        };
        Self {
            normal: Unit {
                controller: decoded(fields.awun_z),
                namespace: own(fields.nawun_z, fields.awun_z),
                boundary: boundary(fields.nabsn_z),
            },
            power: Unit {
                controller: decoded(fields.awupf_z),
                namespace: own(fields.nawupf_z, fields.awupf_z),
                boundary: boundary(fields.nabspf_z),
            },
            compare_and_write: decoded(fields.acwu_z),
            own_compare_and_write: own(fields.nacwu_z, fields.acwu_z),
            own: fields.nsabp,
            multiple: fields.mam,
        }
    }
}

impl Parameters {
    /// What of a write of `blocks` a power loss leaves wholly old or wholly new.
    #[must_use]
    pub fn pieces_at_power_loss(&self, blocks: Blocks) -> Vec<Blocks> {
        self.pieces(&self.power, self.multiple, blocks)
    }

    /// The same of the write of a fused pair: its limit is also ACWU, and its mode is always that of a single unit.
    #[must_use]
    pub fn pieces_of_fused(&self, blocks: Blocks) -> Vec<Blocks> {
        if self.compares(blocks) { self.pieces(&self.power, false, blocks) } else { single(blocks) }
    }

    /// Whether a fused pair of these blocks is atomic, and must not be refused for its size. The boundaries are those of normal operation.
    #[must_use]
    pub fn compares(&self, blocks: Blocks) -> bool {
        let crosses = self.normal.boundary.is_some_and(|boundary| boundary.crossed_by(blocks));
        blocks.count() <= self.compare_and_write || blocks.count() <= self.own_compare_and_write && !crosses
    }

    /// What of a write of `blocks` other commands see wholly old or wholly new.
    #[must_use]
    pub fn pieces_beside_others(&self, blocks: Blocks) -> Vec<Blocks> {
        self.pieces(&self.normal, self.multiple, blocks)
    }

    fn pieces(&self, unit: &Unit, multiple: bool, blocks: Blocks) -> Vec<Blocks> {
        let crosses = unit.boundary.is_some_and(|boundary| boundary.crossed_by(blocks));
        // In the multiple mode without sizes of the namespace's own the controller's unit is the window itself.
        let window_is_unit = multiple && !self.own && crosses;
        if blocks.count() <= unit.controller && !window_is_unit || blocks.count() <= unit.namespace && !crosses {
            return vec![blocks];
        }
        match unit.boundary {
            Some(boundary) if multiple => boundary.split(blocks),
            _ => single(blocks),
        }
    }
}

/// Each block by itself: the strict reading of what is promised for a write above the unit.
#[must_use]
pub fn single(blocks: Blocks) -> Vec<Blocks> {
    blocks.each().map(|block| Blocks::new(block, 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pieces: &[Blocks]) -> Vec<u64> {
        pieces.iter().map(|piece| piece.count()).collect()
    }

    // NVM Command Set 1.1 section 2.1.4 with our C1: 0 in a field of the namespace means the controller's value.
    #[test]
    fn zero_in_a_namespace_field_is_the_controllers_value_and_no_boundary() {
        let parameters =
            Parameters::from(Fields { awun_z: 7, awupf_z: 3, nsabp: true, nawun_z: 15, ..Fields::default() });
        assert_eq!((parameters.normal.namespace, parameters.power.namespace), (16, 4));
        assert_eq!(parameters.power.boundary, None);
        let unused = Parameters::from(Fields { awupf_z: 3, nawupf_z: 15, nabspf_z: 7, ..Fields::default() });
        assert_eq!((unused.power.namespace, unused.power.boundary), (4, None));
    }

    #[test]
    fn edges_begin_at_the_offset_and_what_is_below_is_a_window() {
        let boundary = Boundary { offset: 3, size: 8 };
        assert!(boundary.crossed_by(Blocks::new(2, 2)) && !boundary.crossed_by(Blocks::new(0, 3)));
        assert!(!boundary.crossed_by(Blocks::new(3, 8)) && boundary.crossed_by(Blocks::new(3, 9)));
        assert_eq!(counts(&boundary.split(Blocks::new(1, 20))), [2, 8, 8, 2]);
    }

    #[test]
    fn a_write_that_fits_is_one_piece_and_one_that_does_not_is_its_blocks() {
        let fields = Fields { nsabp: true, nawupf_z: 3, nabspf_z: 3, ..Fields::default() };
        let parameters = Parameters::from(fields);
        assert_eq!(counts(&parameters.pieces_at_power_loss(Blocks::new(4, 4))), [4]);
        assert_eq!(counts(&parameters.pieces_at_power_loss(Blocks::new(5, 4))), [1; 4]);
        assert_eq!(counts(&parameters.pieces_at_power_loss(Blocks::new(4, 5))), [1; 5]);
        let multiple = Parameters::from(Fields { mam: true, ..fields });
        assert_eq!(counts(&multiple.pieces_at_power_loss(Blocks::new(5, 8))), [3, 4, 1]);
        assert_eq!(counts(&multiple.pieces_of_fused(Blocks::new(5, 4))), [1; 4]);
    }

    #[test]
    fn the_controllers_unit_holds_across_boundaries() {
        let fields = Fields { awupf_z: 1, nsabp: true, nawupf_z: 3, nabspf_z: 3, ..Fields::default() };
        assert_eq!(counts(&Parameters::from(fields).pieces_at_power_loss(Blocks::new(3, 2))), [2]);
        assert_eq!(counts(&Parameters::from(fields).pieces_at_power_loss(Blocks::new(3, 3))), [1; 3]);
    }
}
