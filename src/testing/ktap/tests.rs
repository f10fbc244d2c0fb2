use super::*;
use proptest::prelude::*;

fn read(log: &str) -> Tree {
    let mut ktap = Ktap::new();
    log.lines().for_each(|line| drop(ktap.push_line(line)));
    ktap.finish()
}

fn said(log: &str) -> String {
    read(log).counts().to_string()
}

/// Each outermost test and those in it, as `name status` with two columns a level.
fn outline(tree: &Tree) -> String {
    fn add(tests: &[Test], level: usize, out: &mut String) {
        for test in tests {
            out.push_str(&format!("{:level$}{} {}\n", "", test.name, test.status));
            add(&test.tests, level + 2, out);
        }
    }
    let mut out = String::new();
    add(&tree.tests, 0, &mut out);
    out
}

/// Two suites, of three cases and of two, in the form that KUnit has printed since 6.2.
const SUITES: &str = "\
KTAP version 1
1..2
    KTAP version 1
    # Subtest: ring
    # module: ring_test
    1..3
    ok 1 ring_empty
    # ring_full.speed: slow
    ok 2 ring_full
    ok 3 ring_wraps
# ring: pass:3 fail:0 skip:0 total:3
# Totals: pass:3 fail:0 skip:0 total:3
ok 1 ring
    KTAP version 1
    # Subtest: tree
    1..2
    ok 1 tree_empty
    ok 2 tree_insert
ok 2 tree
";

/// The same in the form before 6.2: levels are tabs, and have no version lines.
fn old_form() -> String {
    let lines = SUITES.lines().enumerate();
    let lines = lines.filter(|(at, line)| *at == 0 || !line.contains("KTAP version"));
    let old = |line: &str| {
        let line = line
            .replace("    ", "\t")
            .replace("KTAP version 1", "TAP version 14");
        line.replacen("ok 1 ", "ok 1 - ", 1)
            .replacen("ok 2 ", "ok 2 - ", 1)
    };
    lines.map(|(_, line)| old(line) + "\n").collect()
}

const OUTLINE: &str = "\
ring passed
  ring_empty passed
  ring_full passed
  ring_wraps passed
tree passed
  tree_empty passed
  tree_insert passed
";

#[test]
fn suites_are_read_in_the_new_form_and_in_the_old_one() {
    for log in [SUITES.to_owned(), old_form()] {
        let tree = read(&log);
        assert_eq!(outline(&tree), OUTLINE, "{log}");
        assert_eq!(tree.counts().to_string(), "5 passed");
        assert!(tree.passed());
    }
    let ring = &read(SUITES).tests[0];
    assert_eq!(ring.attributes, [("module".into(), "ring_test".into())]);
    let slow = [("speed".into(), "slow".into())];
    assert_eq!(ring.tests[1].attributes, slow);
}

#[test]
fn prefixes_of_every_kind_and_ends_of_lines_change_nothing() {
    let prefixes: [fn(usize) -> String; 7] = [
        |_| "[    0.060000] ".into(),
        |line| format!("[{:5}.{line:06}] ", 998 + line),
        |line| {
            format!(
                "[    0.060000][{:>7}] ",
                format!("T{}", 10_u64.pow(line as u32 % 6))
            )
        },
        |_| "<6>[    1.500000][    C0] ".into(),
        |_| "<6>".into(),
        |_| "console: ".into(),
        |_| "\u{1b}[0;32m\u{1b}[m".into(),
    ];
    for prefix in prefixes {
        for end in ["\n", "\r\n", "\r\r\n"] {
            for form in [SUITES.to_owned(), old_form()] {
                let lines = form.lines().enumerate();
                let log: String = lines
                    .map(|(number, line)| format!("{}{line}{end}", prefix(number)))
                    .collect();
                let mut ktap = Ktap::new();
                ktap.push(log.as_bytes());
                assert_eq!(outline(&ktap.finish()), OUTLINE, "{log}");
            }
        }
    }
}

#[test]
fn foreign_lines_between_change_no_status() {
    let foreign = [
        "random: crng init done",
        "[   12.345678] usb 1-1: new device",
        "  deeper: ok",
        "    # note: EXPECTATION FAILED at x.c:5",
        "foo bar \t#",
        "#",
        "# ok then",
        "# ok 3 apples are left",
        "# 1..9",
        "",
        "not okay",
    ];
    for log in [SUITES.to_owned(), old_form()] {
        let lines = log.lines().enumerate();
        let mixed: String = lines
            .map(|(at, line)| format!("{line}\n{}\n", foreign[at % foreign.len()]))
            .collect();
        let mixed = format!("booting ok 1\nok 1 - of firmware\n{mixed}");
        assert_eq!(outline(&read(&mixed)), OUTLINE, "{mixed}");
    }
}

