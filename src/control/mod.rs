//! A machine that runs, controlled from outside: QMP for programs, HMP for people, as QEMU speaks
//! them.
//!
//! | module | |
//! |---|---|
//! | [`messages`] | cuts what a client sends into JSON texts |
//! | [`qmp`] | QEMU's machine protocol |
//! | [`hmp`] | the monitor that a person types to |
//! | [`terminal`] | what a person types, as lines |
//! | [`expression`] | the monitor's arithmetic |
//! | [`subject`] | the machine, as commands see it |
//! | [`inventory`] | what the machine is made of, for the commands that list it |
//! | [`server`] | one thread for all clients |
//! | [`gdb`] | a server for gdb, with a thread of its own |
//!
//! Nothing that a client does makes the guest wait: the vcpu's thread does a command's work between
//! two instructions and tells of events without waiting. What a client may have is bounded: a
//! message by 1 MiB, a line by 4 KiB, answers that it does not read by 1 MiB, and 16 clients for each
//! socket; others wait until one leaves.

mod expression;
mod gdb;
mod hmp;
mod inventory;
mod messages;
mod qmp;
mod server;
mod subject;
mod terminal;

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::host::serial::{self, Serial, SerialError};
use crate::vm::Vm;
use server::{Beside, Mailbox, Server};
use subject::Subject;

pub use gdb::{GdbAddress, GdbError, GdbServer, ParseGdbError};
pub use inventory::Inventory;

/// The version of QEMU whose answers these are, and what is said beside it.
pub const QEMU_VERSION: [u8; 3] = [10, 0, 0];

/// Which of the two languages a monitor speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// QEMU's machine protocol: JSON.
    Qmp,
    /// QEMU's human monitor: lines and a prompt.
    Hmp,
}

/// A monitor, and where its clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorSpec {
    /// What it speaks.
    pub language: Language,
    /// Where its clients are.
    pub at: Serial,
}

/// Why the monitors cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// A destination that cannot be opened.
    #[error("monitor: {0}")]
    Open(#[from] SerialError),
    /// The host has no thread or descriptor left.
    #[error("the host gives the monitors no thread: {0}")]
    Host(std::io::Error),
}

/// The monitors of a machine, which end when this is dropped.
pub struct Monitors {
    names: Vec<String>,
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

impl Monitors {
    /// Starts the given monitors, and one beside each serial port or console whose user can type
    /// `Ctrl-a`.
    ///
    /// # Errors
    /// A destination that cannot be opened, or a host without a thread.
    pub fn start(
        vm: &Vm,
        inventory: Inventory,
        monitors: &[MonitorSpec],
    ) -> Result<Monitors, MonitorError> {
        let mailbox = Arc::new(Mailbox::new().map_err(MonitorError::Host)?);
        let mut server = Server::new(Subject::new(vm.remote(), inventory), mailbox.clone());
        let mut names = Vec::new();
        for MonitorSpec { language, at } in monitors {
            let (files, name, slave) = serial::far_end(serial::Console::serial(at.clone()), OFF)?;
            names.push(name.unwrap_or_default());
            server
                .add(*language, files, slave)
                .map_err(MonitorError::Host)?;
        }
        let beside = vm.lines.iter().filter(|line| line.has_escape);
        for (number, line) in beside.enumerate() {
            line.hub
                .set_monitor(Arc::new(Beside::new(number, mailbox.clone())));
            server.add_beside(line.hub.clone());
        }
        let mut monitors = Monitors {
            names,
            mailbox: mailbox.clone(),
            thread: None,
        };
        if server.is_needed() {
            vm.remote().on_event(move |event| mailbox.happened(event));
            let thread = std::thread::Builder::new().name("monitors".into());
            let thread = thread.spawn(move || server.serve());
            monitors.thread = Some(thread.map_err(MonitorError::Host)?);
        }
        Ok(monitors)
    }

    /// How a user finds each of the monitors that were given: a pseudo-terminal's path,
    /// `unix=PATH`, or `tcp=ADDRESS:PORT`; empty for one without a name of its own.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// No key of a monitor's own terminal is the launcher's.
const OFF: serial::EscapeKey = serial::EscapeKey::Off;

impl Drop for Monitors {
    fn drop(&mut self) {
        self.mailbox.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the monitors' thread panicked");
        }
    }
}
