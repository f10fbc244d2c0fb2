//! The command line.

mod virtio;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ppckvm::{Accel, Clock, Console, Cpu, Machine, MemorySize, OnPanic, OnReset, Serial};

use virtio::VirtioArgs;

const AFTER_HELP: &str = "\
Signals: SIGINT, SIGTERM, SIGHUP and SIGQUIT end the run in order, and at once when one comes again;
SIGUSR1 prints where the guest is, and it runs on.

Keys, when standard input is a terminal and a serial port has it:
  Ctrl-a x       quit
  Ctrl-a h       help
  Ctrl-a Ctrl-a  send one Ctrl-a to the guest
When standard input is a pipe or a file, every byte of it is the guest's.

Exit status:
  0    the guest powered off, halted or reset, or the user quit
  1    the launcher's own error: a file, an option, the host
  2    usage
  33   the cpu cannot go on
  34   the guest's kernel panicked, also when the time ran out after that
  35   the guest hangs: nothing can ever wake or move it
  36   the watchdog reset the guest
  124  --timeout ran out
  130, 143  ended by SIGINT or SIGTERM (128 and the signal's number)

Environment:
  PPCKVM_LOG  what to log on standard error: off, error, warn, info, debug or trace, or the level of
              a part, for example ppckvm::vm=debug; default warn
  NO_COLOR    when set, the log has no colours on a terminal either";

/// The version, and the commit that it was built from, where that is known.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("PPCKVM_COMMIT"));

/// Boots unmodified PowerPC 440 kernels on a model of the AMCC Bamboo board.
#[derive(Debug, Parser)]
#[command(name = "ppckvm", version = VERSION, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a kernel; its first serial port is the terminal unless --serial says otherwise.
    #[command(after_help = AFTER_HELP)]
    Run(Box<RunArgs>),
    /// Print the device tree that `run` would pass to the kernel.
    Dtb(DtbArgs),
    /// Say what an image is and whether `run` would boot it; status 1 when not.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Initial RAM disk: a cpio archive, compressed or not, with or without a uImage header.
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// Kernel command line; without it, a tree given with --dtb keeps its own. The console is UART0
    /// in any case.
    #[arg(long, value_name = "STR")]
    append: Option<String>,
    /// Device tree blob in place of the generated one; memory, command line and initrd are filled
    /// in.
    #[arg(long, value_name = "FILE")]
    dtb: Option<PathBuf>,
    /// Guest RAM with K, M or G; what 4 SDRAM banks can express, at most 1G.
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    memory: MemorySize,
    #[command(flatten)]
    virtio: VirtioArgs,
}

#[derive(Debug, Args)]
pub struct KernelOptionArgs {
    /// Where a kernel file without any header goes and starts, for example 0 or 0x400000.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    load_address: Option<u32>,
    /// Configuration of a FIT image, in place of its default one.
    #[arg(long, value_name = "NAME")]
    fit_config: Option<String>,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Image, as for `run --kernel`.
    #[arg(value_name = "FILE|DIRECTORY")]
    image: PathBuf,
    #[command(flatten)]
    options: KernelOptionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// A guest physical address, decimal or hexadecimal.
fn parse_address(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let address = match digits {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    address.map_err(|error| format!("{error}; write it like 4194304 or 0x400000"))
}

/// A duration with its unit, or in seconds, as other commands take it.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    let parsed = match is_plain.then(|| text.parse()) {
        Some(Ok(seconds)) => Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string()),
        _ => humantime::parse_duration(text).map_err(|why| why.to_string()),
    };
    parsed.map_err(|why| format!("{why}; write 90s, 2m or, in seconds, 90"))
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Kernel: uImage, FIT, ELF (vmlinux and boot wrappers), treeImage, any of them compressed, or
    /// a kernel's build directory. It can also stand without --kernel.
    #[arg(long, value_name = "FILE|DIRECTORY", required_unless_present = "image")]
    kernel: Option<PathBuf>,
    /// The kernel, as --kernel names it.
    #[arg(value_name = "FILE|DIRECTORY", conflicts_with = "kernel", hide = true)]
    image: Option<PathBuf>,
    #[command(flatten)]
    kernel_options: KernelOptionArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Where the 440 core runs: in this process, or behind /dev/kvm on a 440 host.
    #[arg(long, value_enum, default_value = "auto")]
    accel: AccelArg,
    /// What executes guest instructions in this process.
    #[arg(long, value_enum, default_value = "auto")]
    cpu: CpuArg,
    /// End the run after this time, for example 90s or 2m (a plain number is seconds), with status
    /// 124.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// What to do when the guest resets.
    #[arg(long, value_enum, default_value = "exit")]
    on_reset: OnResetArg,
    /// What to do when the guest's kernel panics.
    #[arg(long, value_enum, default_value = "exit")]
    on_panic: OnPanicArg,
    /// The kernel's symbols for back traces, a vmlinux or a System.map; without this, those of a
    /// kernel that is an ELF file or a build directory.
    #[arg(long, value_name = "FILE")]
    symbols: Option<PathBuf>,
    /// Where a serial port leads, once for each port in order, UART0 first: stdio, null, file=PATH,
    /// pty, unix=PATH or tcp=HOST:PORT, the last two listening. Without any, UART0 has stdio, unless a --console has it; ports
    /// that are not named lead nowhere.
    #[arg(long, value_name = "DEST")]
    serial: Vec<Serial>,
    /// What drives the guest's time base: the host's clock, or executed instructions, which makes
    /// runs repeatable.
    #[arg(long, value_enum, default_value = "host")]
    clock: ClockArg,
    /// At the end, print exits by cause, instructions, speed and memory to standard error.
    #[arg(long)]
    pub stats: bool,
    /// Write where the guest was at the end, its registers and its kernel's log to a file, in place
    /// of standard error, however the run ended.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// The guest's port that has standard input and output.