#[test]
fn a_line_in_which_the_kernels_log_breaks_in_is_two() {
    let log = "\
[    0.060000] KTAP version 1
[    0.060000] 1..2
[    0.060000] ok 1 - first[    0.070000] random: crng init done
Loading modules...[    0.080000] ok 2 - second
";
    assert_eq!(outline(&read(log)), "first passed\nsecond passed\n");
}

/// A log, the counts of kunit.py for its form, and what else is in ours.
const ORACLE: [(&str, &str); 13] = [
    // A panic in the middle of the third suite.
    (
        "TAP version 14\n\t# Subtest: a\n\t1..5\n\tok 1 - a1\n\tok 2 - a2\n\tok 3 - a3\n\
         \tok 4 - a4\n\tok 5 - a5\nok 1 - a\n\t# Subtest: b\n\t1..2\n\tok 1 - b1\n\tok 2 - b2\n\
         ok 2 - b\n\t# Subtest: c\n\t1..3\n\tok 1 - c1\n\
         \tKernel panic - not syncing: VFS: Unable to mount root fs\nCPU: 0 PID: 1\nStack:\n",
        "8 passed, 2 crashed, 3 errors",
    ),
    // One of ten fails.
    (
        "TAP version 14\n1..2\n\t# Subtest: a\n\t1..2\n\t# a1: EXPECTATION FAILED at a.c:9\n\
         \tnot ok 1 - a1\n\tok 2 - a2\nnot ok 1 - a\n\t# Subtest: b\n\t1..1\n\tok 1 - b1\nok 2 - b\n",
        "2 passed, 1 failed",
    ),
    // A header without tests, then the result of its suite.
    (
        "TAP version 14\n1..1\n  # Subtest: suite\n  1..1\n    # Subtest: case\n  ok 1 - case\n\
         ok 1 - suite\n",
        "1 passed, 1 errors",
    ),
    ("TAP version 14\n1..0\n", "1 errors"),
    ("TAP version 14\n", "1 errors"),
    (
        "Booting\nok 1 - nothing\nreboot: System halted\n",
        "1 errors",
    ),
    ("kunit executor: not enough memory\n", "2 errors"),
    // All are skipped, and some.
    (
        "TAP version 14\n1..1\n  # Subtest: s\n  1..2\n  ok 1 - a # SKIP x\n  ok 2 - b # SKIP y\n\
         ok 1 - s # SKIP\n",
        "2 skipped",
    ),
    (
        "TAP version 14\n1..1\n  # Subtest: s\n  1..2\n  ok 1 - a # SKIP x\n  ok 2 - b\nok 1 - s\n",
        "1 passed, 1 skipped",
    ),
    // Without plans.
    (
        "TAP version 14\n  # Subtest: s\n  ok 1 - a\n  ok 2 - b\nok 1 - s\n",
        "2 passed",
    ),
    // Hyphens that are there and not.
    ("KTAP version 1\n1..2\nok 1 - a\nok 2 b\n", "2 passed"),
    // Numbers that jump.
    (
        "KTAP version 1\n1..2\nok 1 a\nok 3 b\n",
        "2 passed, 1 errors",
    ),
    // A suite that says ok of a case that does not.
    (
        "KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: s\n  1..1\n  not ok 1 a\nok 1 s\n",
        "1 failed",
    ),
];

#[test]
fn counts_are_those_of_kunit_py() {
    for (log, counts) in ORACLE {
        assert_eq!(said(log), counts, "{log}");
    }
}

#[test]
fn a_panic_leaves_the_open_tests_crashed_with_what_was_said_last() {
    let tree = read(ORACLE[0].0);
    let suite = &tree.tests[2];
    assert_eq!(suite.name, "c");
    assert_eq!(suite.overall(), Status::Crashed);
    let statuses: Vec<Status> = suite.tests.iter().map(|test| test.status).collect();
    assert_eq!(statuses, [Status::Passed, Status::Crashed, Status::Crashed]);
    assert_eq!(tree.oopses.len(), 1);
    assert_eq!(tree.oopses[0].path, ["c"]);
    assert!(!tree.passed());
}

#[test]
fn a_suite_that_dies_before_its_first_result_has_crashed() {
    let log = "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: s\nUnable to handle kernel \
               paging request\n";
    let tree = read(log);
    assert_eq!(outline(&tree), "s crashed\ntest 2 crashed\n");
    assert_eq!(tree.counts().to_string(), "2 crashed, 2 errors");
    assert_eq!(tree.oopses[0].path, ["s"]);
}

