//! What the threads of a machine can no longer do, and that they can do all of their work.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use ppckvm::{
    Confinement, Device, Disk, Machine, Net, Network, OnReset, Role, Sandbox, Serial, Share,
    UserNet, Vsock,
};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit};
use support::asm::Asm;
use support::command::{Ppckvm, text};
use support::linux::{Linux, machine};
use tempfile::TempDir;
use vm_memory::mmap::MmapRegionBuilder;

/// The signal of a process that a filter of system calls ended.
const SIGSYS: i32 = 31;

/// What the child process of a test does: a role and an attempt.
const CASE: &str = "PPCKVM_SANDBOX_CASE";

/// What the command says when a kernel has all of it.
const ALL: &str = "sandbox: system calls, files, capabilities";

/// The exit statuses of such a child.
const WORKED: i32 = 0;
const FORBIDDEN: i32 = 10;
const UNCONFINED: i32 = 11;
const OTHER: i32 = 12;

/// What a confined thread tries its attempt on.
struct Target {
    /// A folder that has the file `victim`.
    dir: PathBuf,
    /// The process that runs the test.
    parent: Pid,
}

impl Target {
    fn victim(&self) -> PathBuf {
        self.dir.join("victim")
    }
}

/// What a confined thread tries.
type Attempt = (&'static str, fn(&Target) -> io::Result<()>);

const ATTEMPTS: &[Attempt] = &[
    ("memory and time", |_| {
        let bytes = vec![1_u8; 64 << 20];
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert_eq!(bytes[bytes.len() / 2], 1);
        Ok(())
    }),
    ("an internet socket", |_| {
        UdpSocket::bind("127.0.0.1:0").map(drop)
    }),
    ("a unix socket", |_| UnixDatagram::unbound().map(drop)),
    ("a tcp port", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("a new file", |on| {
        File::create(on.dir.join("new")).map(drop)
    }),
    ("a file for writing", |on| {
        File::options().write(true).open(on.victim()).map(drop)
    }),
    ("a file cut short", |on| {
        let flags = OFlags::RDONLY | OFlags::TRUNC;
        Ok(rustix::fs::open(on.victim(), flags, Mode::empty()).map(drop)?)
    }),
    ("somebody's file", |on| File::open(on.victim()).map(drop)),
    ("somebody's folder", |on| fs::read_dir(&on.dir).map(drop)),
    ("removing", |on| fs::remove_file(on.victim())),
    ("renaming", |on| {
        fs::rename(on.victim(), on.dir.join("other"))
    }),
    ("a link", |on| {
        fs::hard_link(on.victim(), on.dir.join("other"))
    }),
    ("permissions", |on| {
        fs::set_permissions(on.victim(), fs::Permissions::from_mode(0o777))
    }),
    ("another folder", |on| std::env::set_current_dir(&on.dir)),
    ("a signal", |on| {
        Ok(rustix::process::test_kill_process(on.parent)?)
    }),
    ("a hold on a process", |on| {
        let flags = PidfdFlags::empty();
        Ok(rustix::process::pidfd_open(on.parent, flags).map(drop)?)
    }),
    ("another process", |_| {
        Command::new("true").spawn().map(drop)
    }),
    ("another thread", |_| {
        std::thread::Builder::new().spawn(|| ()).map(drop)
    }),
    ("higher limits", |_| {
        let limit = Rlimit {
            current: Some(10),
            maximum: Some(10),
        };
        Ok(rustix::process::setrlimit(Resource::Nofile, limit)?)
    }),
    ("another user", |_| {
        Ok(rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(
            65534,
        ))?)
    }),
    ("a program in place of this one", |_| {
        Err(Command::new("true").exec())
    }),
    ("new code", |_| {
        let exec = libc::PROT_READ | libc::PROT_EXEC;
        let region = MmapRegionBuilder::<()>::new(4096).with_mmap_prot(exec);
        let region = region.with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        region.build().map(drop).map_err(io::Error::other)
    }),
    ("another root", |on| {
        Ok(rustix::process::chroot(on.dir.as_path())?)
    }),
    ("a device", |on| {
        Ok(rustix::fs::mknodat(
            CWD,
            on.dir.join("null"),
            FileType::CharacterDevice,
            Mode::RUSR,
            0x103,
        )?)
    }),
];

/// The attempts that are work of a role.
fn work(role: Role) -> &'static [&'static str] {
    match role {
        Role::Net => &["memory and time", "an internet socket"],
        _ => &["memory and time"],
    }
}

