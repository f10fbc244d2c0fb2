//! The machine, as commands see it: what they do to it, and what they tell of it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

use ppckvm_api::{Access, State, Tlbe};

use super::inventory::Inventory;
use crate::host::net::{ForwardError, HostForward, Protocol};
use crate::vm::Vm;
use crate::vm::control::{RunEvent, Status};
use crate::vm::outcome::Outcome;
use crate::vm::remote::{CallError, Remote};

/// How long the vcpu's thread is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same where it writes a file, which can be as large as guest memory.
const WRITING: Duration = Duration::from_secs(120);

/// Bytes that are translated and read at once: no page is smaller.
const PAGE: u32 = 1024;

/// Which addresses are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// What the guest's code says, through the TLB as it is now.
    Effective,
    /// What the bus has.
    Physical,
}

/// The machine.
pub struct Subject {
    pub remote: Remote,
    pub inventory: Inventory,
    /// It has not run since it was built or reset.
    is_prelaunch: bool,
    /// The guest powered the machine off, and it stays.
    is_off: bool,
    /// Somebody here ended the run, and QEMU's word for how.
    ended_by: Option<&'static str>,
    /// A core file was written, of so many bytes, which clients are to be told.
    pub dumped: Option<u64>,
}

impl Subject {
    pub fn new(remote: Remote, inventory: Inventory) -> Self {
        Subject {
            is_prelaunch: remote.status() == Status::Paused,
            remote,
            inventory,
            is_off: false,
            ended_by: None,
            dumped: None,
        }
    }

    /// What the machine does, in QEMU's words, and whether it runs.
    pub fn run_state(&self) -> (&'static str, bool) {
        match self.remote.status() {
            Status::Ended => ("shutdown", false),
            _ if self.is_off => ("shutdown", false),
            // It runs as soon as its thread does; one that is to wait is held.
            Status::Built => ("running", true),
            Status::Paused if self.is_prelaunch => ("prelaunch", false),
            Status::Paused => ("paused", false),
            Status::Running => ("running", true),
        }
    }

    /// What QEMU says of an event: names, and whether the guest did it with the reason.
    pub fn events(
        &mut self,
        event: &RunEvent,
    ) -> Vec<(&'static str, Option<(bool, &'static str)>)> {
        match event {
            RunEvent::Paused => vec![("STOP", None)],
            RunEvent::Stopped(_) => vec![],
            RunEvent::Resumed => {
                self.is_prelaunch = false;
                vec![("RESUME", None)]
            }
            RunEvent::Reset { by_guest } => {
                self.is_off = false;
                self.is_prelaunch = self.remote.status() == Status::Paused;
                let why = match by_guest {
                    true => "guest-reset",
                    false => "host-qmp-system-reset",
                };
                vec![("RESET", Some((*by_guest, why)))]
            }
            RunEvent::Watchdog => vec![("WATCHDOG", None)],
            RunEvent::Panicked(_) => vec![("GUEST_PANICKED", None)],
            RunEvent::StandsStill(Outcome::PoweredOff) => {
                self.is_off = true;
                vec![("SHUTDOWN", Some((true, "guest-shutdown"))), ("STOP", None)]
            }
            RunEvent::StandsStill(_) => vec![],
            RunEvent::Ended(outcome) => vec![("SHUTDOWN", Some(self.reason(outcome)))],
        }
    }

    fn reason(&self, outcome: &Outcome) -> (bool, &'static str) {
        match outcome {
            Outcome::PoweredOff | Outcome::Halted => (true, "guest-shutdown"),
            Outcome::Hang { .. } | Outcome::CannotGoOn { .. } => (true, "guest-shutdown"),
            Outcome::Reset(_) | Outcome::WatchdogReset(_) => (true, "guest-reset"),
            Outcome::KernelPanic { .. } | Outcome::TimedOutAfterPanic { .. } => {
                (true, "guest-panic")
            }
            Outcome::Quit => (false, "host-ui"),
            Outcome::Stopped => (false, self.ended_by.unwrap_or("host-signal")),
            Outcome::TimedOut(_) | Outcome::ConsoleLost(_) | Outcome::Failed(_) => {
                (false, "host-error")
            }
        }
    }

    /// Ends the run.
    pub fn quit(&mut self) {
        self.ended_by.get_or_insert("host-qmp-quit");
        self.remote.stopper().stop();
    }

    /// Resets the board.
    ///
    /// # Errors
    /// A machine that does not answer.
    pub fn reset(&mut self) -> Result<(), CallError> {
        let before = self.ended_by;
        self.ended_by.get_or_insert("host-qmp-system-reset");
        let reset = self.remote.reset();
        if reset.is_err() || !self.remote.stopper().is_asked() {
            self.ended_by = before;
        }
        reset
    }

    /// Has the vcpu's thread do something short.
    ///
    /// # Errors
    /// A machine that does not answer.
    pub fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vm) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        self.remote.call(PATIENCE, work)
    }

    /// All registers.
    ///
    /// # Errors
    /// A machine that does not answer.
    pub fn state(&self) -> Result<State, CallError> {
        self.call(Vm::state)
    }

    /// Reads guest memory up to the first byte that is not there; how many bytes are wanted is
    /// bounded by the caller.
    ///
    /// # Errors
    /// A machine that does not answer.
    pub fn read(&self, space: Space, address: u32, count: usize) -> Result<Vec<u8>, CallError> {
        self.call(move |vm| {
            let mut bytes = Vec::new();
            while bytes.len() < count {
                let at = address.wrapping_add(bytes.len() as u32);
                match piece(vm, space, at, count - bytes.len()) {
                    Some(piece) => bytes.extend(piece),
                    None => break,
                }
            }
            bytes
        })
    }

    /// Writes guest memory to a file.
    ///
    /// # Errors
    /// Memory that is not there, a file that cannot be written, or a machine that does not answer.
    pub fn save(&self, space: Space, address: u32, count: u64, path: &str) -> Result<(), String> {
        let name = path.to_owned();
        // Here, because the vcpu's thread may have given up to open files.
        let mut file = create(&name)?;
        let saved = self.remote.call(WRITING, move |vm| {
            let mut done = 0;
            while done < count {
                let at = u32::try_from(u64::from(address) + done);
                let wanted = usize::try_from(count - done).unwrap_or(usize::MAX);
                let piece = at.ok().and_then(|at| piece(vm, space, at, wanted));
                let Some(piece) = piece else {
                    let at = u64::from(address) + done;
                    return Err(format!("Invalid addr {at:#x}/size {count} specified"));
                };
                file.write_all(&piece)
                    .map_err(|error| failed(&name, &error))?;
                done += piece.len() as u64;
            }
            file.flush().map_err(|error| failed(&name, &error))
        });
        saved.map_err(|error| error.to_string())?
    }

    /// Writes a core file.
    ///
    /// # Errors
    /// A file that cannot be written, or a machine that does not answer.
    pub fn dump(&mut self, path: &str, mapped: bool) -> Result<(), String> {
        let name = path.to_owned();
        let mut file = create(&name)?;
        let dumped = self.remote.call(WRITING, move |vm| {
            vm.write_vmcore(&mut file, mapped)
                .map_err(|error| failed(&name, &error))?;
            let file = file
                .into_inner()
                .map_err(|error| failed(&name, &error.into_error()))?;
            file.metadata()
                .map(|meta| meta.len())
                .map_err(|error| failed(&name, &error))
        });
        self.dumped = Some(dumped.map_err(|error| error.to_string())??);
        Ok(())
    }

    /// Our name of a user network.
    fn network<'a>(&'a self, given: Option<&'a str>) -> Option<&'a str> {
        let given = given?;
        let mut names = self.inventory.network_names.iter();
        let ours = names.find(|(name, _)| name == given);
        Some(ours.map_or(given, |(_, ours)| ours))
    }

    /// Forwards a port.
    ///
    /// # Errors
    /// A network that there is not, or a port that the host does not give.
    pub fn add_forward(
        &self,
        network: Option<&str>,
        forward: &HostForward,
    ) -> Result<(), ForwardError> {
        let network = self.network(network);
        self.remote.add_forward(network, forward).map(drop)
    }

    /// Stops forwarding a port; whether it was forwarded.
    ///
    /// # Errors
    /// A network that there is not.
    pub fn remove_forward(
        &self,
        network: Option<&str>,
        protocol: Protocol,
        host: std::net::SocketAddr,
    ) -> Result<bool, ForwardError> {
        self.remote
            .remove_forward(self.network(network), protocol, host)
    }
}

