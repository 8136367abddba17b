//! Begins a tape of a media that is in use: what is volatile is made durable, and what the volumes hold comes first on the tape.

use media::volume::Collected;
use media::{Lba, LbaRange, Media, Nanoseconds, Request, Submitted, VolumeId};

use super::{FLUSH_TOKEN, Marker, READ_TOKEN, volumes_of};
use crate::entry::{Entry, Volume};
use crate::writer::Writer;

/// What is read at once of what a volume holds.
const CONTENTS_BYTES: u64 = 256 << 10;
/// A drive that runs may hold so much where a tape of it begins: it stands still meanwhile.
const HELD_BYTES_MAX: u64 = 2 << 30;

impl Marker {
    /// Begins a tape of the media that this is the tape of. Everything is made durable first, and what the volumes hold then is on the tape.
    ///
    /// # Errors
    /// In words: there is a tape already, it would not hold all that there is, or the media fails.
    pub fn begin(&self, now: Nanoseconds, media: &mut dyn Media, writer: Writer) -> Result<(), String> {
        self.check_room()?;
        let volumes = volumes_of(media);
        check_volumes(media, &volumes)?;
        if let Submitted::Done(Err(error)) = media.submit(now, FLUSH_TOKEN, VolumeId(0), Request::FlushAll) {
            return Err(format!("what is volatile cannot be made durable: {error}"));
        }
        let promises: Vec<_> = self.0.borrow().promises.iter().map(|(volume, promise)| (*volume, *promise)).collect();
        self.start(writer);
        volumes.iter().for_each(|volume| self.put(&Entry::Volume(Volume { has_data: false, ..*volume })));
        promises.into_iter().for_each(|(volume, promise)| self.put(&Entry::Promise(volume, promise)));
        for volume in volumes {
            self.put_contents(now, media, volume);
        }
        self.pass_on();
        Ok(())
    }

    /// Puts on the tape what a volume holds. Blocks that cannot be read are zeroes, as in every image.
    fn put_contents(
        &self,
        now: Nanoseconds,
        media: &mut dyn Media,
        Volume { volume, block_bytes, blocks, .. }: Volume,
    ) {
        let step = (CONTENTS_BYTES / u64::from(block_bytes)).max(1);
        let mut lba = 0;
        while let Some(Lba(next)) = media.next_allocated(volume, LbaRange::new(Lba(lba), blocks - lba)) {
            let range = LbaRange::new(Lba(next), step.min(blocks - next));
            lba = next + range.blocks;
            let mut put = |range: LbaRange| {
                let data = read(now, media, volume, range, block_bytes)?;
                if data.iter().any(|byte| *byte != 0) {
                    self.put(&Entry::Holds { volume, range, data });
                }
                Some(())
            };
            if put(range).is_none() {
                (next..lba).for_each(|lba| _ = put(LbaRange::new(Lba(lba), 1)));
            }
        }
    }
}

/// Whether a tape of these volumes can begin now.
fn check_volumes(media: &dyn Media, volumes: &[Volume]) -> Result<(), String> {
    let with_metadata = |volume: &Volume| media.shape(volume.volume).is_some_and(|shape| shape.metadata_bytes > 0);
    if volumes.iter().any(with_metadata) {
        return Err("a tape holds no metadata: give the namespaces ms=0".to_owned());
    }
    let bytes = |volume: &Volume| media.allocated_blocks(volume.volume) * u64::from(volume.block_bytes);
    let held = volumes.iter().map(bytes).sum::<u64>();
    if held > HELD_BYTES_MAX {
        return Err(format!(
            "the namespaces hold {} MiB, and the drive would stand still while all of it is put on the tape: at most {} MiB go; start \
             the drive with --tape FILE, and give `crash --tape` a --base",
            held >> 20,
            HELD_BYTES_MAX >> 20
        ));
    }
    Ok(())
}

/// What blocks hold; `None` where one of them cannot be read. The data comes at once, the outcome perhaps later: nobody waits for it.
fn read(
    now: Nanoseconds,
    media: &mut dyn Media,
    volume: VolumeId,
    range: LbaRange,
    block_bytes: u32,
) -> Option<Vec<u8>> {
    let bytes = usize::try_from(range.blocks * u64::from(block_bytes)).ok()?;
    let mut into = Collected(vec![0; bytes]);
    let request = Request::Read { range, into: &mut into, force: false };
    let submitted = media.submit(now, READ_TOKEN, volume, request);
    (!matches!(submitted, Submitted::Done(Err(_)))).then_some(into.0)
}
