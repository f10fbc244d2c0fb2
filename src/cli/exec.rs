//! `exec`: one command in the guest, whose exit status is this process's.

mod paths;
mod verdict;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ppckvm::testing::PATIENCE;
use ppckvm::testing::agent::{Agent, AgentError, CommandStatus, Greeting, GuestCommand, Init};
use ppckvm::{ConsoleOutput, Machine, Stopper, Vm};

use super::args::{ExecArgs, ExecOptions};
use super::log::Log;
use super::signals::{self, Signals};
use super::supervise::{Guest, Kept};
use super::{Failure, no_signals, raise_the_limit_of_open_files};
use verdict::{ResultFile, Verdict};

/// How long what the command's thread found is waited for when the guest has ended.
const AFTER_END: Duration = Duration::from_secs(1);

/// Lines of the console that are shown when the guest ended before the command did.
const SHOWN_LINES: usize = 40;

/// Runs the command; the exit status.
pub fn exec(mut args: ExecArgs, log: &Log) -> Result<u8, Failure> {
    raise_the_limit_of_open_files();
    let options = args.options.clone();
    let sandbox = args.sandbox;
    let words = std::mem::take(&mut args.command);
    let spec = args.spec()?;
    let mut command = GuestCommand::new(words);
    for (name, value) in &options.environment {
        command = command.env(name, value);
    }
    if let Some(path) = &options.stdin {
        command = command.input(input(path)?);
    }
    let task = Task {
        copies_in: options
            .copies_in
            .iter()
            .map(|text| paths::copy_in(text))
            .collect::<Result<_, _>>()?,
        copies_out: options
            .copies_out
            .iter()
            .map(|text| paths::copy_out(text))
            .collect::<Result<_, _>>()?,
        command,
    };
    for (from, _) in &task.copies_in {
        std::fs::metadata(from).map_err(|error| format!("--in {}: {error}", from.display()))?;
    }
    let result = options
        .result
        .as_deref()
        .map(ResultFile::create)
        .transpose()?;
    signals::settle().map_err(|error| no_signals(&error))?;
    let agent = Agent::new(options.init())?;
    let vm = agent
        .install(Machine::from_spec(spec).sandbox(sandbox))?
        .build()?;
    let no_thread = |error| format!("the host gives no thread: {error}");
    let greeting = agent.listen(&vm).map_err(no_thread)?;
    let signals = Signals::catch(vm.stopper(), log.clone(), None, vm.confinement())
        .map_err(|error| no_signals(&error))?;
    let boot = wait_for_boot(&options, &vm)?;
    let answer = start(task, greeting, boot, vm.stopper()).map_err(no_thread)?;

    let console = Arc::new(Mutex::new(String::new()));
    let kept = console.clone();
    let guest = Guest::start(vm, log.clone(), move |vm| {
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = last_lines(&vm.output_text());
        false
    })
    .map_err(no_thread)?;
    let finished = guest.finished();
    let answer = answer
        .recv_timeout(AFTER_END)
        .unwrap_or(Err(AgentError::Ended));
    let report = finished.as_ref().ok().map(|finished| &finished.report);
    let outcome = match &finished {
        Ok(finished) => finished.outcome.clone(),
        Err(Kept::ByHost(outcome)) => outcome.clone(),
        Err(Kept::Fault) => return Err("the guest's thread ended by a fault of ppckvm".into()),
    };
    let _ = guest.is_gone();
    let verdict = Verdict::new(answer, outcome, signals.caught());
    if verdict.wants_console() {
        let console = console.lock().unwrap_or_else(PoisonError::into_inner);
        if !console.is_empty() {
            log.tell(format_args!("{console}\n"));
        }
        if let (true, Some(report)) = (verdict.wants_report(), report) {
            log.tell(report);
        }
    }
    if let Some(file) = result {
        file.write(&verdict)?;
    }
    if let Some(line) = verdict.line() {
        log.conclude(line);
    }
    Ok(verdict.status())
}

/// Standard input of the command.
fn input(path: &Path) -> Result<Box<dyn Read + Send>, String> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(format!("--stdin {}: {error}", path.display())),
    }
}

/// What is to be done in the guest.
struct Task {
    copies_in: Vec<paths::Copy>,
    copies_out: Vec<paths::Copy>,
    command: GuestCommand,
}

type Answer = Result<CommandStatus, AgentError>;

/// The console and the text to wait for on it.
type Boot = Option<(ConsoleOutput, String)>;

fn wait_for_boot(options: &ExecOptions, vm: &Vm) -> Result<Boot, &'static str> {
    if options.init() != Init::AfterBoot {
        return Ok(None);
    }
    match vm.console_reader() {
        Some(console) => Ok(Some((console, options.boot_text.clone()))),
        None => Err("--init after-boot reads the console itself; leave --serial out"),
    }
}

/// Does the task on a thread of its own, and then has the guest stop.
fn start(
    task: Task,
    greeting: Greeting,
    boot: Boot,
    stopper: Stopper,
) -> std::io::Result<Receiver<Answer>> {
    let (sender, answer) = channel();
    let thread = std::thread::Builder::new().name("command".into());
    thread.spawn(move || {
        let answer = act(task, greeting, boot);
        // Who waits for it may have given it up.
        let _ = sender.send(answer);
        stopper.stop();
    })?;
    Ok(answer)
}

fn act(task: Task, greeting: Greeting, boot: Boot) -> Answer {
    let mut link = greeting.wait(PATIENCE)?;
    if let Some((console, text)) = boot {
        wait_for_text(console, text)?;
    }
    for (from, to) in &task.copies_in {
        link.copy_in(from, to)?;
    }
    let (mut stdout, mut stderr) = (
        Direct(rustix::stdio::stdout()),
        Direct(rustix::stdio::stderr()),
    );
    let status = link.run(task.command, &mut stdout, &mut stderr)?;
    for (from, to) in &task.copies_out {
        link.copy_out(from, to)?;
    }
    link.sync()?;
    Ok(status)
}

/// One of this process's standard files, without a buffer that would hold back a part of a line.
struct Direct(rustix::fd::BorrowedFd<'static>);

impl Write for Direct {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits until the console says a text; what it says afterwards is read too, because the guest would
/// wait for that.
fn wait_for_text(mut console: ConsoleOutput, text: String) -> Result<(), AgentError> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = match console.read(&mut buffer) {
            Ok(0) | Err(_) => return Err(AgentError::NoBoot { text }),
            Ok(count) => count,
        };
        kept.extend_from_slice(&buffer[..count]);
        if kept
            .windows(text.len().max(1))
            .any(|window| window == text.as_bytes())
        {
            break;
        }
        let old = kept.len().saturating_sub(text.len());
        kept.drain(..old);
    }
    // It ends with the guest; without a thread, the console's queue is full at some time.
    let thread = std::thread::Builder::new().name("console".into());
    let spawned = thread.spawn(move || std::io::copy(&mut console, &mut std::io::sink()));
    spawned.map(drop).map_err(|error| AgentError::Host {
        path: "a thread for the console".into(),
        error,
    })
}

fn last_lines(console: &str) -> String {
    let console = console.replace('\r', "");
    let lines: Vec<&str> = console.lines().collect();
    let lines = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    let shown = lines.iter().map(|line| ppckvm::Printable(line).to_string());
    shown.collect::<Vec<_>>().join("\n")
}
