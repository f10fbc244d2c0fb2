//! ppckvm against `qemu-system-ppc -M bamboo`, on the same kernel and root file system, in turn, and
//! the same programs on the host itself.
//!
//! ```text
//! cargo bench --bench versus_qemu -- [--rounds N] [--rows KEY,...] [--cpu interp|jit|auto]
//!     [--memory MIB] [--processor-time] [--patience SECONDS]
//! ```
//!
//! Everything is timed on the host, between lines that the guest prints, so no guest clock is
//! trusted. A round runs each machine on a guest that writes one byte and resets (start to first
//! instruction), on Linux with the root file system of the test guests (boot to init), on Linux with
//! the programs for all other workloads, and once more for those on the network. Linux's runs end
//! with `reboot -f`.

mod rows;
mod server;
mod session;
mod table;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use rows::{ROWS, Row, Runs, What};
use session::{Failure, Ram, Session};
use table::{Samples, Unit};

/// What `/init` of the test guests prints first.
const INIT_LINE: &str = "guest: user space is up";

/// The size of the disk, which its rows read and write as a whole.
const DISK_BYTES: usize = 256 << 20;

/// Compares ppckvm with qemu-system-ppc on the same guest, and with the host itself.
#[derive(Parser)]
struct Options {
    /// How often each machine runs.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Only these rows of the table, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(ROWS.iter().map(|row| row.key)))]
    rows: Vec<String>,
    /// What executes guest instructions in ppckvm.
    #[arg(long, default_value = "auto", value_parser = ["auto", "interp", "jit"])]
    cpu: String,
    /// Guest RAM in MiB.
    #[arg(long, default_value_t = 256)]
    memory: u32,
    /// Counts the processor time of the machine's threads instead of the time on the wall, for
    /// workloads in guests on a busy host.
    #[arg(long)]
    processor_time: bool,
    /// How many seconds one step may take before the machine counts as hung.
    #[arg(long, default_value_t = 300)]
    patience: u64,
    /// `cargo bench` passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let wanted =
            |row: &&Row| self.rows.is_empty() || self.rows.iter().any(|key| key == row.key);
        ROWS.iter().filter(wanted)
    }
}

/// One of the contestants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Machine {
    Ppckvm,
    Qemu,
    /// No machine: the host's own processor and kernel.
    Native,
}

impl Machine {
    const ALL: [Machine; 3] = [Machine::Ppckvm, Machine::Qemu, Machine::Native];

    fn name(self) -> &'static str {
        match self {
            Machine::Ppckvm => "ppckvm",
            Machine::Qemu => "QEMU",
            Machine::Native => "native",
        }
    }

    /// The command that boots a kernel; `None` for the host, which runs already.
    fn boots(
        self,
        options: &Options,
        kernel: &Path,
        initrd: Option<&Path>,
        disk: Option<&Path>,
        has_network: bool,
    ) -> Option<Command> {
        // The options are called the same, up to the second dash.
        let (mut command, dashes) = match self {
            Machine::Ppckvm => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ppckvm"));
                command.args(["run", "--cpu", &options.cpu]);
                command.arg(format!("--memory={}M", options.memory));
                if has_network {
                    command.args(["--net", "user,bus=pci"]);
                }
                (command, "--")
            }
            Machine::Qemu => {
                let mut command = Command::new("qemu-system-ppc");
                command.args(["-M", "bamboo", "-nographic", "-no-reboot"]);
                command.args(["-nic", "none"]);
                if has_network {
                    // Debian's package has no boot ROM for it.
                    let nic = "virtio-net-pci,netdev=net,romfile=";
                    command.args(["-netdev", "user,id=net", "-device", nic]);
                }
                command.args(["-monitor", "none", "-m", &options.memory.to_string()]);
                (command, "-")
            }
            Machine::Native => return None,
        };
        // Each machine's own first choice; both go through the host's page cache.
        match (self, disk) {
            (Machine::Ppckvm, Some(disk)) => {
                let disk = disk.display();
                command.arg(format!("--disk=path={disk},format=raw"));
            }
            (_, Some(disk)) => {
                let disk = disk.display();
                let drive = format!("if=none,id=disk,format=raw,cache=writeback,file={disk}");
                command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
            }
            (_, None) => {}
        }
        command.arg(format!("{dashes}kernel")).arg(kernel);
        command.args([&format!("{dashes}append"), "console=ttyS0"]);
        if let Some(initrd) = initrd {
            command.arg(format!("{dashes}initrd")).arg(initrd);
        }
        Some(command)
    }
}

