//! Becoming another user, for good, once the files and sockets are open that perhaps only root can open.

use anyhow::Context;
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist, setgroups, setresgid, setresuid};
use rustix::fs::{AtFlags, CWD, chownat};

use crate::options::OptionError;
use crate::wiring::Places;

const OPTION: &str = "--user";

/// Somebody to become.
#[derive(Debug)]
pub struct Identity {
    name: String,
    user: Uid,
    group: Gid,
    groups: Vec<Gid>,
}

impl Identity {
    /// Looks the user and their groups up: to be done while the process may still read where they stand.
    ///
    /// # Errors
    /// There is no such user, or this process is not root.
    pub fn look_up(name: &str) -> Result<Self, OptionError> {
        let wrong = |remedy: String| OptionError::new(OPTION, name, remedy);
        let listed =
            |error: std::io::Error| wrong(format!("cannot be looked up ({error}): give a user of this machine"));
        let user = User::from_name(name).map_err(|error| listed(error.into()))?;
        let user =
            user.ok_or_else(|| wrong("there is no such user: give one that `getent passwd` lists".to_owned()))?;
        if !geteuid().is_root() {
            return Err(wrong(
                "only root can become somebody else: start brownout as root, or leave it out".to_owned(),
            ));
        }
        let name_for_groups = std::ffi::CString::new(name).map_err(|error| listed(error.into()))?;
        let groups = getgrouplist(&name_for_groups, user.gid).map_err(|error| listed(error.into()))?;
        Ok(Self { name: name.to_owned(), user: user.uid, group: user.gid, groups })
    }

    /// Gives the sockets to the user, and becomes them with all threads.
    ///
    /// # Errors
    /// The system refuses.
    pub fn assume(&self, places: &Places) -> anyhow::Result<()> {
        let context = || format!("{OPTION} {}", self.name);
        for (_, socket) in places.by_option() {
            let (user, group) = (self.user.as_raw(), self.group.as_raw());
            let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
            chownat(CWD, &socket, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                .with_context(|| format!("{}: cannot change the owner of {}", context(), socket.display()))?;
        }
        // The groups while there is the right to.
        setgroups(&self.groups)
            .and_then(|()| setresgid(self.group, self.group, self.group))
            .and_then(|()| setresuid(self.user, self.user, self.user))
            .with_context(|| format!("{}: cannot become that user", context()))?;
        tracing::info!(user = self.name, "dropped root privileges");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_there_cannot_be_become() {
        for name in ["nobody of this name", ""] {
            let error = Identity::look_up(name).expect_err("no such user").to_string();
            assert!(error.starts_with(format!("--user {name}").trim_end()) && error.contains("give"), "{error}");
        }
    }

    #[test]
    fn only_root_becomes_somebody_else() {
        let found = Identity::look_up("root");
        if geteuid().is_root() {
            assert!(found.is_ok_and(|root| root.user.is_root() && root.groups.contains(&root.group)));
        } else {
            assert!(found.expect_err("not root").to_string().contains("start brownout as root"));
        }
    }
}
