//! One guest for one test.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::artifacts::Folder;
use super::console::{Console, News, Recording};
use super::judge::{Facts, Fault, judge};
use super::plan::{Stage, Step, TestPlan};
use crate::testing::agent::{Agent, AgentError, AgentLink, CommandStatus, Greeting, GuestCommand};
use crate::testing::excerpt::{Bounds, Excerpt};
use crate::testing::ktap::{Status, Tree};
use crate::testing::report::{Attempt, Results};
use crate::vm::outcome::Outcome;
use crate::{ConsoleInput, Machine, Reached, Role, Sandbox, Stopper, Until, Vm};

/// The most of a post-mortem that is kept, in bytes.
const POST_MORTEM: usize = 64 << 10;

/// Ends all guests of a run of tests, and keeps others from beginning; clones are the same.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    is_cancelled: bool,
    guests: Vec<(u64, Stopper)>,
    next: u64,
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

impl Cancel {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends them.
    pub fn cancel(&self) {
        let mut running = self.running();
        running.is_cancelled = true;
        for (_, guest) in &running.guests {
            guest.stop();
        }
    }

    /// Whether somebody did.
    pub fn is_cancelled(&self) -> bool {
        self.running().is_cancelled
    }

    /// Notes a guest that runs until what is returned is dropped.
    fn add(&self, guest: Stopper) -> Noted<'_> {
        let mut running = self.running();
        if running.is_cancelled {
            guest.stop();
        }
        let id = running.next;
        running.next += 1;
        running.guests.push((id, guest));
        Noted(self, id)
    }
}

/// A guest that runs.
struct Noted<'a>(&'a Cancel, u64);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.running().guests.retain(|(id, _)| *id != self.1);
    }
}

/// Where attempts are made.
pub(super) struct Ground<'a> {
    /// When the run began.
    pub start: Instant,
    /// What guests' threads give up.
    pub sandbox: Sandbox,
    /// The folder for what is kept of tests that go badly.
    pub artifacts: Option<&'a Path>,
    pub cancel: &'a Cancel,
}

/// An attempt, and what came of it.
pub(super) struct Tried {
    pub attempt: Attempt,
    pub message: String,
    /// What the guest reported of tests of its own.
    pub results: Option<Results>,
    /// What of the artifacts could not be written, in a line each.
    pub trouble: Vec<String>,
}

/// What a guest that ran came to.
struct Ran {
    status: Status,
    message: String,
    verdict: String,
    console: Excerpt,
    bad: Option<String>,
    post_mortem: String,
    tree: Option<Tree>,
}

/// Makes an attempt at a test; `index` is its place in the suite, `number` that of the attempt.
pub(super) fn attempt(plan: &TestPlan, index: usize, number: u32, ground: &Ground<'_>) -> Tried {
    let begin = ground.start.elapsed();
    let mut trouble = Vec::new();
    let mut folder = ground.artifacts.and_then(|root| {
        let folder = Folder::create(root, index, &plan.name, number);
        let note = |error| trouble.push(format!("{}: {error}", root.display()));
        folder.map_err(note).ok()
    });
    let ran = run(plan, folder.as_mut(), ground).unwrap_or_else(|why| Ran {
        status: Status::Error,
        verdict: "the guest was not started".into(),
        message: why,
        console: Excerpt::new(Bounds { lines: 0, bytes: 0 }),
        bad: None,
        post_mortem: String::new(),
        tree: None,
    });
    let attempt = Attempt {
        status: ran.status,
        verdict: ran.verdict,
        begin,
        end: ground.start.elapsed(),
        console: ran.console,
        bad: ran.bad,
        post_mortem: ran.post_mortem,
    };
    if let Some(mut folder) = folder {
        let is_bad = attempt.status.is_bad();
        if is_bad {
            folder.result(&attempt, &ran.message);
        }
        trouble.append(&mut folder.trouble);
        if !is_bad {
            folder.discard();
        }
    }
    Tried {
        results: ran.tree.map(|tree| Results::of(&plan.name, &tree)),
        attempt,
        message: ran.message,
        trouble,
    }
}

