//! The part of the command line that says what the device is: several verbs make one.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};

use crate::options::{Given, Topic};

/// What the device is.
#[derive(Debug, Args)]
pub struct DeviceArguments {
    /// Device and namespaces; options take precedence
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// Device: serial=S,mdts=7,... as in QEMU; or help
    #[arg(long, value_name = "K=V,...", value_parser = OptionText(Topic::Device))]
    device: Option<String>,
    /// Media: store=file:PATH,iu=16KiB,...; or help
    #[arg(long, value_name = "K=V,...", value_parser = OptionText(Topic::Media))]
    media: Option<String>,
    /// Namespace: size=1GiB,... (repeatable); or help
    #[arg(long, value_name = "K=V,...", value_parser = OptionText(Topic::Namespace))]
    namespace: Vec<String>,
}

impl From<DeviceArguments> for Given {
    fn from(arguments: DeviceArguments) -> Self {
        let DeviceArguments { config, device, media, namespace } = arguments;
        Self { file: config, device, media, namespaces: namespace, ..Self::default() }
    }
}

/// What such an option takes; it is read together with the others. Of `help` comes the list of what there is in place of the verb.
#[derive(Clone, Copy, Debug)]
pub struct OptionText(pub Topic);

impl TypedValueParser for OptionText {
    type Value = String;

    fn parse_ref(&self, _: &Command, _: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let name = self.0.name();
        let text = value
            .to_str()
            .ok_or_else(|| clap::Error::raw(ErrorKind::InvalidUtf8, format!("--{name}: give UTF-8\n")))?;
        match text {
            text if self.0.asks(text) => Err(clap::Error::raw(ErrorKind::DisplayHelp, self.0.text())),
            text => Ok(text.to_owned()),
        }
    }
}
