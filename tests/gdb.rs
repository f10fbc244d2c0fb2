//! gdb's server: Debian's gdb-multiarch drives Linux, and clients that speak nonsense are borne.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::command::{Ppckvm, text};
use support::guest;

/// A machine that waits for gdb at the socket `gdb` in its folder.
struct Debuggee {
    ppckvm: Ppckvm,
    child: Child,
}

impl Debuggee {
    /// Linux, which powers the machine off when it has booted.
    fn linux(cpu: &str) -> Self {
        let (kernel, initrd) = (guest("KERNEL_UIMAGE"), guest("ROOTFS"));
        Debuggee::start(&[
            "--kernel",
            kernel.to_str().unwrap(),
            "--initrd",
            initrd.to_str().unwrap(),
            "--append",
            "console=ttyS0",
            "--cpu",
            cpu,
        ])
    }

    fn start(options: &[&str]) -> Self {
        let ppckvm = Ppckvm::new();
        let server = ["run", "--gdb", "unix:gdb", "--wait-gdb"];
        let mut child = ppckvm
            .command(&[&server[..], options].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The line that names the socket comes when it is there.
        let mut line = String::new();
        let stderr = child.stderr.as_mut().unwrap();
        while !line.ends_with('\n') {
            let mut byte = [0];
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{line}");
            line.push(byte[0].into());
        }
        assert_eq!(
            line,
            "ppckvm: gdb-multiarch vmlinux -ex 'target remote gdb'\n"
        );
        Debuggee { ppckvm, child }
    }

    /// What gdb says to these commands, after it has connected.
    fn gdb(&self, commands: &[&str]) -> String {
        let socket = self.ppckvm.path("gdb");
        let mut gdb = Command::new("gdb-multiarch");
        gdb.args(["-nx", "-batch", "-ex", "set pagination off", "-ex"])
            .arg(format!("target remote {}", socket.display()));
        for command in commands {
            gdb.args(["-ex", command]);
        }
        let output = gdb.arg(guest("KERNEL_VMLINUX")).output().unwrap();
        text(&output.stdout) + &text(&output.stderr)
    }

    /// Waits for the guest's shell, has it power the machine off, and gives the verdict.
    fn power_off(mut self) -> String {
        let mut console = BufReader::new(self.child.stdout.take().unwrap());
        let mut said = Vec::new();
        while !said.ends_with(b"~ # ") {
            let mut byte = [0];
            assert_eq!(console.read(&mut byte).unwrap(), 1, "{}", text(&said));
            said.push(byte[0]);
        }
        let mut keys = self.child.stdin.take().unwrap();
        keys.write_all(b"poweroff -f\n").unwrap();
        self.verdict()
    }

    fn verdict(mut self) -> String {
        let stderr = BufReader::new(self.child.stderr.take().unwrap());
        let last = stderr.lines().map(Result::unwrap).last();
        self.child.wait().unwrap();
        last.unwrap_or_default()
    }
}

#[test]
fn gdb_drives_a_boot_on_both_engines() {
    for cpu in ["jit", "interp"] {
        let debuggee = Debuggee::linux(cpu);
        let said = debuggee.gdb(&[
            // Before the kernel has set the MMU up.
            "info registers pc msr",
            "hbreak start_kernel",
            "continue",
            "backtrace",
            "print/x $ivpr",
            "print/x $ivor13",
            "print/x $uic0_sr",
            "print/x $xer + 0",
            "x/s (char*)&linux_banner",
            "monitor translate 0xc0000000",
            "monitor tlb find 0xd0000000",
            "delete",
            "tbreak rest_init",
            "continue",
            "backtrace 3",
            "watch *(unsigned int *)&system_state",
            "continue",
            "delete",
            "stepi",
            "nexti",
            "set var $r31 = 0x12345678",
            "print/x $r31",
            "monitor dmesg",
            "monitor uic",
            "monitor exits",
            "monitor nosuch",
            "detach",
        ]);
        for part in [
            "msr            0x0",
            "Breakpoint 1, 0xc",
            "in start_kernel ()\n",
            "$1 = 0xc0000000\n",
            "$3 = 0x",
            "<linux_banner>:\t\"Linux version 6.1",
            "0xc0000000 is 0x000000000 rwx, by entry 63",
            "0xd0000000 is not mapped",
            " in rest_init ()",
            "#2  0xc",
            "Old value = 0\nNew value = 1\n",
            "$5 = 0x12345678",
            "Kernel command line: console=ttyS0",
            "unknown command: 'nosuch'",
            "[Inferior 1 (process 1) detached]",
        ] {
            assert!(said.contains(part), "{cpu}: no {part:?} in\n{said}");
        }
        assert_eq!(debuggee.power_off(), "ppckvm: the guest powered off");
    }
}

#[test]
fn a_debugger_can_leave_and_another_can_come() {
    let debuggee = Debuggee::linux("auto");
    let first = debuggee.gdb(&["hbreak start_kernel", "continue", "detach"]);
    assert!(first.contains("Breakpoint 1, "), "{first}");
    // Breakpoints of the first are gone, and the guest went on; this one stops it.
    let second = debuggee.gdb(&["print $pc != 0", "monitor info status", "kill"]);
    assert!(second.contains("$1 = 1"), "{second}");
    assert!(second.contains("VM status: paused"), "{second}");
    assert_eq!(debuggee.verdict(), "ppckvm: the run was stopped");
}

#[test]
fn a_module_of_the_kernels_tables_is_read_where_the_tlb_has_no_entry() {
    let debuggee = Debuggee::linux("auto");
    // In the middle of a boot most of the memory that vmalloc maps is in no entry of the TLB.
    let said = debuggee.gdb(&[
        "hbreak run_init_process",
        "continue",
        "x/2xw *(unsigned int *)((char *)&vmap_area_list)",
        "monitor tlb",
        "detach",
    ]);
    assert!(said.contains("Breakpoint 1, "), "{said}");
    assert!(!said.contains("Cannot access memory"), "{said}");
    assert_eq!(debuggee.power_off(), "ppckvm: the guest powered off");
}

/// A packet of the remote protocol.
fn packet(body: &str) -> Vec<u8> {
    let sum = body.bytes().fold(0u8, u8::wrapping_add);
    format!("${body}#{sum:02x}").into_bytes()
}

#[test]
fn nonsense_ends_neither_the_guest_nor_the_server() {
    let program = support::asm::echo().elf(0, 0);
    let folder = Ppckvm::new();
    let kernel = folder.file("guest", program);
    let debuggee = Debuggee::start(&["--kernel", kernel.to_str().unwrap()]);
    let connect = || UnixStream::connect(debuggee.ppckvm.path("gdb")).unwrap();
    let mut state = 7u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for round in 0..40 {
        let mut client = connect();
        let mut bytes: Vec<u8> = match round % 4 {
            0 => (0..2000).map(|_| byte()).collect(),
            1 => packet(&format!("m{:x},ffffffff", byte())),
            2 => packet("G00"),
            _ => packet(&"Z0,".repeat(3000)),
        };
        bytes.extend(packet("vMustReplyEmpty"));
        // Some of it makes the server hang up.
        let _ = client.write_all(&bytes);
        client
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let _ = client.read(&mut [0; 256]);
    }
    // One who is sane is served, and reads what the guest has.
    let mut client = connect();
    client.write_all(&packet("m0,4")).unwrap();
    let mut answer = Vec::new();
    while !answer.contains(&b'#') {
        let mut bytes = [0; 64];
        let count = client.read(&mut bytes).unwrap();
        answer.extend_from_slice(&bytes[..count]);
    }
    assert!(text(&answer).starts_with("+$"), "{}", text(&answer));
    client.write_all(&packet("k")).unwrap();
    assert_eq!(debuggee.verdict(), "ppckvm: the run was stopped");
}

#[test]
fn a_place_that_is_taken_is_one_line_before_the_guest_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("tcp:{}", taken.local_addr().unwrap().port());
    let ppckvm = Ppckvm::new();
    let output = ppckvm.guest(support::asm::echo(), &["--gdb", &port]);
    let said = text(&output.stderr);
    assert_eq!(
        (output.status.code(), said.lines().count()),
        (Some(1), 1),
        "{said}"
    );
    assert!(
        said.contains("Address already in use") && said.contains("choose another place"),
        "{said}"
    );
    let wrong = ppckvm.guest(support::asm::echo(), &["--gdb", "1234"]);
    assert!(
        text(&wrong.stderr).contains("write tcp:PORT"),
        "{}",
        text(&wrong.stderr)
    );
}
