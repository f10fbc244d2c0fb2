//! The command inside its sandbox: every thread of it, and all of it for a user without rights.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::thread::CapabilitySet;
use support::asm::Asm;
use support::command::{Ppckvm, text};
use support::guest;

/// No wait may take longer.
const BOUND: Duration = Duration::from_secs(60);

/// A user whom no file belongs to.
const NOBODY: u32 = 65534;

/// The options for a machine with every device that has a thread or a socket.
const EVERYTHING: &[&str] = &[
    "--disk",
    "path=disk",
    "--net",
    "user",
    "--share",
    "path=shared,tag=home",
    "--vsock",
    "cid=42,uds=vsock",
    "--console",
    "unix=console",
    "--console",
    "pty",
    "--balloon",
];

fn with_files() -> Ppckvm {
    let ppckvm = Ppckvm::new();
    let folder = ppckvm.path("shared");
    fs::create_dir(&folder).unwrap();
    let disk = ppckvm.file("disk", vec![0; 8 << 20]);
    for (path, mode) in [(ppckvm.path("."), 0o777), (folder, 0o777), (disk, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    ppckvm
}

/// The command, which does not outlive the test.
struct Running(Option<Child>);

impl Running {
    fn start(command: &mut Command) -> Self {
        Running(Some(command.spawn().unwrap()))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Waits for the end, and returns what was printed.
    fn end(mut self) -> Output {
        let number = self.child().id();
        let (tell, told) = mpsc::channel();
        let child = self.0.take().unwrap();
        std::thread::spawn(move || tell.send(child.wait_with_output().unwrap()));
        told.recv_timeout(BOUND).unwrap_or_else(|error| {
            let child = Pid::from_raw(number.cast_signed()).unwrap();
            kill_process(child, Signal::KILL).unwrap();
            panic!("still running after {BOUND:?}: {error}");
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The threads of a process, by number: name and status.
fn threads(child: &Child) -> BTreeMap<u32, (String, String)> {
    let folder = format!("/proc/{}/task", child.id());
    let all = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let number = path.file_name().unwrap().to_str().unwrap().parse();
        let name = fs::read_to_string(path.join("comm")).unwrap();
        let status = fs::read_to_string(path.join("status")).unwrap();
        (number.unwrap(), (name.trim().to_owned(), status))
    });
    all.collect()
}

/// A line of a thread's status, as the kernel writes it.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
        .trim()
}

/// Waits for what holds soon, or for the end of the process, which fails the test.
fn wait_until(child: &mut Child, what: &str, holds: impl Fn(&Child) -> bool) {
    let start = Instant::now();
    while !holds(child) {
        assert_eq!(child.try_wait().unwrap(), None, "ended without: {what}");
        assert!(start.elapsed() < BOUND, "not in {BOUND:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_thread_of_the_command_is_confined() {
    let ppckvm = with_files();
    ppckvm.file("guest", Asm::new().busy().elf(0, 0));
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let person = openpt(flags).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let terminal = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(terminal)
        .unwrap();
    let mut command = ppckvm.command(&[&["run", "--kernel", "guest"], EVERYTHING].concat());
    command
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal);
    let mut running = Running::start(command.stderr(Stdio::piped()));
    let child = running.child();
    let names = [
        "ppckvm", "log", "events", "signals", "terminal", "vcpu", "disk0", "net0", "share",
    ];
    wait_until(child, "all threads are confined", |child| {
        let threads = threads(child);
        let is = |name: &str| threads.values().any(|(known, _)| known == name);
        let confined = |(_, status): &(String, String)| field(status, "Seccomp:") == "2";
        names.into_iter().all(is) && threads.values().all(confined)
    });
    for (name, status) in threads(child).values() {
        assert!(names.contains(&name.as_str()), "an unknown thread: {name}");
        assert_eq!(field(status, "NoNewPrivs:"), "1", "{name}");
        let bits = u64::from_str_radix(field(status, "CapPrm:"), 16).unwrap();
        let kept = match name.as_str() {
            "share" => {
                CapabilitySet::CHOWN
                    | CapabilitySet::DAC_OVERRIDE
                    | CapabilitySet::DAC_READ_SEARCH
                    | CapabilitySet::FOWNER
                    | CapabilitySet::FSETID
            }
            // They remove sockets.
            "events" | "vcpu" => CapabilitySet::DAC_OVERRIDE,
            _ => CapabilitySet::empty(),
        };
        let more = CapabilitySet::from_bits_retain(bits).difference(kept);
        assert!(more.is_empty(), "{name}: {more:?}");
    }
    kill_process(Pid::from_child(child), Signal::TERM).unwrap();
    let output = running.end();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert_eq!(stderr.lines().last(), Some("ppckvm: ended by signal 15"));
    assert!(!ppckvm.path("console").exists() && !ppckvm.path("vsock").exists());
}

/// Answers one request of the guest's over TCP, and echoes one stream of its socket device.
fn serve(ppckvm: &Ppckvm) -> u16 {
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut client, _) = web.accept().unwrap();
        let _ = client.read(&mut [0; 1000]).unwrap();
        let page = b"HTTP/1.0 200 OK\r\n\r\nfrom the host\n";
        client.write_all(page).unwrap();
    });
    let socket = ppckvm.path("vsock_7");
    let echo = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).unwrap();
    std::thread::spawn(move || {
        let (mut client, _) = echo.accept().unwrap();
        let mut back = client.try_clone().unwrap();
        let _ = io::copy(&mut client, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    });
    port
}

#[test]
fn a_user_without_rights_has_all_devices_and_files_at_the_end() {
    let ppckvm = with_files();
    // What belongs to who runs the tests need not be readable for others.
    for (name, from) in [
        ("program", env!("CARGO_BIN_EXE_ppckvm").into()),
        ("kernel", guest("KERNEL_UIMAGE")),
        ("initrd", guest("ROOTFS")),
    ] {
        fs::copy(from, ppckvm.path(name)).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(ppckvm.path(name), mode).unwrap();
    }
    let port = serve(&ppckvm);
    let mut command = Command::new(ppckvm.path("program"));
    command
        .args([
            "run",
            "--sandbox",
            "on",
            "--kernel",
            "kernel",
            "--initrd",
            "initrd",
        ])
        .args(["--append", "console=ttyS0 loglevel=4", "--timeout", "2m"])
        .args(["--report", "report", "--stats"])
        .args(EVERYTHING)
        .current_dir(ppckvm.path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut running = Running::start(&mut command);
    let child = running.child();
    let script = format!(
        "mount -t 9p -o trans=virtio,version=9p2000.L home /mnt && echo the share >/mnt/f && \
         mkdir /mnt/d && mv /mnt/f /mnt/d/g && chmod 640 /mnt/d/g && cat /mnt/d/g\n\
         echo the disk | dd of=/dev/vda conv=fsync\n\
         udhcpc -i eth0 -n -q && wget -q -O - http://10.0.2.2:{port}/\n\
         echo the socket | vsock cat 2 7\n\
         read answer && echo answer: $answer\n"
    );
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(script.as_bytes()).unwrap();
    // The guest waits for its answer, so it runs.
    wait_until(child, "all threads are confined", |child| {
        let confined = |(_, status): &(String, String)| field(status, "Seccomp:") == "2";
        threads(child).values().all(confined)
    });
    // Nobody but root looks into a process that is not dumpable.
    let files = format!("/proc/{}/fd", child.id());
    assert_eq!(fs::metadata(files).unwrap().uid(), 0);
    stdin.write_all(b"yes\npoweroff -f\n").unwrap();
    let output = running.end();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stderr}{stdout}");
    let said: Vec<&str> = stdout.lines().map(str::trim_end).collect();
    for line in ["the share", "from the host", "the socket", "answer: yes"] {
        assert!(said.contains(&line), "no {line:?}: {stderr}{stdout}");
    }
    assert_eq!(fs::read(ppckvm.path("shared/d/g")).unwrap(), b"the share\n");
    let disk = fs::read(ppckvm.path("disk")).unwrap();
    assert!(disk.starts_with(b"the disk\n"));
    let report = fs::read_to_string(ppckvm.path("report")).unwrap();
    assert!(report.ends_with("powered off\n"), "{report}");
    assert!(stderr.contains("resident memory: "), "{stderr}");
    assert!(!ppckvm.path("console").exists() && !ppckvm.path("vsock").exists());
}
