//! TAP 14, flat: a line for each case.

use std::io::{self, Write};

use super::Results;
use crate::testing::ktap::Status;

/// Writes results as TAP, which [`super::super::Ktap`] reads back.
///
/// # Errors
/// As the writer says.
pub fn write(results: &Results, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "TAP version 14\n1..{}", results.cases.len())?;
    for (index, case) in results.cases.iter().enumerate() {
        if case.status.is_bad() {
            for line in case.log.lines() {
                writeln!(to, "# {}", plain(line))?;
            }
        }
        let (ok, directive) = match case.status {
            Status::Passed => ("ok", ""),
            Status::UnexpectedPass => ("ok", "XPASS"),
            Status::ExpectedFailure => ("not ok", "TODO"),
            Status::Skipped => ("ok", "SKIP"),
            Status::TimedOut => ("not ok", "TIMEOUT"),
            Status::Error | Status::NoTests => ("not ok", "ERROR"),
            Status::Failed | Status::Crashed => ("not ok", ""),
        };
        let name = plain(&case.full_name())
            .replace('\\', "\\\\")
            .replace('#', "\\#");
        write!(to, "{ok} {} - {name}", index + 1)?;
        let message = case.message.lines().next().unwrap_or_default();
        let message = without_directive(message, directive);
        let comment = format!("{directive} {}", plain(message));
        match comment.trim() {
            "" => writeln!(to)?,
            comment => writeln!(to, " # {comment}")?,
        }
    }
    Ok(())
}

/// The words after a directive, which a message can begin with.
fn without_directive<'a>(message: &'a str, directive: &str) -> &'a str {
    let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
    match !directive.is_empty() && word.eq_ignore_ascii_case(directive) {
        true => rest,
        false => message,
    }
}

/// A text on one line that does nothing to a terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::testing::Ktap;

    #[test]
    fn what_is_written_reads_back_with_the_same_counts() {
        let results = sample();
        let mut text = Vec::new();
        write(&results, &mut text).unwrap();
        let mut ktap = Ktap::new();
        ktap.push(&text);
        let tree = ktap.finish();
        let names: Vec<&str> = tree.tests.iter().map(|test| test.name.as_str()).collect();
        let written: Vec<String> = results.cases.iter().map(|case| case.full_name()).collect();
        assert_eq!(names, written);
        let (read, written) = (tree.counts(), results.counts());
        assert_eq!(
            (read.passed, read.skipped),
            (written.passed, written.skipped)
        );
        assert_eq!((read.bad(), read.errors), (written.bad(), 0));
        assert_eq!(read.timed_out, written.timed_out);
    }
}
