//! What somebody is told whose own machine takes part: where the drive is, what QEMU needs for it, and how the agent comes into the machine.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::machine::{MACHINE_MEMORY, Machine, shell_line};

/// The agent's port is found by this name in the machine.
const PORT: &str = "brownout.agent";

/// Where the drive is, by the agent's port: it stays the same from one campaign to the next.
pub fn drive_socket(agent: &Path) -> PathBuf {
    let mut path = agent.as_os_str().to_owned();
    path.push(".nvme");
    path.into()
}

/// What to do now.
///
/// # Errors
/// A path that is not UTF-8.
pub fn invitation(agent: &Path) -> anyhow::Result<String> {
    let agent = std::path::absolute(agent).context("cannot tell where --attach is")?;
    let memory_mib = Machine::memory_mib(MACHINE_MEMORY)?;
    let mut words = Machine { memory_mib, ..Machine::default() }.plug(&drive_socket(&agent))?;
    let path = agent.to_str().context("the path is not UTF-8, which QEMU needs: --attach")?.replace(',', ",,");
    words.extend(
        [
            "-device",
            "virtio-serial-pci",
            "-chardev",
            &format!("socket,id=brownout-agent,path={path}"),
            "-device",
            &format!("virtserialport,chardev=brownout-agent,name={PORT}"),
        ]
        .map(Into::into),
    );
    let program = "qemu-system-x86_64".as_ref();
    let line = shell_line(std::iter::once(program).chain(words.iter().map(AsRef::as_ref)));
    Ok(format!(
        "The drive waits. Start your machine with these arguments besides its own (QEMU 10.1 or later):\n\n{line}\n\n\
         Then run the agent in it, as root: sh agent.sh (brownout crash --print-agent > agent.sh)\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_is_told_of_the_drive_and_of_the_agents_port() {
        let said = invitation(Path::new("/run/a,b.sock")).expect("printable");
        assert!(said.contains("\"path\":\"/run/a,b.sock.nvme\""), "{said}");
        assert!(said.contains("\n  -chardev socket,id=brownout-agent,path=/run/a,,b.sock \\\n"), "{said}");
        assert!(said.contains("\n  -device virtserialport,chardev=brownout-agent,name=brownout.agent\n"), "{said}");
        assert!(said.contains(",share=on \\\n"), "guest memory is shared: {said}");
    }
}
