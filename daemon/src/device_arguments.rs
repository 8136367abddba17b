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
    #[arg(long, value_name = "K=V,...", value_parser = DEVICE)]
    device: Option<String>,
    /// Media: store=file:PATH,iu=16KiB,...; or help
    #[arg(long, value_name = "K=V,...", value_parser = MEDIA)]
    media: Option<String>,
    /// Namespace: size=1GiB,... (repeatable); or help
    #[arg(long, value_name = "K=V,...", value_parser = NAMESPACE)]
    namespace: Vec<String>,
}

impl From<DeviceArguments> for Given {
    fn from(arguments: DeviceArguments) -> Self {
        let DeviceArguments { config, device, media, namespace } = arguments;
        Self { file: config, device, media, namespaces: namespace, ..Self::default() }
    }
}

/// Text that is read together with that of other options. Some of it asks for a list of what there is, which comes in place of the verb.
#[derive(Clone, Copy, Debug)]
pub struct TextOrList {
    /// The option, without dashes.
    pub option: &'static str,
    /// The list, for text that asks for it.
    pub list: fn(&str) -> Option<String>,
}

/// What `--device` takes.
pub const DEVICE: TextOrList = TextOrList { option: "device", list: |text| Topic::Device.list(text) };
/// What `--media` takes.
pub const MEDIA: TextOrList = TextOrList { option: "media", list: |text| Topic::Media.list(text) };
/// What `--namespace` takes.
pub const NAMESPACE: TextOrList = TextOrList { option: "namespace", list: |text| Topic::Namespace.list(text) };

impl TypedValueParser for TextOrList {
    type Value = String;

    fn parse_ref(&self, _: &Command, _: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let not_text = || clap::Error::raw(ErrorKind::InvalidUtf8, format!("--{}: give UTF-8\n", self.option));
        let text = value.to_str().ok_or_else(not_text)?;
        match (self.list)(text) {
            Some(list) => Err(clap::Error::raw(ErrorKind::DisplayHelp, list)),
            None => Ok(text.to_owned()),
        }
    }
}
