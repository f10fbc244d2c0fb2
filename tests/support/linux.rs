//! Linux with BusyBox, at its prompt: [`Guest`] for tests that fail by panicking.

use std::ops::{Deref, DerefMut};

use ppckvm::testing::Guest;
use ppckvm::{Machine, Outcome, Vm};

use super::guest;

/// What the shell of the test guests asks with.
pub const PROMPT: &str = "~ # ";

/// The test kernel with the test guests' root file system.
pub fn machine() -> Machine {
    Machine::new()
        .kernel(guest("KERNEL_UIMAGE"))
        .initrd(guest("ROOTFS"))
        // A busy host makes the kernel warn of slow timers, in the middle of an answer.
        .append("console=ttyS0 loglevel=4")
}

/// A guest that a test drives; whatever it does not do in time fails the test, with the console's
/// end in the message.
pub struct Linux(Guest);

impl Linux {
    /// A machine that has not run yet.
    pub fn start(machine: Machine) -> Self {
        Linux(Guest::start(machine).unwrap().prompt(PROMPT))
    }

    /// A machine whose shell waits for a command.
    pub fn boot(machine: Machine) -> Self {
        let mut linux = Linux::start(machine);
        linux.wait_for(PROMPT);
        linux
    }

    /// Runs until the console says `text`.
    pub fn wait_for(&mut self, text: &str) {
        self.0.expect(text).unwrap();
    }

    /// Runs until the host sees `what`.
    pub fn wait_until(&mut self, what: &str, holds: impl FnMut(&Vm) -> bool) {
        self.0.wait_until(what, holds).unwrap();
    }

    /// Runs a command, whatever its status, and returns what it printed.
    pub fn command(&mut self, line: &str) -> String {
        self.type_line(line);
        self.answer()
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub fn output_of(&mut self, line: &str) -> String {
        self.0.output_of(line).unwrap()
    }

    /// Runs a command, whatever its status, and returns the lines that it printed.
    pub fn lines(&mut self, line: &str) -> Vec<String> {
        self.command(line).lines().map(str::to_owned).collect()
    }

    /// Types a command and does not wait for its end.
    pub fn type_line(&mut self, line: &str) {
        self.0.type_line(line).unwrap();
    }

    /// What came since a command was typed, once the prompt is back.
    pub fn answer(&mut self) -> String {
        self.0.answer().unwrap()
    }

    /// How the run ends.
    pub fn end(&mut self) -> Outcome {
        self.0.end().unwrap()
    }

    /// Ends the guest.
    pub fn power_off(mut self) {
        self.0.power_off().unwrap();
    }
}

impl Deref for Linux {
    type Target = Vm;

    fn deref(&self) -> &Vm {
        &self.0.vm
    }
}

impl DerefMut for Linux {
    fn deref_mut(&mut self) -> &mut Vm {
        &mut self.0.vm
    }
}