/// The next bytes at an address, of one page at most; none where there is no memory.
fn piece(vm: &Vm, space: Space, address: u32, wanted: usize) -> Option<Vec<u8>> {
    let left = PAGE - address % PAGE;
    let mut bytes = vec![0; wanted.min(left as usize)];
    let gpa = match space {
        Space::Physical => address,
        Space::Effective => {
            let page = vm.translate(address, Access::Load)?;
            u32::try_from(page.gpa).ok()?
        }
    };
    let ram = vm.ram.region.size() as u64;
    let inside = ram.checked_sub(gpa.into()).filter(|left| *left > 0)?;
    bytes.truncate(
        usize::try_from(inside)
            .unwrap_or(usize::MAX)
            .min(bytes.len()),
    );
    vm.read_memory(gpa, &mut bytes).ok()?;
    Some(bytes)
}

fn create(path: &str) -> Result<BufWriter<File>, String> {
    let file = File::create(path);
    Ok(BufWriter::with_capacity(
        1 << 20,
        file.map_err(|error| failed(path, &error))?,
    ))
}

fn failed(path: &str, error: &std::io::Error) -> String {
    format!("could not write '{path}': {error}")
}

/// The entries of a TLB that are in use, in lines.
pub fn tlb_lines(tlb: &[Tlbe]) -> Vec<String> {
    let valid = tlb.iter().enumerate().filter(|(_, entry)| entry.word0.v());
    let line = |(index, entry): (usize, &Tlbe)| {
        let size = entry
            .page_shift()
            .map_or("?".to_owned(), |shift| match shift {
                20.. => format!("{}M", 1u32 << (shift - 20)),
                _ => format!("{}K", 1u32 << (shift - 10)),
            });
        let word2 = entry.word2;
        let letters = [
            (word2.w(), 'W'),
            (word2.i(), 'I'),
            (word2.m(), 'M'),
            (word2.g(), 'G'),
            (word2.e(), 'E'),
            (word2.ur(), 'r'),
            (word2.uw(), 'w'),
            (word2.ux(), 'x'),
            (word2.sr(), 'R'),
            (word2.sw(), 'W'),
            (word2.sx(), 'X'),
        ];
        let flags: String = letters
            .map(|(is_on, letter)| if is_on { letter } else { '-' })
            .iter()
            .collect();
        format!(
            "{index:>2} {:08x} {size:>4} {:09x} {:>3} {:>2} {} {} {}",
            entry.ea(),
            entry.real(entry.ea()),
            entry.tid,
            u8::from(entry.word0.ts()),
            &flags[..5],
            &flags[5..8],
            &flags[8..],
        )
    };
    let head = " # address  size real      tid ts attr. usr sup".to_owned();
    std::iter::once(head).chain(valid.map(line)).collect()
}
