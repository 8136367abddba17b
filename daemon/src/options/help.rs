//! `--device help`, `--media help`, `--namespace help`: the options, one in a line, in the manner of QEMU's `-device nvme,help`. Nothing is
//! written twice: names, types and what an option is come from the structures that are filled, ranges from their reader, and defaults
//! from the configuration that is made when nothing is given.

use controller::config::{DeviceOptions, METADATA_BYTES, NamespaceOptions};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::media_words::MediaOptions;
use super::namespaces::VolumeOptions;
use super::typed::range_of;
use super::{Given, Settings};

/// Whose options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Of `--device`.
    Device,
    /// Of `--media`.
    Media,
    /// Of `--namespace`.
    Namespace,
}

/// What is the default where it is no one value: it follows from something else, or there is none.
const WORDS: &[(&str, &str)] = &[
    ("serial", "follows from the media file, or from the socket's path"),
    ("subnqn", "follows from the serial number"),
    ("size_max", "size"),
    ("nsid", "the next free one"),
    ("uuid", "follows from serial number and nsid"),
    ("anagrpid", "1"),
    ("nguid", "none"),
    ("controllers", "all; 0 with shared=off"),
    ("eui64", "none"),
    ("memory_max", "the drive's size"),
    ("capacity", "that of its namespaces"),
    ("namespaces", "16"),
    ("metadata", "64B"),
    ("misbehave", "none"),
    ("atomic.nawun", "atomic.nawupf"),
    ("atomic.nawupf", "what the media commits as one: up to 64KiB"),
    ("atomic.nacwu", "atomic.nawun"),
    ("atomic.nabsn", "0"),
    ("atomic.nabspf", "0"),
];

/// A drive beside the one that is made of nothing: what differs between them depends on the size.
const LARGE: &str = "1TiB";

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionHelp {
    /// How it is written.
    pub name: String,
    /// What may stand behind the equals sign.
    pub values: String,
    /// What it is when it is not given.
    pub default: String,
    /// What it is.
    pub purpose: String,
    /// The least and the largest number, if it is a number.
    pub range: Option<(u64, u64)>,
}

impl Topic {
    /// The name of the list, in the command line and in a file.
    const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Media => "media",
            Self::Namespace => "namespace",
        }
    }

    /// Whether a text asks for help; `nvme,help` is how QEMU is asked.
    fn asks(self, text: &str) -> bool {
        matches!(text, "help" | "?") || (self == Self::Device && text == "nvme,help")
    }

    /// The list, for text that asks for it.
    pub fn list(self, text: &str) -> Option<String> {
        self.asks(text).then(|| self.text())
    }

    /// All of its options, in the order of their structures.
    pub fn options(self) -> Vec<OptionHelp> {
        let (small, large) = (printed(&[]), printed(&[format!("size={LARGE}")]));
        let properties: Vec<(String, Value)> = match self {
            Self::Device => properties::<DeviceOptions>().collect(),
            Self::Media => properties::<MediaOptions>().collect(),
            Self::Namespace => properties::<VolumeOptions>().chain(properties::<NamespaceOptions>()).collect(),
        };
        let option = |(name, property): (String, Value)| {
            let default = self.default(&name, &small, &large);
            let (values, range) = values(&name, &property);
            let purpose = property["description"].as_str().unwrap_or_default().replace('\n', " ").replace('`', "");
            OptionHelp { values, default, purpose: purpose.trim_end_matches('.').to_owned(), range, name }
        };
        properties.into_iter().map(option).collect()
    }

    /// What is printed.
    fn text(self) -> String {
        let line = |option: OptionHelp| {
            let left = format!("{}={}", option.name, option.values);
            format!("  {left:<28} - {} (default: {})\n", option.purpose, option.default)
        };
        let lines: String = self.options().into_iter().map(line).collect();
        format!("{} options:\n{lines}", self.name())
    }

    fn default(self, name: &str, small: &toml::Table, large: &toml::Table) -> String {
        if let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == name) {
            return (*words).to_owned();
        }
        // What a namespace says of the media holds for all.
        let topic = if matches!(name, "store" | "iu") { Self::Media } else { self };
        match (topic.value(name, small), topic.value(name, large)) {
            (Some(value), _) if name == "size" => value,
            (Some(small), Some(large)) if small == large => small,
            (Some(small), Some(large)) => format!("{small}; {large} for {LARGE}"),
            _ => String::new(),
        }
    }

    /// A value of a printed configuration, as it is written on the command line.
    fn value(self, name: &str, printed: &toml::Table) -> Option<String> {
        let table = match printed.get(self.name())? {
            toml::Value::Array(tables) => tables.first()?,
            table => table,
        };
        Some(match table.get(name)? {
            toml::Value::String(text) => text.clone(),
            toml::Value::Boolean(on) => if *on { "on" } else { "off" }.to_owned(),
            other if name.starts_with("x-pci-") => format!("{:#06x}", other.as_integer()?),
            other => other.to_string(),
        })
    }
}

