//! `test`: boot tests, and what is told of them.

mod progress;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ppckvm::testing::report::{self, Results, Run, TestRun};
use ppckvm::testing::suite::{
    Cancel, FILE, Filter, Pattern, Ran, RunOptions, Stage, Step, Suite, TestPlan, check_ports,
    select,
};
use ppckvm::testing::{Ktap, Status};

use super::args::TestArgs;
use super::log::Log;
use super::{Failure, no_signals, raise_the_limit_of_open_files, signals};
use progress::Progress;

/// Exit statuses, beside those of every command; the first two are nextest's.
const SOME_FAILED: u8 = 100;
const NONE_SELECTED: u8 = 4;
/// A report or an artifact is not complete.
const INCOMPLETE: u8 = 1;
/// What `git bisect run` takes for a bad commit, and for one that cannot be tested.
const BAD: u8 = 1;
const NOT_TESTED: u8 = 125;

/// Lines of the console that are shown of a test that went badly.
const SHOWN_LINES: usize = 40;

/// Runs the tests; the exit status.
pub fn test(args: &TestArgs, log: &Log) -> Result<u8, Failure> {
    match run(args, log) {
        Err(error) if args.bisect => {
            log.conclude(super::remedy::message(&*error));
            Ok(NOT_TESTED)
        }
        done => done,
    }
}

fn run(args: &TestArgs, log: &Log) -> Result<u8, Failure> {
    raise_the_limit_of_open_files();
    if !args.ktap_log.is_empty() {
        let run = read_logs(&args.ktap_log)?;
        let reports = Reports::create(args)?;
        return conclude(
            args,
            log,
            Ran {
                run,
                trouble: Vec::new(),
            },
            reports,
            None,
        );
    }
    let suite = suite(args)?;
    let filters: Vec<Filter> = args.filter.iter().map(Filter::new).collect();
    let selection = select(suite.names(), &filters, args.partition);
    if args.list {
        let names: Vec<&str> = suite.names().collect();
        let mut stdout = io::stdout().lock();
        for index in &selection {
            writeln!(stdout, "{}", names[*index])?;
        }
        return Ok(0);
    }
    if selection.is_empty() {
        log.conclude(format_args!(
            "no test was selected of {}",
            suite.tests.len()
        ));
        return Ok(if args.bisect {
            NOT_TESTED
        } else {
            NONE_SELECTED
        });
    }
    let reports = Reports::create(args)?;
    if let Some(folder) = &args.artifacts {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("--artifacts {}: {error}", folder.display()))?;
    }
    let cancel = Cancel::default();
    signals::settle().map_err(|error| no_signals(&error))?;
    let caught = catch(&cancel, log).map_err(|error| no_signals(&error))?;
    let options = RunOptions {
        title: title(args),
        jobs: args.jobs,
        retries: args.retries,
        flaky_result: args.flaky_result(),
        fails_fast: !args.no_fail_fast,
        sandbox: args.sandbox,
        artifacts: args.artifacts.clone(),
    };
    let progress = Progress::start(log.clone(), selection.len());
    let ran = suite.run(&selection, &options, &cancel, &|event| progress.take(event));
    progress.finish();
    let signal = caught.load(Ordering::SeqCst);
    conclude(args, log, ran, reports, (signal != 0).then_some(signal))
}