#[test]
fn programs_of_kselftest_have_their_tests_behind_a_hash() {
    let log = "\
TAP version 13
1..4
# timeout set to 45
# selftests: size: get_size
# TAP version 13
# 1..1
# # Testing system size.
# ok 1 get runtime memory use
ok 1 selftests: size: get_size
# selftests: net: nest
# TAP version 13
# 1..2
# # TAP version 13
# # 1..2
# # ok 1 deep one
# # not ok 2 deep two
# not ok 1 outer
# ok 2 other # SKIP no device
not ok 2 selftests: net: nest # exit=1
# selftests: timers: rtctest
# ok, waiting
not ok 3 selftests: timers: rtctest # TIMEOUT 45 seconds
# selftests: lkdtm: PANIC.sh
# Skipping PANIC: crashes entire system
ok 4 selftests: lkdtm: PANIC.sh # SKIP
";
    let tree = read(log);
    let expected = "\
selftests: size: get_size passed
  get runtime memory use passed
selftests: net: nest failed
  outer failed
    deep one passed
    deep two failed
  other skipped
selftests: timers: rtctest timeout
selftests: lkdtm: PANIC.sh skipped
";
    assert_eq!(outline(&tree), expected);
    assert_eq!(
        tree.counts().to_string(),
        "2 passed, 1 failed, 1 timed out, 2 skipped"
    );
}

#[test]
fn a_program_that_fails_although_its_tests_passed_is_a_failure() {
    let log = "TAP version 13\n1..1\n# selftests: a: b\n# 1..1\n# ok 1 c\nnot ok 1 selftests: a: b # \
               exit=139\n";
    let tree = read(log);
    assert_eq!(tree.counts().to_string(), "1 passed, 1 failed");
    let leaves = tree.leaves();
    let paths: Vec<String> = leaves.iter().map(|leaf| leaf.path.join("/")).collect();
    assert_eq!(paths, ["selftests: a: b/c", "selftests: a: b"]);
}

#[test]
fn names_that_repeat_are_made_unique_on_their_level_and_over_documents() {
    let log = "KTAP version 1\nok 1 a\nok 2 a\nok 3 a (2)\nok 4 a\nKTAP version 1\nok 1 a\n";
    let names: Vec<String> = read(log).tests.into_iter().map(|test| test.name).collect();
    assert_eq!(names, ["a", "a (2)", "a (2) (2)", "a (3)", "a (4)"]);
}

#[test]
fn each_version_line_at_the_margin_begins_a_document() {
    let log = format!("{SUITES}insmod other.ko\nKTAP version 1\n1..2\nok 1 x\n{SUITES}");
    let tree = read(&log);
    assert_eq!(tree.documents, 3);
    assert_eq!(tree.counts().to_string(), "11 passed, 1 crashed, 1 errors");
}

#[test]
fn the_end_of_a_document_is_told_when_its_plan_is_fulfilled() {
    let mut ktap = Ktap::new();
    let lines: Vec<&str> = SUITES.lines().collect();
    let (last, before) = lines.split_last().unwrap();
    for line in before {
        assert!(!ktap.push_line(line).contains(&Event::Complete), "{line}");
    }
    let events = ktap.push_line(last);
    let finished = Event::Finished {
        path: vec!["tree".into()],
        status: Status::Passed,
        directive: None,
        suite: true,
    };
    assert_eq!(events, [finished, Event::Complete]);
}

#[test]
fn events_name_a_case_with_its_suites() {
    let mut ktap = Ktap::new();
    let events: Vec<Event> = SUITES
        .lines()
        .flat_map(|line| ktap.push_line(line))
        .collect();
    let finished = events.iter().filter_map(|event| match event {
        Event::Finished { path, .. } => Some(path.join("::")),
        _ => None,
    });
    let finished: Vec<String> = finished.collect();
    assert_eq!(finished[..2], ["ring::ring_empty", "ring::ring_full"]);
    assert_eq!(finished.len(), 7);
}

#[test]
fn a_failure_has_the_lines_in_front_of_it() {
    let log =
        "KTAP version 1\n1..2\n# a: EXPECTATION FAILED at a.c:7\n# 1 == 2\nnot ok 1 a\nok 2 b\n";
    let tree = read(log);
    assert_eq!(
        tree.tests[0].log.text(),
        "# a: EXPECTATION FAILED at a.c:7\n# 1 == 2\n"
    );
    assert!(tree.tests[1].log.is_empty());
}

