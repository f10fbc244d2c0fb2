//! User programs in a booted guest print what they print under `qemu-ppc`.
//!
//! The sources are in `tests/guests/user`, compiled for the 440 at three levels of optimisation;
//! `tests/guests/user.sh` kept what each printed. One boot runs them all.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use ppckvm::{Cpu, Machine, Outcome, ResetKind};
use support::guest;
use support::linux::Linux;

/// The programs, so that none vanishes.
const PROGRAMS: [&str; 15] = [
    "arithmetic",
    "faults",
    "generated_1",
    "generated_2",
    "generated_3",
    "hashes",
    "jumps",
    "long_double",
    "multiply16",
    "printf_a",
    "processes",
    "rounding",
    "signals",
    "strings",
    "threads",
];

const LEVELS: [&str; 3] = ["O0", "O2", "O3"];

fn folder() -> PathBuf {
    std::env::var_os("USER_PROGRAMS")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            panic!(
                "USER_PROGRAMS is not set: the guests are missing; run tests/run.sh, or build \
                 them and set their paths with: set -a; eval \"$(tests/guests/build.sh all)\"; \
                 set +a"
            )
        })
}

/// The root file system with the programs behind it: Linux unpacks archives one after another.
fn initrd(programs: &Path) -> Vec<u8> {
    let mut archive = std::fs::read(guest("ROOTFS")).unwrap();
    archive.extend(std::fs::read(programs.join("user.cpio.gz")).unwrap());
    archive
}

/// What each program printed, by its level and name.
fn outputs(console: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    for part in console.split("=== ").skip(1) {
        let (name, output) = part.split_once('\n').unwrap();
        outputs.insert(name.to_owned(), output.to_owned());
    }
    outputs
}

/// The first line in which two outputs differ.
fn difference(got: &str, expected: &str) -> String {
    let line = got
        .lines()
        .zip(expected.lines())
        .position(|(got, expected)| got != expected)
        .unwrap_or_else(|| got.lines().count().min(expected.lines().count()));
    format!(
        "line {}: {:?} in the guest, {:?} under qemu-ppc",
        line + 1,
        got.lines().nth(line),
        expected.lines().nth(line)
    )
}

#[test]
fn programs_print_the_same_as_under_qemu() {
    let programs = folder();
    let machine = Machine::new()
        .kernel(guest("KERNEL_VMLINUX"))
        .initrd_bytes("root file system with programs", initrd(&programs))
        // A program that is killed must not have the kernel print between the lines.
        .append("console=ttyS0 quiet loglevel=1 ppckvm.run=\"sh /user/run\"")
        .cpu(Cpu::Auto);
    let mut linux = Linux::start(machine);
    let outcome = linux.end();
    let console = linux.output_text().replace("\r\n", "\n");
    assert_eq!(outcome, Outcome::Reset(ResetKind::System), "{console}");
    let outputs = outputs(&console);
    let mut wrong = Vec::new();
    let mut bytes = 0;
    for level in LEVELS {
        for program in PROGRAMS {
            let expected = programs.join("expected").join(level).join(program);
            let expected = std::fs::read_to_string(expected).unwrap();
            let name = format!("{level} {program}");
            let got = outputs.get(&name).map_or("", String::as_str);
            bytes += got.len();
            if got != expected {
                wrong.push(format!("{name}: {}", difference(got, &expected)));
            }
        }
    }
    // One more than the programs: the end.
    assert_eq!(outputs.len(), PROGRAMS.len() * LEVELS.len() + 1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let _ = writeln!(
        std::io::stderr(),
        "user programs: {} at {} levels of optimisation, {bytes} bytes of output the same as \
         under qemu-ppc",
        PROGRAMS.len(),
        LEVELS.len()
    );
}
