//! The atomic units of the controller and its namespaces: what the user requests, the defaults, and which rule a combination breaks
//! (NVM Command Set 1.1 section 2.1.4; B158 to B162). Units are zero-based here as on the wire.

use super::{ConfigError, refuse};

/// What holds for every namespace, as Identify Controller reports it, and the initial value of the Write Atomicity Normal feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerAtomics {
    /// Disable Normal: from the start only AWUPF and NAWUPF are kept in normal operation too.
    pub disable_normal: bool,
    /// Atomic Write Unit Normal.
    pub awun_z: u16,
    /// Atomic Write Unit Power Fail.
    pub awupf_z: u16,
    /// Atomic Compare and Write Unit.
    pub acwu_z: u16,
}

/// What was asked for a namespace; what was not follows from the media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtomicWishes {
    /// Namespace Atomic Write Unit Normal.
    pub nawun_z: Option<u16>,
    /// Namespace Atomic Write Unit Power Fail.
    pub nawupf_z: Option<u16>,
    /// Namespace Atomic Compare and Write Unit.
    pub nacwu_z: Option<u16>,
    /// Namespace Atomic Boundary Size Normal; 0 is none.
    pub nabsn_z: Option<u16>,
    /// Namespace Atomic Boundary Size Power Fail; 0 is none.
    pub nabspf_z: Option<u16>,
    /// Namespace Atomic Boundary Offset: the block of the first edge.
    pub nabo: u16,
    /// Multiple Atomicity Mode: a write that crosses edges is atomic between each two.
    pub multiple: bool,
}

/// The units of a namespace as Identify Namespace reports them; 0 in one of the first three means that the controller's holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Atomics {
    /// Namespace Atomic Write Unit Normal.
    pub nawun_z: u16,
    /// Namespace Atomic Write Unit Power Fail.
    pub nawupf_z: u16,
    /// Namespace Atomic Compare and Write Unit.
    pub nacwu_z: u16,
    /// Namespace Atomic Boundary Size Normal; 0 is none.
    pub nabsn_z: u16,
    /// Namespace Atomic Boundary Size Power Fail; 0 is none.
    pub nabspf_z: u16,
    /// Namespace Atomic Boundary Offset.
    pub nabo: u16,
    /// Multiple Atomicity Mode.
    pub multiple: bool,
}

const RULES: &str = "NVM Command Set 1.1 section 2.1.4";

impl ControllerAtomics {
    /// What the controller promises when power goes, it promises in normal operation as well (B158).
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        if self.awupf_z > self.awun_z {
            let remedy = format!("AWUPF is at most AWUN ({RULES}): give at most {}, or more atomic.awun", self.awun_z);
            return Err(refuse("atomic.awupf", self.awupf_z, remedy));
        }
        Ok(self)
    }
}

impl AtomicWishes {
    /// The most blocks, zero-based, that the user wants to be whole after a power loss; `None` leaves it to the media.
    pub(super) fn power_fail_z(&self) -> Option<u16> {
        self.nawupf_z.or_else(|| self.window_z())
    }

    /// The one size of Multiple Atomicity Mode, if the mode is on and any of the four fields that share it was given.
    fn window_z(&self) -> Option<u16> {
        let given = [self.nabsn_z, self.nabspf_z, self.nawun_z, self.nawupf_z];
        given.into_iter().flatten().find(|size_z| self.multiple && *size_z != 0)
    }

    /// The units of the namespace, on a media that commits up to `power_atomic_blocks` blocks as one.
    pub(crate) fn resolve(
        &self,
        controller: ControllerAtomics,
        power_atomic_blocks: u32,
    ) -> Result<Atomics, ConfigError> {
        let most_z = u16::try_from(power_atomic_blocks.saturating_sub(1)).unwrap_or(u16::MAX);
        let window_z = if self.multiple { self.window_z().unwrap_or(most_z) } else { 0 };
        let nabsn_z = self.nabsn_z.unwrap_or(window_z);
        let nabspf_z = self.nabspf_z.unwrap_or(window_z);
        let bound = |size_z: u16| if size_z == 0 { u16::MAX } else { size_z };
        let nawupf_z = self.nawupf_z.unwrap_or_else(|| {
            [self.nawun_z.map_or(u16::MAX, bound), bound(nabsn_z), bound(nabspf_z)].into_iter().fold(most_z, u16::min)
        });
        // A unit of one block needs no saying: 0 stands for the controller's.
        let at_least = |size_z: u16, controller_z: u16| if size_z == 0 { 0 } else { size_z.max(controller_z) };
        let nawun_z = self.nawun_z.unwrap_or_else(|| at_least(nawupf_z, controller.awun_z));
        let nacwu_z = self.nacwu_z.unwrap_or_else(|| at_least(nawun_z, controller.acwu_z));
        let atomics =
            Atomics { nawun_z, nawupf_z, nacwu_z, nabsn_z, nabspf_z, nabo: self.nabo, multiple: self.multiple };
        atomics.check(controller, most_z)?;
        Ok(atomics)
    }
}

