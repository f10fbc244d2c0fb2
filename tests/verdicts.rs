//! Each way to end, with a real kernel where Linux can produce it: the value in the library, and
//! the command's exit status and lines.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ppckvm::postmortem::Source;
use ppckvm::{
    Clock, Console, Hang, Machine, MemorySize, OnPanic, OnReset, OnStandstill, Outcome, Reached,
    ResetKind, Standstills, Until,
};
use support::asm::{Asm, UIC0, spr};
use support::guest;
use support::linux::{Linux, PROMPT};

/// The device through which a guest reports its panic.
const PVPANIC: u32 = 0xEF7F_E000;

/// Linux and the test guests' root, with a command that `/init` runs.
fn linux(kernel: &str, run: &str) -> Machine {
    Machine::new()
        .kernel(guest(kernel))
        .initrd(guest("ROOTFS"))
        .append(format!("console=ttyS0 ppckvm.run=\"{run}\""))
}

/// Linux without a root file system.
fn rootless(kernel: &str, append: &str) -> Machine {
    Machine::new()
        .kernel(guest(kernel))
        .append(format!("console=ttyS0 {append}"))
}

fn outcome(machine: Machine) -> Outcome {
    Linux::start(machine).end()
}

/// What a panic said of its reason.
fn message(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::KernelPanic {
            message: Some(message),
        } => message,
        other => panic!("{other:?} is no panic with a message"),
    }
}

fn small(program: Asm) -> Machine {
    Machine::new()
        .memory(MemorySize::from_bytes(4 << 20))
        .program(0, program.bytes())
}

const CRASH: &str = "echo c > /proc/sysrq-trigger";

#[test]
fn no_root_is_a_panic_on_both_kernels() {
    for kernel in ["KERNEL_UIMAGE", "BAMBOO_UIMAGE"] {
        let mut vm = Linux::start(rootless(kernel, ""));
        let outcome = vm.end();
        let reason = message(&outcome);
        assert!(
            reason.contains("Unable to mount root fs on"),
            "{kernel}: {reason}"
        );
        assert_eq!(outcome.exit_status(), 34);
        // The kernel's last word is there, and what comes after it is not waited for.
        let output = vm.output_text();
        let last = output.trim_end().lines().last().unwrap();
        assert!(
            last.contains("---[ end Kernel panic") || last.contains("Rebooting in"),
            "{last}"
        );
        // The end is final.
        assert_eq!(vm.run(), outcome);
    }
}

#[test]
fn an_init_that_ends_is_a_panic() {
    let machine = rootless("KERNEL_UIMAGE", "rdinit=/bin/true").initrd(guest("ROOTFS"));
    let outcome = outcome(machine);
    assert!(
        message(&outcome).contains("Attempted to kill init!"),
        "{outcome:?}"
    );
}

