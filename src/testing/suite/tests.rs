use std::fs;

use super::*;
use crate::testing::agent::Init;

/// Reads a suite beside a kernel, an initrd and a folder.
fn suite(text: &str) -> Result<Suite, String> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["uImage", "initrd", "tests"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let path = folder.path().join("ppckvm.toml");
    fs::write(&path, text).unwrap();
    Suite::from_file(&path).map_err(|error| {
        let error = error.to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    })
}

const MACHINE: &str =
    "[machine]\nkernel = \"uImage\"\nappend = \"console=ttyS0\"\ntimeout = \"30s\"\n";

#[test]
fn a_test_is_its_machine_and_what_it_says_itself() {
    let suite = suite(&format!(
        "{MACHINE}
[[test]]
name = \"boot\"
expect = [\"login:\", {{ send = \"root\\n\" }}, {{ regex = \"[#$] $\" }}]
reject = \"Oops:\"
[[test]]
name = \"kunit\"
append = \"kunit.enable=1\"
memory = \"64M\"
timeout = \"9s\"
ktap = true
end = \"reset\"
retries = 2
[[test]]
name = \"more\"
from = \"boot\"
in = [\"tests:/t\", \"initrd\"]
run = \"cd /t && ./run\"
env = {{ A = \"b\" }}
out = [\"/tmp/results\"]
"
    ))
    .unwrap();
    let [boot, kunit, more] = &suite.tests[..] else {
        panic!("{suite:?}");
    };
    assert_eq!(boot.timeout.as_secs(), 30);
    assert_eq!(boot.stages[0].dialogue.len(), 3);
    assert_eq!(boot.stages[0].dialogue[1], Step::Send("root\n".into()));
    assert_eq!(boot.reject, [Pattern::Text("Oops:".into())]);
    assert!(!boot.needs_agent() && !boot.waits_for_end());
    assert_eq!(
        kunit.spec.boot.append.as_deref(),
        Some("console=ttyS0 kunit.enable=1")
    );
    assert_eq!((kunit.timeout.as_secs(), kunit.retries), (9, Some(2)));
    assert_eq!(kunit.spec.memory.bytes(), 64 << 20);
    assert_eq!(kunit.end, Some(End::Reset));
    assert!(kunit.reads_ktap_from_console() && kunit.waits_for_end());
    assert_eq!(more.stages.len(), 2);
    assert_eq!(more.stages[0].dialogue.len(), 3);
    let stage = &more.stages[1];
    assert_eq!(stage.copies_in[0].1.to_str(), Some("/t"));
    assert_eq!(stage.copies_in[1].1.to_str(), Some("/initrd"));
    assert!(stage.copies_out[0].1.ends_with("results"));
    assert_eq!(stage.run.as_ref().unwrap()[2], "cd /t && ./run");
    assert_eq!(stage.environment, [("A".to_owned(), "b".to_owned())]);
    assert_eq!(more.init, Init::AfterBoot);
}

#[test]
fn what_is_wrong_is_said_with_its_line_before_anything_boots() {
    let test = "[[test]]\nname = \"a\"\n";
    for (text, expected) in [
        ("", "ppckvm.toml: line 1: it has no test; add one"),
        ("[machine", "ppckvm.toml: line 1: "),
        ("[machin]\n", "line 1: machin: is no part of a suite"),
        (
            "test = 1\n",
            "line 1: test: this is a whole number, and must be a list of tables",
        ),
        (
            "[[test]]\nname = \"a\"\n",
            "line 1: kernel: no kernel is named",
        ),
        (
            &format!("{MACHINE}[[test]]\nrun = \"x\"\n"),
            "line 5: name: a test has a name",
        ),
        (
            &format!("{MACHINE}{test}expct = \"x\"\n"),
            "line 7: `expct` is no key; write expect; there are name, from",
        ),
        (
            &format!("{MACHINE}{test}memory = true\n"),
            "line 7: memory: this is true or false",
        ),
        (
            &format!("{MACHINE}{test}memory = \"much\"\n"),
            "line 7: memory: ",
        ),
        (
            &format!("{MACHINE}{test}expect = [\"a\", 7]\n"),
            "line 7: expect: this is a whole number",
        ),
        (
            &format!("{MACHINE}{test}expect = [{{ sent = \"a\" }}]\n"),
            "line 7: expect: this is a table",
        ),
        (
            &format!("{MACHINE}{test}reject = \"\"\n"),
            "line 7: reject: this is a text, and must be a text that is not empty",
        ),
        (
            &format!("{MACHINE}{test}reject = [{{ regex = \"(\" }}]\n"),
            "line 7: reject: regex parse error",
        ),
        (
            &format!("{MACHINE}{test}end = \"soon\"\n"),
            "line 7: end: \"soon\" is no ending; use one of power-off",
        ),
        (
            &format!("{MACHINE}{test}retries = -1\n"),
            "line 7: retries: ",
        ),
        (
            &format!("{MACHINE}{test}ktap = 1\n"),
            "line 7: ktap: this is a whole number, and must be true or false",
        ),
        (
            &format!("{MACHINE}{test}init = \"x\"\n"),
            "line 7: init: \"x\" is neither",
        ),
        (
            &format!("{MACHINE}{test}in = \"nowhere\"\n"),
            "line 7: in: nowhere: No such file",
        ),
        (
            &format!("{MACHINE}{test}out = \":x\"\n"),
            "line 7: out: \":x\" has an empty path",
        ),
        (
            &format!("{MACHINE}{test}env = {{ A = \"b\" }}\n"),
            "line 5: env: there is no command",
        ),
        (
            &format!("{MACHINE}{test}serial = \"stdio\"\n"),
            "line 5: serial: standard input and output",
        ),
        (
            &format!("{MACHINE}{test}from = \"b\"\n"),
            "line 7: from: there is no test \"b\"",
        ),
        (
            &format!("{MACHINE}{test}from = \"a\"\n"),
            "line 7: from: it goes on from itself",
        ),
        (
            &format!("{MACHINE}{test}{test}"),
            "line 7: name: \"a\" is the name of the test in line 5 too",
        ),
        (
            "[machine]\nkernel = \"gone\"\n[[test]]\nname = \"a\"\n",
            "line 2: kernel: gone: No such file",
        ),
    ] {
        let error = suite(text).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
    }
}

#[test]
fn a_kernel_that_something_else_names_need_not_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.toml");
    fs::write(
        &path,
        "[machine]\nkernel = \"gone\"\n[[test]]\nname = \"a\"\n",
    )
    .unwrap();
    let suite = Suite::from_file_with(&path, |file| {
        file.forget("kernel");
        file.set("kernel", "/proc/self/exe");
    });
    assert!(suite.is_ok(), "{suite:?}");
}

#[test]
fn words_are_quoted_for_a_shell() {
    assert_eq!(quoted("a/b-c.toml"), "a/b-c.toml");
    assert_eq!(quoted("=it's"), r"'=it'\''s'");
    assert_eq!(quoted(""), "''");
}
