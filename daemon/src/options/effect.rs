//! Options that have no effect beside the others. They are refused, because the user expects an effect.

use controller::config::{DeviceOptions, Doorbells, Interleave};

use media::store::Inspection;

use super::error::OptionError;
use super::media::MediaWords;
use super::media_words::{HostCache, Store};
use super::words::Words;

/// Refuses what is given of the device and has no effect.
///
/// # Errors
/// The first such word.
pub fn check_device(device: &DeviceOptions, given: &Words) -> Result<(), OptionError> {
    let refuse = |name: &str, remedy: &str| {
        given
            .by_name
            .get(name)
            .map_or(Ok(()), |word| Err(OptionError::new(&word.place, format!("{name}={}", word.text), remedy)))
    };
    if device.interleave == Interleave::None && device.interleave_seed != 0 {
        refuse("interleave_seed", "it has no effect without interleave=seeded: give both, or leave it out")?;
    }
    if device.doorbells == Doorbells::Mapped && device.dbcs {
        refuse("dbcs", "with doorbells=mapped there are no shadow doorbells: leave one of them out, or give dbcs=off")?;
    }
    Ok(())
}

/// Refuses what is given of the media and has no effect.
///
/// # Errors
/// The first such word.
pub fn check_media(media: &MediaWords, existing: Option<&Inspection>) -> Result<(), OptionError> {
    let options = &media.options;
    if options.plp == Some(true) && options.vwc == Some(false) {
        let remedy =
            "without a volatile write cache (vwc=off) there is nothing for capacitors to save: leave one of them out";
        return Err(media.refuse("plp", "on", remedy));
    }
    if options.vwc == Some(false) {
        let given = [
            ("cache_size", options.cache_size.map(|size| size.to_string())),
            ("cache_age", options.cache_age.map(|age| age.to_string())),
            ("flush", options.flush.map(|domain| domain.to_string())),
            ("open_units", options.open_units.map(|units| units.to_string())),
        ];
        if let Some((name, value)) = given.into_iter().find_map(|(name, value)| Some((name, value?))) {
            let remedy = "without a volatile write cache (vwc=off) nothing waits: leave one of them out";
            return Err(media.refuse(name, &value, remedy));
        }
    }
    let of_capacity = [
        ("namespaces", options.namespaces.map(|count| count.to_string())),
        ("metadata", options.metadata.map(|bytes| bytes.to_string())),
    ];
    if let (None, Some((name, value))) =
        (options.capacity, of_capacity.into_iter().find_map(|(name, value)| Some((name, value?))))
        && existing.is_none()
    {
        let remedy =
            "without capacity the namespaces stay those that the drive is made with: give capacity, or leave it out";
        return Err(media.refuse(name, &value, remedy));
    }
    if options.cache == Some(HostCache::Unsafe) && !matches!(options.store, Some(Store::File(_))) {
        let remedy = "a drive in memory asks nothing of the host's disk: leave it out, or give store=file:PATH";
        return Err(media.refuse("cache", "unsafe", remedy));
    }
    Ok(())
}
