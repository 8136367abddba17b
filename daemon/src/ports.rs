//! Where a device can be reached, and sockets of controllers that come and go while the drive runs: the control socket orders it,
//! [`crate::fronts`] does it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use controller::{ControllerId, ControllerSet};
use vfio::{Server, ServerConfig};

use crate::options::check_socket;

/// Where a device can be reached.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// By vfio-user, each as an NVMe device of its own.
    pub sockets: Vec<PathBuf>,
    /// By vhost-user.
    pub vhost_user: Option<PathBuf>,
    /// For orders.
    pub control: Option<PathBuf>,
    /// For figures and a page.
    pub http: Option<PathBuf>,
    /// A folder, for traces that are started by orders.
    pub traces: Option<PathBuf>,
    /// A folder, for sockets of controllers that come by orders.
    pub socket_folder: Option<PathBuf>,
    /// What a guest's memory may lie in.
    pub guest_files: guest_memory::GuestFiles,
}

impl Places {
    /// The sockets that there are, by the options that name them.
    pub fn by_option(&self) -> Vec<(&'static str, PathBuf)> {
        let nvme = self.sockets.iter().map(|path| ("--socket", path));
        let others =
            [("--vhost-user", &self.vhost_user), ("--control", &self.control), ("--http", &self.http)].into_iter();
        let others = others.filter_map(|(option, place)| Some((option, place.as_ref()?)));
        nvme.chain(others).map(|(option, place)| (option, place.clone())).collect()
    }

    /// Those at which machines plug the device in.
    pub fn plugs(&self) -> impl Iterator<Item = &PathBuf> {
        self.sockets.iter().chain(&self.vhost_user)
    }

    /// How many controllers they need.
    pub fn controllers(&self) -> u16 {
        u16::try_from(self.plugs().count()).unwrap_or(u16::MAX).max(1)
    }
}

/// Where each controller is plugged in, and what is to change.
#[derive(Default)]
pub struct Ports {
    /// Where sockets are made while the drive runs.
    folder: Option<PathBuf>,
    /// What such a function is like.
    function: ServerConfig,
    paths: BTreeMap<ControllerId, PathBuf>,
    /// The virtio disk's controller stays.
    disk: Option<ControllerId>,
    made: Vec<(ControllerId, Server)>,
    closing: ControllerSet,
}

impl Ports {
    /// Those of the command line. NVMe devices come first, with functions like this one.
    pub fn new(places: &Places, function: ServerConfig) -> Self {
        let paths: BTreeMap<_, _> = (0..).map(ControllerId).zip(places.plugs().cloned()).collect();
        let disk = places.vhost_user.as_ref().and_then(|_| paths.keys().next_back().copied());
        Self { folder: places.socket_folder.clone(), function, paths, disk, ..Self::default() }
    }

    /// The socket of a controller.
    pub fn path(&self, id: ControllerId) -> Option<&Path> {
        self.paths.get(&id).map(PathBuf::as_path)
    }

    /// The path of a socket that is to be made.
    ///
    /// # Errors
    /// In words: there is no folder for it, this is no name, or the path is too long.
    pub fn place(&self, name: &Path) -> Result<PathBuf, String> {
        let Some(folder) = &self.folder else {
            return Err("start the device with --socket-folder: it makes sockets there only".to_owned());
        };
        if name.file_name().is_none_or(|last| last != name.as_os_str()) {
            return Err(format!("{} is no name of a socket: give one without /", name.display()));
        }
        let path = folder.join(name);
        check_socket("socket", &path).map_err(|error| error.to_string())?;
        Ok(path)
    }

    /// Listens at a path for a controller; it is served from the next step on.
    ///
    /// # Errors
    /// In words: why the socket cannot be made.
    pub fn open(&mut self, path: PathBuf, id: ControllerId) -> Result<(), String> {
        let server = Server::bind(&path, &self.function).map_err(|error| crate::failure::plain(&error.to_string()))?;
        self.made.push((id, server));
        self.paths.insert(id, path);
        Ok(())
    }

    /// Whether a controller serves the virtio disk.
    pub fn is_disk(&self, id: ControllerId) -> bool {
        self.disk == Some(id)
    }

    /// The socket of a controller is to be closed; it is at the end of the next step.
    pub fn close(&mut self, id: ControllerId) {
        self.closing.set(id, true);
        self.paths.remove(&id);
    }

    /// Whether that has not been done yet.
    pub fn is_closing(&self, id: ControllerId) -> bool {
        self.closing.has(id)
    }

    /// What was made since the last time, and what is to be closed.
    pub fn take(&mut self) -> (Vec<(ControllerId, Server)>, ControllerSet) {
        (std::mem::take(&mut self.made), std::mem::replace(&mut self.closing, ControllerSet::NONE))
    }

    /// Whether there is something to take.
    pub fn wait(&self) -> bool {
        !self.made.is_empty() || self.closing != ControllerSet::NONE
    }
}
