//! Commands and files in a guest by an agent of ours: byte by byte, with exit statuses.
//!
//! The agent is a small program without a C library (`guest/agent.c`) that Linux starts as its first
//! process: it comes in an archive that is appended to the initial RAM disk. It mounts `/proc`, `/sys`
//! and `/dev`, and the disk that `root=` names where there is no other root, and does what the host
//! asks: through a virtio port where the kernel has one, or else through UART1. Commands then run in
//! place of the guest's own init; with [`Init::AfterBoot`], that runs first.
//!
//! [`AgentGuest`] is a machine with its agent, for tests. A program that runs the machine on a thread
//! of its own takes [`Agent`], [`Greeting`] and [`AgentLink`].
//!
//! ```no_run
//! use ppckvm::Machine;
//! use ppckvm::testing::agent::{AgentGuest, GuestCommand};
//!
//! let machine = Machine::new().kernel("uImage").initrd("rootfs.cpio.gz");
//! let mut guest = AgentGuest::boot(machine)?;
//! let ran = guest.run(GuestCommand::new(["uname", "-m"]))?;
//! assert_eq!((ran.status.code(), &ran.stdout[..]), (0, &b"ppc\n"[..]));
//! # Ok::<(), ppckvm::testing::agent::AgentFailure>(())
//! ```

mod archive;
mod command;
mod error;
mod files;
mod guest;
mod link;
mod protocol;

pub use command::{CommandOutput, CommandStatus, ENVIRONMENT, GuestCommand};
pub use error::AgentError;
pub use guest::{AgentFailure, AgentGuest};
pub use link::{AgentLink, Greeting};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Machine, Vm};
use archive::Archive;
use protocol::Token;

/// The agent, as `guest/build.sh` makes it.
const PROGRAM: &[u8] = include_bytes!("guest/agent.elf");

/// Where it is in the guest.
const PATH: &str = "/.ppckvm/agent";

/// What becomes of the guest's own init.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// Commands run in its place.
    #[default]
    Instead,
    /// The init is the first process, and the agent runs beside it.
    AfterBoot,
}

/// An agent that is to go into a machine.
pub struct Agent {
    token: Token,
    init: Init,
}

impl Agent {
    /// An agent with a secret of its own.
    ///
    /// # Errors
    /// A host without random bytes.
    pub fn new(init: Init) -> Result<Self, AgentError> {
        let mut token = [0; 16];
        match getrandom(&mut token, GetRandomFlags::empty()) {
            Ok(16) => Ok(Agent {
                token: Token(token),
                init,
            }),
            _ => Err(AgentError::Machine("the host gives no random bytes")),
        }
    }

    /// Puts the agent into a machine: into its initial RAM disk and its command line, with the host's
    /// ends of the channels.
    ///
    /// # Errors
    /// A device tree of the user's whose command line would be lost.
    pub fn install(&self, machine: Machine) -> Result<Machine, AgentError> {
        let boot = &machine.spec().boot;
        if boot.append.is_none() && boot.dtb.is_some() {
            return Err(AgentError::Machine(
                "the device tree's command line must be given as the machine's own too, so that the \
                 agent can be named in it",
            ));
        }
        let (line, init) = command_line(boot.append.as_deref().unwrap_or_default());
        let mut job = format!("token {}\ninit {init}\n", self.token.digits());
        if self.init == Init::AfterBoot {
            job.push_str("after-boot\n");
        }
        let archive = Archive::default()
            .folder(".ppckvm", 0o700)
            .file(".ppckvm/agent", 0o700, PROGRAM)
            .file(".ppckvm/job", 0o600, job.as_bytes())
            .finish();
        let machine = machine.append(line).initrd_overlay("agent", archive);
        Ok(machine.agent_channels())
    }

    /// Listens on the channels of the machine that the agent is in, before it runs.
    ///
    /// # Errors
    /// A host without threads.
    pub fn listen(&self, vm: &Vm) -> std::io::Result<Greeting> {
        Greeting::new(vm.agent_pipes(), self.token, vm.confinement())
    }
}

/// A command line that starts the agent, and the init that it started from a RAM disk before.
fn command_line(given: &str) -> (String, String) {
    let mut init = "/init";
    let mut words = vec![format!("rdinit={PATH}")];
    for word in given.split_ascii_whitespace() {
        match word.strip_prefix("rdinit=") {
            Some(path) => init = path,
            None => words.push(word.to_owned()),
        }
    }
    (words.join(" "), init.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_takes_the_place_of_a_named_init() {
        let (line, init) = command_line("console=ttyS0  rdinit=/sbin/init -- -s");
        assert_eq!(line, "rdinit=/.ppckvm/agent console=ttyS0 -- -s");
        assert_eq!(init, "/sbin/init");
        assert_eq!(command_line("").1, "/init");
    }
}
