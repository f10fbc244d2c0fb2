//! Commands in guests: `ppckvm exec`, and the agent through the library.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ppckvm::testing::agent::{AgentFailure, AgentGuest, CommandStatus, GuestCommand};
use ppckvm::{Disk, Machine, Outcome};
use support::command::{Ppckvm, text};
use support::guest;
use support::linux::machine;

/// A stock kernel of the board, which has no virtio: its agent speaks through UART1.
fn stock() -> Machine {
    Machine::new()
        .kernel(guest("BAMBOO_UIMAGE"))
        .initrd(guest("ROOTFS"))
        .append("console=ttyS0 loglevel=4")
}

fn shell(line: &str) -> GuestCommand {
    GuestCommand::new(["sh", "-c", line])
}

/// So many bytes in which every value comes, and no period of a power of two.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(next).collect()
}

/// `ppckvm exec` of a shell's line on the test kernel.
fn exec(ppckvm: &Ppckvm, options: &[&str], line: &str) -> Output {
    let (kernel, initrd) = (guest("KERNEL_UIMAGE"), guest("ROOTFS"));
    let machine = [
        "exec",
        "--kernel",
        kernel.to_str().unwrap(),
        "--initrd",
        initrd.to_str().unwrap(),
        "--append",
        "console=ttyS0",
    ];
    let command = ["--", "sh", "-c", line];
    ppckvm.run(&[&machine[..], options, &command].concat())
}

#[test]
fn a_commands_status_and_both_outputs_are_exact_on_either_channel() {
    for machine in [machine(), stock()] {
        let mut guest = AgentGuest::boot(machine).unwrap();
        let ran = guest
            .run(shell("printf 'a\\0\\r\\n\\377'; printf 'b\\n' >&2; exit 3"))
            .unwrap();
        assert_eq!(ran.status, CommandStatus::Exited(3));
        assert_eq!(ran.stdout, b"a\0\r\n\xFF");
        assert_eq!(ran.stderr, b"b\n");
        let killed = guest.run(shell("kill -9 $$")).unwrap();
        assert_eq!(killed.status, CommandStatus::Signal(9));
        let none = guest.run(GuestCommand::new(["nosuch"])).unwrap();
        assert_eq!(none.status.code(), 127);
        assert_eq!(none.stderr, b"nosuch: no such command\n");
        let folder = guest.run(GuestCommand::new(["/etc"])).unwrap();
        assert_eq!(folder.status.code(), 126);
        let ran = guest.run(shell("echo $HOME $A; pwd").env("A", "b  c").folder("/proc"));
        assert_eq!(ran.unwrap().stdout, b"/root b c\n/proc\n");
    }
}

#[test]
fn standard_input_comes_back_while_it_is_still_read() {
    for (machine, count) in [(machine(), 8 << 20), (stock(), 200_000)] {
        let mut guest = AgentGuest::boot(machine).unwrap();
        let input = bytes(count);
        let command = GuestCommand::new(["cat"]).input(std::io::Cursor::new(input.clone()));
        assert!(guest.run(command).unwrap().stdout == input);
        // One that reads none of it, and one that reads a part.
        let command = shell("head -c 5").input(std::io::Cursor::new(input.clone()));
        assert!(guest.run(command).unwrap().stdout == input[..5]);
        let command = GuestCommand::new(["true"]).input(std::io::repeat(0));
        assert_eq!(guest.run(command).unwrap().status.code(), 0);
        assert_eq!(guest.run(shell("cat")).unwrap().stdout, b"");
    }
}

