//! ppckvm against `qemu-system-ppc -M bamboo`, on the same kernel and root file system, in turn.
//!
//! ```text
//! cargo bench --bench versus_qemu -- [--rounds N] [--cpu interp|jit|auto] [--memory SIZE] [--quick]
//! ```
//!
//! Everything is timed on the host, between lines that the guest prints, so no guest clock is
//! trusted. A round runs each machine twice: once on a guest that writes one byte and resets (start
//! to first instruction), once through Linux, the workloads and `reboot -f`.

mod session;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use session::{Failure, Memory, Session};

/// What `/init` of the test guests prints first.
const INIT_LINE: &str = "guest: user space is up";

/// One command that is timed in the guest.
struct Workload {
    name: &'static str,
    /// Makes the input; not timed.
    prepare: &'static str,
    command: &'static str,
}

const WORKLOADS: [Workload; 3] = [
    Workload {
        name: "sha256sum of 32 MB",
        prepare: "dd if=/dev/zero of=/tmp/zeros bs=1M count=32 2>/dev/null",
        command: "sha256sum /tmp/zeros",
    },
    Workload {
        name: "gzip of 6.3 MB",
        // Machine code, several times over; the repeats are further apart than gzip looks back.
        prepare: "rm /tmp/zeros; for i in 1 2 3 4 5 6 7 8; do cat /bin/busybox; done \
                  | head -c 6300000 >/tmp/code",
        command: "gzip -c /tmp/code >/tmp/code.gz",
    },
    Workload {
        name: "500 x fork+exec",
        prepare: "true",
        command: "forkexec 500",
    },
];

/// Compares ppckvm with qemu-system-ppc on the same guest.
#[derive(Parser)]
struct Options {
    /// How often each machine runs.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// What executes guest instructions in ppckvm.
    #[arg(long, default_value = "auto")]
    cpu: String,
    /// Guest RAM in MiB.
    #[arg(long, default_value_t = 256)]
    memory: u32,
    /// Only start to first instruction, and boot to init.
    #[arg(long)]
    quick: bool,
    /// How many seconds one step may take before the machine counts as hung.
    #[arg(long, default_value_t = 300)]
    patience: u64,
    /// `cargo bench` passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One of the two contestants.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Machine {
    Ppckvm,
    Qemu,
}

impl Machine {
    const BOTH: [Machine; 2] = [Machine::Ppckvm, Machine::Qemu];

    fn name(self) -> &'static str {
        match self {
            Machine::Ppckvm => "ppckvm",
            Machine::Qemu => "QEMU",
        }
    }

    fn command(self, options: &Options, kernel: &Path, initrd: Option<&Path>) -> Command {
        let mut command = match self {
            Machine::Ppckvm => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ppckvm"));
                command.args(["run", "--cpu", &options.cpu]);
                command.arg(format!("--memory={}M", options.memory));
                command
            }
            Machine::Qemu => {
                let mut command = Command::new("qemu-system-ppc");
                command.args(["-M", "bamboo", "-nic", "none", "-nographic", "-no-reboot"]);
                command.args(["-monitor", "none", "-m", &options.memory.to_string()]);
                command
            }
        };
        // The options are called the same, up to the second dash.
        let dashes = match self {
            Machine::Ppckvm => "--",
            Machine::Qemu => "-",
        };
        command.arg(format!("{dashes}kernel")).arg(kernel);
        command.args([&format!("{dashes}append"), "console=ttyS0"]);
        if let Some(initrd) = initrd {
            command.arg(format!("{dashes}initrd")).arg(initrd);
        }
        command
    }
}

/// What a number counts.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Mebibytes,
}