/// The files that `prepare.sh` made, and a folder for the host's workloads.
struct Files {
    kernel: PathBuf,
    rootfs: PathBuf,
    /// The root file system with the programs.
    initrd: PathBuf,
    first: PathBuf,
    host_programs: PathBuf,
    guest_busybox: PathBuf,
    scratch: PathBuf,
}

impl Files {
    fn prepare() -> Result<Files, Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/prepare.sh");
        let output = Command::new("bash")
            .arg(&script)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Failure(format!("running {}: {error}", script.display())))?;
        if !output.status.success() {
            return Err(Failure(format!("{}: {}", script.display(), output.status)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let file = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(PathBuf::from)
                .ok_or_else(|| Failure(format!("{} printed no {name}=", script.display())))
        };
        let scratch = std::env::temp_dir().join(format!("versus_qemu.{}", std::process::id()));
        std::fs::create_dir(&scratch)
            .map_err(|error| Failure(format!("creating {}: {error}", scratch.display())))?;
        Ok(Files {
            kernel: file("KERNEL_UIMAGE")?,
            rootfs: file("ROOTFS")?,
            initrd: file("INITRD")?,
            first: file("FIRST_ELF")?,
            host_programs: file("HOST_PROGRAMS")?,
            guest_busybox: file("GUEST_BUSYBOX")?,
            scratch,
        })
    }

    /// The image of a disk, which both machines read and write in turn.
    fn disk(&self) -> Result<PathBuf, Failure> {
        let path = self.scratch.join("disk.img");
        if !path.exists() {
            // Not zeros, which a host may keep without room.
            let bytes: Vec<u8> = (0..DISK_BYTES).map(|at| (at / 512) as u8 | 1).collect();
            std::fs::write(&path, bytes)
                .map_err(|error| Failure(format!("writing {}: {error}", path.display())))?;
        }
        Ok(path)
    }

    /// A shell on the host that finds what the guest's shell finds.
    fn shell(&self) -> Command {
        let mut paths = vec![self.host_programs.clone()];
        paths.extend(
            std::env::var_os("PATH")
                .iter()
                .flat_map(std::env::split_paths),
        );
        let path = std::env::join_paths(paths).expect("paths from PATH and from a shell line");
        let mut shell = Command::new("sh");
        shell.current_dir(&self.scratch).env("PATH", path);
        shell.env("BUSYBOX", &self.guest_busybox);
        shell.env("TRUE", self.host_programs.join("true"));
        shell
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What stays behind in a temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

/// One run of the whole command.
struct Run {
    options: Options,
    files: Files,
    samples: Samples,
    /// Where the server for streams listens.
    port: u16,
    /// What each workload printed first, and where.
    printed: HashMap<&'static str, (Machine, String)>,
}

impl Run {
    fn session(&self, command: Command) -> Result<Session, Failure> {
        Session::start(command, Duration::from_secs(self.options.patience))
    }

    fn first(&mut self, machine: Machine, row: &Row) -> Result<(), Failure> {
        let Some(command) = machine.boots(&self.options, &self.files.first, None, None, false)
        else {
            return Ok(());
        };
        let mut session = self.session(command)?;
        let byte = session.wait_for("!")?;
        let time = byte.time - session.started;
        self.samples.time(machine, row.title, time);
        session.finish()
    }

    /// Boots Linux, or starts a shell on the host, and measures `rows` there.
    fn linux(&mut self, machine: Machine, rows: &[&'static Row]) -> Result<(), Failure> {
        let files = &self.files;
        let has_disk = rows.iter().any(|row| matches!(row.what, What::Disk { .. }));
        let disk = has_disk.then(|| files.disk()).transpose()?;
        let boots = rows.iter().any(|row| matches!(row.what, What::Boot));
        let initrd = Some(if boots { &files.rootfs } else { &files.initrd }.as_path());
        let has_network = rows.iter().any(|row| matches!(row.what, What::Net { .. }));
        let disk = disk.as_deref();
        let guest = machine.boots(&self.options, &files.kernel, initrd, disk, has_network);
        let mut session = match guest {
            Some(command) => {
                let mut session = self.session(command)?;
                let init = session.wait_for(INIT_LINE)?;
                for row in rows.iter().filter(|row| matches!(row.what, What::Boot)) {
                    let time = match self.options.processor_time {
                        true => init.computed,
                        false => init.time - session.started,
                    };
                    self.samples.time(machine, row.title, time);
                }
                session.wait_for("~ # ")?;
                session.send("BUSYBOX=/bin/busybox TRUE=/bin/true")?;
                session
            }
            None => self.session(files.shell())?,
        };
        if has_network {
            let up = "ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0";
            let (up, host) = match machine {
                Machine::Native => ("true", "127.0.0.1"),
                Machine::Ppckvm | Machine::Qemu => (up, "10.0.2.2"),
            };
            let port = self.port;
            session.send(&format!(
                "SERVER='{host} {port}'; {up}; echo up-$?-$((40+2))"
            ))?;
            session.wait_for("up-0-42")?;
        }
        for row in rows {
            match row.what {
                What::Work { prepare, command } => {
                    self.work(machine, row, &mut session, prepare, command)?;
                }
                What::Disk { .. } if machine == Machine::Native => {}
                What::Disk { command } => {
                    self.work(machine, row, &mut session, "true", command)?;
                }
                What::Net { command } => {
                    self.work(machine, row, &mut session, "true", command)?;
                }
                What::Memory => self.memory(machine, row, &session)?,
                What::First | What::Boot => {}
            }
        }
        session.send(match machine {
            Machine::Native => "exit",
            Machine::Ppckvm | Machine::Qemu => "reboot -f",
        })?;
        session.finish()
    }

    fn work(
        &mut self,
        machine: Machine,
        row: &Row,
        session: &mut Session,
        prepare: &str,
        command: &str,
    ) -> Result<(), Failure> {
        // The shell computes the marks, so that its echo of these lines does not hold them.
        session.send(&format!("{prepare}; echo ready-$?-$((40+2))"))?;
        session.wait_for("ready-0-42")?;
        session.send(&format!(
            "echo start-$((40+2)); {command}; echo status-$?-end-$((40+2))"
        ))?;
        let start = session.wait_for("start-42")?;
        let end = session.wait_for("status-0-end-42").map_err(|failure| {
            Failure(format!("`{command}` did not end with status 0: {failure}"))
        })?;
        self.samples.time(machine, row.title, end.time - start.time);
        let printed = end.before.replace('\r', "");
        let first = self
            .printed
            .entry(row.key)
            .or_insert((machine, printed.clone()));
        if first.1 != printed {
            return Err(Failure(format!(
                "`{command}` printed `{}`, but on {} `{}`",
                printed.trim(),
                first.0.name(),
                first.1.trim()
            )));
        }
        Ok(())
    }

    fn memory(&mut self, machine: Machine, row: &Row, session: &Session) -> Result<(), Failure> {
        let ram = match machine {
            // As `src/machine/assemble.rs` calls it.
            Machine::Ppckvm => Ram::Named("/memfd:guest-ram"),
            Machine::Qemu => Ram::Anonymous(self.options.memory),
            Machine::Native => return Ok(()),
        };
        let memory = session.memory(ram)?;
        let mut add = |title, value| self.samples.add(machine, title, Unit::Mebibytes, value);
        add(row.title, memory.peak);
        add("  guest RAM touched", memory.guest_ram);
        add("  the rest", memory.peak - memory.guest_ram);
        Ok(())
    }

    fn rounds(&mut self) -> Result<(), Failure> {
        let rows: Vec<&Row> = self.options.rows().collect();
        let of = |run: Runs| -> Vec<&Row> {
            let rows = rows.iter().copied();
            rows.filter(|row| row.what.runs() == run).collect()
        };
        let first = of(Runs::First);
        let linux = [of(Runs::Boot), of(Runs::Work), of(Runs::Net)];
        for round in 1..=self.options.rounds {
            for machine in Machine::ALL {
                let name = machine.name();
                eprintln!("round {round} of {}: {name}", self.options.rounds);
                let named = |failure| Failure(format!("{name}: {failure}"));
                for row in &first {
                    self.first(machine, row).map_err(named)?;
                }
                for rows in &linux {
                    if !rows.is_empty() {
                        self.linux(machine, rows).map_err(named)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn run(options: Options) -> Result<(), Failure> {
    let mut run = Run {
        options,
        files: Files::prepare()?,
        samples: Samples::default(),
        port: server::start().map_err(|error| Failure(format!("listening: {error}")))?,
        printed: HashMap::new(),
    };
    run.rounds()?;
    run.samples.print();
    Ok(())
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