/// The machine, with an agent where commands are run in it.
fn build(
    plan: &TestPlan,
    folder: Option<&Folder>,
    sandbox: Sandbox,
) -> Result<(Vm, Option<Greeting>), String> {
    let mut plan = plan.clone();
    if let Some(folder) = folder {
        let networks = plan.networks().filter(|net| net.pcap.is_none());
        for (number, net) in networks.enumerate() {
            net.pcap = Some(folder.path(&format!("net{number}.pcap")));
        }
    }
    let machine = Machine::from_spec(plan.spec.clone()).sandbox(sandbox);
    if !plan.needs_agent() {
        return Ok((machine.build().map_err(|error| error.to_string())?, None));
    }
    let said = |error: AgentError| error.to_string();
    let agent = Agent::new(plan.init).map_err(said)?;
    let vm = agent.install(machine).map_err(said)?.build();
    let vm = vm.map_err(|error| error.to_string())?;
    let greeting = agent.listen(&vm).map_err(no_thread)?;
    Ok((vm, Some(greeting)))
}

fn no_thread(error: std::io::Error) -> String {
    format!("the host gives no thread: {error}")
}

/// What the threads of an attempt must know of each other.
struct Scene<'a> {
    plan: &'a TestPlan,
    console: Console,
    stopper: Stopper,
    /// All stages are done.
    is_done: AtomicBool,
}

impl Scene<'_> {
    /// Ends the guest if nothing more is wanted of it.
    fn end_if_done(&self) {
        let waits_for_results = self.plan.reads_ktap_from_console() && !self.console.is_complete();
        if self.is_done.load(Ordering::SeqCst) && !waits_for_results && !self.plan.waits_for_end() {
            self.stopper.stop();
        }
    }
}

/// Runs a guest to its end.
fn run(
    plan: &TestPlan,
    mut folder: Option<&mut Folder>,
    ground: &Ground<'_>,
) -> Result<Ran, String> {
    let (vm, greeting) = build(plan, folder.as_deref(), ground.sandbox)?;
    let mut file = |name: &str| folder.as_deref_mut().and_then(|folder| folder.file(name));
    let reads_console = plan.reads_ktap_from_console();
    let recording = Recording::new(file("console.log"), reads_console);
    let has_command = plan.stages.iter().any(|stage| stage.run.is_some());
    let mut outputs = has_command.then(|| {
        let reads = plan
            .stages
            .iter()
            .any(|stage| stage.ktap && stage.run.is_some());
        Outputs {
            stdout: Recording::new(file("stdout"), reads),
            stderr: Recording::new(file("stderr"), false),
        }
    });
    let mut reader = vm.console_reader().ok_or(
        "the test cannot read its console, which goes elsewhere; leave serial out of the machine",
    )?;
    let mut writer = vm.console_writer();
    let scene = Scene {
        plan,
        console: Console::new(recording),
        stopper: vm.stopper(),
        is_done: AtomicBool::new(false),
    };
    let noted = ground.cancel.add(vm.stopper());
    let timeout = plan.timeout;
    let (sender, ended) = mpsc::channel();
    let confinement = vm.confinement().clone();
    let thread = Builder::new().name("vcpu".into()).stack_size(2 << 20);
    let ran = std::thread::scope(|scope| {
        let pump = scope.spawn(|| {
            scene
                .console
                .read(&mut reader, &plan.reject, |news| match news {
                    News::Rejected => scene.stopper.stop(),
                    News::Complete => scene.end_if_done(),
                });
        });
        let story = scope.spawn(|| {
            let told = tell(
                plan,
                greeting,
                &scene.console,
                &mut writer,
                outputs.as_mut(),
            );
            match &told {
                Ok(()) => {
                    scene.is_done.store(true, Ordering::SeqCst);
                    scene.end_if_done();
                }
                // The guest is asked for nothing more.
                Err(_) => scene.stopper.stop(),
            }
            told
        });
        let started = confinement.spawn(thread, Role::Vcpu, move || {
            let mut vm = vm;
            let outcome = run_within(&mut vm, timeout);
            // Whoever waits for the guest sees its end.
            vm.abandon();
            // The receiver waits for it.
            let _ = sender.send((vm, outcome));
        });
        let thread = started.map_err(no_thread)?;
        let (mut vm, outcome) = ended
            .recv()
            .map_err(|_| "the guest's thread ended by a fault of ppckvm".to_owned())?;
        let _ = thread.join();
        let fault = story
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .err();
        let report = vm.report().to_string();
        let _ = pump.join();
        Ok::<_, String>((vm, outcome, fault, report))
    });
    drop(noted);
    let (mut vm, outcome, fault, report) = ran?;
    let rejected = scene.console.rejected();
    let (mut console, of_console, lost) = scene.console.finish().finish();
    let mut losses = vec![("console.log", lost)];
    let mut of_command = None;
    if let Some(Outputs { stdout, stderr }) = outputs {
        for (name, recording) in [("stdout", stdout), ("stderr", stderr)] {
            let (lines, tree, lost) = recording.finish();
            losses.push((name, lost));
            of_command = of_command.or(tree);
            if !lines.is_empty() {
                console.push(&format!("--- {name} of the command ---"));
                console.append(lines);
            }
        }
    }
    let tree = joined(of_command, of_console);
    let bad = rejected.as_ref().map(|(_, line)| line.clone());
    let (status, message) = judge(Facts {
        plan,
        outcome: &outcome,
        rejected,
        fault,
        tree: tree.as_ref(),
        is_cancelled: ground.cancel.is_cancelled() && outcome == Outcome::Stopped,
    });
    let mut post_mortem = String::new();
    if outcome.wants_explanation() {
        post_mortem = crate::testing::excerpt::clipped(&report, POST_MORTEM).to_owned();
    }
    if let Some(folder) = folder {
        for (name, lost) in losses {
            if let Some(error) = lost {
                folder.lost(name, &error);
            }
        }
        if status.is_bad() {
            folder.memory(&mut vm);
            if let Ok(tree) = Machine::from_spec(plan.spec.clone()).device_tree() {
                folder.tree(&tree);
            }
        }
    }
    Ok(Ran {
        status,
        message,
        verdict: outcome.to_string(),
        console,
        bad,
        post_mortem,
        tree,
    })
}

