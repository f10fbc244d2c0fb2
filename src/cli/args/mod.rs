//! The command line.

mod exec;
mod machine;
mod test;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ppckvm::control::{GdbAddress, Language, MonitorSpec};
use ppckvm::{Device, Sandbox, Serial, Spec};

pub use exec::{ExecArgs, ExecOptions};
use machine::{ImageOptions, RunOptions, TreeOptions};
pub use test::TestArgs;

const AFTER_HELP: &str = "\
Signals: SIGINT, SIGTERM, SIGHUP and SIGQUIT end the run in order, and at once when one comes again;
SIGUSR1 prints where the guest is, and it runs on.

Keys, when standard input is a terminal and a serial port has it:
  Ctrl-a x       quit
  Ctrl-a c       the monitor, with --control, and back to the guest
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

/// What `generate` writes.
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// Completions for a shell, on standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// A manual page for each command, into a folder.
    Man {
        /// The folder, which must exist.
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a kernel; its first serial port is the terminal unless --serial says otherwise.
    #[command(after_help = AFTER_HELP)]
    Run(Box<RunArgs>),
    /// Run one command in the guest: its exit status, standard output and standard error are this
    /// command's.
    #[command(after_help = exec::AFTER_HELP)]
    Exec(Box<ExecArgs>),
    /// Run boot tests: those of a file, or one that the options describe.
    #[command(after_help = test::AFTER_HELP)]
    Test(Box<TestArgs>),
    /// Print the device tree that `run` would pass to the kernel.
    Dtb(DtbArgs),
    /// Say what an image is and whether `run` would boot it; status 1 when not.
    Inspect(InspectArgs),
    /// Take the command line of qemu-system-ppc -M bamboo; --explain ARGS says what becomes of it.
    #[command(disable_help_flag = true)]
    Qemu(QemuArgs),
    /// Control a machine that runs with --control.
    Ctl(CtlArgs),
    /// Write shell completions or manual pages, for who packages ppckvm.
    #[command(hide = true, subcommand)]
    Generate(Generate),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The kernel, as --kernel names it.
    #[arg(value_name = "FILE|DIRECTORY", conflicts_with = "kernel", hide = true)]
    image: Option<String>,
    #[command(flatten)]
    machine: RunOptions,
    /// Write where the guest was at the end, its registers and its kernel's log to a file, in place
    /// of standard error, however the run ended.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// What the launcher gives up before the guest starts: all that this kernel has a way for
    /// (auto), all or an error (on), or nothing (off).
    #[arg(long, value_name = "auto|on|off", default_value = "auto")]
    pub sandbox: Sandbox,
    /// Let programs control the machine while it runs, in QEMU's machine protocol (QMP): unix=PATH,
    /// tcp=HOST:PORT, stdio, pty, unix-connect=PATH, tcp-connect=HOST:PORT or fd=N. `ppckvm ctl` is
    /// a client.
    #[arg(long, value_name = "DEST")]
    pub control: Vec<Serial>,
    /// Hold the guest before its first instruction, until somebody says `cont`.
    #[arg(long)]
    pub paused: bool,
    /// Serve gdb: tcp:PORT, tcp:HOST:PORT or unix:PATH. The guest runs until a debugger comes.
    #[arg(long, value_name = "tcp:[HOST:]PORT|unix:PATH")]
    pub gdb: Option<GdbAddress>,
    /// Hold the guest before its first instruction, until a debugger lets it go on.
    #[arg(long, requires = "gdb")]
    pub wait_gdb: bool,
    /// Print the machine as a configuration file, and do not start it.
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    options: ExecOptions,
    /// Run one command in the guest, as `exec` does.
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["report", "print_config"])]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct CtlArgs {
    /// Where the machine listens: the path of `run --control unix=PATH`, or HOST:PORT of tcp=.
    #[arg(value_name = "PATH|HOST:PORT")]
    pub at: String,
    /// What to do, as a person types it (`info status`, `hostfwd_add tcp::2222-:22`, `stop`,
    /// `help`), or a command of the machine protocol with KEY=VALUE arguments (`query-status`).
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct QemuArgs {
    /// QEMU's arguments; -help lists them.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub args: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct DtbArgs {
    #[command(flatten)]
    machine: TreeOptions,
    /// Source text, or the blob.
    #[arg(long, value_enum, default_value = "dts")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Image, as for `run --kernel`.
    #[arg(value_name = "FILE|DIRECTORY")]
    image: String,
    #[command(flatten)]
    machine: ImageOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Device tree source.
    Dts,
    /// Device tree blob.
    Dtb,
}

type SpecResult = Result<Spec, Box<dyn std::error::Error>>;

/// The guest's port that has standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdioPort {
    /// A serial port.
    Serial(usize),
    /// A virtio console.
    Console(usize),
}

