//! A machine that runs as QEMU runs one: what is said of it, and how it ends.

use std::io::Write;

use ppckvm::control::{GdbServer, Inventory, Language, MonitorSpec, Monitors};
use ppckvm::{BuildError, Image, Machine, OnPanic, Outcome, Serial, Spec, Vm};

use super::call::Call;
use super::draft::Conduct;
use super::process::{self, PidFile};
use crate::log::Log;
use crate::signals::{Held, Signals};
use crate::supervise::{Finished, Kept};
use crate::{Failure, args, remedy};

/// What QEMU prints on the terminal when its user quits.
const TERMINATED: &[u8] = b"QEMU: Terminated\n\r";

/// Runs it to its end; the exit status.
///
/// # Errors
/// Anything that keeps it from starting.
pub fn run(call: Call, held: Held, log: &Log) -> Result<u8, Failure> {
    crate::raise_the_limit_of_open_files();
    let Call { spec, conduct, .. } = call;
    let pid_file = conduct.pid_file.as_deref().map(PidFile::create);
    let pid_file = pid_file.transpose()?;
    let (port, escape) = (args::stdio_port(&spec), spec.escape);
    let on_panic = spec.on_panic;
    let files = spec.clone();
    let vm = Machine::from_spec(spec).build();
    let mut vm = vm.map_err(|error| spelled(&files, &error))?;
    if conduct.is_paused {
        vm.pause();
    }
    let monitors = monitors(&vm, &files, &conduct)?;
    let gdb = conduct.gdb.as_ref();
    let gdb = gdb.map(|at| GdbServer::start(&vm, Inventory::of(&files), at));
    let gdb = gdb.transpose()?;
    let window = crate::window_of(&vm, port);
    let signals = Signals::catch_held(vm.stopper(), log.clone(), window.clone(), held);
    let signals = signals.map_err(|error| crate::no_signals(&error))?;
    announce(&vm, &conduct, &monitors)?;
    if process::is_daemon() {
        process::become_daemon()?;
    }
    let takes_terminal = port.is_some()
        || conduct
            .monitors
            .iter()
            .any(|(_, monitor)| is_typed(monitor));
    let (finished, guest) =
        crate::supervised(vm, &signals, port, takes_terminal, (window, escape), log)?;
    let (outcome, finished) = match finished {
        Ok(finished) => (finished.outcome.clone(), Some(finished)),
        Err(Kept::ByHost(outcome)) => (outcome, None),
        Err(Kept::Fault) => return Err("the guest's thread ended by a fault of ppckvm".into()),
    };
    // What the devices have begun on the host ends before the process does.
    guest.is_gone();
    drop((monitors, gdb));
    drop(pid_file);
    let status = match signals.sender() {
        Some(sender) => {
            log.conclude(format_args!("terminating on {sender}"));
            0
        }
        None => conclude(&outcome, finished.as_deref(), on_panic, &conduct, log),
    };
    Ok(status)
}

/// Says how it ended, where QEMU or its user's wishes want that; the exit status.
fn conclude(
    outcome: &Outcome,
    finished: Option<&Finished>,
    on_panic: OnPanic,
    conduct: &Conduct,
    log: &Log,
) -> u8 {
    let mut last = finished.map_or_else(Vec::new, |finished| finished.leave_terminal.clone());
    if *outcome == Outcome::Quit {
        last.extend(TERMINATED);
    }
    // Nothing can be done when the terminal is gone.
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(&last).and_then(|()| stdout.flush());
    if conduct.settings.is_verdict {
        if let Some(finished) = finished.filter(|_| outcome.wants_explanation()) {
            log.tell(&finished.report);
        }
        log.conclude(outcome);
        return outcome.exit_status();
    }
    match outcome {
        Outcome::KernelPanic { .. } if on_panic == OnPanic::Exit => conduct.panic_status,
        Outcome::TimedOut(_) | Outcome::TimedOutAfterPanic { .. } => {
            log.conclude(outcome);
            124
        }
        Outcome::ConsoleLost(_) | Outcome::Failed(_) => {
            log.conclude(outcome);
            crate::FAILED
        }
        _ => 0,
    }
}

/// Starts the monitors, which list what QEMU's options named.
fn monitors(vm: &Vm, spec: &Spec, conduct: &Conduct) -> Result<Monitors, Failure> {
    let mut inventory = Inventory::of(spec);
    for (label, monitor) in &conduct.monitors {
        inventory.add_chardev(label, monitor.at.to_string());
    }
    for (given, ours) in &conduct.network_names {
        inventory.add_network_name(given, ours);
    }
    if let Some(name) = &conduct.name {
        inventory.set_name(name);
    }
    let monitors = conduct.monitors.iter().map(|(_, monitor)| monitor.clone());
    let monitors: Vec<_> = monitors.collect();
    Ok(Monitors::start(vm, inventory, &monitors)?)
}

/// Whether a person types at a monitor on standard input.
fn is_typed(monitor: &MonitorSpec) -> bool {
    monitor.language == Language::Hmp && monitor.at == Serial::Stdio
}

/// Tells where pseudo-terminals are, on standard output as QEMU does.
fn announce(vm: &Vm, conduct: &Conduct, monitors: &Monitors) -> Result<(), Failure> {
    let names = vm.serial_names().map(|(_, name)| name);
    let ptys = names.filter(|name| name.starts_with("/dev/"));
    let mut stdout = std::io::stdout().lock();
    let of_monitors = monitors.names().iter().map(String::as_str);
    let of_monitors = of_monitors.zip(conduct.monitors.iter().map(|(label, _)| label));
    let of_monitors = of_monitors.filter(|(name, _)| name.starts_with("/dev/"));
    for (name, label) in ptys.zip(&conduct.labels).chain(of_monitors) {
        writeln!(stdout, "char device redirected to {name} (label {label})")?;
    }
    Ok(stdout.flush()?)
}

/// An error as QEMU begins it, and our reason.
fn spelled(spec: &Spec, error: &BuildError) -> String {
    let text = remedy::spelled(error);
    if !matches!(error, BuildError::Boot(_)) {
        return text;
    }
    let is_of = |image: &Option<Image>| match image {
        Some(Image::File(path)) => text
            .starts_with(&format!("{}: ", path.display()))
            .then(|| path.display().to_string()),
        _ => None,
    };
    if let Some(file) = is_of(&spec.boot.kernel) {
        return format!("could not load kernel '{file}': {text}");
    }
    match is_of(&spec.boot.initrd) {
        Some(file) => format!("could not load ram disk '{file}': {text}"),
        None => text,
    }
}
