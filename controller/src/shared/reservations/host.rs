//! Who a host is to a subsystem (NVMe Base 2.3 section 5.2.26.1.32, Host Identifier).

use crate::controllers::ControllerId;

/// What a host calls itself: never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostIdentifier {
    /// Of 64 bits.
    Short([u8; 8]),
    /// Of 128 bits.
    Long([u8; 16]),
}

impl HostIdentifier {
    /// What these bytes name: nothing if they are zero.
    ///
    /// # Panics
    /// If they are neither 8 nor 16.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let named = bytes.iter().any(|byte| *byte != 0);
        let identifier = match bytes.len() {
            8 => Self::Short(bytes.try_into().expect("eight")),
            16 => Self::Long(bytes.try_into().expect("sixteen")),
            other => panic!("a host identifier of {other} bytes"),
        };
        named.then_some(identifier)
    }

    /// Whether it has 128 bits.
    #[must_use]
    pub const fn is_extended(&self) -> bool {
        matches!(self, Self::Long(_))
    }

    /// Its bytes, as the host gave them.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }
}

/// Whose a registration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// Of all controllers whose host calls itself this.
    Named(HostIdentifier),
    /// Of one controller, whose host did not say who it is: until that controller is reset.
    Unnamed(ControllerId),
}

impl Host {
    /// What it calls itself.
    #[must_use]
    pub const fn identifier(&self) -> Option<HostIdentifier> {
        match self {
            Self::Named(identifier) => Some(*identifier),
            Self::Unnamed(_) => None,
        }
    }
}
