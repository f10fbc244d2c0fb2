//! Suites of boot tests: the command `ppckvm test`, and the library, on real guests.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use ppckvm::testing::Status;
use ppckvm::testing::suite::{
    Cancel, End, FlakyResult, Pattern, RunEvent, RunOptions, Stage, Step, Suite, TestPlan,
};
use ppckvm::{Machine, Spec};
use support::command::{Ppckvm, text};
use support::guest;

/// A suite over the test kernel.
fn suite(tests: &str) -> String {
    format!(
        "[machine]\nkernel = {:?}\ninitrd = {:?}\nappend = \"console=ttyS0\"\nmemory = \"64M\"\n{tests}",
        guest("KERNEL_UIMAGE"),
        guest("ROOTFS")
    )
}

/// Runs `ppckvm test` on a suite.
fn test(ppckvm: &Ppckvm, tests: &str, options: &[&str]) -> Output {
    let file = ppckvm.file("ppckvm.toml", suite(tests));
    ppckvm.run(&[&["test", file.to_str().unwrap()], options].concat())
}

const ALL: &str = r##"
[[test]]
name = "boot"
expect = ["~ # ", { send = "uname -m\n" }, { regex = "(?m)^ppc$" }]
reject = ["Oops:", "BUG:"]
[[test]]
name = "off"
expect = ["~ # ", { send = "poweroff -f\n" }]
end = "power-off"
[[test]]
name = "command"
in = ["data:/data"]
run = "test $A = b && cat /data > /copy"
env = { A = "b" }
out = ["/copy"]
[[test]]
name = "on from boot"
from = "boot"
run = "test -e /proc/1"
[[test]]
name = "fails"
run = "echo said; echo wrong >&2; exit 3"
[[test]]
name = "panics"
append = "rdinit=/nowhere"
expect = ["~ # "]
[[test]]
name = "panics rightly"
append = "rdinit=/nowhere"
end = "panic"
[[test]]
name = "waits"
timeout = "3s"
expect = ["never said"]
[[test]]
name = "rejected"
reject = [{ regex = "Linux version [0-9.]+" }]
[[test]]
name = "kernel tests"
run = "echo KTAP version 1; echo 1..2; echo ok 1 first; echo not ok 2 second"
ktap = true
"##;

#[test]
fn each_test_of_a_file_is_judged_and_every_report_says_so() {
    let ppckvm = Ppckvm::new();
    ppckvm.file("data", [7, 0, 255]);
    let reports = ["junit.xml", "results.json", "page.html"].map(|name| ppckvm.path(name));
    let [junit, json, html] = reports.each_ref().map(|path| path.to_str().unwrap());
    let artifacts = ppckvm.path("artifacts");
    let ran = test(
        &ppckvm,
        ALL,
        &[
            "--no-fail-fast",
            "--junit",
            junit,
            "--json",
            json,
            "--html",
            html,
            "--tap",
            "--artifacts",
            artifacts.to_str().unwrap(),
        ],
    );
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(100), "{said}");
    let verdict = said.lines().last().unwrap();
    let counts = "ppckvm: 1 crashed, 3 failed, 1 timeout, 5 passed in ";
    assert!(verdict.starts_with(counts), "{verdict}");
    for line in [
        "failed: fails the command ended with status 3",
        "  | wrong",
        "crashed: panics the console did not say \"~ # \": kernel panic: ",
        "timeout: waits the console did not say \"never said\": the guest was still running after 3s",
        "failed: rejected the console said /Linux version [0-9.]+/: ",
        "  failed: second",
        "ppckvm.toml --filter '=fails'",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    // What went well is in no report of what went badly, but where all is.
    assert!(!said.contains("--filter '=boot'"), "{said}");
    assert_eq!(fs::read(ppckvm.path("copy")).unwrap(), [7, 0, 255]);

    let junit = fs::read_to_string(junit).unwrap();
    for part in [
        "tests=\"11\" failures=\"3\" errors=\"2\"",
        "name=\"panics\"",
        "<error type=\"crash\"",
        "<error type=\"timeout\"",
        "classname=\"ppckvm.kernel tests\" name=\"second\"",
    ] {
        assert!(junit.contains(part), "{part}\n{junit}");
    }
    let json = fs::read_to_string(json).unwrap();
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |name: &str| lines.iter().find(|line| line["name"] == name).unwrap();
    assert_eq!(of("boot")["event"], "ok");
    assert_eq!(of("waits")["reason"], "timeout");
    assert_eq!(of("kernel tests::first")["event"], "ok");
    let tap = text(&ran.stdout);
    assert!(tap.starts_with("TAP version 14\n1..11\n"), "{tap}");
    let html = fs::read_to_string(html).unwrap();
    assert!(html.contains("panics rightly") && html.contains("never said"));

    // Of each test that went badly, and of no other, there is what tells why.
    let mut kept: Vec<String> = fs::read_dir(&artifacts)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let expected = [
        "0005-fails",
        "0006-panics",
        "0008-waits",
        "0009-rejected",
        "0010-kernel_tests",
    ];
    assert_eq!(kept, expected);
    let of = |name: &str| fs::read(artifacts.join(name)).unwrap();
    assert_eq!(of("0005-fails/stdout"), b"said\n");
    assert_eq!(of("0005-fails/stderr"), b"wrong\n");
    assert!(text(&of("0006-panics/console.log")).contains("Kernel panic"));
    assert!(of("0006-panics/vmcore").starts_with(b"\x7fELF\x01\x02"));
    // -1 in the kernel's file, and the processor's number since it panicked.
    let gdb = Command::new("gdb-multiarch")
        .args(["-nx", "-batch", "-ex", "print *(int *)&panic_cpu"])
        .args([
            &guest("KERNEL_VMLINUX"),
            &artifacts.join("0006-panics/vmcore"),
        ])
        .output()
        .unwrap();
    assert!(
        text(&gdb.stdout).contains("$1 = 0\n"),
        "{}",
        text(&gdb.stdout)
    );
    assert!(of("0006-panics/tree.dtb").starts_with(&[0xD0, 0x0D, 0xFE, 0xED]));
    assert!(text(&of("0006-panics/result.txt")).starts_with("crashed\n"));
}

