//! The drive's implementation of its monitor.

use super::{Ssd, SsdConfig};
use crate::fault::PendingFaults;
use crate::geometry::Geometry;
use crate::monitor::{IntegrityReport, LineReport, Monitor, SsdStatus};
use crate::store::Store;
use crate::unit::{Lba, LbaRange, VolumeId};

/// Damaged units that are reported with their blocks.
const REPORTED: usize = 64;

impl<S: Store> Monitor for Ssd<S> {
    fn status(&self) -> SsdStatus {
        Self::status(self)
    }

    fn config(&self) -> &SsdConfig {
        Self::config(self)
    }

    fn lines(&self, each: &mut dyn FnMut(LineReport)) {
        for (_, line) in self.ftl().lines.iter() {
            each(LineReport { state: line.state, valid: line.valid, erases: line.erase_count });
        }
    }

    fn geometry(&self) -> &Geometry {
        &self.ftl().geometry
    }

    fn map_bytes(&self) -> u64 {
        self.ftl().map.memory_bytes() as u64
    }

    fn integrity(&self) -> IntegrityReport {
        let damaged = self.ftl().damaged_units().filter_map(|(unit, _)| self.blocks_of(unit));
        IntegrityReport {
            integrity: self.ftl().integrity.clone(),
            damaged_units: self.ftl().damaged_units().count() as u64,
            damaged: damaged.take(REPORTED).collect(),
            patrol: self.patrol(),
        }
    }

    fn faults(&self) -> PendingFaults {
        let nand = &self.ftl().nand;
        let (programs, erases) = (nand.page_programs(), nand.line_erases());
        PendingFaults {
            reads: self.flipped_bits().iter().collect(),
            programs: nand.faults.programs.iter().map(|ordinal| ordinal - programs).collect(),
            erases: nand.faults.erases.iter().map(|(ordinal, plane)| (ordinal - erases, *plane)).collect(),
        }
    }

    fn flip_bits(&mut self, volume: VolumeId, range: LbaRange, bits: u32) {
        if bits == 0 {
            self.read_faults().heal(volume, range);
            return;
        }
        (range.start.0..).zip(0..range.blocks).for_each(|(lba, _)| self.read_faults().set(volume, Lba(lba), bits));
    }

    fn fail_program(&mut self, nth: u64) {
        Self::fail_program(self, nth);
    }

    fn fail_erase(&mut self, nth: u64, plane: u32) {
        Self::fail_erase(self, nth, plane);
    }

    fn spare_program(&mut self, nth: u64) -> bool {
        let ordinal = self.ftl().nand.page_programs() + nth;
        self.nand_faults().programs.remove(&ordinal)
    }

    fn spare_erase(&mut self, nth: u64) -> bool {
        let ordinal = self.ftl().nand.line_erases() + nth;
        self.nand_faults().erases.remove(&ordinal).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::CORRECTABLE_BITS;
    use crate::store::MemoryStore;
    use crate::{Media, Nanoseconds, Outcome, Request, Sink, Source, Submitted, Token};

    struct Zeroes;

    impl Source for Zeroes {
        fn fill(&mut self, _offset: usize, into: &mut [u8]) -> Result<(), crate::Fault> {
            into.fill(0);
            Ok(())
        }
    }

    impl Sink for Zeroes {
        fn take(&mut self, _offset: usize, _from: &[u8]) -> Result<(), crate::Fault> {
            Ok(())
        }
    }

    fn drive() -> Ssd<MemoryStore> {
        let config = SsdConfig::default();
        let geometry = config.checked().expect("the default works");
        Ssd::create(config, MemoryStore::new(&geometry).expect("memory")).expect("a drive")
    }

    fn read(drive: &mut impl Media, lba: u64) -> Outcome {
        let request = Request::Read { range: LbaRange::new(Lba(lba), 1), into: &mut Zeroes, force: false };
        match drive.submit(Nanoseconds(0), Token(1), VolumeId(0), request) {
            Submitted::Done(outcome) => outcome,
            Submitted::Pending => panic!("without a timing profile a read is done at once"),
        }
    }

    #[test]
    fn faults_outlive_a_power_loss() {
        let mut drive = drive();
        let monitor: &mut dyn Monitor = &mut drive;
        monitor.flip_bits(VolumeId(0), LbaRange::new(Lba(4), 1), 7);
        monitor.fail_program(1000);
        monitor.fail_erase(1000, 2);
        let before = monitor.faults();
        drive.cut(&crate::power::Cut::default());
        drive.restore(None).expect("recovered");
        assert_eq!(Monitor::faults(&drive), before);
    }

    #[test]
    fn faults_are_listed_met_and_lifted() {
        let mut drive = drive();
        let media: &mut dyn Media = &mut drive;
        let monitor = media.monitor().expect("a drive has a workbench");
        monitor.flip_bits(VolumeId(0), LbaRange::new(Lba(4), 2), CORRECTABLE_BITS + 1);
        monitor.fail_program(3);
        monitor.fail_erase(2, 1);
        let listed = monitor.faults();
        let bits = CORRECTABLE_BITS + 1;
        assert_eq!(listed.reads, [(VolumeId(0), Lba(4), bits), (VolumeId(0), Lba(5), bits)]);
        assert_eq!((listed.programs.as_slice(), listed.erases.as_slice()), ([3].as_slice(), [(2, 1)].as_slice()));
        assert!(read(&mut drive, 5).is_err() && read(&mut drive, 6).is_ok());

        let range = LbaRange::new(Lba(4), 1);
        let from = &mut Zeroes;
        assert_eq!(
            drive.submit(Nanoseconds(0), Token(1), VolumeId(0), Request::Write { range, from, force: true }),
            Submitted::Done(Ok(()))
        );
        let listed = Monitor::faults(&drive);
        assert_eq!(listed.reads, [(VolumeId(0), Lba(5), bits)], "an overwritten block is healed");
        let [nth] = listed.programs[..] else { panic!("the failure is still to come") };
        assert!(nth < 3, "a program came nearer to it");

        let monitor: &mut dyn Monitor = &mut drive;
        monitor.flip_bits(VolumeId(0), LbaRange::new(Lba(0), 10), 0);
        assert!(monitor.spare_program(nth) && !monitor.spare_program(nth));
        assert!(monitor.spare_erase(2) && !monitor.spare_erase(2));
        assert_eq!(monitor.faults(), PendingFaults::default());
        assert!(read(&mut drive, 5).is_ok());
    }
}
