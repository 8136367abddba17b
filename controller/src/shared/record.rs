//! The inventory of namespaces as the media keeps it for us, where namespaces come and go: who they are, which volumes they stand on, and
//! which controllers have them. Size and format are the volumes' own. Numbers are little-endian.

use uuid::Uuid;

use crate::ana::ANA_GROUP_FIRST;
use crate::config::{AtomicWishes, NamespaceConfig};
use crate::controllers::ControllerSet;

/// The form that is written.
const VERSION: u32 = 1;

const EXTENDED: u8 = 1 << 0;
const SHARED: u8 = 1 << 1;
const MULTIPLE: u8 = 1 << 2;
/// The number of an ANA group other than the first follows.
const GROUP: u8 = 1 << 3;

/// The note that a new media keeps for namespaces that come and go: those of a configuration, the n-th on volume n.
#[must_use]
pub fn first_note(namespaces: &[NamespaceConfig]) -> Vec<u8> {
    let namespaces = namespaces.iter().cloned().zip(0..).collect();
    Record { namespaces, ..Record::default() }.encode()
}

/// The namespaces of such a note, each with the number of its volume; nothing where it is none.
#[must_use]
pub fn namespaces_of(note: &[u8]) -> Option<Vec<(NamespaceConfig, u32)>> {
    Record::decode(note).map(|record| record.namespaces)
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// How many namespaces were ever made: what tells a new one from all that had its identifier before.
    pub(crate) born: u64,
    /// Ascending by identifier, each with the number of its volume.
    pub(crate) namespaces: Vec<(NamespaceConfig, u32)>,
    /// Registrations that persist through a power loss, by namespace.
    pub(crate) registrations: Vec<(u32, Vec<u8>)>,
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        bytes.extend(self.born.to_le_bytes());
        bytes.extend(u32::try_from(self.namespaces.len()).expect("few namespaces").to_le_bytes());
        for (identity, volume) in &self.namespaces {
            encode(identity, *volume, &mut bytes);
        }
        let number = |count: usize| u32::try_from(count).expect("few").to_le_bytes();
        bytes.extend(number(self.registrations.len()));
        for (nsid, kept) in &self.registrations {
            bytes.extend(nsid.to_le_bytes());
            bytes.extend(number(kept.len()));
            bytes.extend(kept);
        }
        bytes
    }

    /// The record of a note; nothing where it is of another form.
    pub(crate) fn decode(note: &[u8]) -> Option<Self> {
        let mut reader = Reader(note);
        if u32::from_le_bytes(reader.take()?) != VERSION {
            return None;
        }
        let born = u64::from_le_bytes(reader.take()?);
        let count = u32::from_le_bytes(reader.take()?);
        let namespaces = (0..count).map(|_| decode(&mut reader)).collect::<Option<_>>()?;
        let count = u32::from_le_bytes(reader.take()?);
        let registrations = (0..count).map(|_| registrations(&mut reader)).collect::<Option<_>>()?;
        reader.0.is_empty().then_some(Self { born, namespaces, registrations })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

fn registrations(reader: &mut Reader<'_>) -> Option<(u32, Vec<u8>)> {
    let nsid = u32::from_le_bytes(reader.take()?);
    let length = usize::try_from(u32::from_le_bytes(reader.take()?)).ok()?;
    let (kept, rest) = reader.0.split_at_checked(length)?;
    reader.0 = rest;
    Some((nsid, kept.to_vec()))
}

fn encode(identity: &NamespaceConfig, volume: u32, bytes: &mut Vec<u8>) {
    let NamespaceConfig { nsid, uuid, nguid, eui64, extended_metadata, atomics, shared, attached, anagrpid } = identity;
    bytes.extend(nsid.to_le_bytes());
    bytes.extend(volume.to_le_bytes());
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(*extended_metadata, EXTENDED) | flag(*shared, SHARED) | flag(atomics.multiple, MULTIPLE);
    let other_group = *anagrpid != ANA_GROUP_FIRST;
    bytes.push(flags | flag(other_group, GROUP));
    bytes.extend(uuid.as_bytes());
    bytes.extend(nguid);
    bytes.extend(eui64.to_le_bytes());
    bytes.extend(attached.0.to_le_bytes());
    for wish in [atomics.nawun_z, atomics.nawupf_z, atomics.nacwu_z, atomics.nabsn_z, atomics.nabspf_z] {
        bytes.push(u8::from(wish.is_some()));
        bytes.extend(wish.unwrap_or(0).to_le_bytes());
    }
    bytes.extend(atomics.nabo.to_le_bytes());
    if other_group {
        bytes.extend(anagrpid.to_le_bytes());
    }
}

fn decode(reader: &mut Reader<'_>) -> Option<(NamespaceConfig, u32)> {
    let nsid = u32::from_le_bytes(reader.take()?);
    let volume = u32::from_le_bytes(reader.take()?);
    let [flags] = reader.take()?;
    let uuid = Uuid::from_bytes(reader.take()?);
    let nguid = reader.take()?;
    let eui64 = u64::from_le_bytes(reader.take()?);
    let attached = ControllerSet(u64::from_le_bytes(reader.take()?));
    let mut wish = || {
        let [given] = reader.take()?;
        let value = u16::from_le_bytes(reader.take()?);
        Some((given != 0).then_some(value))
    };
    let [nawun_z, nawupf_z, nacwu_z, nabsn_z, nabspf_z] = [wish()?, wish()?, wish()?, wish()?, wish()?];
    let nabo = u16::from_le_bytes(reader.take()?);
    let anagrpid = if flags & GROUP == 0 { ANA_GROUP_FIRST } else { u32::from_le_bytes(reader.take()?) };
    let multiple = flags & MULTIPLE != 0;
    let atomics = AtomicWishes { nawun_z, nawupf_z, nacwu_z, nabsn_z, nabspf_z, nabo, multiple };
    let (extended_metadata, shared) = (flags & EXTENDED != 0, flags & SHARED != 0);
    let identity = NamespaceConfig { nsid, uuid, nguid, eui64, extended_metadata, atomics, shared, attached, anagrpid };
    Some((identity, volume))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DeviceOptions, NamespaceOptions};

    #[test]
    fn a_record_comes_back_and_no_part_of_it_is_one() {
        let odd = NamespaceOptions {
            nsid: 7,
            nguid: Some("11223344556677889900aabbccddeeff".into()),
            eui64: 5,
            ms: 8,
            mset: 1,
            atomic_nawun: Some(9),
            atomic_nabo: 3,
            shared: false,
            anagrpid: 9,
            ..NamespaceOptions::default()
        };
        let options = [NamespaceOptions::default(), odd];
        let device = DeviceOptions { ana: true, ..DeviceOptions::default() };
        let config = crate::config::Config::check(&device, &options).expect("a configuration");
        let namespaces = config.namespaces.into_iter().zip([3, 0]).collect();
        let record = Record { born: 2, namespaces, registrations: vec![(7, vec![1, 2, 3]), (9, Vec::new())] };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Some(record));
        for length in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(Record::decode(&[bytes, vec![0]].concat()), None);
    }
}