/// The port that has standard input.
pub fn stdio_port(spec: &Spec) -> Option<StdioPort> {
    let is_stdio = |serial: &Serial| *serial == Serial::Stdio;
    let serial = spec.serial.iter().position(is_stdio);
    let consoles = spec.devices.iter().filter_map(|spec| match &spec.device {
        Device::Console(serial) => Some(serial),
        _ => None,
    });
    let console = || consoles.clone().position(is_stdio);
    serial
        .map(StdioPort::Serial)
        .or_else(|| console().map(StdioPort::Console))
}

impl RunArgs {
    /// The monitors that are asked for.
    pub fn monitors(&self) -> Vec<MonitorSpec> {
        let monitor = |at: &Serial| MonitorSpec {
            language: Language::Qmp,
            at: at.clone(),
        };
        self.control.iter().map(monitor).collect()
    }

    /// The machine that the options describe. Where no serial port is named, UART0 has the
    /// terminal, unless a console or a monitor has it.
    pub fn spec(self) -> SpecResult {
        let is_taken = self.control.contains(&Serial::Stdio);
        let mut spec = self.machine.spec(self.image.as_deref())?;
        if spec.serial.is_empty() {
            spec.serial.push(match stdio_port(&spec) {
                None if !is_taken => Serial::Stdio,
                _ => Serial::Null,
            });
        }
        if is_taken && stdio_port(&spec).is_some() {
            let why = "--control stdio: a serial port or console has standard input and output; give \
                       one of them another destination";
            return Err(why.into());
        }
        Ok(spec)
    }
}

impl RunArgs {
    /// The same as `exec`, for a run with a command.
    pub fn into_exec(self) -> ExecArgs {
        ExecArgs {
            image: self.image,
            machine: self.machine,
            options: self.options,
            sandbox: self.sandbox,
            command: self.command,
        }
    }
}

impl DtbArgs {
    /// The machine that the options describe.
    pub fn spec(self) -> SpecResult {
        self.machine.spec(None)
    }
}

impl InspectArgs {
    /// The machine that the options describe.
    pub fn spec(self) -> SpecResult {
        self.machine.spec(Some(&self.image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(args: &[&str]) -> Result<Spec, clap::Error> {
        let args = ["ppckvm", "run", "--kernel", "k"].iter().chain(args);
        match Cli::try_parse_from(args)?.command {
            Command::Run(run) => Ok(run.spec().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn devices_keep_the_order_of_the_command_line() {
        let spec = run(&[
            "--console",
            "pty",
            "--disk",
            "path=a",
            "--net",
            "user",
            "--disk",
            "path=b",
        ])
        .unwrap();
        let is = |index: usize, option: &str, keys: &str| {
            let device = ppckvm::DeviceSpec::from_keys(option, keys).unwrap();
            assert_eq!(spec.devices[index], device);
        };
        is(0, "console", "pty");
        is(1, "disk", "path=a");
        is(2, "net", "user");
        is(3, "disk", "path=b");
    }

    #[test]
    fn standard_input_is_uart0s_unless_something_else_has_it() {
        assert_eq!(run(&[]).unwrap().serial, [Serial::Stdio]);
        assert_eq!(run(&["--console", "pty"]).unwrap().serial, [Serial::Stdio]);
        assert_eq!(run(&["--console", "stdio"]).unwrap().serial, [Serial::Null]);
        assert_eq!(run(&["--serial", "pty"]).unwrap().serial, [Serial::Pty]);
        let spec = run(&["--console", "pty", "--console", "stdio"]).unwrap();
        assert_eq!(stdio_port(&spec), Some(StdioPort::Console(1)));
    }
}