impl Atomics {
    /// Whether the namespace has units of its own: NSFEAT.NSABP.
    #[must_use]
    pub const fn are_own(&self) -> bool {
        self.nawun_z | self.nawupf_z | self.nacwu_z != 0
    }

    /// The blocks of a unit in force: the namespace's, or else the controller's.
    fn in_force(own_z: u16, controller_z: u16) -> u16 {
        if own_z == 0 { controller_z } else { own_z }
    }

    /// Blocks that a write may have to be atomic in normal operation.
    #[must_use]
    pub fn normal_blocks(&self, controller: ControllerAtomics) -> u32 {
        u32::from(Self::in_force(self.nawun_z, controller.awun_z)) + 1
    }

    /// Blocks that a write may have to be whole or undone after a power loss.
    #[must_use]
    pub fn power_fail_blocks(&self, controller: ControllerAtomics) -> u32 {
        u32::from(Self::in_force(self.nawupf_z, controller.awupf_z)) + 1
    }

    /// Blocks that a fused Compare and Write may have.
    #[must_use]
    pub fn compare_blocks(&self, controller: ControllerAtomics) -> u32 {
        u32::from(Self::in_force(self.nacwu_z, controller.acwu_z)) + 1
    }

    fn check(&self, controller: ControllerAtomics, most_z: u16) -> Result<(), ConfigError> {
        let media = |option, size_z: u16| {
            let most = u32::from(most_z) + 1;
            let remedy = format!("the media commits at most {most} blocks as one: give at most {most_z}");
            if size_z > most_z { Err(refuse(option, size_z, remedy)) } else { Ok(()) }
        };
        media("atomic.awupf", controller.awupf_z)?;
        media("atomic.nawupf", self.nawupf_z)?;
        for (option, own_z, controller_z, name) in [
            ("atomic.nawun", self.nawun_z, controller.awun_z, "AWUN"),
            ("atomic.nawupf", self.nawupf_z, controller.awupf_z, "AWUPF"),
            ("atomic.nacwu", self.nacwu_z, controller.acwu_z, "ACWU"),
        ] {
            if own_z != 0 && own_z < controller_z {
                let remedy = format!("it is at least {name} ({RULES}): give 0, or at least {controller_z}");
                return Err(refuse(option, own_z, remedy));
            }
        }
        let normal_z = Self::in_force(self.nawun_z, controller.awun_z);
        let power_fail_z = Self::in_force(self.nawupf_z, controller.awupf_z);
        if power_fail_z > normal_z {
            let remedy = format!("NAWUPF is at most NAWUN ({RULES}): give at most {normal_z}, or more atomic.nawun");
            return Err(refuse("atomic.nawupf", power_fail_z, remedy));
        }
        for (option, boundary_z, unit_z, name) in [
            ("atomic.nabsn", self.nabsn_z, normal_z.max(controller.awun_z), "NAWUN and AWUN"),
            ("atomic.nabspf", self.nabspf_z, power_fail_z.max(controller.awupf_z), "NAWUPF and AWUPF"),
        ] {
            if boundary_z != 0 && boundary_z < unit_z {
                let without = if self.multiple { ", or atomic.mam off" } else { "" };
                let remedy = format!(
                    "a boundary holds the atomic unit, {name} ({RULES}): give 0, or at least {unit_z}{without}"
                );
                return Err(refuse(option, boundary_z, remedy));
            }
        }
        let offset_most = self.nabsn_z.min(self.nabspf_z);
        if self.nabo > offset_most {
            let remedy = format!("NABO is at most NABSN and NABSPF ({RULES}): give at most {offset_most}");
            return Err(refuse("atomic.nabo", self.nabo, remedy));
        }
        self.check_multiple(normal_z, power_fail_z, most_z)
    }