#[derive(Clone, Copy, Debug)]
pub enum StdioPort {
    /// A serial port.
    Serial(usize),
    /// A virtio console.
    Console(usize),
}

#[derive(Debug, Args)]
pub struct DtbArgs {
    /// Kernel, whose size can move the initrd.
    #[arg(long, value_name = "FILE|DIRECTORY")]
    kernel: Option<PathBuf>,
    #[command(flatten)]
    kernel_options: KernelOptionArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Source text, or the blob.
    #[arg(long, value_enum, default_value = "dts")]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Device tree source.
    Dts,
    /// Device tree blob.
    Dtb,
}

/// Mirrors a choice of the library's, with help for each value.
macro_rules! choice {
    ($name:ident for $library:ident { $($(#[doc = $help:literal])* $value:ident),* $(,)? }) => {
        #[derive(Clone, Copy, Debug, ValueEnum)]
        enum $name { $($(#[doc = $help])* $value),* }

        impl From<$name> for $library {
            fn from(choice: $name) -> $library {
                match choice { $($name::$value => $library::$value),* }
            }
        }
    };
}

choice!(AccelArg for Accel {
    /// /dev/kvm when it is a 440's, else in this process.
    Auto,
    /// /dev/kvm, or an error.
    Kvm,
    /// In this process.
    Inproc,
});
choice!(CpuArg for Cpu {
    /// The fastest that this build has for this host.
    Auto,
    /// The interpreter.
    Interp,
    /// The translator to host code.
    Jit,
});
choice!(OnResetArg for OnReset {
    /// End the run with status 0.
    Exit,
    /// Start again from the same files.
    Reboot,
});
choice!(OnPanicArg for OnPanic {
    /// End the run with status 34 once the kernel has said all of it.
    Exit,
    /// Go on: the kernel resets, or stays where it is.
    Continue,
});
choice!(ClockArg for Clock {
    /// The host's monotonic clock.
    Host,
    /// One tick per instruction; idle time is skipped.
    Virtual,
});

impl MachineArgs {
    fn apply(self, mut machine: Machine) -> Machine {
        machine = self.virtio.apply(machine.memory(self.memory));
        if let Some(path) = self.initrd {
            machine = machine.initrd(path);
        }
        if let Some(path) = self.dtb {
            machine = machine.dtb(path);
        }
        if let Some(append) = self.append {
            machine = machine.append(append);
        }
        machine
    }
}

impl RunArgs {
    /// Where the serial ports lead.
    fn serial(&self) -> &[Serial] {
        match self.serial.as_slice() {
            [] if self.machine.virtio.uses_stdio() => &[Serial::Null],
            [] => &[Serial::Stdio],
            given => given,
        }
    }

    /// The port that has standard input.
    pub fn stdio_port(&self) -> Option<StdioPort> {
        let is_stdio = |serial: &Serial| *serial == Serial::Stdio;
        let serial = self.serial().iter().position(is_stdio);
        let console = || self.machine.virtio.stdio_console();
        serial
            .map(StdioPort::Serial)
            .or_else(|| console().map(StdioPort::Console))
    }

    /// Whether a serial port or a console has standard input.
    pub fn uses_stdio(&self) -> bool {
        self.stdio_port().is_some()
    }

    /// The machine that the options describe.
    pub fn machine(self) -> Machine {
        let serial = self.serial().to_vec();
        let machine = match self.kernel.or(self.image) {
            Some(kernel) => Machine::new().kernel(kernel),
            None => Machine::new(),
        };
        let mut machine = self
            .machine
            .apply(self.kernel_options.apply(machine))
            .accel(self.accel.into())
            .cpu(self.cpu.into())
            .clock(self.clock.into())
            .on_reset(self.on_reset.into())
            .on_panic(self.on_panic.into())
            .serial(serial.into_iter().map(Console::serial))
            .timed(self.stats);
        if let Some(path) = self.symbols {
            machine = machine.symbols(path);
        }
        if let Some(timeout) = self.timeout {
            machine = machine.timeout(timeout);
        }
        machine
    }
}

impl KernelOptionArgs {
    fn apply(self, mut machine: Machine) -> Machine {
        if let Some(address) = self.load_address {
            machine = machine.load_address(address);
        }
        if let Some(name) = self.fit_config {
            machine = machine.fit_config(name);
        }
        machine
    }
}

impl InspectArgs {
    /// The machine that the options describe.
    pub fn machine(self) -> Machine {
        let machine = self.machine.apply(Machine::new().kernel(self.image));
        self.options.apply(machine)
    }
}

impl DtbArgs {
    /// The machine that the options describe.
    pub fn machine(self) -> Machine {
        let machine = self.machine.apply(Machine::new());
        let machine = self.kernel_options.apply(machine);
        match self.kernel {
            Some(path) => machine.kernel(path),
            None => machine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units_or_are_seconds() {
        let parse =
            |timeout| Cli::try_parse_from(["ppckvm", "run", "--kernel", "k", "--timeout", timeout]);
        for (text, seconds) in [("90s", 90), ("2m", 120), ("1m 30s", 90), ("90", 90)] {
            let Command::Run(run) = parse(text).unwrap().command else {
                panic!("run")
            };
            assert_eq!(run.timeout, Some(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["soon", "", "1.2.3", "99999999999999999999999"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("write 90s, 2m"), "{error}");
        }
    }
}
