//! From words to serde structures: one deserializer that reads numbers, booleans and names from text.
//!
//! A structure takes the words that are its fields and leaves the others, so several structures may share one list of words; whatever
//! is left at the end is unknown. (serde's own `flatten` cannot refuse unknown names.)

use controller::config::{IO_QUEUE_PAIRS_MAX, MDTS_MAX, METADATA_REMEDY, VECTORS_MAX};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor, value::StrDeserializer};
use serde::forward_to_deserialize_any;

use super::error::OptionError;
use super::foreign;
use super::words::{Word, Words};

/// Hands out words to structures.
pub struct Reader {
    words: Words,
    known: Vec<&'static str>,
}

impl Reader {
    /// A reader of `words`.
    pub const fn new(words: Words) -> Self {
        Self { words, known: Vec::new() }
    }

    /// Fills a structure whose fields all have defaults from the words that it knows.
    ///
    /// # Errors
    /// The first value that does not fit its field.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, OptionError> {
        T::deserialize(StructReader { reader: self })
    }

    /// Whether all words were taken.
    ///
    /// # Errors
    /// The first one that was not, with the list of the known names.
    pub fn finish(self) -> Result<(), OptionError> {
        match self.words.by_name.first_key_value() {
            None => Ok(()),
            Some((name, word)) => Err(match foreign::remedy(name) {
                Some(remedy) => OptionError::new(word.place.clone(), name, remedy),
                None => OptionError::unknown(word.place.clone(), name, &self.known),
            }),
        }
    }

    /// The names of the structures that were filled.
    #[cfg(test)]
    pub fn known(&self) -> &[&'static str] {
        &self.known
    }
}

/// Reads one structure; nothing else can be asked of a list of words.
struct StructReader<'a> {
    reader: &'a mut Reader,
}

impl<'de> de::Deserializer<'de> for StructReader<'_> {
    type Error = OptionError;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, OptionError> {
        Err(de::Error::custom("a list of options fills a structure and nothing else"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, OptionError> {
        self.reader.known.extend(fields);
        visitor.visit_map(FieldReader { words: &mut self.reader.words, fields: fields.iter(), current: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct FieldReader<'a> {
    words: &'a mut Words,
    fields: std::slice::Iter<'static, &'static str>,
    current: Option<(&'static str, Word)>,
}

impl<'de> de::MapAccess<'de> for FieldReader<'_> {
    type Error = OptionError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, OptionError> {
        let Some((name, word)) = self.fields.find_map(|name| Some((*name, self.words.by_name.remove(*name)?))) else {
            return Ok(None);
        };
        self.current = Some((name, word));
        let key: StrDeserializer<'_, OptionError> = name.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, OptionError> {
        let Some((name, word)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its name"));
        };
        let option = format!("{name}={}", word.text);
        seed.deserialize(ValueReader { name, text: word.text })
            .map_err(|error| OptionError::new(word.place, option, remedy_of_value(name).unwrap_or(error.remedy)))
    }
}

/// Reads one value.
struct ValueReader {
    name: &'static str,
    text: String,
}

/// What would do where the type of a value cannot say it.
fn remedy_of_value(name: &str) -> Option<String> {
    let digits = "give 32 hexadecimal digits, such as 00112233-4455-6677-8899-aabbccddeeff";
    match name {
        "uuid" => Some(digits.to_owned()),
        "ms" => Some(METADATA_REMEDY.to_owned()),
        _ => None,
    }
}

/// The numbers that an option takes, where they are not all that its type holds.
pub fn range_of(name: &str, largest: u64) -> (u64, u64) {
    match name {
        "mdts" => (0, MDTS_MAX.into()),
        "max_ioqpairs" => (1, IO_QUEUE_PAIRS_MAX.into()),
        "msix_qsize" => (0, VECTORS_MAX.into()),
        "mqes" => (1, largest),
        "nsid" => (1, 1024),
        "mset" => (0, 1),
        "checks_slowness" => (1, largest),
        "channels" | "dies" => (1, 256),
        "planes" => (1, 16),
        "pages" => (1, 65536),
        "open_units" => (1, 1024),
        _ => (0, largest),
    }
}

impl ValueReader {
    /// The text as a whole number, decimal or with 0x, that fits the type.
    fn number<T: TryFrom<u64>>(&self, largest: u64) -> Result<T, OptionError> {
        let number = match self.text.strip_prefix("0x").or_else(|| self.text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => self.text.parse(),
        };
        number.ok().and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (least, most) = range_of(self.name, largest);
            de::Error::custom(format!("give a whole number from {least} to {most}, decimal or with 0x"))
        })
    }
}

impl<'de> de::Deserializer<'de> for ValueReader {
    type Error = OptionError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, OptionError> {
        visitor.visit_string(self.text)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, OptionError> {
        match self.text.as_str() {
            "on" | "true" => visitor.visit_bool(true),
            "off" | "false" => visitor.visit_bool(false),
            _ => Err(de::Error::custom("give on or off")),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, OptionError> {
        visitor.visit_u8(self.number(u8::MAX.into())?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, OptionError> {
        visitor.visit_u16(self.number(u16::MAX.into())?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, OptionError> {
        visitor.visit_u32(self.number(u32::MAX.into())?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, OptionError> {
        visitor.visit_u64(self.number(u64::MAX)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, OptionError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, OptionError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, OptionError> {
        visitor.visit_enum(self.text.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(default)]
    struct First {
        small: u8,
        flag: bool,
        absent: Option<u32>,
        large: u64,
    }

    #[derive(Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(default)]
    struct Second {
        #[serde(rename = "atomic.awun")]
        awun: u16,
        kind: Kind,
    }

    #[derive(Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        Plain,
        Fancy,
    }

    fn read(text: &str) -> Result<(First, Second), OptionError> {
        let mut reader = Reader::new(Words::from_text("--test", None, text)?);
        let both = (reader.take()?, reader.take()?);
        reader.finish()?;
        Ok(both)
    }

    #[test]
    fn two_structures_share_one_list_of_words() {
        let (first, second) =
            read("small=0x1f,flag=on,large=18446744073709551615,atomic.awun=31,kind=fancy").expect("legal");
        assert_eq!(first, First { small: 31, flag: true, absent: None, large: u64::MAX });
        assert_eq!(second, Second { awun: 31, kind: Kind::Fancy });
        assert_eq!(read("absent=7").expect("legal").0.absent, Some(7));
        assert_eq!(read(""), Ok((First::default(), Second::default())));
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_by_name() {
        let refusal = |text| read(text).expect_err(text).to_string();
        assert_eq!(refusal("small=256"), "--test small=256: give a whole number from 0 to 255, decimal or with 0x");
        assert_eq!(refusal("small=-1"), "--test small=-1: give a whole number from 0 to 255, decimal or with 0x");
        assert_eq!(refusal("flag=maybe"), "--test flag=maybe: give on or off");
        assert_eq!(refusal("kind=fanci"), "--test kind=fanci: give one of fancy, plain");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_known_one_first() {
        let refusal = read("flga=on").expect_err("no such name").to_string();
        assert_eq!(refusal, "--test flga: no such option; known are flag, large, kind, small, absent, atomic.awun");
    }
}