#[test]
fn tests_are_selected_listed_and_stop_at_the_first_that_fails() {
    let ppckvm = Ppckvm::new();
    ppckvm.file("data", "x");
    let listed = test(
        &ppckvm,
        ALL,
        &["--list", "--filter", "panics*", "--filter", "=boot"],
    );
    assert_eq!(text(&listed.stdout), "boot\npanics\npanics rightly\n");
    let none = test(&ppckvm, ALL, &["--filter", "nosuch"]);
    assert_eq!(none.status.code(), Some(4));
    assert_eq!(text(&none.stderr), "ppckvm: no test was selected of 10\n");
    let part = test(&ppckvm, ALL, &["--list", "--partition", "slice:2/5"]);
    assert_eq!(text(&part.stdout), "off\npanics rightly\n");
    let first = test(
        &ppckvm,
        ALL,
        &[
            "-j", "1", "--filter", "fails", "--filter", "off", "--filter", "rejected",
        ],
    );
    let said = text(&first.stderr);
    let verdict = said.lines().last().unwrap();
    assert!(
        verdict.starts_with("ppckvm: 1 failed, 1 passed, 1 skipped in "),
        "{said}"
    );
}

#[test]
fn a_wrong_file_is_refused_with_its_line_and_nothing_boots() {
    let ppckvm = Ppckvm::new();
    let ran = test(&ppckvm, "[[test]]\nname = \"a\"\nexpekt = \"x\"\n", &[]);
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains("ppckvm.toml: line 8: `expekt` is no key; write expect"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let other = test(&ppckvm, "[[test]]\nname = \"a\"\n", &["--memory", "32M"]);
    assert!(
        text(&other.stderr).contains("only --kernel and --timeout"),
        "{other:?}"
    );
    let bisect = test(&ppckvm, "[[test]]\n", &["--bisect"]);
    assert_eq!(bisect.status.code(), Some(125));
}

#[test]
fn one_test_needs_no_file_and_bisect_gets_its_statuses() {
    let ppckvm = Ppckvm::new();
    let (kernel, initrd) = (guest("KERNEL_UIMAGE"), guest("ROOTFS"));
    let run = |options: &[&str]| {
        let machine = [
            "test",
            "--kernel",
            kernel.to_str().unwrap(),
            "--initrd",
            initrd.to_str().unwrap(),
            "--append",
            "console=ttyS0",
        ];
        ppckvm.run(&[&machine[..], options].concat())
    };
    let ran = run(&["--expect", "user space is [a-z]+", "--bisect"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let ran = run(&["--reject", "user space is up", "--bisect"]);
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    let ran = run(&["--", "sh", "-c", "exit 3"]);
    assert_eq!(ran.status.code(), Some(100));
    assert!(text(&ran.stderr).contains("the command ended with status 3"));
    let gone = ppckvm.run(&["test", "--kernel", "gone", "--expect", "x", "--bisect"]);
    assert_eq!(gone.status.code(), Some(125), "{}", text(&gone.stderr));
    let log = ppckvm.file("log", "KTAP version 1\n1..2\nok 1 a\nnot ok 2 b\n");
    let ran = ppckvm.run(&["test", "--tap", "--ktap-log", log.to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(100));
    assert!(
        text(&ran.stdout).contains("not ok 2 - "),
        "{}",
        text(&ran.stdout)
    );
}

#[test]
fn a_signal_ends_all_guests_and_the_reports_have_what_was_over() {
    let ppckvm = Ppckvm::new();
    let tests = "[[test]]\nname = \"first\"\nexpect = \"~ # \"\n\
                 [[test]]\nname = \"second\"\nexpect = \"never\"\ntimeout = \"10m\"\n\
                 console-log = \"second.log\"\n\
                 [[test]]\nname = \"third\"\nexpect = \"~ # \"\n";
    let file = ppckvm.file("s.toml", suite(tests));
    let junit = ppckvm.path("j.xml");
    let args = [
        "test",
        file.to_str().unwrap(),
        "-j",
        "1",
        "--junit",
        junit.to_str().unwrap(),
    ];
    let mut command = ppckvm.command(&args);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.any(|line| line.contains("passed") && line.contains("first")));
    // It runs once it says something.
    let log = ppckvm.path("second.log");
    while fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let rest: Vec<String> = lines.collect();
    let verdict = rest.last().unwrap();
    assert!(
        verdict.starts_with("ppckvm: ended by signal 2: 1 error, 1 passed, 1 skipped"),
        "{rest:?}"
    );
    let junit = fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains("name=\"first\"") && junit.contains("name=\"third\""),
        "{junit}"
    );
}

#[test]
fn a_full_disk_is_said_and_fails_the_run() {
    let ppckvm = Ppckvm::new();
    let full = Path::new("/dev/full");
    let tests = "[[test]]\nname = \"boot\"\nexpect = \"~ # \"\n";
    let ran = test(&ppckvm, tests, &["--junit", full.to_str().unwrap()]);
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains("/dev/full: the report is incomplete: No space left"),
        "{said}"
    );
    assert!(said.lines().last().unwrap().contains("1 passed"), "{said}");
}

/// A test on the test kernel whose console is in memory.
fn plan(name: &str) -> TestPlan {
    let machine = Machine::new()
        .kernel(guest("KERNEL_UIMAGE"))
        .initrd(guest("ROOTFS"))
        .append("console=ttyS0");
    let spec: Spec = machine.spec().clone();
    TestPlan::new(name, spec)
}

#[test]
fn a_test_that_passes_when_it_is_tried_again_is_flaky_and_never_hidden() {
    let folder = tempfile::tempdir().unwrap();
    // The first attempt takes the file with it.
    let mut test = plan("flaky");
    test.retries = Some(3);
    let mark = folder.path().join("mark");
    test.stages = vec![Stage {
        copies_in: vec![(mark.clone(), "/mark".into())],
        ..Stage::default()
    }];
    let suite = Suite::of(test);
    let events = Mutex::new(Vec::new());
    let tell = |event: RunEvent<'_>| {
        if let RunEvent::TriedAgain { test, .. } = event {
            events.lock().unwrap().push(test.attempts.len());
            // It is there from now on.
            fs::write(&mark, "x").unwrap();
        }
    };
    let ran = suite.run(&[0], &RunOptions::default(), &Cancel::default(), &tell);
    let test = &ran.run.tests[0];
    assert_eq!((test.status, test.word()), (Status::Passed, "flaky"));
    assert_eq!(test.attempts.len(), 2);
    assert_eq!(*events.lock().unwrap(), [1]);
    fs::remove_file(&mark).unwrap();
    let options = RunOptions {
        flaky_result: FlakyResult::Fail,
        ..RunOptions::default()
    };
    let ran = suite.run(&[0], &options, &Cancel::default(), &tell);
    assert_eq!(ran.run.tests[0].status, Status::Failed);
}

#[test]
fn a_flood_on_the_console_is_bounded_and_its_test_ends() {
    let mut test = plan("flood");
    test.stages = vec![Stage {
        dialogue: vec![
            Step::Expect(Pattern::Text("~ # ".into())),
            Step::Send("cat /dev/zero | tr '\\0' x | head -c 2000000; echo; poweroff -f\n".into()),
        ],
        ..Stage::default()
    }];
    test.end = Some(End::PowerOff);
    let all = Suite::of(test);
    let ran = all.run(&[0], &RunOptions::default(), &Cancel::default(), &|_| {});
    let test = &ran.run.tests[0];
    assert_eq!(test.status, Status::Passed, "{test:?}");
    assert!(test.attempts[0].console.bytes() <= 512 << 10);
}
