//! A suite as a test target: this one boots the test kernel, and is what `cargo test` shows of it.

// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::ExitCode;

use ppckvm::Machine;
use ppckvm::testing::suite::{End, Pattern, Stage, Step, Suite, TestPlan};
use support::guest;

fn main() -> ExitCode {
    let machine = Machine::new()
        .kernel(guest("KERNEL_UIMAGE"))
        .initrd(guest("ROOTFS"))
        .append("console=ttyS0");
    let test = |name: &str, stage: Stage| {
        let mut test = TestPlan::new(name, machine.spec().clone());
        test.stages.push(stage);
        test
    };
    let shell = Stage {
        dialogue: vec![
            Step::Expect(Pattern::Text("~ # ".into())),
            Step::Send("poweroff -f\n".into()),
        ],
        ..Stage::default()
    };
    let mut powers_off = test("the_shell_powers_the_machine_off", shell);
    powers_off.end = Some(End::PowerOff);
    let command = Stage {
        run: Some(["test", "-d", "/proc/self"].map(Into::into).into()),
        ..Stage::default()
    };
    let suites = [powers_off, test("a_command_runs_in_the_guest", command)].map(Suite::of);
    match Suite::join(suites) {
        Ok(suite) => suite.main(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
