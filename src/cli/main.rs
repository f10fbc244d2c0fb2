//! The command `ppckvm`: arguments in, a machine, an exit status out.
#![forbid(unsafe_code)]
// A test that unwraps what must be there fails at the right line.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod ctl;
mod exec;
mod log;
mod near_miss;
mod qemu;
mod remedy;
mod signals;
mod stats;
mod supervise;
mod terminal;
mod test;
mod window;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use ppckvm::control::{GdbServer, Inventory, Monitors};
use ppckvm::{EscapeKey, Image, Machine, Printable, Role, Spec, Tree, Vm};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use args::{Cli, Command, DtbArgs, Format, Generate, InspectArgs, RunArgs};
use log::{Log, Voice};
use signals::Signals;
use supervise::{Finished, Guest, Kept};
use terminal::RawTerminal;
use window::TerminalWindow;

/// The exit status of the launcher's own errors.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    if let Some(name) = qemu::name_of(std::env::args_os().next().as_deref()) {
        let args: Vec<_> = std::env::args_os().skip(1).collect();
        return ExitCode::from(qemu::main(Some(name), &args));
    }
    let cli = near_miss::parse();
    if let Command::Qemu(args) = &cli.command {
        return ExitCode::from(qemu::main(None, &args.args));
    }
    let log = Log::start(Voice::Own);
    let status = match cli.command {
        Command::Run(args) if !args.command.is_empty() => exec::exec(args.into_exec(), &log),
        Command::Run(args) => run(*args, &log),
        Command::Exec(args) => exec::exec(*args, &log),
        Command::Test(args) => test::test(&args, &log),
        Command::Dtb(args) => dtb(args),
        Command::Inspect(args) => inspect(args),
        Command::Ctl(args) => ctl::run(&args),
        Command::Generate(what) => generate(what),
        // It speaks as another, and is seen to above.
        Command::Qemu(_) => Ok(0),
    };
    let status = status.unwrap_or_else(|error| {
        log.conclude(remedy::message(&*error));
        FAILED
    });
    log.finish();
    ExitCode::from(status)
}

type Failure = Box<dyn std::error::Error>;

/// Lets this process have as many files open as it may: a share and a socket device need some for
/// each file and stream of the guest's.
fn raise_the_limit_of_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it fails, the devices make do with less.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Writes what comes with a package of ppckvm, made from the arguments as they are declared.
fn generate(what: Generate) -> Result<u8, Failure> {
    let mut command = Cli::command();
    match what {
        Generate::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command, "ppckvm", &mut text);
            std::io::stdout().write_all(&text)?;
        }
        Generate::Man { folder } => clap_mangen::generate_to(command, &folder)
            .map_err(|error| format!("{}: {error}; name a folder to write to", folder.display()))?,
    }
    Ok(0)
}

