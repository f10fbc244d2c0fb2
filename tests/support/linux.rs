//! Linux with BusyBox, at its prompt.

use std::time::Duration;

use ppckvm::{Machine, Outcome, Reached, Until, Vm};

use super::guest;

/// Many times what any of these boots takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the shell of the test guests asks with.
const PROMPT: &str = "~ # ";

/// The test kernel with the test guests' root file system.
pub fn machine() -> Machine {
    Machine::new()
        .kernel(guest("KERNEL_UIMAGE"))
        .initrd(guest("ROOTFS"))
        .append("console=ttyS0")
}

/// A machine whose shell waits for a command.
pub struct Linux(pub Vm);

impl Linux {
    /// Boots to the prompt.
    pub fn boot(machine: Machine) -> Self {
        let mut linux = Linux(machine.build().unwrap());
        linux.wait_for(PROMPT);
        linux
    }

    /// Runs until the console says `text`.
    pub fn wait_for(&mut self, text: &str) {
        let reached = self.0.run_until(Until::text(text).within(PATIENCE));
        let output = self.0.output_text();
        assert_eq!(reached, Reached::Text, "no {text:?} in:\n{output}");
    }

    /// Types a command, which fits a line of the terminal, and gives what it printed.
    pub fn command(&mut self, line: &str) -> String {
        self.type_line(line);
        self.answer()
    }

    /// Types a command and does not wait for its end.
    pub fn type_line(&mut self, line: &str) {
        assert!(
            line.len() < 75,
            "the shell's line editor would break {line}"
        );
        self.0.write(format!("{line}\n"));
        self.wait_for(line);
    }

    /// What came since a command was typed, once the prompt is back.
    pub fn answer(&mut self) -> String {
        let before = self.0.output().len();
        self.wait_for(PROMPT);
        let output = self.0.output();
        let answer = String::from_utf8_lossy(&output[before..]).replace('\r', "");
        answer
            .trim_start_matches('\n')
            .trim_end_matches(PROMPT)
            .to_owned()
    }

    /// Ends the guest.
    pub fn power_off(mut self) {
        self.0.write("poweroff -f\n");
        let end = self.0.run_until(Until::end().within(PATIENCE));
        assert_eq!(end, Reached::End(Outcome::PoweredOff));
    }
}