/// What reports call the run.
fn title(args: &TestArgs) -> String {
    let stem = |path: &PathBuf| {
        path.file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let name = args.files.first().and_then(stem);
    name.unwrap_or_else(|| "ppckvm".to_owned())
}

/// The tests: of files, or the one that the options describe.
fn suite(args: &TestArgs) -> Result<Suite, Failure> {
    let describes = args.ktap || !args.expect.is_empty() || !args.command.is_empty();
    let spec = args.spec()?;
    let is_one = args.files.is_empty() && (describes || spec.boot.kernel.is_some());
    if is_one {
        return one(args, spec);
    }
    let in_place = args.in_place()?;
    let default = [PathBuf::from(FILE)];
    let files = match args.files.is_empty() {
        true if !Path::new(FILE).exists() => {
            return Err(
                format!("there is no {FILE} here; name a file of tests, or a --kernel").into(),
            );
        }
        true => &default[..],
        false => &args.files,
    };
    let mut suites = Vec::new();
    for file in files {
        suites.push(Suite::from_file_with(file, |config| {
            in_place
                .iter()
                .for_each(|(setting, value)| config.set(setting, value));
        })?);
    }
    Ok(Suite::join(suites)?)
}

/// The test that the options describe.
fn one(args: &TestArgs, spec: ppckvm::Spec) -> Result<Suite, Failure> {
    if spec.boot.kernel.is_none() {
        return Err("no kernel is named; give one with --kernel".into());
    }
    check_ports(&spec).map_err(|why| format!("--serial: {why}"))?;
    let regex = |option: &str, text: &String| {
        Pattern::regex(text).map_err(|why| format!("{option} {text}: {why}"))
    };
    let mut plan = TestPlan::new("test", spec);
    let mut stage = Stage {
        ktap: args.ktap,
        ..Stage::default()
    };
    for text in &args.expect {
        stage.dialogue.push(Step::Expect(regex("--expect", text)?));
    }
    for text in &args.reject {
        plan.reject.push(regex("--reject", text)?);
    }
    if !args.command.is_empty() {
        stage.run = Some(args.command.clone());
    }
    if stage.run.is_some() && !stage.dialogue.is_empty() {
        plan.init = ppckvm::testing::agent::Init::AfterBoot;
    }
    plan.stages.push(stage);
    plan.repeat = repeat();
    Ok(Suite::of(plan))
}

/// This command, as a shell takes it.
fn repeat() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| ppckvm::testing::suite::quoted(&word.to_string_lossy()));
    format!("ppckvm {}", words.collect::<Vec<_>>().join(" "))
}

/// Reads logs that were made elsewhere.
fn read_logs(files: &[PathBuf]) -> Result<Run, Failure> {
    let (started, begin) = (SystemTime::now(), Instant::now());
    let mut tests = Vec::new();
    for path in files {
        let name = path.display().to_string();
        let mut ktap = Ktap::new();
        let read = File::open(path).and_then(|mut file| {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match io::Read::read(&mut file, &mut buffer)? {
                    0 => return Ok(()),
                    count => drop(ktap.push(&buffer[..count])),
                }
            }
        });
        read.map_err(|error| format!("--ktap-log {name}: {error}"))?;
        let tree = ktap.finish();
        let results = Results::of(&name, &tree);
        tests.push(TestRun {
            status: match results.passed() {
                true => Status::Passed,
                false => Status::Failed,
            },
            message: tree.counts().to_string(),
            name,
            attempts: Vec::new(),
            repeat: String::new(),
            results: Some(results),
        });
    }
    Ok(Run {
        title: "ppckvm".into(),
        started,
        took: begin.elapsed(),
        tests,
    })
}

/// Catches signals: the first ends all guests, the next the process. Gives the first one's number.
fn catch(cancel: &Cancel, log: &Log) -> io::Result<Arc<AtomicU8>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    /// How long who reads standard error is waited for then.
    const AT_ONCE: Duration = Duration::from_millis(200);
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let caught = Arc::new(AtomicU8::new(0));
    let (first, cancel, log) = (caught.clone(), cancel.clone(), log.clone());
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let signal = u8::try_from(signal).unwrap_or(0);
            match first.swap(signal, Ordering::SeqCst) {
                0 => cancel.cancel(),
                before => {
                    log.conclude(format_args!(
                        "ended by signal {before}, and at once by signal {signal}: there are no reports"
                    ));
                    log.finish_within(AT_ONCE);
                    std::process::exit((signals::STATUS + before).into());
                }
            }
        }
    })?;
    Ok(caught)
}

/// The files of the reports, made before anything runs.
struct Reports {
    files: Vec<(PathBuf, File, Kind)>,
}

/// The form of a report.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Junit,
    Json,
    Html,
}

impl Reports {
    fn create(args: &TestArgs) -> Result<Self, Failure> {
        let wanted = [
            (&args.junit, Kind::Junit),
            (&args.json, Kind::Json),
            (&args.html, Kind::Html),
        ];
        let wanted = wanted
            .into_iter()
            .filter_map(|(path, kind)| Some((path.as_ref()?, kind)));
        let file = |(path, kind): (&PathBuf, Kind)| {
            let file =
                File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok((path.clone(), file, kind))
        };
        let files: Result<_, String> = wanted.map(file).collect();
        Ok(Reports { files: files? })
    }

