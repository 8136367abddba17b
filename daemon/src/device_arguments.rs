//! The part of the command line that says what the device is: several verbs make one.

use std::path::PathBuf;

use clap::Args;

use crate::options::Given;

/// What the device is.
#[derive(Debug, Args)]
pub struct DeviceArguments {
    /// Device and namespaces; options take precedence
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// Device: serial=S,mdts=7,... as in QEMU
    #[arg(long, value_name = "K=V,...")]
    device: Option<String>,
    /// Media: store=file:PATH,iu=16KiB,op=7%,...
    #[arg(long, value_name = "K=V,...")]
    media: Option<String>,
    /// Namespace: size=1GiB,lba=512,... (repeatable)
    #[arg(long, value_name = "K=V,...")]
    namespace: Vec<String>,
}

impl From<DeviceArguments> for Given {
    fn from(arguments: DeviceArguments) -> Self {
        let DeviceArguments { config, device, media, namespace } = arguments;
        Self { file: config, device, media, namespaces: namespace, ..Self::default() }
    }
}
