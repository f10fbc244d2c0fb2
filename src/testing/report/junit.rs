//! JUnit's XML: flat, because readers differ in what they make of suites in suites.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Case, Results};
use crate::testing::ktap::Status;

/// Most bytes of text that one case has in the file; readers cut or refuse more than some megabytes
/// in all.
const TEXT: usize = 32 << 10;

/// Writes results as one `testsuite`. A case's `classname` is the target and its suites, with dots
/// between; a crash and a time-out are an `error` of that `type`.
///
/// # Errors
/// As the writer says.
pub fn write(results: &Results, to: &mut impl Write) -> io::Result<()> {
    let is_error = |case: &&Case| kind(case.status) == Some("error");
    let is_failure = |case: &&Case| kind(case.status) == Some("failure");
    let totals = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        results.cases.len(),
        results.cases.iter().filter(is_failure).count(),
        results.cases.iter().filter(is_error).count(),
        results.counts().skipped
    );
    let target = escaped(&results.target);
    writeln!(to, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(to, "<testsuites name=\"ppckvm\" {totals}>")?;
    writeln!(to, "  <testsuite name=\"{target}\" {totals}>")?;
    for case in &results.cases {
        write_case(&results.target, case, to)?;
    }
    writeln!(to, "  </testsuite>\n</testsuites>")
}

/// The element that says how a case is bad.
fn kind(status: Status) -> Option<&'static str> {
    match status {
        Status::Failed => Some("failure"),
        status if status.is_bad() => Some("error"),
        _ => None,
    }
}

fn write_case(target: &str, case: &Case, to: &mut impl Write) -> io::Result<()> {
    let class = [&[target.to_owned()], &case.suites[..]].concat().join(".");
    write!(
        to,
        "    <testcase classname=\"{}\" name=\"{}\"",
        escaped(&class),
        escaped(&case.name)
    )?;
    let message = escaped(&case.message);
    match (kind(case.status), case.status) {
        (Some(element), status) => {
            let kind = match status {
                Status::Crashed => "crash",
                status => status.word(),
            };
            writeln!(to, ">")?;
            writeln!(
                to,
                "      <{element} type=\"{kind}\" message=\"{message}\"/>"
            )?;
            if !case.log.is_empty() {
                let log = escaped(&end(&case.log));
                writeln!(to, "      <system-out>{log}</system-out>")?;
            }
            writeln!(to, "    </testcase>")
        }
        (None, Status::Skipped | Status::ExpectedFailure) => {
            writeln!(to, ">")?;
            writeln!(to, "      <skipped message=\"{message}\"/>")?;
            writeln!(to, "    </testcase>")
        }
        (None, _) => writeln!(to, "/>"),
    }
}

/// The end of a text, which says most, with a note of what was left out.
fn end(text: &str) -> String {
    if text.len() <= TEXT {
        return text.to_owned();
    }
    let cut = text.ceil_char_boundary(text.len() - TEXT);
    format!("[... {cut} bytes are left out here ...]\n{}", &text[cut..])
}

/// Text for an attribute or an element. What XML cannot hold is written as `\u{1}`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // An attribute would show them as blanks.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => _ = write!(out, "{}", c.escape_unicode()),
            c if c.is_control() => _ = write!(out, "{}", c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn written(results: &Results) -> String {
        let mut text = Vec::new();
        write(results, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn failures_crashes_and_time_outs_are_told_apart() {
        let text = written(&sample());
        for part in [
            "<testsuite name=\"kernel\" tests=\"8\" failures=\"1\" errors=\"2\" skipped=\"1\">",
            "<testcase classname=\"kernel.ring\" name=\"empty\"/>",
            "<failure type=\"failed\" message=\"\"/>",
            "<system-out># full: EXPECTATION FAILED at &lt;ring.c&gt;:7 &amp; \\u{1}&#10;</system-out>",
            "<skipped message=\"SKIP no &quot;memory&quot;\"/>",
            "<skipped message=\"TODO not yet\"/>",
            "<error type=\"timeout\" message=\"TIMEOUT 45 seconds\"/>",
            "<error type=\"crash\" message=\"it was announced, and has no result\"/>",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn what_xml_cannot_hold_is_escaped() {
        let illegal = "\0\u{1}\u{8}\u{b}\u{1b}\u{7f}\u{fffe}\u{ffff}";
        let text = escaped(illegal);
        assert!(
            text.is_ascii() && !text.contains(char::is_control),
            "{text}"
        );
        assert_eq!(escaped("\u{1b}[1m"), "\\u{1b}[1m");
    }

    #[test]
    fn a_long_log_shows_its_end() {
        let mut results = sample();
        let case = results.cases.iter_mut().find(|case| case.name == "full");
        case.unwrap().log = format!("{}the end", "ä\n".repeat(TEXT));
        let text = written(&results);
        assert!(text.contains("bytes are left out here"));
        assert!(text.contains("the end</system-out>"));
        assert!(text.len() < 8 * TEXT);
    }
}
