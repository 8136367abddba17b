//! What only campaigns with guests have on the command line, and what goes together.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use oracle::simulator::Policy;

use crate::crash::Arguments;
use crate::options::OptionError;

/// What happens to the machine as the drive loses power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Back {
    /// It lives on, and finds the drive again.
    #[default]
    Live,
    /// It is killed, and another one booted.
    Boot,
    /// One after the other.
    Both,
}

impl Back {
    /// Whether a cut, counted from 1, takes the machine with it.
    pub const fn kills(self, pass: u32) -> bool {
        match self {
            Self::Live => false,
            Self::Boot => true,
            Self::Both => pass.is_multiple_of(2),
        }
    }
}

/// What only campaigns with guests have.
#[derive(Debug, Args)]
pub struct OfGuest {
    /// With --guest: run this script in the guest in place of our own load, and judge what is left with --check-guest
    #[arg(long, value_name = "SCRIPT", requires_all = ["guest", "check_guest"], hide_short_help = true)]
    pub load: Option<PathBuf>,
    /// With --load: run this script once, with the device as $1; each cut begins from what it has left on the drive
    #[arg(long, value_name = "SCRIPT", requires = "load", hide_short_help = true)]
    pub setup: Option<PathBuf>,
    /// With --load: the guest that checks: live: the one that was there, which finds the drive again (default); boot: it is killed as power
    /// goes, and another one booted; both: the first at odd cuts, the second at even ones
    #[arg(long, value_name = "WHICH", requires = "load", hide_short_help = true, hide_possible_values = true)]
    pub back: Option<Back>,
    /// With --load: words for the kernel's command line; the load finds NAME=VALUE in its environment
    #[arg(long, value_name = "STR", requires = "load", hide_short_help = true, allow_hyphen_values = true)]
    pub append: Option<String>,
    /// With --load: the namespace, as in serve --namespace [default: size=128MiB,lba=4KiB]
    #[arg(long, value_name = "OPTIONS", requires = "load", hide_short_help = true)]
    pub disk: Option<String>,
}

impl OfGuest {
    /// Whether the user brings a load.
    pub const fn has_load(&self) -> bool {
        self.load.is_some()
    }

    /// Whether what goes only with a load comes with one, and what shuts each other out comes alone.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, arguments: &Arguments) -> Result<(), OptionError> {
        let of_tape = &arguments.of_tape;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let images = of_tape.images.map(|images| images.to_string());
        let lone = [
            ("--check-guest", path(&of_tape.check_guest)),
            ("--keep", path(&of_tape.keep)),
            ("--images", images.clone()),
        ];
        let lone = lone.into_iter().find_map(|(name, value)| Some((name, value?)));
        if let Some((name, value)) = lone.filter(|_| !self.has_load()) {
            let remedy = "with --guest it goes with --load SCRIPT: what the guest does meanwhile";
            return Err(OptionError::new(name, value, remedy));
        }
        match (images, arguments.policy) {
            (Some(images), Some(policy)) if policy != Policy::NoneSurvive => {
                let remedy =
                    "leave out --policy: nothing survives these cuts, and the other images are what might have";
                Err(OptionError::new("--images", images, remedy))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn read(words: &[&str]) -> Result<Arguments, String> {
        let load = ["crash", "--guest", "--load", "l", "--check-guest", "c"];
        let read = Command::try_parse_from(load.iter().chain(words)).map_err(|error| error.to_string())?;
        read.arguments.of_guest.check(&read.arguments).map_err(|error| error.to_string())?;
        Ok(read.arguments)
    }

    #[test]
    fn the_machine_goes_with_the_power_as_often_as_the_user_says() {
        let killed = |words: &[&str]| {
            let back = read(words).expect("good words").of_guest.back.unwrap_or_default();
            (1..=4).filter(|pass| back.kills(*pass)).collect::<Vec<_>>()
        };
        assert_eq!(killed(&[]), [0; 0]);
        assert_eq!(killed(&["--back", "live"]), [0; 0]);
        assert_eq!(killed(&["--back", "boot"]), [1, 2, 3, 4]);
        assert_eq!(killed(&["--back", "both"]), [2, 4]);
        assert!(read(&["--back", "never"]).is_err());
    }

    #[test]
    fn other_images_are_of_cuts_that_nothing_survives() {
        assert_eq!(read(&["--images", "7"]).map(|read| read.of_tape.images), Ok(Some(7)));
        assert!(read(&["--images", "7", "--policy", "none-survive"]).is_ok());
        let error = read(&["--images", "7", "--policy", "random"]).expect_err("they shut each other out");
        assert!(error.contains("--images") && error.contains("leave out --policy"), "{error}");
        assert!(read(&["--images", "0"]).is_err());
    }

    #[test]
    fn what_goes_with_a_load_goes_with_nothing_else() {
        for words in [&["--setup", "s"][..], &["--back", "boot"], &["--append", "A=1"], &["--disk", "size=1MiB"]] {
            assert!(read(words).is_ok(), "{words:?}");
            let alone = [&["crash", "--guest"], words].concat();
            assert!(Command::try_parse_from(alone).is_err(), "{words:?}");
        }
        let alone = Command::try_parse_from(["crash", "--guest", "--images", "3"]).map(|read| read.arguments);
        let alone = alone.unwrap_or_else(|error| panic!("{error}"));
        let error = alone.of_guest.check(&alone).expect_err("there is no load").to_string();
        assert!(error.contains("--load SCRIPT"), "{error}");
    }
}
