//! The options that say what a device is, for every verb that makes one.

use std::path::PathBuf;

use clap::Args;

use crate::options::Given;

/// What the device is.
#[derive(Debug, Args)]
pub struct DeviceArguments {
    /// Device and namespaces; the options win over it
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// The device: serial=S,mdts=7,... as in QEMU
    #[arg(long, value_name = "K=V,...")]
    device: Option<String>,
    /// The media: store=file:PATH,iu=16KiB,op=7%,...
    #[arg(long, value_name = "K=V,...")]
    media: Option<String>,
    /// A namespace: size=1GiB,lba=512,... Repeatable
    #[arg(long, value_name = "K=V,...")]
    namespace: Vec<String>,
}

impl From<DeviceArguments> for Given {
    fn from(arguments: DeviceArguments) -> Self {
        let DeviceArguments { config, device, media, namespace } = arguments;
        Self { file: config, device, media, namespaces: namespace, ..Self::default() }
    }
}
