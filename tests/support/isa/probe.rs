//! `qemu-ppc` as an oracle for problem state: starts `probe.c` under it and gives it jobs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use super::cases::{CODE, CR, CTR, End, FPR, FPSCR, GPR, LR, PC, Registers, XER};

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    pub words: Vec<u32>,
    pub start: Registers,
    /// Addresses and bytes, whole words, 1024 bytes at most.
    pub windows: Vec<(u32, Vec<u8>)>,
}

/// What came of a job. `registers` has from the job's start what no user program can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub end: End,
    pub registers: Registers,
    pub windows: Vec<Vec<u8>>,
}

/// The program, compiled once.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/isa/probe.c");
    // A file of this process: another test may compile at the same time.
    let program =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-{}", std::process::id()));
    let status = Command::new("powerpc-linux-gnu-gcc")
        .args([
            "-std=gnu11",
            "-O2",
            "-Wall",
            "-mcpu=440fp",
            "-G0",
            "-static",
            "-nostdlib",
        ])
        .args(["-ffreestanding", "-fno-stack-protector", "-fno-pic", "-o"])
        .args([&program, &source])
        .status()
        .expect(
            "powerpc-linux-gnu-gcc is missing: install gcc-powerpc-linux-gnu, or run tests/run.sh",
        );
    assert!(status.success(), "probe.c does not compile: {status}");
    program
});

/// Runs all jobs in one process, in order; `options` go to `qemu-ppc`.
///
/// # Panics
/// When there is no `qemu-ppc` or no cross compiler, or the program dies.
pub fn run(jobs: &[Job], options: &[&str]) -> Vec<Answer> {
    let mut child = Command::new("qemu-ppc")
        .args(["-cpu", "440epb"])
        .args(options)
        .arg(&*PROGRAM)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("qemu-ppc is missing: install qemu-user 10 from backports, or run tests/run.sh");
    let mut input = child.stdin.take().expect("piped above");
    let mut output = child.stdout.take().expect("piped above");
    let answers = std::thread::scope(|scope| {
        scope.spawn(move || {
            for job in jobs {
                // A program that died shows when its answer is read.
                if input.write_all(&encode(job)).is_err() {
                    break;
                }
            }
        });
        jobs.iter()
            .map(|job| decode(job, &mut output))
            .collect::<std::io::Result<Vec<_>>>()
    });
    let _ = child.kill();
    let status = child.wait();
    answers
        .unwrap_or_else(|error| panic!("the probe under qemu-ppc ended early: {error}, {status:?}"))
}

/// The registers of a job's and an answer's text, in order.
const WORDS: [usize; 5] = [CR, XER, LR, CTR, FPSCR];

fn encode(job: &Job) -> Vec<u8> {
    let mut bytes = Vec::new();
    let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_be_bytes());
    word(&mut bytes, job.words.len() as u32);
    job.words.iter().for_each(|&value| word(&mut bytes, value));
    for index in (GPR..FPR).chain(WORDS) {
        word(&mut bytes, job.start.0[index] as u32);
    }
    for value in &job.start.0[FPR..CR] {
        bytes.extend(value.to_be_bytes());
    }
    word(&mut bytes, job.windows.len() as u32);
    for (at, held) in &job.windows {
        word(&mut bytes, *at);
        word(&mut bytes, held.len() as u32);
        bytes.extend(held);
    }
    bytes
}

fn decode(job: &Job, from: &mut impl Read) -> std::io::Result<Answer> {
    let mut word = || {
        let mut bytes = [0; 4];
        from.read_exact(&mut bytes)?;
        Ok::<u32, std::io::Error>(u32::from_be_bytes(bytes))
    };
    let (signal, code, address, pc) = (word()?, word()?, word()?, word()?);
    let mut registers = job.start;
    registers.0[PC] = pc.into();
    for index in (GPR..FPR).chain(WORDS) {
        registers.0[index] = word()?.into();
    }
    for index in FPR..CR {
        registers.0[index] = u64::from(word()?) << 32 | u64::from(word()?);
    }
    let inside = pc.wrapping_sub(CODE) < 4 * job.words.len() as u32;
    // SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV.
    let end = match (signal, code) {
        // The `trap` behind, or whatever is where a branch went.
        _ if !inside => End::Done,
        (4, 5 | 6) => End::Privileged,
        (4, _) => End::Illegal,
        (5, _) => End::Trap,
        (7, _) => End::Alignment(address),
        (8, _) => End::FloatingPoint,
        // SEGV_MAPERR and SEGV_ACCERR.
        (11, 1) => End::Miss(address),
        _ => End::Denied(address),
    };
    let mut windows = Vec::new();
    for (_, held) in &job.windows {
        let mut bytes = vec![0; held.len()];
        from.read_exact(&mut bytes)?;
        windows.push(bytes);
    }
    Ok(Answer {
        end,
        registers,
        windows,
    })
}