/// The tests of two logs.
fn joined(first: Option<Tree>, second: Option<Tree>) -> Option<Tree> {
    match (first, second) {
        (Some(mut first), Some(second)) => {
            first.tests.extend(second.tests);
            first.errors.extend(second.errors);
            Some(first)
        }
        (first, second) => first.or(second),
    }
}

/// Runs the guest for so long at the most.
fn run_within(vm: &mut Vm, time: Duration) -> Outcome {
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match vm.run_until(Until::end().within(left)) {
            Reached::End(outcome) => return outcome,
            Reached::Deadline => return Outcome::TimedOut(time),
            Reached::Report | Reached::Text => {}
        }
    }
}

/// Where a command's output goes.
struct Outputs {
    stdout: Recording,
    stderr: Recording,
}

/// Does the stages of a test.
fn tell(
    plan: &TestPlan,
    mut greeting: Option<Greeting>,
    console: &Console,
    input: &mut ConsoleInput,
    mut outputs: Option<&mut Outputs>,
) -> Result<(), Fault> {
    let mut link = None;
    for stage in &plan.stages {
        talk(&stage.dialogue, console, input)?;
        if !stage.needs_agent() {
            continue;
        }
        if let Some(greeting) = greeting.take() {
            link = Some(greeting.wait(plan.timeout).map_err(Fault::Agent)?);
        }
        if let Some(link) = &mut link {
            act(stage, link, outputs.as_deref_mut())?;
        }
    }
    match link {
        Some(mut link) => link.sync().map_err(Fault::Agent),
        None => Ok(()),
    }
}

fn talk(dialogue: &[Step], console: &Console, input: &mut ConsoleInput) -> Result<(), Fault> {
    use std::io::Write;
    for step in dialogue {
        match step {
            Step::Send(text) => input.write_all(text.as_bytes()).map_err(Fault::NotTyped)?,
            Step::Expect(pattern) if console.wait_for(pattern) => {}
            Step::Expect(pattern) => return Err(Fault::NotSaid(pattern.to_string())),
        }
    }
    Ok(())
}

/// Does what a stage asks of the agent.
fn act(stage: &Stage, link: &mut AgentLink, outputs: Option<&mut Outputs>) -> Result<(), Fault> {
    for (from, to) in &stage.copies_in {
        link.copy_in(from, to).map_err(Fault::Agent)?;
    }
    let mut status = CommandStatus::Exited(0);
    if let (Some(words), Some(outputs)) = (&stage.run, outputs) {
        let mut command = GuestCommand::new(words.clone());
        for (name, value) in &stage.environment {
            command = command.env(name, value);
        }
        let Outputs { stdout, stderr } = outputs;
        status = link.run(command, stdout, stderr).map_err(Fault::Agent)?;
    }
    for (from, to) in &stage.copies_out {
        link.copy_out(from, to).map_err(Fault::Agent)?;
    }
    match status {
        CommandStatus::Exited(0) => Ok(()),
        // What fails of it is told by its results.
        CommandStatus::Exited(_) if stage.ktap => Ok(()),
        status => Err(Fault::Command(status)),
    }
}