/// Every sample of every measure, by machine, in the order in which measures were first taken.
#[derive(Default)]
struct Samples {
    measures: Vec<(&'static str, Unit)>,
    taken: HashMap<(&'static str, Machine), Vec<f64>>,
}

impl Samples {
    fn add(&mut self, machine: Machine, measure: &'static str, unit: Unit, value: f64) {
        if !self.measures.iter().any(|(known, _)| *known == measure) {
            self.measures.push((measure, unit));
        }
        self.taken
            .entry((measure, machine))
            .or_default()
            .push(value);
    }

    fn time(&mut self, machine: Machine, measure: &'static str, time: Duration) {
        self.add(machine, measure, Unit::Seconds, time.as_secs_f64());
    }

    fn print(&self) {
        println!(
            "\n{:<30} {:>24} {:>24} {:>12}",
            "median (least-most)", "ppckvm", "QEMU", "QEMU/ppckvm"
        );
        for (measure, unit) in &self.measures {
            let [ours, theirs] = Machine::BOTH.map(|machine| {
                let mut samples = self.taken.get(&(*measure, machine)).cloned();
                if let Some(samples) = &mut samples {
                    samples.sort_by(f64::total_cmp);
                }
                samples.unwrap_or_default()
            });
            let ratio = match (median(&ours), median(&theirs)) {
                (Some(ours), Some(theirs)) => format!("{:.2}", theirs / ours),
                _ => "-".to_owned(),
            };
            println!(
                "{measure:<30} {:>24} {:>24} {ratio:>12}",
                spread(&ours, *unit),
                spread(&theirs, *unit),
            );
        }
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn spread(sorted: &[f64], unit: Unit) -> String {
    let (Some(median), Some(least), Some(most)) = (median(sorted), sorted.first(), sorted.last())
    else {
        return "-".to_owned();
    };
    match unit {
        Unit::Mebibytes => format!("{median:.1} ({least:.1}-{most:.1}) MiB"),
        Unit::Seconds if median < 0.1 => format!(
            "{:.1} ({:.1}-{:.1}) ms",
            median * 1e3,
            least * 1e3,
            most * 1e3
        ),
        Unit::Seconds => format!("{median:.2} ({least:.2}-{most:.2}) s"),
    }
}

/// The files that both machines boot, as `prepare.sh` names them.
struct Guest {
    kernel: PathBuf,
    root: PathBuf,
    first: PathBuf,
}

fn prepare() -> Result<Guest, Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/prepare.sh");
    let output = Command::new("bash")
        .arg(&script)
        .stderr(std::process::Stdio::inherit())
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
    Ok(Guest {
        kernel: file("KERNEL_UIMAGE")?,
        root: file("ROOTFS")?,
        first: file("FIRST_ELF")?,
    })
}

fn first_instruction(
    machine: Machine,
    options: &Options,
    guest: &Guest,
    samples: &mut Samples,
) -> Result<(), Failure> {
    let command = machine.command(options, &guest.first, None);
    let mut session = Session::start(command, Duration::from_secs(options.patience))?;
    let byte = session.wait_for("!")?;
    samples.time(
        machine,
        "start to first instruction",
        byte - session.started,
    );
    session.finish()
}

fn linux(
    machine: Machine,
    options: &Options,
    guest: &Guest,
    samples: &mut Samples,
) -> Result<(), Failure> {
    let command = machine.command(options, &guest.kernel, Some(&guest.root));
    let mut session = Session::start(command, Duration::from_secs(options.patience))?;
    let init = session.wait_for(INIT_LINE)?;
    samples.time(machine, "boot to init", init - session.started);
    session.wait_for("~ # ")?;
    if !options.quick {
        for workload in &WORKLOADS {
            session.send(workload.prepare)?;
            session.wait_for("~ # ")?;
            // The shell computes the marks, so that its echo of this line does not hold them.
            let command = workload.command;
            session.send(&format!(
                "echo start-$((40+2)); {command}; echo status-$?-end-$((40+2))"
            ))?;
            let start = session.wait_for("start-42")?;
            let end = session.wait_for("status-0-end-42").map_err(|failure| {
                Failure(format!("`{command}` did not end with status 0: {failure}"))
            })?;
            samples.time(machine, workload.name, end - start);
            session.wait_for("~ # ")?;
        }
        let Memory { peak, guest_ram } = session.memory(options.memory)?;
        samples.add(machine, "peak memory", Unit::Mebibytes, peak);
        if let Some(ram) = guest_ram {
            samples.add(machine, "  guest RAM touched", Unit::Mebibytes, ram);
            samples.add(machine, "  the rest", Unit::Mebibytes, peak - ram);
        }
    }
    session.send("reboot -f")?;
    session.finish()
}

fn run(options: &Options) -> Result<(), Failure> {
    let guest = prepare()?;
    let mut samples = Samples::default();
    for round in 1..=options.rounds {
        for machine in Machine::BOTH {
            eprintln!("round {round} of {}: {}", options.rounds, machine.name());
            first_instruction(machine, options, &guest, &mut samples)
                .and_then(|()| linux(machine, options, &guest, &mut samples))
                .map_err(|failure| Failure(format!("{}: {failure}", machine.name())))?;
        }
    }
    samples.print();
    Ok(())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
