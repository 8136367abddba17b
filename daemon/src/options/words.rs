//! Options before they have types: named words, read from `key=value,key=value` text or from a TOML table.

use std::collections::BTreeMap;

use super::error::OptionError;

/// One option's text, and the place that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The value as text.
    pub text: String,
    /// `--device`, or a place in a file: named when the word is refused.
    pub place: String,
}

/// The words of one device or one namespace, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// By option name.
    pub by_name: BTreeMap<String, Word>,
}

impl Words {
    /// Reads QEMU's `key=value,key=value`; a doubled comma stands for one inside a value. If the first word is `driver`, it is
    /// passed over: QEMU users write `nvme,serial=…`.
    ///
    /// # Errors
    /// A word without a value, or a name given twice.
    pub fn from_text(place: &str, driver: Option<&str>, text: &str) -> Result<Self, OptionError> {
        let mut words = Self::default();
        for (index, item) in split_at_commas(text).into_iter().enumerate() {
            if text.is_empty() || (index == 0 && Some(item.as_str()) == driver) {
                continue;
            }
            if item.is_empty() {
                let remedy =
                    "there is nothing before or behind a comma: leave the comma out, or double one inside a value";
                return Err(OptionError::new(place, text, remedy));
            }
            let Some((name, value)) = item.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                return Err(OptionError::new(place, item, "give NAME=VALUE"));
            };
            let word = Word { text: value.to_owned(), place: place.to_owned() };
            if words.by_name.insert(name.to_owned(), word).is_some() {
                return Err(OptionError::new(place, item.as_str(), format!("{name} is given twice")));
            }
        }
        Ok(words)
    }

    /// Reads a TOML table; `[device.atomic] awun = 31` names the same option as `"atomic.awun" = 31`.
    ///
    /// # Errors
    /// A value that is no text, whole number or truth value.
    pub fn from_table(place: &str, table: &toml::Table) -> Result<Self, OptionError> {
        let mut words = Self::default();
        words.take_table(place, "", table)?;
        Ok(words)
    }

    fn take_table(&mut self, place: &str, prefix: &str, table: &toml::Table) -> Result<(), OptionError> {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            let text = match value {
                toml::Value::Table(inner) => {
                    self.take_table(place, &format!("{name}."), inner)?;
                    continue;
                }
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) => {
                    let remedy = "give a text, a whole number, or true or false";
                    return Err(OptionError::new(place, format!("{name}={value}"), remedy));
                }
            };
            self.by_name.insert(name, Word { text, place: place.to_owned() });
        }
        Ok(())
    }

    /// Lets the words of `stronger` replace those of the same name here.
    pub fn overridden_by(mut self, stronger: Self) -> Self {
        self.by_name.extend(stronger.by_name);
        self
    }
}

/// Splits at single commas; two in a row are one comma of the value.
pub fn split_at_commas(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == ',' && characters.next_if_eq(&',').is_none() {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(character);
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &Words) -> Vec<(&str, &str)> {
        words.by_name.iter().map(|(name, word)| (name.as_str(), word.text.as_str())).collect()
    }

    #[test]
    fn commas_double_as_in_qemu() {
        let words = Words::from_text("--device", Some("nvme"), "nvme,serial=a,,b,model=x=y").expect("legal");
        assert_eq!(texts(&words), [("model", "x=y"), ("serial", "a,b")]);
        assert_eq!(split_at_commas("a,,,b"), ["a,", "b"]);
        assert_eq!(Words::from_text("--device", Some("nvme"), ""), Ok(Words::default()));
    }

    #[test]
    fn a_bare_word_or_a_name_given_twice_is_refused() {
        let refusal = |text| Words::from_text("--device", Some("nvme"), text).expect_err(text).to_string();
        assert_eq!(refusal("nvme,serial"), "--device serial: give NAME=VALUE");
        assert_eq!(refusal("serial=a,nvme"), "--device nvme: give NAME=VALUE");
        assert_eq!(refusal("=5"), "--device =5: give NAME=VALUE");
        for text in ["serial=a,", ",serial=a", ",", "nvme,", "nvme,,,serial=a"] {
            let remedy = refusal(text);
            assert!(remedy.starts_with("--device ") && !remedy.contains("known are"), "{remedy}");
        }
        assert!(refusal("serial=a,").contains("leave the comma out"));
        assert_eq!(refusal("mdts=5,mdts=6"), "--device mdts=6: mdts is given twice");
    }

    #[test]
    fn a_table_gives_the_same_words_as_text() {
        let table = "mdts = 7\ndbcs = false\nserial = \"s\"\nx-pci-vendor-id = 0x1af4\n[atomic]\nawun = 31\n";
        let words = Words::from_table("a.toml [device]", &table.parse().expect("TOML")).expect("legal");
        let expected =
            [("atomic.awun", "31"), ("dbcs", "false"), ("mdts", "7"), ("serial", "s"), ("x-pci-vendor-id", "6900")];
        assert_eq!(texts(&words), expected);
        let error = Words::from_table("a.toml [device]", &"mdts = 1.5".parse().expect("TOML")).expect_err("a float");
        assert_eq!(error.to_string(), "a.toml [device] mdts=1.5: give a text, a whole number, or true or false");
    }
}