#[test]
fn trees_go_in_and_come_out_with_modes_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("deep/file"), bytes(100_000)).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    symlink("../nowhere", tree.join("deep/link")).unwrap();
    let set_mode = |name: &str, mode| {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode("deep/file", 0o640);
    set_mode("deep", 0o750);
    set_mode("empty", 0o755);
    for machine in [machine(), stock()] {
        let mut guest = AgentGuest::boot(machine).unwrap();
        guest.copy_in(&tree, "/new/er/tree").unwrap();
        let listed = guest.run(shell(
            "cd /new/er/tree; stat -c '%a %n' deep deep/file; readlink deep/link",
        ));
        assert_eq!(
            listed.unwrap().stdout,
            b"750 deep\n640 deep/file\n../nowhere\n"
        );
        let back = folder.path().join("back");
        guest.copy_out("/new/er/tree", &back).unwrap();
        let diff = Command::new("diff")
            .args(["-r", "--no-dereference"])
            .args([&tree, &back])
            .output()
            .unwrap();
        assert!(diff.status.success(), "{}", text(&diff.stdout));
        for name in ["deep", "deep/file", "empty"] {
            let mode = |top: &Path| fs::metadata(top.join(name)).unwrap().permissions().mode();
            assert_eq!(mode(&back), mode(&tree), "{name}");
        }
        fs::remove_dir_all(back).unwrap();
        guest.write_file("/written", b"1\0").unwrap();
        assert_eq!(guest.read_file("/written").unwrap(), b"1\0");
        // What a request is refused for does not disturb the next.
        for path in ["/none", "/proc/none/file"] {
            let error = guest.read_file(path).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{path}: in the guest: No such file")),
                "{error}"
            );
            assert!(guest.copy_in(&tree, format!("{path}/\n")).is_err() || path == "/none");
        }
        assert!(
            guest
                .read_file("/etc")
                .unwrap_err()
                .to_string()
                .contains("a folder")
        );
        assert!(guest.write_file("relative", b"").is_err());
        assert_eq!(
            guest
                .run(GuestCommand::new(["true"]))
                .unwrap()
                .status
                .code(),
            0
        );
    }
}

#[test]
fn a_disk_that_root_names_is_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let (image, files) = (
        folder.path().join("root.img"),
        guest("ROOTFS").with_file_name("files"),
    );
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&files, &image])
        .arg("32M")
        .status();
    assert!(made.unwrap().success());
    let machine = |append: &str| {
        Machine::new()
            .kernel(guest("KERNEL_UIMAGE"))
            .append(format!("console=ttyS0 {append}"))
            .disk(Disk::file(&image))
    };
    for append in ["root=/dev/vda rw", "root=/dev/vda rw rootfstype=ext4"] {
        let mut guest = AgentGuest::boot(machine(append)).unwrap();
        let ran = guest
            .run(shell("grep ' / ' /proc/mounts; echo kept >/kept"))
            .unwrap();
        let mounts = text(&ran.stdout);
        assert!(
            mounts.contains(" / ext4 rw"),
            "{mounts}{}",
            text(&ran.stderr)
        );
        guest.sync().unwrap();
    }
    let mut guest = AgentGuest::boot(machine("root=/dev/vda")).unwrap();
    assert_eq!(guest.read_file("/kept").unwrap(), b"kept\n");
    let error = guest.write_file("/new", b"").unwrap_err().to_string();
    assert!(error.contains("Read-only file system"), "{error}");
    // The next machine wants the disk.
    drop(guest);
    let error = AgentGuest::boot(machine("root=/dev/vdz"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no such disk"), "{error}");
}

#[test]
fn a_guest_that_ends_before_the_command_says_how() {
    let mut guest = AgentGuest::boot(machine()).unwrap();
    let failure = guest.run(shell("echo c >/proc/sysrq-trigger")).unwrap_err();
    let AgentFailure::Ended { outcome, .. } = failure else {
        panic!("{failure}");
    };
    assert!(matches!(outcome, Outcome::KernelPanic { .. }), "{outcome}");
    let ppckvm = Ppckvm::new();
    for (line, status, kind) in [
        ("echo c >/proc/sysrq-trigger", 34, "panic"),
        ("poweroff -f", 1, "powered-off"),
        ("reboot -f", 1, "reset"),
    ] {
        let output = exec(&ppckvm, &["--result", "result.json"], line);
        assert_eq!(output.status.code(), Some(status), "{line}");
        let errors = text(&output.stderr);
        let last = errors.lines().last().unwrap();
        assert!(
            last.starts_with("ppckvm: before the command ended: "),
            "{errors}"
        );
        let result = fs::read(ppckvm.path("result.json")).unwrap();
        let result: serde_json::Value = serde_json::from_slice(&result).unwrap();
        assert_eq!(
            (&result["kind"], &result["status"]),
            (&kind.into(), &status.into())
        );
    }
}

#[test]
fn the_commands_end_is_the_end_and_says_nothing_more() {
    let ppckvm = Ppckvm::new();
    ppckvm.file("input", "from the host\n");
    let options = [
        "--env",
        "A=1",
        "--in",
        "input:/there/",
        "--out",
        "/made:made",
        "--stdin",
        "input",
        "--result",
        "result.json",
        "--console-log",
        "console",
    ];
    let line = "cat; cat /there/input >&2; echo $A >/made; echo kernel >/dev/console; exit 34";
    let output = exec(&ppckvm, &options, line);
    assert_eq!(text(&output.stderr), "from the host\n");
    assert_eq!(text(&output.stdout), "from the host\n");
    assert_eq!(output.status.code(), Some(34));
    assert_eq!(fs::read(ppckvm.path("made")).unwrap(), b"1\n");
    assert_eq!(
        fs::read_to_string(ppckvm.path("result.json")).unwrap(),
        "{\"kind\":\"exit\",\"status\":34}\n"
    );
    let console = fs::read_to_string(ppckvm.path("console")).unwrap();
    assert!(
        console.contains("Linux version") && console.ends_with("kernel\r\n"),
        "{console}"
    );
    // What stays behind keeps neither the output nor the end.
    let output = exec(&ppckvm, &[], "sleep 1000 & echo done");
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"done\n"[..])
    );
}