#[test]
fn a_panic_that_then_resets_the_board_is_a_panic() {
    // `panic=-1` resets at once, before the mark that ends other panics.
    for timeout in [1, -1] {
        for on_panic in [OnPanic::Exit, OnPanic::Continue] {
            let machine = rootless("KERNEL_VMLINUX", &format!("panic={timeout}"));
            let outcome = outcome(machine.on_panic(on_panic));
            assert!(
                message(&outcome).contains("Unable to mount root fs"),
                "{timeout}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_panic_with_reboots_allowed_still_ends_the_run() {
    let machine = rootless("KERNEL_VMLINUX", "panic=-1").on_reset(OnReset::Reboot);
    assert_eq!(outcome(machine).exit_status(), 34);
}

#[test]
fn a_continued_panic_with_reboots_boots_again() {
    let mut vm = Linux::start(
        rootless("KERNEL_VMLINUX", "panic=-1")
            .on_panic(OnPanic::Continue)
            .on_reset(OnReset::Reboot),
    );
    for _ in 0..3 {
        vm.wait_for("Linux version");
    }
}

#[test]
fn a_crash_is_a_panic_with_a_back_trace() {
    let mut vm = Linux::start(linux("KERNEL_VMLINUX", CRASH));
    let outcome = vm.end();
    assert!(
        message(&outcome).contains("sysrq triggered crash"),
        "{outcome:?}"
    );
    let after = vm.post_mortem();
    let functions: Vec<String> = after
        .frames
        .iter()
        .filter_map(|frame| Some(after.function(frame)?.name))
        .collect();
    for function in ["panic", "sysrq_handle_crash", "vfs_write"] {
        assert!(
            functions.iter().any(|name| name == function),
            "{function} is not in {functions:?}"
        );
    }
    let text = after.to_string();
    for part in ["back trace:", "registers:", "tlb: ", "last interrupts"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    // The kernel's own mapping of its first 256 MiB.
    assert!(text.contains("c0000000 256M -> 000000000"), "{text}");
    // The console said it all, so the log is not printed again.
    assert!(!after.log_is_news && !text.contains("the kernel's log"));
}

#[test]
fn a_silent_panic_is_known_by_its_device_or_its_memory() {
    // No console, also not the one that the kernel finds by itself: the driver of the panic
    // device, or the state in memory, is all there is.
    let mut tree = Machine::new().device_tree().unwrap();
    for name in [&b"stdout-path"[..], b"virtual-reg"] {
        while let Some(at) = tree.windows(name.len()).position(|at| at == name) {
            tree[at] = b'x';
        }
    }
    for (kernel, symbols) in [
        ("KERNEL_UIMAGE", None),
        ("BAMBOO_UIMAGE", Some("BAMBOO_SYSTEM_MAP")),
        ("BAMBOO_VMLINUX", None),
    ] {
        // Bytes have no System.map beside them.
        let machine = match kernel {
            "KERNEL_UIMAGE" => {
                Machine::new().kernel_bytes(kernel, std::fs::read(guest(kernel)).unwrap())
            }
            _ => Machine::new().kernel(guest(kernel)),
        };
        let mut machine = machine
            .dtb_bytes("tree", tree.clone())
            .append("console=none");
        if let Some(symbols) = symbols {
            machine = machine.symbols(guest(symbols));
        }
        let mut vm = Linux::start(machine);
        let outcome = vm.end();
        assert!(
            message(&outcome).contains("Unable to mount root fs"),
            "{kernel}: {outcome:?}"
        );
        assert_eq!(vm.output_text(), "", "{kernel}");
        let after = vm.post_mortem();
        assert!(after.log_is_news, "{kernel}");
        let log = after.log.as_ref().unwrap();
        let known = kernel == "BAMBOO_VMLINUX" || symbols.is_some();
        assert_eq!(log.source == Source::Symbols, known, "{kernel}");
        let text = after.to_string();
        assert!(
            text.contains("which the console did not show") && text.contains("Kernel panic"),
            "{text}"
        );
    }
}

#[test]
fn a_program_that_prints_of_panics_is_none() {
    let says = "echo 'Kernel panic - not syncing: not me'; echo '---[ end Kernel panic ]---'";
    let outcome = outcome(linux("KERNEL_UIMAGE", says));
    assert_eq!(outcome, Outcome::Reset(ResetKind::System));
}

#[test]
fn halt_is_recognised_on_both_kernels() {
    for kernel in ["KERNEL_UIMAGE", "BAMBOO_UIMAGE"] {
        let outcome = outcome(linux(kernel, "halt -f"));
        assert_eq!(outcome, Outcome::Halted, "{kernel}");
        assert_eq!(outcome.exit_status(), 0);
    }
    // The stock kernel knows no way to power the board off, and says that it is safe to.
    let outcome = outcome(linux("BAMBOO_UIMAGE", "poweroff -f"));
    assert_eq!(outcome.exit_status(), 0, "{outcome:?}");
}

#[test]
fn a_silent_halt_is_known_by_its_symbols() {
    let quiet = "console=ttyS0 loglevel=0 ppckvm.run=\"halt -f\"";
    let mut vm = Linux::start(linux("KERNEL_VMLINUX", "").append(quiet));
    assert_eq!(vm.end(), Outcome::Halted);
    assert!(!vm.output_text().contains("alted"), "{}", vm.output_text());
}

#[test]
fn poweroff_and_reboot_end_in_order() {
    let power_off = outcome(linux("KERNEL_UIMAGE", "poweroff -f"));
    assert_eq!(power_off, Outcome::PoweredOff);
    for kernel in ["KERNEL_UIMAGE", "BAMBOO_UIMAGE"] {
        let reset = outcome(linux(kernel, "reboot -f"));
        assert_eq!(reset, Outcome::Reset(ResetKind::System), "{kernel}");
        assert_eq!(reset.exit_status(), 0);
    }
}

#[test]
fn a_watchdog_that_nobody_feeds_any_more_resets() {
    // Linux's driver starts it when the device is opened; it must run out while the shell lives.
    let run = "exec 3>/dev/watchdog; echo armed; kill -STOP $$";
    let outcome = outcome(linux("KERNEL_UIMAGE", run).clock(Clock::Virtual));
    assert!(matches!(outcome, Outcome::WatchdogReset(_)), "{outcome:?}");
    assert_eq!(outcome.exit_status(), 36);
}

#[test]
fn a_branch_to_itself_with_interrupts_off_is_a_hang() {
    for clock in [Clock::Host, Clock::Virtual] {
        let outcome = outcome(small(Asm::new().print("x").spin()).clock(clock));
        // Behind two words for the port's address and two for the character.
        let hang = Outcome::Hang {
            pc: 16,
            how: Hang::Spins,
        };
        assert_eq!(outcome, hang);
        assert_eq!(outcome.exit_status(), 35);
    }
}

#[test]
fn a_wait_with_every_source_off_is_a_hang() {
    // MSR[WE] alone, and with EE or CE where the interrupt controller has no input enabled.
    for msr in [0x0004_0000, 0x0004_8000, 0x0006_0000] {
        let outcome = outcome(small(Asm::new().li(3, msr).mtmsr(3).spin()));
        let hang = Outcome::Hang {
            pc: 12,
            how: Hang::Waits,
        };
        assert_eq!(outcome, hang, "{msr:#x}");
    }
}

#[test]
fn a_wait_that_an_interrupt_or_a_timer_can_end_is_none() {
    // UIC0's enable register, its first input non-critical; and the decrementer.
    let interrupt = Asm::new().li(3, 0x8000_0000).mtdcr(UIC0 + 2, 3);
    let decrementer = Asm::new()
        .li(3, 0x0400_0000)
        .mtspr(spr::TCR, 3)
        .li(3, 0x7FFF_FFFF)
        .mtspr(22, 3);
    for source in [interrupt, decrementer] {
        let program = source.li(3, 0x0004_8000).mtmsr(3).spin();
        let mut vm = Linux::start(small(program));
        let wait = vm.run_until(Until::time(Duration::from_millis(300)));
        assert_eq!(wait, Reached::Deadline);
    }
}

#[test]
fn an_armed_watchdog_ends_a_spin_before_it_is_a_hang() {
    let program = Asm::new().li(3, 0x3000_0000).mtspr(spr::TCR, 3).spin();
    let outcome = outcome(small(program).clock(Clock::Virtual));
    assert_eq!(outcome, Outcome::WatchdogReset(ResetKind::System));
}

#[test]
fn a_console_with_nobody_behind_it_is_watched_too() {
    // The kernel's console is the second port, which leads nowhere.
    let machine = Machine::new()
        .kernel(guest("KERNEL_UIMAGE"))
        .append("console=ttyS1")
        .serial([Console::memory(), Console::memory()]);
    assert!(message(&outcome(machine)).contains("Unable to mount root fs"));
}

/// The command with a kernel and arguments; `$VAR` are guests.
fn ppckvm(args: &[&str]) -> Output {
    let args = args.iter().map(|arg| match arg.strip_prefix('$') {
        Some(name) => guest(name).into_os_string(),
        None => arg.into(),
    });
    Command::new(env!("CARGO_BIN_EXE_ppckvm"))
        .arg("run")
        .args(args)
        .env_remove("PPCKVM_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_command_says_a_panic_in_one_line_and_then_all_about_it() {
    let run = format!("console=ttyS0 ppckvm.run=\"{CRASH}\"");
    let output = ppckvm(&[
        "--kernel",
        "$KERNEL_UIMAGE",
        "--initrd",
        "$ROOTFS",
        "--append",
        &run,
        "--symbols",
        "$SYSTEM_MAP",
    ]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(34), "{text}");
    let verdicts: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("kernel panic"))
        .collect();
    assert_eq!(verdicts, ["ppckvm: kernel panic: sysrq triggered crash"]);
    assert!(text.contains("  sysrq_handle_crash+0x"), "{text}");
}

#[test]
fn the_command_has_a_status_for_each_ending_of_a_kernel() {
    let boot = |run: &str, more: &[&str]| {
        let append = format!("console=ttyS0 ppckvm.run=\"{run}\"");
        let args = [
            "--kernel",
            "$KERNEL_UIMAGE",
            "--initrd",
            "$ROOTFS",
            "--append",
            &append,
        ];
        ppckvm(&[&args, more].concat())
    };
    for (run, more, status, line) in [
        ("poweroff -f", &[][..], 0, "the guest powered off"),
        ("halt -f", &[], 0, "the guest halted"),
        ("reboot -f", &[], 0, "the guest reset the system"),
        (
            CRASH,
            &["--on-panic", "exit"],
            34,
            "kernel panic: sysrq triggered crash",
        ),
        (
            "sleep 1000",
            &["--timeout", "10s"],
            124,
            "still running after 10s",
        ),
    ] {
        let output = boot(run, more);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{run}: {text}");
        assert!(
            text.contains(&format!("ppckvm: {line}")) || text.contains(line),
            "{text}"
        );
    }
}

#[test]
fn the_verdict_is_the_last_line_and_the_cause_is_near_it() {
    let append = "console=ttyS0";
    let args = [
        "$KERNEL_UIMAGE",
        "--append",
        append,
        "--symbols",
        "$SYSTEM_MAP",
        "--stats",
    ];
    let output = ppckvm(&args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(34), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("ppckvm: kernel panic: VFS: Unable to mount"),
        "{text}"
    );
    // What CI shows of a log.
    let tail = lines[lines.len() - 20..].join("\n");
    assert!(
        tail.contains("back trace:") && tail.contains("mount_block_root"),
        "{text}"
    );
    // Where the kernel stands is where it prints its panic, which says nothing.
    assert!(!tail.contains("uart_console_write"), "{text}");
}

#[test]
fn a_report_in_a_file_leaves_standard_error_to_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report").display().to_string();
    let args = [
        "$KERNEL_UIMAGE",
        "--append",
        "console=ttyS0",
        "--report",
        &report,
    ];
    let output = ppckvm(&args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(34), "{text}");
    assert!(text.contains(&report) && !text.contains("tlb:"), "{text}");
    let file = std::fs::read_to_string(&report).unwrap();
    for part in ["tlb:", "registers:", "back trace:", "kernel panic: VFS"] {
        assert!(file.contains(part), "{part} is not in {file}");
    }
    let output = ppckvm(&["$KERNEL_UIMAGE", "--report", "/nonexistent/report"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/report: No such file"));
}

#[test]
fn a_time_out_says_where_the_guest_is_and_what_it_waits_for() {
    let append = "console=ttyS0 root=/dev/vda rootwait";
    let args = [
        "$KERNEL_UIMAGE",
        "--append",
        append,
        "--symbols",
        "$SYSTEM_MAP",
        "--timeout",
        "8",
    ];
    let output = ppckvm(&args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(124), "{text}");
    for part in [
        "back trace:",
        "registers:",
        "Waiting for root device /dev/vda",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // The kernel looks for the disk every few milliseconds, and its clock ticks.
    assert!(
        text.contains("the guest is idle") || text.contains("the guest runs its kernel, at pc"),
        "{text}"
    );
    assert_eq!(
        text.lines().last().unwrap(),
        "ppckvm: the guest was still running after 8s"
    );
}

#[test]
fn a_console_that_leads_nowhere_is_told_of_and_its_log_is_shown() {
    let output = ppckvm(&["$KERNEL_UIMAGE", "--append", "console=ttyS1 quiet"]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(34), "{text}");
    let told = text
        .lines()
        .filter(|line| line.contains("the guest writes to uart1, which leads nowhere"));
    assert_eq!(told.count(), 1, "{text}");
    assert!(text.contains("which the console did not show"), "{text}");
    assert!(
        text.contains("uart1 leads nowhere, and the guest has written"),
        "{text}"
    );
}

#[test]
fn sigusr1_says_where_the_guest_is_and_it_runs_on() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
        .arg("run")
        .arg(guest("KERNEL_UIMAGE"))
        .arg("--initrd")
        .arg(guest("ROOTFS"))
        .args(["--append", "console=ttyS0"])
        .env_remove("PPCKVM_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    let mut wait_for = |text: &str| {
        let mut byte = [0];
        while !seen.ends_with(text.as_bytes()) {
            stdout.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
    };
    wait_for(PROMPT);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let report: Vec<String> = lines
        .by_ref()
        .map(Result::unwrap)
        .take_while(|line| line != "ppckvm: the guest runs on")
        .collect();
    assert!(
        report.iter().any(|line| line == "back trace:"),
        "{report:#?}"
    );
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"echo al\"\"ive\npoweroff -f\n").unwrap();
    wait_for("alive");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_a_program_writes_into_the_kernels_log_is_no_panic() {
    let says = "echo 'Kernel panic - not syncing: not me' > /dev/kmsg; sleep 5; halt -f";
    for machine in [
        linux("KERNEL_UIMAGE", says),
        linux("KERNEL_UIMAGE", says).symbols(guest("SYSTEM_MAP")),
        linux("BAMBOO_VMLINUX", says),
    ] {
        let mut vm = Linux::start(machine);
        assert_eq!(vm.end(), Outcome::Halted);
        assert!(
            vm.output_text()
                .contains("Kernel panic - not syncing: not me")
        );
    }
    // Nor is the other word, before a reset.
    let says = "echo 'reboot: System halted' > /dev/kmsg; reboot -f";
    let reset = outcome(linux("KERNEL_UIMAGE", says));
    assert_eq!(reset, Outcome::Reset(ResetKind::System));
}

#[test]
fn a_panic_that_the_guest_does_not_come_back_from_is_said_when_the_time_is_over() {
    let machine = rootless("KERNEL_UIMAGE", "panic=0")
        .on_panic(OnPanic::Continue)
        .timeout(Duration::from_secs(10));
    let mut vm = Linux::start(machine);
    let outcome = vm.end();
    assert_eq!(outcome.exit_status(), 34, "{outcome}");
    let line = outcome.to_string();
    assert!(
        line.contains("Unable to mount root fs") && line.contains("after 10s"),
        "{line}"
    );
    // A guest that came back has not panicked.
    let machine = rootless("KERNEL_VMLINUX", "panic=-1")
        .on_panic(OnPanic::Continue)
        .on_reset(OnReset::Reboot);
    let mut vm = Linux::start(machine);
    for _ in 0..2 {
        vm.wait_for("Linux version");
    }
    vm.stopper().stop();
    assert_eq!(vm.run(), Outcome::Stopped);
    assert_eq!(vm.report().panic, None);
}

#[test]
fn each_cause_of_a_reset_is_told_apart() {
    // DBCR0's two bits, and the watchdog's in TCR.
    for (kind, bits) in [
        (ResetKind::Core, 0x1000_0000),
        (ResetKind::Chip, 0x2000_0000),
        (ResetKind::System, 0x3000_0000),
    ] {
        for cpu in [ppckvm::Cpu::Interp, ppckvm::Cpu::Auto] {
            let by_software = Asm::new().li(3, bits).mtspr(spr::DBCR0, 3).spin();
            let by_watchdog = Asm::new().li(3, bits).mtspr(spr::TCR, 3).spin();
            // With the watchdog armed, the reset is still software's.
            let both = Asm::new()
                .li(3, bits)
                .mtspr(spr::TCR, 3)
                .mtspr(spr::DBCR0, 3)
                .spin();
            let end = |asm| outcome(small(asm).cpu(cpu).clock(Clock::Virtual));
            assert_eq!(end(by_software), Outcome::Reset(kind));
            assert_eq!(end(by_watchdog), Outcome::WatchdogReset(kind));
            assert_eq!(end(both), Outcome::Reset(kind));
        }
    }
}

#[test]
fn of_two_ends_the_first_is_the_cause() {
    let off_then_reset = Asm::new()
        .li(30, support::asm::POWER_OFF.0)
        .li(31, support::asm::POWER_OFF.1)
        .li(29, 0x3000_0000)
        .stw(31, 30, 0)
        .mtspr(spr::DBCR0, 29)
        .spin();
    assert_eq!(outcome(small(off_then_reset)), Outcome::PoweredOff);
    // A guest that reports its panic and then lets the watchdog, a reset or the power switch end it.
    let panics = || Asm::new().li(3, PVPANIC).addi(4, 0, 1).stb(4, 3, 0);
    let watchdog = panics().li(3, 0x3000_0000).mtspr(spr::TCR, 3).spin();
    for (name, program) in [
        ("watchdog", watchdog),
        ("reset", panics().reset()),
        ("power off", panics().power_off()),
        ("hang", panics().spin()),
    ] {
        let outcome = outcome(
            small(program)
                .clock(Clock::Virtual)
                .on_panic(OnPanic::Continue),
        );
        assert_eq!(outcome.exit_status(), 34, "{name}: {outcome}");
    }
}

#[test]
fn a_silent_panic_before_a_reset_is_not_taken_for_the_reset() {
    // Nothing is said, and `panic=-1` resets before anybody looks.
    let machine = Machine::new()
        .kernel(guest("BAMBOO_VMLINUX"))
        .append("console=tty9 loglevel=0 panic=-1")
        .on_reset(OnReset::Reboot);
    assert!(message(&outcome(machine)).contains("Unable to mount root fs"));
}

#[test]
fn the_command_explains_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest");
    // A frame with a caller, then the hang.
    let program = Asm::new()
        .li(1, 0x2000)
        .li(3, 0x2020)
        .stw(3, 1, 0)
        .li(4, 0x1234)
        .stw(4, 3, 4)
        .spin();
    std::fs::write(&path, program.elf(0, 0x4000)).unwrap();
    let output = ppckvm(&["--kernel", &path.display().to_string()]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(35), "{text}");
    let line =
        "ppckvm: the guest hangs at pc 0x00000020: it branches to itself with interrupts off";
    assert!(text.lines().any(|is| is == line), "{text}");
    for part in [
        "  00000020 (pc)",
        "  00001234\n",
        "no symbols",
        "tlb: 16 of 64",
        "none was taken",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn symbols_that_are_none_are_refused_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("guest");
    std::fs::write(&program, Asm::new().reset().elf(0, 0)).unwrap();
    let map = dir.path().join("map");
    std::fs::write(&map, "c0000000 T _stext\nnot a line\n").unwrap();
    let absent = dir.path().join("absent");
    let refused = |symbols: &Path, part: &str| {
        let kernel = program.display().to_string();
        let symbols = symbols.display().to_string();
        let output = ppckvm(&["--kernel", &kernel, "--symbols", &symbols]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(&symbols) && text.contains(part), "{text}");
    };
    refused(&absent, "No such file");
    refused(&map, "line 2");
    refused(&program, "no symbols");
}

#[test]
fn a_prompt_before_the_panic_hides_nothing() {
    let mut vm = Linux::start(
        Machine::new()
            .kernel(guest("KERNEL_UIMAGE"))
            .initrd(guest("ROOTFS"))
            .append("console=ttyS0"),
    );
    vm.wait_for(PROMPT);
    vm.write(format!("{CRASH}\n"));
    assert!(message(&vm.end()).contains("sysrq triggered crash"));
}

#[test]
fn a_standstill_that_may_stay_ends_when_something_else_ends_the_run() {
    let stay = Standstills {
        on_halt: OnStandstill::Stay,
        on_hang: OnStandstill::Stay,
        on_power_off: OnStandstill::Stay,
    };
    let machine = |program: Asm| Machine::new().program(0, program.bytes()).standstills(stay);
    // It hangs, powers off, and cannot go on, because its vectors lead nowhere.
    let stuck = || Asm::new().word(0);
    for program in [Asm::new().spin(), Asm::new().power_off(), stuck()] {
        let mut vm = machine(program).build().unwrap();
        let short = Until::time(Duration::from_millis(50));
        assert_eq!(vm.run_until(short), Reached::Deadline);
        vm.stopper().ask_for_report();
        assert_eq!(vm.run_until(Until::end()), Reached::Report);
        vm.stopper().stop();
        assert_eq!(vm.run(), Outcome::Stopped);
    }
    let limit = Duration::from_millis(50);
    let timed = machine(Asm::new().spin()).timeout(limit);
    assert_eq!(outcome(timed), Outcome::TimedOut(limit));
    // A panic ends the run unless it may go on.
    let panicked = || rootless("KERNEL_UIMAGE", "panic=0").standstills(stay);
    assert!(matches!(outcome(panicked()), Outcome::KernelPanic { .. }));
}