/// The attempts after which there is no process.
const DEADLY: [&str; 4] = [
    "a program in place of this one",
    "new code",
    "another root",
    "a device",
];

/// Runs the test `name` in a process of its own, for a role and an attempt.
fn in_a_child(name: &str, role: Role, attempt: &str, dir: &Path) -> std::process::ExitStatus {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(CASE, format!("{role:?}/{attempt}/{}", dir.display()))
        .output()
        .unwrap();
    let code = output.status.code();
    assert!(
        !matches!(code, Some(UNCONFINED | OTHER | 101)),
        "{role:?}, {attempt}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    output.status
}

/// In a child: the role that this thread has, and what to try on what.
fn case() -> Option<(Role, String, Target)> {
    let case = std::env::var(CASE).ok()?;
    let mut parts = case.splitn(3, '/');
    let (role, attempt) = (parts.next().unwrap(), parts.next().unwrap());
    let role = Role::ALL
        .into_iter()
        .find(|known| format!("{known:?}") == role);
    let target = Target {
        dir: parts.next().unwrap().into(),
        parent: rustix::process::getppid().unwrap(),
    };
    Some((role.unwrap(), attempt.to_owned(), target))
}

/// Confines this thread with all that there is.
fn confine(role: Role) {
    let confined = Confinement::new(Sandbox::On).and_then(|all| all.confine(role));
    if let Err(error) = confined {
        println!("{error}");
        std::process::exit(UNCONFINED);
    }
}

#[test]
fn what_a_thread_does_not_need_fails_or_ends_the_process() {
    if let Some((role, name, target)) = case() {
        let attempt = ATTEMPTS.iter().find(|(known, _)| *known == name).unwrap();
        confine(role);
        let result = attempt.1(&target);
        std::process::exit(match result.map_err(|error| error.kind()) {
            Ok(()) => WORKED,
            Err(io::ErrorKind::PermissionDenied) => FORBIDDEN,
            Err(kind) => {
                println!("{kind:?}");
                OTHER
            }
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "contents").unwrap();
    let name = "what_a_thread_does_not_need_fails_or_ends_the_process";
    for role in Role::ALL {
        for (attempt, _) in ATTEMPTS {
            let status = in_a_child(name, role, attempt, dir.path());
            let ended = (status.code(), status.signal());
            let expected = match *attempt {
                deadly if DEADLY.contains(&deadly) => (None, Some(SIGSYS)),
                works if work(role).contains(&works) => (Some(WORKED), None),
                _ => (Some(FORBIDDEN), None),
            };
            assert_eq!(ended, expected, "{role:?}, {attempt}");
        }
        assert_eq!(fs::read(&victim).unwrap(), b"contents");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

/// The attempts are real: what is forbidden inside works outside, as far as this user may.
#[test]
fn without_a_sandbox_nothing_is_given_up() {
    let none = Confinement::new(Sandbox::Off).unwrap();
    for role in Role::ALL {
        none.confine(role).unwrap();
    }
    assert_eq!(none.in_force().to_string(), "sandbox: none");
    for name in [
        "memory and time",
        "an internet socket",
        "a unix socket",
        "a tcp port",
        "a new file",
        "a file for writing",
        "a file cut short",
        "somebody's file",
        "somebody's folder",
        "removing",
        "a signal",
        "a hold on a process",
        "another process",
        "another thread",
        "new code",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let target = Target {
            dir: dir.path().to_owned(),
            parent: rustix::process::getppid().unwrap(),
        };
        fs::write(target.victim(), "contents").unwrap();
        let (_, attempt) = ATTEMPTS.iter().find(|(known, _)| *known == name).unwrap();
        attempt(&target).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// A machine with every device whose thread or files a sandbox touches.
struct Everything {
    dir: TempDir,
    /// Where the guest's web server is for the host.
    port: u16,
}

impl Everything {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("shared")).unwrap();
        File::create(dir.path().join("raw"))
            .and_then(|file| file.set_len(8 << 20))
            .unwrap();
        for image in ["grows", "base"] {
            let path = dir.path().join(image);
            let output = Command::new("qemu-img")
                .args(["create", "-f", "qcow2", path.to_str().unwrap(), "64M"])
                .output()
                .expect("qemu-img (Debian: qemu-utils) runs");
            assert!(output.status.success(), "{output:?}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Everything { dir, port }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn machine(&self) -> Machine {
        let user = UserNet {
            forwards: vec![format!("tcp:127.0.0.1:{}-:80", self.port).parse().unwrap()],
            ..UserNet::default()
        };
        let mut net = Net::new(Network::User(user));
        net.pcap = Some(self.path("pcap"));
        machine()
            .sandbox(Sandbox::On)
            .on_reset(OnReset::Reboot)
            .device(Disk::file(self.path("raw")))
            .device(Disk::file(self.path("grows")))
            .device(Disk::file(self.path("base")).overlay())
            .device(net)
            .device(Share {
                path: self.path("shared"),
                tag: "home".into(),
                readonly: false,
                setid: false,
            })
            .device(Vsock {
                cid: 42,
                uds: self.path("vsock"),
            })
            .device(Device::Console(Serial::Unix(self.path("console"))))
            .device(Device::Console(Serial::Pty))
            .device(Device::Balloon)
    }
}

/// Drives `machine` on a thread that is confined as the one that runs a guest is.
fn inside(machine: Machine, work: impl FnOnce(&mut Linux) + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(4 << 20);
        let thread = thread.spawn_scoped(scope, || {
            let mut linux = Linux::start(machine);
            linux.confinement().confine(Role::Vcpu).unwrap();
            assert_eq!(linux.confinement().in_force().to_string(), ALL);
            linux.wait_for("~ # ");
            work(&mut linux);
        });
        thread.unwrap().join().unwrap();
    });
}

/// The host's programs at the other ends, on threads that nobody confines.
struct Ends {
    /// A web server's port, for one client.
    web: u16,
    /// Has a client ask the guest's web server until it answers.
    ask: Sender<()>,
    answers: Receiver<String>,
    /// Has somebody type a line on the guest's console.
    type_line: Sender<()>,
}

impl Ends {
    fn start(all: &Everything) -> Self {
        let web = TcpListener::bind("127.0.0.1:0").unwrap();
        let web_port = web.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut client, _) = web.accept().unwrap();
            let _ = client.read(&mut [0; 1000]).unwrap();
            let page = b"HTTP/1.0 200 OK\r\n\r\nfrom the host\n";
            client.write_all(page).unwrap();
        });
        let vsock = UnixListener::bind(all.path("vsock_7")).unwrap();
        std::thread::spawn(move || {
            let (mut client, _) = vsock.accept().unwrap();
            let mut back = client.try_clone().unwrap();
            let _ = io::copy(&mut client, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        });
        let ((ask, asked), (answer, answers), port) = (channel(), channel(), all.port);
        std::thread::spawn(move || {
            while asked.recv().is_ok() {
                let mut text = String::new();
                while text.is_empty() {
                    let client = TcpStream::connect(("127.0.0.1", port));
                    let _ = client.and_then(|mut client| client.read_to_string(&mut text));
                }
                let _ = answer.send(text);
            }
        });
        let ((type_line, typed), console) = (channel(), all.path("console"));
        std::thread::spawn(move || {
            while typed.recv().is_ok() {
                let mut console = UnixStream::connect(&console).unwrap();
                console.write_all(b"typed on the console\n").unwrap();
            }
        });
        Ends {
            web: web_port,
            ask,
            answers,
            type_line,
        }
    }
}

#[test]
fn every_device_works_inside() {
    let all = Everything::new();
    let base = fs::read(all.path("base")).unwrap();
    let ends = Ends::start(&all);
    inside(all.machine(), move |linux| {
        // The share, with what its thread does.
        linux.output_of("mount -t 9p -o trans=virtio,version=9p2000.L home /mnt");
        linux.output_of("mkdir /mnt/d && echo text >/mnt/d/f && mv /mnt/d/f /mnt/g");
        linux.output_of("ln /mnt/g /mnt/h && ln -s g /mnt/l && mkfifo /mnt/p");
        linux.output_of("chmod 640 /mnt/g && touch /mnt/g && sync");
        linux.output_of("cat /mnt/l && truncate -s 3 /mnt/h && rm -r /mnt/d");
        linux.output_of("df /mnt && ls -la /mnt");
        // Disks.
        for disk in ["vda", "vdb", "vdc"] {
            let write = format!("dd if=/dev/urandom of=/dev/{disk} bs=1M count=4 conv=fsync");
            linux.output_of(&write);
        }
        // The network, out and in.
        linux.output_of("udhcpc -i eth0 -n -q");
        let page = format!("wget -q -O - http://10.0.2.2:{}/", ends.web);
        assert_eq!(linux.output_of(&page), "from the host\n");
        linux.type_line("echo from the guest | nc -l -p 80");
        ends.ask.send(()).unwrap();
        linux.answer();
        assert_eq!(ends.answers.recv().unwrap(), "from the guest\n");
        // Sockets and consoles.
        assert_eq!(linux.command("echo hello | vsock cat 2 7"), "hello\n");
        linux.type_line("head -n 1 </dev/hvc0");
        ends.type_line.send(()).unwrap();
        assert_eq!(linux.answer(), "typed on the console\n");
        linux.output_of("echo to nobody >/dev/hvc1");
        // The board starts again from what it keeps in memory.
        linux.type_line("reboot -f");
        linux.wait_for("~ # ");
        linux.output_of("dd if=/dev/vdb of=/dev/null bs=1M count=4");
    });
    assert!(!all.path("console").exists() && !all.path("vsock").exists());
    assert_eq!(fs::read(all.path("shared/g")).unwrap(), b"tex");
    assert!(fs::read(all.path("base")).unwrap() == base);
    assert!(fs::metadata(all.path("pcap")).unwrap().len() > 1000);
    assert!(fs::metadata(all.path("grows")).unwrap().len() > 4 << 20);
}

#[test]
fn the_command_says_what_is_in_force_and_what_it_is_told() {
    let ppckvm = Ppckvm::new();
    let guest = || Asm::new().power_off();
    for (sandbox, said) in [
        (&[][..], ALL),
        (&["--sandbox", "auto"], ALL),
        (&["--sandbox", "on"], ALL),
        (&["--sandbox", "off"], "sandbox: none"),
    ] {
        let output = ppckvm.guest(guest(), sandbox);
        let stderr = text(&output.stderr);
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        assert!(lines[0].ends_with(&format!("; {said}")), "{stderr}");
        assert_eq!(output.status.code(), Some(0), "{stderr}");
    }
    let output = ppckvm.run(&["run", "--kernel", "guest", "--sandbox", "yes"]);
    assert!(text(&output.stderr).contains("write auto, on or off"));
    assert_eq!(output.status.code(), Some(2));
}
