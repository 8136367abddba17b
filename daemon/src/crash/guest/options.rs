//! What only campaigns with guests have on the command line, and what goes together.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use oracle::simulator::Policy;

use super::attach::drive_socket;
use crate::crash::Arguments;
use crate::options::{OptionError, check_socket};

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

/// Whether a shell takes it for the name of a variable.
fn is_variable(name: &str) -> bool {
    let starts = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    starts && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
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
    /// With --load: in your own machine, which connects to the agent's port at this socket; what to start it with is printed
    #[arg(long, value_name = "SOCKET", requires = "load", conflicts_with_all = ["kernel", "initrd", "root"], hide_short_help = true)]
    pub attach: Option<PathBuf>,
    /// With --attach: ends your machine and starts it again, for --back boot and after a check that does not end
    #[arg(long, value_name = "COMMAND", requires = "attach", hide_short_help = true)]
    pub restart: Option<String>,
    /// With --load: words for the kernel's command line; the load finds NAME=VALUE in its environment, with --attach too
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

    /// What `--append` has for the load.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let words = self.append.as_deref().unwrap_or_default().split_ascii_whitespace();
        words.filter_map(|word| word.split_once('=')).filter(|(name, _)| is_variable(name))
    }

    /// Whether what an attached machine cannot do is not asked of it.
    fn check_attached(&self) -> Result<(), OptionError> {
        let Some(attach) = &self.attach else { return Ok(()) };
        check_socket("--attach", &drive_socket(attach))?;
        if self.restart.is_none() && self.back.is_some_and(|back| back != Back::Live) {
            let back = self.back.and_then(|back| back.to_possible_value());
            let remedy =
                "your machine has to be started again for that: give --restart COMMAND, which ends it and starts it";
            return Err(OptionError::new(
                "--back",
                back.map_or_else(String::new, |back| back.get_name().to_owned()),
                remedy,
            ));
        }
        let words = self.append.as_deref().unwrap_or_default().split_ascii_whitespace();
        let other = words.into_iter().find(|word| !word.split_once('=').is_some_and(|(name, _)| is_variable(name)));
        other.map_or(Ok(()), |word| {
            let remedy = "with --attach it takes NAME=VALUE, for the load: the kernel's command line is your machine's";
            Err(OptionError::new("--append", word.to_owned(), remedy))
        })
    }

    /// Whether what goes only with a load comes with one, and what shuts each other out comes alone.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, arguments: &Arguments) -> Result<(), OptionError> {
        self.check_attached()?;
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
    fn a_machine_of_the_users_is_started_again_only_by_the_users_command() {
        let attached = |words: &[&str]| read(&[&["--attach", "agent.sock"], words].concat());
        for words in
            [&[][..], &["--back", "live"], &["--back", "both", "--restart", "virsh reset m"], &["--restart", "x"]]
        {
            assert!(attached(words).is_ok(), "{words:?}");
        }
        for back in ["boot", "both"] {
            let error = attached(&["--back", back]).expect_err("who starts it?");
            assert!(
                error.contains(&format!("--back {back}: your machine")) && error.contains("--restart COMMAND"),
                "{error}"
            );
        }
        for words in [&["--kernel", "newest"][..], &["--initrd", "i"], &["--root", "r"]] {
            assert!(attached(words).is_err(), "{words:?}");
        }
        assert!(read(&["--restart", "x"]).is_err());
        let long = "x".repeat(105);
        assert!(read(&["--attach", &long]).expect_err("no room for the drive's").contains("a socket's address"));
    }

    #[test]
    fn what_is_appended_is_for_the_load_where_the_kernel_is_the_users() {
        let words = read(&["--append", "FS=xfs quiet A=b=c 1x=2 ROUNDS=5"]).expect("good words");
        assert_eq!(words.of_guest.variables().collect::<Vec<_>>(), [("FS", "xfs"), ("A", "b=c"), ("ROUNDS", "5")]);
        assert!(read(&["--attach", "a", "--append", "FS=xfs ROUNDS=5"]).is_ok());
        let error = read(&["--attach", "a", "--append", "FS=xfs quiet"]).expect_err("no variable");
        assert!(error.contains("--append quiet: with --attach"), "{error}");
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