fn run(args: RunArgs, log: &Log) -> Result<u8, Failure> {
    raise_the_limit_of_open_files();
    let print_config = args.print_config;
    let (report, sandbox) = (args.report.clone(), args.sandbox);
    let (is_paused, monitors) = (args.paused || args.wait_gdb, args.monitors());
    let gdb = args.gdb.clone();
    let spec = args.spec()?;
    if print_config {
        return self::print_config(&spec);
    }
    signals::settle().map_err(|error| no_signals(&error))?;
    let (stats, port, escape) = (spec.timed, args::stdio_port(&spec), spec.escape);
    let report = report.as_deref().map(ReportFile::create).transpose()?;
    let inventory = Inventory::of(&spec);
    let gdb = gdb.map(|at| (at, Inventory::of(&spec), symbol_file(&spec)));
    let mut vm = Machine::from_spec(spec).sandbox(sandbox).build()?;
    if is_paused {
        vm.pause();
    }
    // Their thread is not confined, as it opens what the user names: it is there if asked for.
    let monitors = match monitors.is_empty() {
        true => None,
        false => Some(Monitors::start(&vm, inventory, &monitors)?),
    };

    let gdb = match gdb {
        None => None,
        Some((at, inventory, symbols)) => {
            let server = GdbServer::start(&vm, inventory, &at)?;
            log.say(format_args!(
                "gdb-multiarch {symbols} -ex 'target remote {}'",
                server.name()
            ));
            Some(server)
        }
    };

    let window = window_of(&vm, port);
    let confinement = vm.confinement().clone();
    let signals = Signals::catch(vm.stopper(), log.clone(), window.clone(), &confinement);
    let signals = signals.map_err(|error| no_signals(&error))?;
    log.say(format_args!(
        "{}; {}",
        vm.description(),
        confinement.in_force()
    ));
    for (port, name) in vm.serial_names() {
        log.say(format_args!("{port} is {name}"));
    }
    let names = monitors.iter().flat_map(Monitors::names);
    for name in names.filter(|name| !name.is_empty()) {
        log.say(format_args!("control is {name}"));
    }
    for port in vm.forwarded_ports() {
        // Where the host chose the port, nothing else tells of it.
        if port.forward.host.port() == 0 {
            log.say(format_args!("{} forwards {port}", port.network));
        }
    }
    confinement.hide_process()?;
    let memory = stats.then(stats::Memory::open);
    let (finished, guest) = supervised(vm, &signals, port, port.is_some(), (window, escape), log)?;
    drop((monitors, gdb));
    let (outcome, rest) = match finished {
        Ok(finished) => {
            if let Some(memory) = memory {
                log.tell(stats::text(&finished.statistics, finished.elapsed, memory));
            }
            explain(&finished, signals.caught(), report, log);
            let rest = match guest.is_gone() {
                true => "",
                false => "; the host keeps what a device has begun, and it is left behind",
            };
            (finished.outcome, rest)
        }
        Err(Kept::ByHost(outcome)) => {
            let rest = "; the host did not let go of what the guest is waiting for, and it is left \
                        behind";
            (outcome, rest)
        }
        Err(Kept::Fault) => return Err("the guest's thread ended by a fault of ppckvm".into()),
    };
    match signals.caught() {
        Some(signal) => {
            log.conclude(format_args!("ended by signal {signal}{rest}"));
            Ok(signals::STATUS + signal)
        }
        None => {
            log.conclude(format_args!("{outcome}{rest}"));
            Ok(outcome.exit_status())
        }
    }
}

/// The file that a debugger takes symbols from, as far as the options tell.
fn symbol_file(spec: &Spec) -> String {
    let kernel = match &spec.boot.kernel {
        Some(Image::File(path)) if path.is_dir() => Some(path.join("vmlinux")),
        Some(Image::File(path)) if path.ends_with("vmlinux") => Some(path.clone()),
        _ => None,
    };
    let file = spec.symbols.clone().or(kernel);
    let file = file.unwrap_or_else(|| "vmlinux".into());
    file.display().to_string()
}

/// The window of the console that has standard output.
fn window_of(vm: &Vm, port: Option<args::StdioPort>) -> Option<TerminalWindow> {
    let window = match port? {
        args::StdioPort::Console(number) => vm.virtio_console_window(number),
        args::StdioPort::Serial(_) => None,
    };
    window.map(TerminalWindow::of)
}

/// A guest that was run to its end, and its thread.
type Supervised = (Result<Box<Finished>, Kept>, Guest);

/// Runs a machine to its end, with the terminal as its ports want it meanwhile.
fn supervised(
    vm: Vm,
    signals: &Signals,
    port: Option<args::StdioPort>,
    takes_terminal: bool,
    (window, escape): (Option<TerminalWindow>, EscapeKey),
    log: &Log,
) -> Result<Supervised, Failure> {
    let confinement = vm.confinement().clone();
    let terminal = match takes_terminal {
        true => RawTerminal::enter(window, escape, &confinement)
            .map_err(|error| format!("the terminal cannot be made raw: {error}"))?,
        false => None,
    };
    signals.set_terminal(terminal.as_ref().map(RawTerminal::handle));
    let guest = Guest::start(vm, log.clone(), move |vm| is_line_open(vm, port))
        .map_err(|error| format!("the host gives no thread for the guest: {error}"))?;
    log.confine(&confinement);
    confinement.confine(Role::Waiter)?;
    let finished = guest.finished();
    // At the end of the run nobody makes the terminal raw any more.
    signals.set_terminal(None);
    drop(terminal);
    Ok((finished, guest))
}

fn no_signals(error: &std::io::Error) -> String {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    let remedy = match code {
        Some(Errno::MFILE) => "; allow the process more open files, with ulimit -n",
        _ => "",
    };
    format!("signals cannot be caught: {error}{remedy}")
}