    /// Writes them; what could not be written, in a line each.
    fn write(self, run: &Run, tap: bool) -> Vec<String> {
        let results = run.results();
        let mut trouble = Vec::new();
        for (path, file, kind) in self.files {
            let mut file = BufWriter::new(file);
            let written = match kind {
                Kind::Junit => report::junit::write(&results, &mut file),
                Kind::Json => report::libtest::write(&results, &mut file),
                Kind::Html => report::html::write(run, &mut file),
            };
            if let Err(error) = written.and_then(|()| file.flush()) {
                trouble.push(format!(
                    "{}: the report is incomplete: {error}",
                    path.display()
                ));
            }
        }
        if tap {
            let mut stdout = BufWriter::new(io::stdout().lock());
            let written = report::tap::write(&results, &mut stdout);
            if let Err(error) = written.and_then(|()| stdout.flush()) {
                trouble.push(format!(
                    "standard output: the results are incomplete: {error}"
                ));
            }
        }
        trouble.extend(
            on_github(run, tap)
                .err()
                .map(|error| format!("GitHub's summary: {error}")),
        );
        trouble
    }
}

/// What a job on GitHub shows: its summary, and a line for each error.
fn on_github(run: &Run, is_taken: bool) -> io::Result<()> {
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        let mut file = File::options().append(true).create(true).open(path)?;
        report::github::write_summary(run, &mut file)?;
    }
    let is_job = std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    if is_job && !is_taken {
        report::github::write_errors(run, &mut io::stdout().lock())?;
    }
    Ok(())
}

/// Says what the tests came to, and writes the reports; the exit status.
fn conclude(
    args: &TestArgs,
    log: &Log,
    Ran { run, mut trouble }: Ran,
    reports: Reports,
    signal: Option<u8>,
) -> Result<u8, Failure> {
    for index in run.worst_first().into_iter().rev() {
        let test = &run.tests[index];
        if test.needs_a_look() {
            explain(test, log);
        }
    }
    trouble.extend(reports.write(&run, args.tap));
    for line in &trouble {
        log.tell(format_args!("ppckvm: {line}"));
    }
    let counts: Vec<String> = run
        .counts()
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let seconds = run.took.as_secs_f64();
    let summary = format!("{} in {seconds:.2} s", counts.join(", "));
    let has_failed = run.tests.iter().any(|test| test.status.is_bad());
    if let Some(signal) = signal {
        log.conclude(format_args!("ended by signal {signal}: {summary}"));
        return Ok(signals::STATUS + signal);
    }
    let incomplete = match trouble.len() {
        0 => String::new(),
        count => format!("; {count} reports or artifacts are incomplete"),
    };
    log.conclude(format_args!("{summary}{incomplete}"));
    let untested = run.tests.iter().any(|test| test.status == Status::Error);
    Ok(match (has_failed, args.bisect) {
        (true, true) if untested => NOT_TESTED,
        (true, true) => BAD,
        (true, false) => SOME_FAILED,
        (false, true) if !trouble.is_empty() => NOT_TESTED,
        (false, false) if !trouble.is_empty() => INCOMPLETE,
        (false, _) => 0,
    })
}

/// Shows what tells why a test went badly.
fn explain(test: &TestRun, log: &Log) {
    log.tell(format_args!(
        "--- {}: {} {}",
        test.word(),
        test.name,
        test.reason()
    ));
    let bad = test
        .attempts
        .iter()
        .rev()
        .find(|attempt| attempt.status.is_bad());
    if let Some(attempt) = bad {
        let lines: Vec<String> = attempt.console.lines().collect();
        let first = lines.len().saturating_sub(SHOWN_LINES);
        if first > 0 {
            log.tell(format_args!("  | [... {first} lines before]"));
        }
        for line in &lines[first..] {
            log.tell(format_args!("  | {line}"));
        }
        // Pages and artifacts have the rest: the guest's TLB and its interrupts.
        let rest = attempt.post_mortem.lines();
        for line in rest.skip_while(|line| line.trim() != "registers:") {
            log.tell(format_args!("  {line}"));
        }
        log.tell(format_args!("  {}", attempt.verdict));
    }
    for case in test.results.iter().flat_map(|results| &results.cases) {
        if case.status.is_bad() {
            log.tell(format_args!(
                "  {}: {} {}",
                case.status,
                case.full_name(),
                case.message
            ));
        }
    }
    if !test.repeat.is_empty() {
        log.tell(format_args!("  again: {}", test.repeat));
    }
}
