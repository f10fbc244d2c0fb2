//! `ppckvm exec` with guests that misbehave, and with much data.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use ppckvm::Outcome;
use ppckvm::testing::agent::{AgentFailure, AgentGuest, GuestCommand};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::command::{Ppckvm, text};
use support::guest;
use support::linux::machine;

/// The command for a shell's line on the test kernel, with pipes at its outputs.
fn exec(ppckvm: &Ppckvm, options: &[&str], line: &str) -> Command {
    exec_on("KERNEL_UIMAGE", ppckvm, options, line)
}

fn exec_on(kernel: &str, ppckvm: &Ppckvm, options: &[&str], line: &str) -> Command {
    let (kernel, initrd) = (guest(kernel), guest("ROOTFS"));
    let machine = [
        "exec",
        "--kernel",
        kernel.to_str().unwrap(),
        "--initrd",
        initrd.to_str().unwrap(),
        "--append",
        "console=ttyS0 loglevel=4",
        "--result",
        "result.json",
    ];
    let command = ["--", "sh", "-c", line];
    let mut command = ppckvm.command(&[&machine[..], options, &command].concat());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts a command in a guest and waits until it says `ready`.
fn start(ppckvm: &Ppckvm, options: &[&str], line: &str) -> Child {
    let mut child = exec(ppckvm, options, line).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert_eq!(said, "ready\n");
    child
}

/// Ends it as ^C does, and returns its exit status and its last words.
fn interrupt(child: Child) -> (Option<i32>, String) {
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stderr))
}

fn result(ppckvm: &Ppckvm) -> Value {
    serde_json::from_slice(&fs::read(ppckvm.path("result.json")).unwrap()).unwrap()
}

/// So many bytes without a pattern.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(next).collect()
}

#[test]
fn random_bytes_come_through_every_way_unharmed() {
    let ppckvm = Ppckvm::new();
    let sent = bytes(100_000_000);
    ppckvm.file("sent", &sent);
    let options = [
        "--memory",
        "512M",
        "--in",
        "sent:/sent",
        "--out",
        "/sent:back",
        "--out",
        "/read:read",
        "--stdin",
        "sent",
    ];
    let output = exec(&ppckvm, &options, "cat >/read; cat /sent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout == sent, "standard output");
    assert!(fs::read(ppckvm.path("back")).unwrap() == sent, "in and out");
    assert!(
        fs::read(ppckvm.path("read")).unwrap() == sent,
        "standard input"
    );
}

#[test]
fn a_guest_without_memory_loses_its_command_and_keeps_its_agent() {
    let ppckvm = Ppckvm::new();
    ppckvm.file("large", vec![0; 60_000_000]);
    let small = |options: &[&str], line: &str| {
        let options = [&["--memory", "48M"], options].concat();
        let output = exec(&ppckvm, &options, line).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    // The kernel ends the program that takes too much, and the agent lives on to say so.
    let line = "awk 'BEGIN { while (1) a[i++] = \"all of it \" i }'";
    let (status, said) = small(&[], line);
    assert_eq!(status, Some(137), "{said}");
    assert_eq!(result(&ppckvm)["kind"], "signal");
    // A file that the guest has no room for is refused by name.
    let (status, said) = small(&["--in", "large:/large"], "true");
    assert_eq!(status, Some(1), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.contains("/large: in the guest: No space left"),
        "{said}"
    );
    assert_eq!(result(&ppckvm)["kind"], "error");
}

#[test]
fn a_guest_that_dies_within_a_transfer_says_how_and_keeps_what_came() {
    let ppckvm = Ppckvm::new();
    let line = "head -c 3000000 /dev/zero; echo c >/proc/sysrq-trigger; sleep 1000";
    let output = exec(&ppckvm, &[], line).output().unwrap();
    assert_eq!(output.status.code(), Some(34), "{}", text(&output.stderr));
    assert!(output.stdout.iter().all(|byte| *byte == 0));
    assert!(output.stdout.len() > 1_000_000, "{}", output.stdout.len());
    assert_eq!(result(&ppckvm)["kind"], "panic");

    let panics = |failure: AgentFailure| match failure {
        AgentFailure::Ended { outcome, .. } => {
            assert!(matches!(outcome, Outcome::KernelPanic { .. }), "{outcome}");
        }
        other => panic!("{other}"),
    };
    // While a file goes in: the kernel panics at the file's first bytes.
    let mut guest = AgentGuest::boot(machine()).unwrap();
    let watch = "(until test -s /file; do :; done; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &";
    guest.run(GuestCommand::new(["sh", "-c", watch])).unwrap();
    panics(guest.write_file("/file", &bytes(60_000_000)).unwrap_err());
}

#[test]
fn an_interrupted_command_ends_with_its_guest_and_a_result() {
    let ppckvm = Ppckvm::new();
    let child = start(&ppckvm, &[], "echo ready; sleep 1000");
    let (status, said) = interrupt(child);
    assert_eq!(status, Some(130), "{said}");
    assert_eq!(said.lines().last(), Some("ppckvm: ended by signal 2"));
    let result = result(&ppckvm);
    assert_eq!(
        (&result["kind"], &result["status"]),
        (&"interrupted".into(), &130.into())
    );
}

#[test]
fn a_broken_message_of_the_agents_ends_the_run_with_a_reason() {
    let ppckvm = Ppckvm::new();
    // Root in the guest may write to the serial port that a stock kernel's agent speaks through.
    let line = "head -c 70000 /dev/zero >/.ppckvm/serial; sleep 1000";
    let output = exec_on("BAMBOO_UIMAGE", &ppckvm, &[], line)
        .output()
        .unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.lines().last().unwrap().contains("broken message"),
        "{errors}"
    );
    assert_eq!(result(&ppckvm)["kind"], "error");
}