#[test]
fn run_with_a_command_is_exec() {
    let (kernel, initrd) = (guest("KERNEL_UIMAGE"), guest("ROOTFS"));
    let ppckvm = Ppckvm::new();
    let output = ppckvm.run(&[
        "run",
        kernel.to_str().unwrap(),
        "--initrd",
        initrd.to_str().unwrap(),
        "--",
        "uname",
        "-m",
    ]);
    assert_eq!(text(&output.stdout), "ppc\n");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    let output = ppckvm.run(&["run", "kernel", "--in", "file"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn the_guests_own_init_runs_first_if_asked_to() {
    let ppckvm = Ppckvm::new();
    let options = ["--init", "after-boot", "--boot-text", "user space is up"];
    let output = exec(
        &ppckvm,
        &options,
        "hostname; cat /proc/1/comm; cat /root/none",
    );
    assert_eq!(
        text(&output.stdout),
        "bamboo\ninit\n",
        "{}",
        text(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(1));
    let options = ["--init", "after-boot", "--timeout", "3s"];
    let output = exec(&ppckvm, &options, "true");
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
}

#[test]
fn a_guest_that_floods_its_console_still_answers() {
    let mut guest = AgentGuest::boot(machine()).unwrap();
    let ran = guest.run(shell(
        "yes 0123456789 | head -c 3000000 >/dev/console; echo done",
    ));
    assert_eq!(ran.unwrap().stdout, b"done\n");
}

#[test]
fn what_speaks_in_the_agents_place_is_told() {
    let mut guest = AgentGuest::boot(stock()).unwrap();
    // Root in the guest may write to any of its ports, but does not know the token.
    let failure = guest.run(shell(
        "echo 'ppckvm-agent 1 and more' >/.ppckvm/serial; sleep 1000",
    ));
    let error = failure.unwrap_err().to_string();
    assert!(error.contains("broken message"), "{error}");
    let mut guest = AgentGuest::boot(machine()).unwrap();
    let ran = guest
        .run(shell(
            "test -e /.ppckvm/job; echo $?; for p in /dev/vport*p*; do echo x >$p; done",
        ))
        .unwrap();
    assert_eq!(ran.stdout, b"1\n");
    assert!(!ran.stderr.is_empty(), "the port is the agent's alone");
}

#[test]
fn what_cannot_be_is_refused_before_the_guest_starts() {
    let ppckvm = Ppckvm::new();
    for (options, said) in [
        (
            &["--serial", "stdio"][..],
            "standard input and output are the command's",
        ),
        (&["--in", "nowhere:/x"], "--in nowhere"),
        (&["--out", "relative"], "--out relative"),
        (&["--stdin", "nowhere"], "--stdin nowhere"),
        (&["--result", "no/where"], "--result no/where"),
    ] {
        let output = exec(&ppckvm, options, "true");
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        assert!(errors.contains(said), "{options:?}: {errors}");
        assert!(!errors.contains("Linux"), "{errors}");
    }
}

#[test]
fn the_agent_is_what_its_source_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/agent/guest");
    let built = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new(folder.join("build.sh"))
        .arg(built.path())
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let shipped = fs::read(folder.join("agent.elf")).unwrap();
    assert!(
        fs::read(built.path()).unwrap() == shipped,
        "agent.elf is not what its source makes; run src/testing/agent/guest/build.sh"
    );
    assert!(shipped.len() < 32 << 10, "{} bytes", shipped.len());
}
