//! The command `ppckvm`: arguments in, a machine, an exit status out.
#![forbid(unsafe_code)]
// A test that unwraps what must be there fails at the right line.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod signals;
mod stats;
mod terminal;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ppckvm::Tree;
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use args::{Cli, Command, DtbArgs, Format, InspectArgs, RunArgs};
use signals::Signals;
use terminal::RawTerminal;

/// The exit status of the launcher's own errors.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::registry()
        .with(what_to_log())
        .with(
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .with_target(false)
                .without_time(),
        )
        .init();
    let status = match cli.command {
        Command::Run(args) => run(*args),
        Command::Dtb(args) => dtb(args),
        Command::Inspect(args) => inspect(args),
    };
    ExitCode::from(status.unwrap_or_else(|error| {
        say(error);
        FAILED
    }))
}

/// What PPCKVM_LOG asks for: a level, or levels for parts of the program.
fn what_to_log() -> Targets {
    let text = std::env::var("PPCKVM_LOG").unwrap_or_default();
    let usual = Targets::new().with_default(LevelFilter::WARN);
    if text.is_empty() {
        return usual;
    }
    text.parse().unwrap_or_else(|error| {
        say(format!(
            "PPCKVM_LOG={text}: {error}; write a level such as info, or ppckvm=debug"
        ));
        usual
    })
}

/// One line on standard error; nothing can be done when that is gone.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "ppckvm: {line}");
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

fn run(args: RunArgs) -> Result<u8, Failure> {
    raise_the_limit_of_open_files();
    let stats = args.stats;
    let uses_terminal = args.uses_stdio();
    let mut vm = args.machine().build()?;

    let signals = Signals::catch(vm.stopper())?;
    say(vm.description());
    for (port, name) in vm.serial_names() {
        say(format_args!("{port} is {name}"));
    }
    let terminal = match uses_terminal {
        true => RawTerminal::enter()
            .map_err(|error| format!("the terminal cannot be made raw: {error}"))?,
        false => None,
    };
    signals.set_terminal(terminal.as_ref().map(RawTerminal::handle));
    let start = Instant::now();
    let outcome = vm.run();
    let elapsed = start.elapsed();
    drop(terminal);

    let signal = signals.caught();
    match signal {
        Some(signal) => say(format_args!("ended by signal {signal}")),
        None => {
            say(&outcome);
            if outcome.wants_explanation() {
                // It is for a person; the verdict stands without it.
                let _ = write!(std::io::stderr(), "{}", vm.post_mortem());
            }
        }
    }
    if stats {
        // Statistics are asked for, but not worth a failure.
        let _ = stats::print(&mut std::io::stderr(), &vm.statistics(), elapsed);
    }
    vm.leave();
    Ok(signal.map_or(outcome.exit_status(), |signal| signals::STATUS + signal))
}

fn dtb(args: DtbArgs) -> Result<u8, Failure> {
    let format = args.format;
    let blob = args.machine().device_tree()?;
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
    let inspection = args.machine().inspect()?;
    let mut stdout = std::io::stdout().lock();
    let written = write!(stdout, "{inspection}").and_then(|()| stdout.flush());
    written.map_err(|error| format!("the report cannot be written to standard output: {error}"))?;
    Ok(if inspection.boots() { 0 } else { FAILED })
}