    /// In Multiple Atomicity Mode the boundaries are the units, in normal operation as after a power loss (B162).
    fn check_multiple(&self, normal_z: u16, power_fail_z: u16, most_z: u16) -> Result<(), ConfigError> {
        let sizes = [self.nabsn_z, self.nabspf_z, normal_z, power_fail_z];
        if self.multiple && (self.nabsn_z == 0 || sizes.iter().any(|size_z| *size_z != self.nabsn_z)) {
            // Where one block is all that is committed, there is no size to give.
            let give = if most_z == 0 {
                "a smaller lba, of which the media commits more than one at a time"
            } else {
                "one of them"
            };
            let remedy = format!(
                "nabsn={}, nabspf={}, nawun={normal_z} and nawupf={power_fail_z} must be the same and above 0 ({RULES}.5): \
                 give {give}, or off",
                self.nabsn_z, self.nabspf_z
            );
            return Err(refuse("atomic.mam", "on", remedy));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(wishes: AtomicWishes, controller: ControllerAtomics, media: u32) -> Result<Atomics, String> {
        wishes.resolve(controller, media).map_err(|error| error.to_string())
    }

    /// B158, B160: nothing given, the units are what the media commits, without a boundary; what is given bounds what is not.
    #[test]
    fn units_follow_from_the_media_and_from_what_was_given() {
        let none = ControllerAtomics::default();
        let units = resolve(AtomicWishes::default(), none, 16).expect("possible");
        assert_eq!(units, Atomics { nawun_z: 15, nawupf_z: 15, nacwu_z: 15, ..Atomics::default() });
        assert!(units.are_own());
        let units = resolve(AtomicWishes::default(), none, 1).expect("possible");
        assert!(!units.are_own());
        let given = AtomicWishes { nawun_z: Some(7), ..AtomicWishes::default() };
        assert_eq!(resolve(given, none, 16).expect("possible").nawupf_z, 7);
        let given = AtomicWishes { nabspf_z: Some(3), nabsn_z: Some(5), ..AtomicWishes::default() };
        let units = resolve(given, none, 16).expect("possible");
        assert_eq!((units.nawun_z, units.nawupf_z), (3, 3));
        let given = AtomicWishes { nawun_z: Some(0), nawupf_z: Some(0), ..AtomicWishes::default() };
        let controller = ControllerAtomics { awun_z: 7, awupf_z: 7, ..none };
        let units = resolve(given, controller, 16).expect("possible");
        assert!(!units.are_own());
        assert_eq!((units.normal_blocks(controller), units.power_fail_blocks(controller)), (8, 8));
        assert_eq!(units.compare_blocks(controller), 1);
    }

    /// B162: in Multiple Atomicity Mode one size gives all four.
    #[test]
    fn one_size_is_enough_for_multiple_atomicity() {
        let given = AtomicWishes { multiple: true, nabsn_z: Some(3), ..AtomicWishes::default() };
        let units = resolve(given, ControllerAtomics::default(), 16).expect("possible");
        assert_eq!([units.nabsn_z, units.nabspf_z, units.nawun_z, units.nawupf_z], [3; 4]);
        let all = resolve(AtomicWishes { multiple: true, ..AtomicWishes::default() }, ControllerAtomics::default(), 16);
        assert_eq!(all.expect("possible").nabspf_z, 15);
    }

    /// B158 to B162: every rule refuses what breaks it, and names the option.
    #[test]
    fn what_breaks_a_rule_is_refused_by_name() {
        let none = ControllerAtomics::default();
        let wishes = AtomicWishes::default();
        let refusal = |given: AtomicWishes, controller| resolve(given, controller, 16).expect_err("impossible");
        let starts = |text: String, start: &str| assert!(text.starts_with(start), "{text}");
        let awupf = ControllerAtomics { awun_z: 3, awupf_z: 4, ..none };
        starts(awupf.checked().expect_err("impossible").to_string(), "atomic.awupf=4: AWUPF is at most AWUN");
        let large = ControllerAtomics { awun_z: 31, awupf_z: 31, ..none };
        starts(refusal(wishes, large), "atomic.awupf=31: the media commits at most 16 blocks");
        starts(refusal(AtomicWishes { nawupf_z: Some(16), ..wishes }, none), "atomic.nawupf=16: the media commits");
        let small = AtomicWishes { nawun_z: Some(3), nawupf_z: Some(4), ..wishes };
        starts(refusal(small, none), "atomic.nawupf=4: NAWUPF is at most NAWUN");
        let controller = ControllerAtomics { awun_z: 7, awupf_z: 3, acwu_z: 9, ..none };
        starts(refusal(AtomicWishes { nawun_z: Some(5), ..wishes }, controller), "atomic.nawun=5: it is at least AWUN");
        starts(refusal(AtomicWishes { nawupf_z: Some(2), ..wishes }, controller), "atomic.nawupf=2: it is at least");
        starts(refusal(AtomicWishes { nacwu_z: Some(2), ..wishes }, controller), "atomic.nacwu=2: it is at least ACWU");
        let boundary = AtomicWishes { nawun_z: Some(7), nawupf_z: Some(7), nabsn_z: Some(6), ..wishes };
        starts(refusal(boundary, none), "atomic.nabsn=6: a boundary holds");
        let boundary = AtomicWishes { nawun_z: Some(7), nawupf_z: Some(7), nabspf_z: Some(6), ..wishes };
        starts(refusal(boundary, none), "atomic.nabspf=6: a boundary holds");
        let offset = AtomicWishes { nabsn_z: Some(7), nabspf_z: Some(3), nabo: 4, ..wishes };
        starts(refusal(offset, none), "atomic.nabo=4: NABO is at most");
        starts(refusal(AtomicWishes { nabo: 1, ..wishes }, none), "atomic.nabo=1: NABO is at most");
        let multiple = AtomicWishes { multiple: true, nabsn_z: Some(7), nawupf_z: Some(3), ..wishes };
        starts(refusal(multiple, none), "atomic.mam=on: nabsn=7, nabspf=7, nawun=3 and nawupf=3 must be the same");
        let single = resolve(AtomicWishes { multiple: true, ..wishes }, none, 1).expect_err("no unit");
        starts(single, "atomic.mam=on: ");
    }
}
