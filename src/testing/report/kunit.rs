//! The tree of JSON that `kunit.py --json` writes and KernelCI reads.

use std::io::{self, Write};

use super::json::Quoted;
use crate::testing::ktap::{Counts, Status, Test, Tree};

/// What `kunit.py` says of a kernel beside the results; empty texts where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// The architecture as the kernel's `ARCH` has it: `powerpc`.
    pub arch: String,
    /// The name of its configuration.
    pub defconfig: String,
    /// The folder in which it was built.
    pub build_environment: String,
    /// The branch from which it was built.
    pub git_branch: String,
}

/// Writes the tests of a log as one object: a test with tests of its own is one of `sub_groups`,
/// another one of `test_cases`, whose `status` is `PASS`, `FAIL`, `SKIP` or, where it crashed or
/// could not be carried out, `ERROR`.
///
/// # Errors
/// As the writer says.
pub fn write(name: &str, kernel: &Kernel, tree: &Tree, to: &mut impl Write) -> io::Result<()> {
    group(name, kernel, &tree.tests, tree.counts(), to)?;
    writeln!(to)
}

fn group(
    name: &str,
    kernel: &Kernel,
    tests: &[Test],
    counts: Counts,
    to: &mut impl Write,
) -> io::Result<()> {
    write!(to, "{{\"name\":{},\"sub_groups\":[", Quoted(name))?;
    let (groups, cases): (Vec<&Test>, Vec<&Test>) =
        tests.iter().partition(|test| !test.tests.is_empty());
    for (number, test) in groups.iter().enumerate() {
        write!(to, "{}", if number > 0 { "," } else { "" })?;
        group(&test.name, kernel, &test.tests, test.counts(), to)?;
    }
    write!(to, "],\"test_cases\":[")?;
    for (number, test) in cases.iter().enumerate() {
        write!(
            to,
            "{}{{\"name\":{},\"status\":\"{}\"}}",
            if number > 0 { "," } else { "" },
            Quoted(&test.name),
            word(test.status)
        )?;
    }
    write!(
        to,
        "],\"misc\":{{\"tests\":{},\"passed\":{},\"failed\":{},\"crashed\":{},\"skipped\":{},\
         \"errors\":{}}}",
        counts.total(),
        counts.passed + counts.expected_failures,
        counts.failed + counts.timed_out,
        counts.crashed,
        counts.skipped,
        counts.errors
    )?;
    write!(
        to,
        ",\"arch\":{},\"defconfig\":{},\"build_environment\":{},\"lab_name\":null,\"kernel\":null,\
         \"job\":null,\"git_branch\":{}}}",
        Quoted(&kernel.arch),
        Quoted(&kernel.defconfig),
        Quoted(&kernel.build_environment),
        Quoted(&kernel.git_branch)
    )
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed | Status::UnexpectedPass | Status::ExpectedFailure => "PASS",
        Status::Skipped => "SKIP",
        Status::Crashed | Status::Error => "ERROR",
        Status::Failed | Status::TimedOut | Status::NoTests => "FAIL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Ktap;
    use serde_json::{Value, json};

    fn written(log: &str) -> Value {
        let mut ktap = Ktap::new();
        ktap.push(log.as_bytes());
        let kernel = Kernel {
            arch: "powerpc".into(),
            ..Kernel::default()
        };
        let mut text = Vec::new();
        write("KUnit \"group\"", &kernel, &ktap.finish(), &mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn suites_are_groups_and_their_tests_are_cases() {
        let tree = written(
            "KTAP version 1\n1..3\n    KTAP version 1\n    # Subtest: ring\n    1..3\n    ok 1 empty\n    \
             not ok 2 full\n    ok 3 wraps # SKIP no memory\nnot ok 1 ring\nok 2 alone\n",
        );
        assert_eq!(tree["name"], "KUnit \"group\"");
        assert_eq!(tree["arch"], "powerpc");
        assert_eq!(tree["lab_name"], Value::Null);
        let ring = &tree["sub_groups"][0];
        assert_eq!(ring["name"], "ring");
        assert_eq!(ring["arch"], "powerpc");
        let cases = json!([
            {"name": "empty", "status": "PASS"},
            {"name": "full", "status": "FAIL"},
            {"name": "wraps", "status": "SKIP"},
        ]);
        assert_eq!(ring["test_cases"], cases);
        let counts = json!({
            "tests": 3, "passed": 1, "failed": 1, "crashed": 0, "skipped": 1, "errors": 0
        });
        assert_eq!(ring["misc"], counts);
        let cases = json!([
            {"name": "alone", "status": "PASS"},
            {"name": "test 3", "status": "ERROR"},
        ]);
        assert_eq!(tree["test_cases"], cases);
        assert_eq!(tree["misc"]["tests"], 5);
        assert_eq!(tree["misc"]["crashed"], 1);
    }

    #[test]
    fn an_empty_log_is_a_group_without_tests() {
        let tree = written("");
        assert_eq!(tree["sub_groups"], json!([]));
        assert_eq!(tree["test_cases"], json!([]));
        assert_eq!(tree["misc"]["errors"], 1);
    }
}
