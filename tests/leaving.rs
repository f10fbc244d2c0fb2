//! The end of the command, whatever the host, the reader or the parent process does.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use support::asm::Asm;
use support::command::{Ppckvm, text};
use support::guest;

/// Longer than any patience of the command's, also on a busy host.
const BOUND: Duration = Duration::from_secs(60);

/// The status of a child that ends by itself; one that does not is killed.
fn status(child: &mut Child) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or_else(|| panic!("{status}"));
        }
        if start.elapsed() > BOUND {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still running after {BOUND:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A pipe that takes nothing more, and whose reader reads nothing.
fn full_pipe() -> (std::io::PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    while (&writer).write(b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn nobody_who_reads_standard_error_holds_up_the_end() {
    let ppckvm = Ppckvm::new();
    ppckvm.file("guest", Asm::new().busy().elf(0, 0));
    let timeout = ["run", "guest", "--timeout", "300ms"];
    for (args, ended_by, code) in [
        (&timeout[..], None, 124),
        (&timeout[..2], Some(Signal::TERM), 143),
    ] {
        let (_reader, writer) = full_pipe();
        let mut command = ppckvm.command(args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(writer);
        let mut child = command.spawn().unwrap();
        if let Some(signal) = ended_by {
            wait_until_caught(&child, signal);
            self::signal(&child, signal);
        }
        assert_eq!(status(&mut child), code);
    }
}

/// Waits until a process has a handler for a signal.
fn wait_until_caught(child: &Child, signal: Signal) {
    let start = Instant::now();
    let path = format!("/proc/{}/status", child.id());
    let is_caught = |status: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        mask & 1 << (signal.as_raw() - 1) != 0
    };
    while !std::fs::read_to_string(&path).is_ok_and(|status| is_caught(&status)) {
        assert!(start.elapsed() < BOUND);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_guest_makes_the_command_say_again_and_again_is_counted() {
    let ppckvm = Ppckvm::new();
    // The panic device, as if a crash kernel was started, a hundred thousand times.
    let program = Asm::new()
        .li(3, 0xEF7F_E000)
        .li(4, 0x0200_0000)
        .li(5, 100_000)
        .label("again")
        .stb(4, 3, 0)
        .addi(4, 0, 2)
        .addi(5, 5, -1)
        .cmpwi(5, 0)
        .bne("again")
        .reset();
    let output = ppckvm.guest(program, &["--timeout", "60s"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        stderr.lines().count() < 1000,
        "{} lines",
        stderr.lines().count()
    );
}

/// From the first UART to the second, in bytes.
const UART1_FROM_UART0: u16 = 0x100;

#[test]
fn a_second_signal_ends_the_run_at_once() {
    let ppckvm = Ppckvm::new();
    // Its output fills the pipe, and who stops the run waits for the reader for some seconds.
    let program = Asm::new()
        .li(3, support::asm::UART0)
        .stb(4, 3, 0)
        .stb(4, 3, UART1_FROM_UART0)
        .label("again")
        .stb(4, 3, 0)
        .b("again");
    ppckvm.file("guest", program.elf(0, 0));
    let (_reader, writer) = full_pipe();
    let options = ["run", "guest", "--serial", "stdio", "--serial", "file=said"];
    let mut command = ppckvm.command(&options);
    command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    wait_until_caught(&child, Signal::TERM);
    // Before the guest has said anything, nobody would have to wait for a reader.
    let start = Instant::now();
    while !std::fs::metadata(ppckvm.path("said")).is_ok_and(|file| file.len() > 0) {
        assert!(start.elapsed() < BOUND);
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(&child, Signal::TERM);
    // Signals that are sent before the first is handled are one.
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "it waited for the reader"
        );
        std::thread::sleep(Duration::from_millis(50));
        signal(&child, Signal::INT);
    }
    assert_eq!(status(&mut child), 143);
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    let last = stderr.lines().last().unwrap();
    assert!(
        last.contains("ended by signal 15, and at once by signal 2"),
        "{stderr}"
    );
}

/// A library that makes `fdatasync` hang, as on a host whose disk does not answer.
fn hanging_disk(ppckvm: &Ppckvm) -> PathBuf {
    let source = ppckvm.file(
        "hang.c",
        "#include <unistd.h>\nint fdatasync(int fd) { for (;;) pause(); }\n",
    );
    let library = ppckvm.path("hang.so");
    let gcc = Command::new("gcc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .expect("gcc, which the guests are built with, makes the library");
    assert!(gcc.success());
    library
}

#[test]
fn a_host_whose_disk_hangs_can_be_left() {
    let ppckvm = Ppckvm::new();
    let library = hanging_disk(&ppckvm);
    ppckvm.file("disk", vec![0; 1 << 20]);
    let start = |more: &[&str]| {
        let mut command = ppckvm.command(&["run", "--disk", "path=disk"]);
        command
            .arg("--kernel")
            .arg(guest("KERNEL_UIMAGE"))
            .arg("--initrd")
            .arg(guest("ROOTFS"))
            .args(["--append", "console=ttyS0 ppckvm.run=\"echo fl''ush; dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync\""])
            .args(more)
            .env("LD_PRELOAD", &library)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            if line.trim_end() == "flush" {
                break;
            }
        }
        child
    };
    let verdict = |child: &mut Child| {
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        stderr.lines().last().unwrap().to_owned()
    };
    // The virtual clock's disk is served by the guest's own thread.
    for clock in ["host", "virtual"] {
        let mut child = start(&["--timeout", "20s", "--clock", clock]);
        assert_eq!(status(&mut child), 124, "{clock}");
        let verdict = verdict(&mut child);
        assert!(
            verdict.starts_with("ppckvm: the guest was still running after 20s"),
            "{verdict}"
        );
    }
    let mut child = start(&[]);
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, Signal::TERM);
    assert_eq!(status(&mut child), 143);
    assert!(verdict(&mut child).starts_with("ppckvm: ended by signal 15"));
}

/// The command in a shell or another program that changes what it inherits.
fn inherits(ppckvm: &Ppckvm, wrapper: &[&str], args: &[&str]) -> Command {
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(env!("CARGO_BIN_EXE_ppckvm"))
        .args(args)
        .current_dir(ppckvm.path("."))
        .env_remove("PPCKVM_LOG")
        .stdin(Stdio::null());
    command
}

#[test]
fn signals_that_the_parent_blocked_or_ignored_work() {
    let ppckvm = Ppckvm::new();
    ppckvm.file("guest", Asm::new().print("up").busy().elf(0, 0));
    for wrapper in [
        ["env", "--block-signal=TERM,SEGV,CONT,USR1"],
        ["env", "--ignore-signal=TERM,PIPE,TTIN,TTOU"],
    ] {
        let mut command = inherits(&ppckvm, &wrapper, &["run", "guest"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut up = [0; 2];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        signal(&child, Signal::TERM);
        assert_eq!(status(&mut child), 143, "{wrapper:?}");
    }
}

#[test]
fn a_small_stack_and_calls_that_never_return_do_not_end_the_command() {
    let ppckvm = Ppckvm::new();
    // `bl` to the next instruction, over and over.
    let program = Asm::new()
        .label("again")
        .word(0x4800_0005)
        .word(0x4800_0005)
        .b("again");
    ppckvm.file("guest", program.elf(0, 0));
    let wrapper = ["sh", "-c", "ulimit -s 256; exec \"$@\"", "sh"];
    let output = inherits(&ppckvm, &wrapper, &["run", "guest", "--timeout", "1s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
}

#[test]
fn a_limit_of_file_size_is_an_error_of_the_write() {
    let ppckvm = Ppckvm::new();
    // More than the shell's 8 blocks of 512 bytes, or of 1024.
    let program = (0..300).fold(Asm::new(), |asm, _| {
        asm.print("0123456789abcdef0123456789abcdef")
    });
    ppckvm.file("guest", program.reset().elf(0, 0));
    let wrapper = ["sh", "-c", "ulimit -f 8; exec \"$@\"", "sh"];
    let args = ["run", "guest", "--memory", "4M", "--serial", "file=out"];
    let output = inherits(&ppckvm, &wrapper, &args).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("File too large"), "{stderr}");
}

#[test]
fn a_limit_of_open_files_is_named_with_the_remedy() {
    let ppckvm = Ppckvm::new();
    ppckvm.file("guest", Asm::new().reset().elf(0, 0));
    let mut refused = 0;
    for limit in 4..32 {
        let limit = format!("ulimit -n {limit}; exec \"$@\"");
        let wrapper = ["sh", "-c", &limit, "sh"];
        let output = inherits(&ppckvm, &wrapper, &["run", "guest"])
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        match output.status.code() {
            Some(0) => continue,
            // The loader of shared libraries, before there is any of us.
            Some(127) => continue,
            code => assert_eq!(code, Some(1), "{limit}: {stderr}"),
        }
        refused += 1;
        assert!(stderr.contains("Too many open files"), "{limit}: {stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(!last.starts_with("ppckvm: Too many"), "{limit}: {stderr}");
        if last.contains("signals") || last.contains("the host gives no") {
            assert!(last.contains("ulimit -n"), "{limit}: {stderr}");
        }
    }
    assert!(refused > 0);
}
