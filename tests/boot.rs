//! Linux, booted through the library to a shell that answers.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;

use ppckvm::{Clock, Cpu, Machine, OnReset, Outcome, ResetKind};
use support::guest;
use support::linux::{Linux, PROMPT};

fn machine(kernel: &str) -> Machine {
    Machine::new()
        .kernel(guest(kernel))
        .initrd(guest("ROOTFS"))
        .append("console=ttyS0")
}

/// Boots to the prompt, has it answer, and reboots.
fn boots_to_a_shell(kernel: &str) {
    let mut vm = Linux::start(machine(kernel));
    vm.wait_for("guest: user space is up");
    vm.wait_for(PROMPT);
    let answer = vm.command("uname -srm; echo $((6 * 7))");
    assert!(
        answer.contains("Linux 6.1.") && answer.contains(" ppc\n42\n"),
        "{answer}"
    );
    let cpu = vm.command("cat /proc/cpuinfo");
    for line in [
        "cpu\t\t: 440EP Rev. B",
        "clock\t\t: 533.333328MHz",
        "timebase\t: 533333328",
    ] {
        assert!(cpu.contains(line), "{line:?} is not in:\n{cpu}");
    }
    vm.write("reboot -f\n");
    let outcome = vm.end();
    assert!(
        matches!(outcome, Outcome::Reset(ResetKind::System)),
        "{outcome:?}"
    );
    assert_eq!(outcome.exit_status(), 0);
}

#[test]
fn the_test_kernel_boots_as_uimage() {
    boots_to_a_shell("KERNEL_UIMAGE");
}

#[test]
fn the_test_kernel_boots_as_vmlinux() {
    boots_to_a_shell("KERNEL_VMLINUX");
}

#[test]
fn bamboo_defconfig_boots_as_uimage() {
    boots_to_a_shell("BAMBOO_UIMAGE");
}

#[test]
fn bamboo_defconfig_boots_as_vmlinux() {
    boots_to_a_shell("BAMBOO_VMLINUX");
}

#[test]
fn poweroff_ends_the_test_kernel() {
    let mut vm = Linux::start(machine("KERNEL_UIMAGE"));
    vm.wait_for(PROMPT);
    vm.write("poweroff -f\n");
    assert_eq!(vm.end(), Outcome::PoweredOff);
}

#[test]
fn a_script_typed_ahead_runs_line_by_line() {
    let mut vm = Linux::start(machine("KERNEL_UIMAGE"));
    // All of it before the first instruction: more than the FIFO and the kernel's own buffer take
    // at once, with lines that a lost byte would change.
    let lines: String = (0..40)
        .map(|n| format!("echo line {n} is $(({n} * 1000 + 7))\n"))
        .collect();
    vm.write(&lines);
    vm.write("reboot -f\n");
    assert!(matches!(vm.end(), Outcome::Reset(_)));
    let output = vm.output_text();
    for n in 0..40 {
        let answer = format!("\nline {n} is {}\r", n * 1000 + 7);
        assert!(output.contains(&answer), "{answer:?} is not in:\n{output}");
    }
}

#[test]
fn a_command_from_the_kernels_command_line_runs() {
    let mut vm = Linux::start(
        machine("KERNEL_VMLINUX")
            .append("console=ttyS0 quiet ppckvm.run=\"sha256sum /proc/version; forkexec 20\""),
    );
    assert!(matches!(vm.end(), Outcome::Reset(_)));
    let output = vm.output_text();
    assert!(output.contains("forkexec: 20 rounds"), "{output}");
    assert!(
        output.contains("guest: command ended with status 0"),
        "{output}"
    );
}

#[test]
fn the_virtual_clock_boots_the_same_whatever_executes() {
    let boot = |cpu| {
        let mut vm = Linux::start(
            machine("KERNEL_VMLINUX")
                .append("console=ttyS0 ppckvm.run=\"echo done\"")
                .memory("64M".parse().unwrap())
                .clock(Clock::Virtual)
                .cpu(cpu),
        );
        let outcome = vm.end();
        let mut ram = vec![0; 64 << 20];
        vm.read_memory(0, &mut ram).unwrap();
        let all = (outcome, vm.state(), ram);
        (all, vm.output_text(), vm.statistics().retired)
    };
    // `Auto` is the fastest that there is; on a host without a translator it boots the same twice.
    let (first, second) = (boot(Cpu::Interp), boot(Cpu::Auto));
    let (output, instructions) = (&first.1, first.2);
    assert!(
        output.contains("guest: command ended with status 0"),
        "{output}"
    );
    assert_eq!(*output, second.1);
    assert_eq!(instructions, second.2);
    let [(_, state, ram), (_, second_state, second_ram)] = [&first.0, &second.0];
    assert_eq!(state, second_state);
    let differ = (ram.iter().zip(second_ram)).position(|(a, b)| a != b);
    assert_eq!(differ, None, "RAM differs there");
    assert!(
        first.0.0 == second.0.0,
        "{:?} and {:?}",
        first.0.0,
        second.0.0
    );
}

#[test]
fn a_reset_that_reboots_boots_again() {
    let mut vm = Linux::start(machine("KERNEL_VMLINUX").on_reset(OnReset::Reboot));
    for _ in 0..3 {
        vm.wait_for(PROMPT);
        vm.write("touch /mnt/here; ls /mnt; reboot -f\n");
        vm.wait_for("Restarting system");
    }
    vm.wait_for(PROMPT);
    let here = vm.command("ls /mnt");
    assert!(!here.contains("here"), "{here}");
}

#[test]
fn each_amount_of_memory_is_found() {
    for (memory, least) in [("32M", 26_000), ("144M", 130_000), ("1G", 740_000)] {
        let mut vm = Linux::start(machine("KERNEL_VMLINUX").memory(memory.parse().unwrap()));
        vm.wait_for(PROMPT);
        let answer = vm.command("grep MemTotal /proc/meminfo");
        let total: u32 = answer
            .split_once("MemTotal:")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("{answer}"));
        assert!(total >= least, "{memory}: {answer}");
    }
}

#[test]
fn a_tree_of_the_users_is_honoured() {
    let tree = Machine::new().device_tree().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tree).unwrap();
    let path: PathBuf = file.path().into();
    let mut vm = Linux::start(
        machine("KERNEL_VMLINUX")
            .dtb(path)
            .append("console=ttyS0 from.the.tree")
            .memory("64M".parse().unwrap()),
    );
    vm.wait_for(PROMPT);
    let answer = vm.command("cat /proc/cmdline; hexdump -C /proc/device-tree/memory/reg");
    assert!(answer.contains("console=ttyS0 from.the.tree"), "{answer}");
    assert!(answer.contains("04 00 00 00"), "{answer}");
}

#[test]
fn what_a_person_types_first_works_in_the_test_guests() {
    let mut vm = Linux::boot(support::linux::machine());
    let free = vm.output_of("df -h /dev");
    assert!(free.contains("Use% Mounted on"), "{free}");
    vm.output_of("sleep 0.01");
    vm.type_line("top");
    vm.wait_for("Load average");
    vm.write("q");
    vm.wait_for(PROMPT);
    vm.type_line("poweroff");
    assert_eq!(vm.end(), Outcome::PoweredOff);
}