/// The checked configuration that comes of these namespaces and nothing else.
fn printed(namespaces: &[String]) -> toml::Table {
    let given = Given { namespaces: namespaces.to_vec(), ..Given::default() };
    let text = Settings::read(&given).map(|settings| settings.to_toml());
    // Nothing that the user gives comes into it; a test reads both.
    text.ok().and_then(Result::ok).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The fields of a structure with their schemas.
fn properties<T: JsonSchema>() -> impl Iterator<Item = (String, Value)> {
    let settings = SchemaSettings::default().for_deserialize().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<T>());
    let fields = schema["properties"].as_object_mut().map(std::mem::take);
    fields.into_iter().flatten()
}

/// What a value may be, and between which numbers it lies if it is one.
fn values(name: &str, property: &Value) -> (String, Option<(u64, u64)>) {
    // An option that need not be given is described as itself or null.
    let alternatives = property["anyOf"].as_array().map_or(std::slice::from_ref(property), Vec::as_slice);
    let place = alternatives.iter().find(|place| place["type"] != "null").unwrap_or(property);
    let of =
        |kind: &str| place["type"] == kind || place["type"].as_array().is_some_and(|all| all.contains(&kind.into()));
    if let Some(values) = place["values"].as_str() {
        return (values.to_owned(), None);
    }
    let words = place["oneOf"].as_array().into_iter().flatten().filter_map(|word| word["const"].as_str());
    let words: Vec<&str> =
        words.chain(place["enum"].as_array().into_iter().flatten().filter_map(Value::as_str)).collect();
    if !words.is_empty() {
        return (words.join("|"), None);
    }
    if name == "ms" {
        return (METADATA_BYTES.map(|bytes| bytes.to_string()).join("|"), None);
    }
    if of("integer") {
        let largest = match place["format"].as_str() {
            Some("uint8") => u8::MAX.into(),
            Some("uint16") => u16::MAX.into(),
            Some("uint32") => u32::MAX.into(),
            _ => u64::MAX,
        };
        let (least, most) = range_of(name, largest);
        return (format!("{least}..{most}"), Some((least, most)));
    }
    let kind = match of("boolean") {
        true => "on|off",
        false => "TEXT",
    };
    (kind.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::super::foreign;
    use super::super::typed::Reader;
    use super::super::words::Words;
    use super::*;

    const TOPICS: [Topic; 3] = [Topic::Device, Topic::Media, Topic::Namespace];

    /// What comes of one option beside nothing else.
    fn read(topic: Topic, text: &str) -> Result<Settings, String> {
        let text = text.to_owned();
        let mut given = Given::default();
        match topic {
            Topic::Device => given.device = Some(text),
            Topic::Media => given.media = Some(text),
            Topic::Namespace => given.namespaces = vec![text],
        }
        Settings::read(&given).map_err(|error| error.to_string())
    }

    /// The names that a reader knows.
    fn known(topic: Topic) -> Vec<&'static str> {
        let mut reader = Reader::new(Words::default());
        match topic {
            Topic::Device => drop(reader.take::<DeviceOptions>()),
            Topic::Media => drop(reader.take::<MediaOptions>()),
            Topic::Namespace => drop((reader.take::<VolumeOptions>(), reader.take::<NamespaceOptions>())),
        }
        reader.known().to_vec()
    }

    #[test]
    fn every_option_that_is_read_has_a_line_that_says_everything() {
        for topic in TOPICS {
            let options = topic.options();
            let names: Vec<&str> = options.iter().map(|option| option.name.as_str()).collect();
            assert_eq!(names, known(topic), "{topic:?}");
            for option in &options {
                assert!(option.purpose.len() >= 8, "{topic:?} {}: what is it?", option.name);
                assert!(!option.values.is_empty(), "{topic:?} {}: what does it take?", option.name);
                assert!(
                    !option.default.is_empty(),
                    "{topic:?} {}: the default is no value: WORDS says it",
                    option.name
                );
                assert!(!option.purpose.contains(['[', ']', '`']), "{}: for people: {}", option.name, option.purpose);
            }
            assert_eq!(topic.text().lines().count(), options.len() + 1);
        }
    }

    #[test]
    fn a_printed_number_is_a_bound_and_a_printed_word_is_one_that_is_taken() {
        for (topic, option) in
            TOPICS.into_iter().flat_map(|topic| topic.options().into_iter().map(move |it| (topic, it)))
        {
            let refused = |value: String| read(topic, &format!("{}={value}", option.name)).is_err();
            if let Some((least, most)) = option.range {
                assert!(refused(format!("{}", u128::from(most) + 1)), "{} {most}", option.name);
                assert!(
                    least == 0 || option.name == "nsid" || refused((least - 1).to_string()),
                    "{} {least}",
                    option.name
                );
            }
            let words = option.values.split('|').filter(|word| word.bytes().all(|byte| !byte.is_ascii_uppercase()));
            for word in words.filter(|word| option.range.is_none() && !word.is_empty()) {
                let error = read(topic, &format!("{}={word}", option.name)).err().unwrap_or_default();
                // It may need another option beside it, but it is no unknown word.
                assert!(!error.contains("give one of") && !error.contains("give on or off"), "{error}");
            }
            if option.range.is_none() && option.values.bytes().all(|byte| !byte.is_ascii_uppercase()) {
                assert!(refused("never-heard-of".into()), "{}", option.name);
            }
        }
    }

    #[test]
    fn giving_a_printed_default_changes_nothing() {
        let nothing = read(Topic::Device, "").expect("legal");
        for topic in TOPICS {
            for OptionHelp { name, default, .. } in topic.options() {
                let said = WORDS.iter().any(|(known, _)| *known == name);
                // A drive in memory asks nothing of the host's disk.
                if said || default.contains(';') || name == "cache" {
                    continue;
                }
                let given = read(topic, &format!("{name}={default}"));
                assert_eq!(given.as_ref(), Ok(&nothing), "{topic:?} {name}={default}");
            }
        }
    }

    #[test]
    fn names_of_qemus_are_told_apart_from_slips_and_none_is_ours() {
        let ours: Vec<&str> = TOPICS.into_iter().flat_map(known).collect();
        assert!(foreign::names().all(|name| !ours.contains(&name)));
        let refusal = |topic, text| read(topic, text).expect_err("not ours");
        let zoned = refusal(Topic::Namespace, "zoned=on");
        assert!(zoned.starts_with("--namespace zoned: not implemented: QEMU's nvme-ns has it"), "{zoned}");
        let renamed = refusal(Topic::Namespace, "logical_block_size=4096");
        assert_eq!(renamed, "--namespace logical_block_size: QEMU's name: here it is --namespace lba=SIZE");
        assert!(refusal(Topic::Device, "bootindex=1").contains("-device vfio-user-pci"));
        assert!(refusal(Topic::Device, "sriov_max_vf=1").contains("no such option; known are"));
    }

    #[test]
    fn the_words_for_defaults_are_about_options_that_there_are() {
        let ours: Vec<&str> = TOPICS.into_iter().flat_map(known).collect();
        assert!(WORDS.iter().all(|(name, _)| ours.contains(name)));
    }
}