/// Says what explains the end, if it needs that, and writes the file that was asked for.
fn explain(finished: &Finished, signal: Option<u8>, file: Option<ReportFile>, log: &Log) {
    let Finished {
        outcome, report, ..
    } = finished;
    // Nothing can be done when the terminal is gone.
    let mut stdout = std::io::stdout();
    let left = stdout.write_all(&finished.leave_terminal);
    let _ = left.and_then(|()| stdout.flush());
    if finished.open_line && is_same_file() {
        // The guest's line ends here.
        log.tell("\n");
    }
    if let Some(file) = file {
        match file.write(format_args!("{report}{outcome}\n")) {
            Ok(path) => log.say(format_args!("the report is in {path}")),
            Err(error) => log.say(error),
        }
    } else if outcome.wants_explanation() && signal.is_none() {
        log.tell(report);
    } else if let Some(panic) = report.panic.as_ref().filter(|panic| *panic != outcome) {
        log.say(format_args!("earlier: {panic}"));
    }
}

/// Whether standard output and standard error are one file, which shows both.
fn is_same_file() -> bool {
    let [out, err] = [
        rustix::fs::fstat(rustix::stdio::stdout()),
        rustix::fs::fstat(rustix::stdio::stderr()),
    ];
    matches!((out, err), (Ok(out), Ok(err)) if (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino))
}

/// Whether the port that standard output shows ended in the middle of a line.
fn is_line_open(vm: &Vm, port: Option<args::StdioPort>) -> bool {
    let output = match port {
        Some(args::StdioPort::Serial(number)) => vm.serial_output(number),
        Some(args::StdioPort::Console(number)) => vm.virtio_console_output(number),
        None => return false,
    };
    output.last().is_some_and(|last| *last != b'\n')
}

/// The file that `--report` names, made before the guest starts.
struct ReportFile {
    path: String,
    file: File,
}

impl ReportFile {
    fn create(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(ReportFile { path: name, file }),
            Err(error) => Err(format!("the report cannot be written to {name}: {error}")),
        }
    }

    fn write(mut self, text: impl std::fmt::Display) -> Result<String, String> {
        let written = self.file.write_all(text.to_string().as_bytes());
        match written.and_then(|()| self.file.flush()) {
            Ok(()) => Ok(self.path),
            Err(error) => Err(format!("{}: the report is incomplete: {error}", self.path)),
        }
    }
}

/// Writes a machine as a configuration file, whose paths hold wherever it is put.
fn print_config(spec: &Spec) -> Result<u8, Failure> {
    let text = spec.to_toml(Some(&std::env::current_dir()?))?;
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| {
        format!("the configuration cannot be written to standard output: {error}")
    })?;
    Ok(0)
}

fn dtb(args: DtbArgs) -> Result<u8, Failure> {
    let format = args.format;
    let blob = Machine::from_spec(args.spec()?).device_tree()?;
    let mut stdout = std::io::stdout().lock();
    let written = match format {
        Format::Dtb => stdout.write_all(&blob),
        Format::Dts => {
            let tree = Tree::parse(&blob).map_err(|error| error.to_string())?;
            stdout.write_all(tree.to_dts().as_bytes())
        }
    };
    written.and_then(|()| stdout.flush()).map_err(|error| {
        format!("the device tree cannot be written to standard output: {error}")
    })?;
    Ok(0)
}

fn inspect(args: InspectArgs) -> Result<u8, Failure> {
    let inspection = Machine::from_spec(args.spec()?).inspect()?;
    let mut stdout = std::io::stdout().lock();
    // Names in an image are its author's.
    let mut text = inspection.to_string();
    if let Err(error) = &inspection.plan {
        // The last line is the error, which is now in this command's words.
        let library = error.to_string();
        text = text.replace(&library, &remedy::spelled(error));
    }
    let mut lines = text.lines();
    let written = lines.try_for_each(|line| writeln!(stdout, "{}", Printable(line)));
    let written = written.and_then(|()| stdout.flush());
    written.map_err(|error| format!("the report cannot be written to standard output: {error}"))?;
    Ok(if inspection.boots() { 0 } else { FAILED })
}
