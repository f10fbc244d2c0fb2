//! Where a guest is and what it may wait for, of one that runs as well as of one that has ended.

use std::fmt;

use ppckvm_api::msr;

use crate::printable::Printable;
use crate::vm::Vm;
use crate::vm::outcome::Outcome;
use crate::vm::postmortem::PostMortem;

/// Functions in which Linux is when it has nothing to do.
const IDLE: [&str; 6] = [
    "arch_cpu_idle",
    "default_idle_call",
    "do_idle",
    "cpu_idle",
    "ppc44x_idle",
    "cpu_startup_entry",
];

/// The kind of work that a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// The guest has nothing to do until an interrupt comes.
    Idle,
    /// The guest executes a program, in user mode.
    Program,
    /// The guest executes its kernel, or firmware.
    Kernel,
}

/// A port that leads nowhere, and to which the guest has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostOutput {
    /// The port's name, as `uart1` or `console0`.
    pub port: String,
    /// The bytes that the guest has written.
    pub bytes: u64,
}

/// A machine at one moment; printed, it is a few dozen lines, of which the last say most.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The CPU's and the kernel's state.
    pub post_mortem: PostMortem,
    /// The output that nobody can have seen.
    pub lost: Vec<LostOutput>,
    /// The kernel's panic, whatever the guest did after it.
    pub panic: Option<Outcome>,
}

impl Vm {
    /// Returns where the guest is, how it came there, and what it says last: for a run that is
    /// over, or for one that takes too long and is run on afterwards.
    pub fn report(&mut self) -> Report {
        let post_mortem = self.post_mortem();
        let lost = self.lines.iter().enumerate();
        let lost = lost.filter(|(_, line)| !line.connected && line.hub.sent() > 0);
        let lost = lost.map(|(index, line)| LostOutput {
            port: self.port_name(index),
            bytes: line.hub.sent(),
        });
        Report {
            lost: lost.collect(),
            panic: self.watch.panic(),
            post_mortem,
        }
    }
}

impl Report {
    /// Returns the kind of work that the guest does, which is looked up in the kernel's symbols.
    pub fn activity(&self) -> Activity {
        let regs = &self.post_mortem.state.regs;
        let is_idle = |name: &str| IDLE.contains(&name);
        match regs.msr {
            waits if waits & msr::WE != 0 => Activity::Idle,
            user if user & msr::PR != 0 => Activity::Program,
            _ => match self.post_mortem.locate(regs.pc) {
                Some(place) if is_idle(&place.name) => Activity::Idle,
                _ => Activity::Kernel,
            },
        }
    }

    /// Describes in one line what the guest does.
    pub fn summary(&self) -> String {
        let pc = self.post_mortem.state.regs.pc;
        let place = self.post_mortem.locate(pc);
        let place = place.map(|place| format!(", in {}", Printable(&place.to_string())));
        let place = place.unwrap_or_default();
        match self.activity() {
            Activity::Idle => format!("the guest is idle and waits for an interrupt{place}"),
            Activity::Program => format!("the guest runs a program, at pc {pc:#010x}"),
            Activity::Kernel => format!("the guest runs its kernel, at pc {pc:#010x}{place}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.post_mortem)?;
        for LostOutput { port, bytes } in &self.lost {
            writeln!(
                f,
                "{port} leads nowhere, and the guest has written {bytes} bytes to it"
            )?;
        }
        writeln!(f, "{}", self.summary())?;
        let log = self.post_mortem.log.as_ref();
        match log.and_then(|log| log.lines.last()) {
            Some(last) => writeln!(f, "its kernel said last: {}", Printable(last)),
            None => Ok(()),
        }
    }
}
