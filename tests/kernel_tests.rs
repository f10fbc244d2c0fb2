//! Linux's own tests through `ppckvm test`: KUnit in a kernel, and a selftest in user space.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::command::{Ppckvm, text};
use support::guest;

/// The last line of a report in libtest's form: how many passed, failed and were skipped.
fn counts(report: &str) -> (u64, u64, u64) {
    let last: Value = serde_json::from_str(report.lines().last().unwrap()).unwrap();
    let count = |name: &str| last[name].as_u64().unwrap();
    (count("passed"), count("failed"), count("ignored"))
}

#[test]
fn kunits_cases_are_results_and_kunits_own_reader_counts_the_same() {
    let ppckvm = Ppckvm::new();
    let kernel = guest("KUNIT_VMLINUX");
    let machine = [
        "--kernel",
        kernel.to_str().unwrap(),
        "--append",
        "console=ttyS0 kunit.enable=1 kunit_shutdown=reboot",
    ];
    let options = ["--ktap", "--json", "results.json"];
    let ran = ppckvm.run(&[&["test"], &machine[..], &options].concat());
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let results = fs::read_to_string(ppckvm.path("results.json")).unwrap();
    assert_eq!(counts(&results), (66, 0, 2), "{results}");

    let ran = ppckvm.run(&[&["run"], &machine[..]].concat());
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let log = ppckvm.file("console.log", &ran.stdout);
    let reader = kernel.with_file_name("tools/testing/kunit/kunit.py");
    let read = Command::new("python3")
        .arg(&reader)
        .arg("parse")
        .arg(&log)
        .output()
        .unwrap();
    let said = text(&read.stdout);
    assert!(read.status.success(), "{said}{}", text(&read.stderr));
    let counted = "Ran 68 tests: passed: 66, skipped: 2";
    assert!(said.contains(counted), "{said}");

    let options = ["--ktap-log", "console.log", "--json", "log.json"];
    let ran = ppckvm.run(&[&["test"], &options[..]].concat());
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let results = fs::read_to_string(ppckvm.path("log.json")).unwrap();
    assert_eq!(counts(&results), (66, 0, 2), "{results}");
}

#[test]
fn a_selftest_is_copied_in_and_its_results_are_read() {
    let ppckvm = Ppckvm::new();
    let program = guest("KUNIT_VMLINUX").with_file_name("selftests/get_size");
    let suite = format!(
        "[machine]\nkernel = {:?}\ninitrd = {:?}\nappend = \"console=ttyS0\"\n\
         [[test]]\nname = \"size\"\nin = [\"{}:/get_size\"]\nrun = \"/get_size\"\nktap = true\n",
        guest("KERNEL_UIMAGE"),
        guest("ROOTFS"),
        program.display()
    );
    ppckvm.file("ppckvm.toml", suite);
    let ran = ppckvm.run(&["test", "--json", "results.json"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let results = fs::read_to_string(ppckvm.path("results.json")).unwrap();
    assert_eq!(counts(&results), (1, 0, 0), "{results}");
    assert!(
        results.contains("size::get runtime memory use"),
        "{results}"
    );
}