#[test]
fn a_line_of_any_length_takes_a_bounded_place() {
    let mut ktap = Ktap::new();
    ktap.push(b"KTAP version 1\nok 1 ");
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        ktap.push(&chunk);
        assert!(ktap.partial.capacity() <= 2 * LINE);
    }
    ktap.push(b"\nok 2 b\n");
    let tree = ktap.finish();
    assert_eq!(tree.counts().to_string(), "2 passed");
    assert!(tree.tests[0].name.len() <= LINE);
}

#[test]
fn more_tests_than_are_kept_are_counted() {
    let mut ktap = Ktap::new();
    ktap.push_line("KTAP version 1");
    let many = TESTS as u64 + 1000;
    for number in 1..=many {
        ktap.push_line(format!("ok {number} same"));
    }
    let tree = ktap.finish();
    assert_eq!(tree.tests.len(), TESTS);
    assert_eq!(tree.counts().passed, many);
    assert_eq!(tree.counts().errors, 0);
}

#[test]
fn text_beyond_what_is_kept_is_dropped_and_its_tests_are_counted() {
    let mut ktap = Ktap::new();
    ktap.push_line("KTAP version 1");
    let name = "n".repeat(LINE);
    let many = 2 * TEXT / LINE;
    for number in 1..=many {
        ktap.push_line(format!("ok {number} {name}"));
    }
    assert!(ktap.kept_text <= TEXT + 4 * LINE);
    assert_eq!(ktap.finish().counts().passed, many as u64);
}

#[test]
fn nesting_without_end_and_plans_without_measure_are_bounded() {
    let mut ktap = Ktap::new();
    for level in 0..2000 {
        ktap.push_line(format!("{:level$}KTAP version 1", ""));
        ktap.push_line(format!("{:level$}1..18446744073709551615", ""));
        assert!(ktap.levels.len() <= LEVELS);
    }
    let tree = ktap.finish();
    let counts = tree.counts();
    assert!(counts.crashed <= (MISSING + 1) * LEVELS as u64, "{counts}");
    assert!(counts.errors > counts.crashed);
    assert!(!tree.passed());
}

/// Lines of logs, to be mixed.
fn any_line() -> impl Strategy<Value = String> {
    let known = SUITES
        .lines()
        .chain(ORACLE.iter().flat_map(|(log, _)| log.lines()));
    let known: Vec<String> = known.map(str::to_owned).collect();
    let piece = prop::sample::select(vec![
        "ok",
        "not ok",
        " ",
        "1",
        "..",
        "# ",
        "\t",
        "-",
        "SKIP",
        "TAP version ",
        "K",
        "[    0.060000]",
        "[    T1]",
        "<6>",
        "Subtest:",
        "selftests: ",
        "\r",
        "\u{1b}[1m",
        "ä",
        "18446744073709551615",
        "Kernel panic - not syncing: VFS:",
        "kunit executor: ",
    ]);
    let made = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => prop::sample::select(known), 2 => made, 1 => ".{0,40}"]
}

proptest! {
    /// No log panics, and its counts are those of the tests that are listed.
    #[test]
    fn counts_add_up_in_any_log(lines in prop::collection::vec(any_line(), 0..120)) {
        let mut ktap = Ktap::new();
        let mut finished = 0;
        for line in &lines {
            let events = ktap.push_line(line);
            let is_leaf = |event: &&Event| matches!(event, Event::Finished { suite: false, .. });
            finished += events.iter().filter(is_leaf).count() as u64;
        }
        let tree = ktap.finish();
        let counts = tree.counts();
        prop_assert!(finished <= counts.total());
        let mut sum = Counts::default();
        for leaf in tree.leaves() {
            if leaf.counted {
                sum.add(leaf.test.status);
            }
        }
        prop_assert_eq!(sum.total(), counts.total());
        prop_assert_eq!(sum.bad(), counts.bad());
        let bad = tree.leaves().iter().any(|leaf| leaf.status.is_bad());
        prop_assert_eq!(!tree.passed(), bad || !tree.errors.is_empty());
    }

    /// The reader does not care how the bytes are cut.
    #[test]
    fn a_log_reads_the_same_in_pieces(
        lines in prop::collection::vec(any_line(), 0..60),
        cuts in prop::collection::vec(1_usize..50, 1..20),
    ) {
        let log = lines.join("\n");
        let mut whole = Ktap::new();
        whole.push(log.as_bytes());
        let mut cut = Ktap::new();
        let mut rest = log.as_bytes();
        for length in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            cut.push(piece);
            rest = after;
        }
        prop_assert_eq!(whole.finish(), cut.finish());
    }
}
