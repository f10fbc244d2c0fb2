//! What a job on GitHub shows of a run: its summary, and errors beside the log.

use std::fmt;
use std::io::{self, Write};

use super::run::{Attempt, Run, TestRun};
use crate::testing::excerpt::clipped;

/// Tests that a summary shows one by one; a page is the place for more.
const SHOWN: usize = 50;

/// Bytes of all tests in a summary: GitHub refuses one of more than 1 MiB.
const SUMMARY: usize = 900 << 10;

/// Lines and bytes of a console in the summary, the last ones.
const LINES: usize = 30;
const CONSOLE: usize = 4 << 10;

/// Bytes of a name, a reason or a command.
const WORDS: usize = 400;

/// Errors that GitHub shows of one step.
const ERRORS: usize = 10;

/// Writes a run as the Markdown for `$GITHUB_STEP_SUMMARY`: counts, and each test that somebody must
/// look at with its reason, the command that repeats it, and the end of its console.
///
/// # Errors
/// As the writer says.
pub fn write_summary(run: &Run, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "### {}\n", Html(clipped(&run.title, WORDS)))?;
    let counts = run.counts().into_iter();
    let counts: Vec<String> = counts
        .map(|(word, count)| format!("**{count}** {word}"))
        .collect();
    match counts.is_empty() {
        true => writeln!(to, "no tests\n")?,
        false => writeln!(to, "{}\n", counts.join(", "))?,
    }
    let indexes = run.worst_first().into_iter();
    let tests: Vec<&TestRun> = indexes
        .map(|index| &run.tests[index])
        .filter(|test| test.needs_a_look())
        .collect();
    let mut left = SUMMARY;
    let mut shown = 0;
    for test in tests.iter().take(SHOWN) {
        let mut text = Vec::new();
        write_test(test, &mut text)?;
        let Some(rest) = left.checked_sub(text.len()) else {
            break;
        };
        left = rest;
        shown += 1;
        to.write_all(&text)?;
    }
    match tests.len() - shown {
        0 => Ok(()),
        more => writeln!(
            to,
            "{more} more that somebody must look at are not shown here."
        ),
    }
}

/// Writes a test as HTML, in which nothing is Markdown until an empty line comes.
fn write_test(test: &TestRun, to: &mut impl Write) -> io::Result<()> {
    writeln!(
        to,
        "<details><summary><b>{}</b> <code>{}</code> {}</summary>",
        test.word(),
        Html(clipped(&test.name, WORDS)),
        Html(clipped(test.reason(), WORDS))
    )?;
    if !test.repeat.is_empty() {
        writeln!(to, "<pre>{}</pre>", Html(clipped(&test.repeat, WORDS)))?;
    }
    // Of a flaky test, the attempt that went badly says more.
    let bad = test.attempts.iter().rfind(|one| one.status.is_bad());
    if let Some(attempt) = bad.filter(|attempt| !attempt.console.is_empty()) {
        writeln!(to, "<pre>{}</pre>", Html(&end(attempt)))?;
    }
    writeln!(to, "</details>\n")
}

/// The end of a console.
fn end(attempt: &Attempt) -> String {
    let lines: Vec<String> = attempt.console.lines().collect();
    let text = lines[lines.len().saturating_sub(LINES)..].join("\n");
    let begin = text.ceil_char_boundary(text.len().saturating_sub(CONSOLE));
    text[begin..].to_owned()
}

/// Writes a line for each bad test that makes GitHub show an error, on the standard output of a job.
/// It shows ten of a step: if there are more, the tenth says how many.
///
/// # Errors
/// As the writer says.
pub fn write_errors(run: &Run, to: &mut impl Write) -> io::Result<()> {
    let indexes = run.worst_first().into_iter();
    let bad: Vec<&TestRun> = indexes
        .map(|index| &run.tests[index])
        .filter(|test| test.status.is_bad())
        .collect();
    let shown = match bad.len() {
        count if count > ERRORS => ERRORS - 1,
        count => count,
    };
    for test in &bad[..shown] {
        let reason = match test.reason() {
            "" => test.word(),
            reason => reason,
        };
        writeln!(
            to,
            "::error title={}::{}",
            Property(&format!("{} {}", test.word(), clipped(&test.name, WORDS))),
            Message(clipped(reason, WORDS))
        )?;
    }
    match bad.len() - shown {
        0 => Ok(()),
        more => writeln!(to, "::error title=and more::{more} more tests are bad"),
    }
}

/// A text in HTML that stands in Markdown: what either takes for markup is written as a number.
/// A line's end stays one, and an empty line gets a blank, because HTML ends there.
struct Html<'a>(&'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut begins = false;
        for c in self.0.chars() {
            match c {
                '\n' if begins => f.write_str("&#32;\n")?,
                '\n' => f.write_str("\n")?,
                '\t' => f.write_str("\t")?,
                c if c.is_control() => write!(f, "{}", Code(c))?,
                c if c.is_ascii_punctuation() => write!(f, "&#{};", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
            begins = c == '\n';
        }
        Ok(())
    }
}

/// A control character as text: `\u{1b}`, in which nothing is markup either.
struct Code(char);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "&#92;u&#123;{:x}&#125;", u32::from(self.0))
    }
}

/// The text of a command to GitHub's runner.
struct Message<'a>(&'a str);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '%' => f.write_str("%25"),
            '\r' => f.write_str("%0D"),
            '\n' => f.write_str("%0A"),
            // A terminal that shows the log would obey them.
            c if c.is_control() => write!(f, "{}", c.escape_unicode()),
            c => write!(f, "{c}"),
        })
    }
}

/// A property of a command to GitHub's runner.
struct Property<'a>(&'a str);

impl fmt::Display for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Message(self.0).to_string();
        f.write_str(&text.replace(':', "%3A").replace(',', "%2C"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::sample_run;
    use super::*;
    use proptest::prelude::*;

    fn summary(run: &Run) -> String {
        let mut text = Vec::new();
        write_summary(run, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn errors(run: &Run) -> String {
        let mut text = Vec::new();
        write_errors(run, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_summary_counts_and_shows_what_needs_a_look() {
        let text = summary(&sample_run());
        for part in [
            "### sample &#38; co\n\n**1** crashed, **1** failed, **1** flaky, **1** passed, \
             **1** skipped\n",
            "<b>crashed</b> <code>disk&#58;&#58;&#60;&#47;script&#62;",
            "100&#37;&#58; the kernel panicked</summary>",
            "&#60;b&#62;&#38;\nKernel panic &#45; not syncing&#58; &#60;x&#62;</pre>",
            "&#92;u&#123;1b&#125;&#91;31mred",
            "<b>flaky</b> <code>net</code> the guest powered off</summary>",
            "<pre>waits</pre>",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("<code>boot</code>"), "{text}");
    }

    #[test]
    fn errors_are_commands_with_escaped_texts() {
        let expected = "\
::error title=crashed disk%3A%3A</script><script>::100%25: the kernel panicked
::error title=failed kunit::the guest powered off
";
        assert_eq!(errors(&sample_run()), expected);
        assert_eq!(Message("a\r\n%0A\u{1b}").to_string(), "a%0D%0A%250A\\u{1b}");
        assert_eq!(Property("a,b:c").to_string(), "a%2Cb%3Ac");
    }

    #[test]
    fn the_tenth_error_says_how_many_more_there_are() {
        let mut run = sample_run();
        run.tests = vec![run.tests[1].clone(); 30];
        let text = errors(&run);
        assert_eq!(text.lines().count(), ERRORS);
        assert!(text.ends_with("::error title=and more::21 more tests are bad\n"));
    }

    #[test]
    fn a_summary_stays_below_what_github_takes() {
        let mut run = sample_run();
        let mut test = run.tests[2].clone();
        test.name = "|".repeat(10_000);
        test.message = "*".repeat(10_000);
        for _ in 0..100 {
            test.attempts[0].console.push(&"\u{1b}".repeat(4096));
        }
        run.tests = vec![test; 200];
        let text = summary(&run);
        assert!(text.contains(" more that somebody must look at"));
        assert!(text.len() < 1 << 20, "{}", text.len());
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_a_summary_or_a_command(text in any::<String>()) {
            let html = Html(&text).to_string();
            prop_assert!(!html.contains(['<', '>', '`', '*', '_', '[', '|']));
            prop_assert!(!html.contains("\n\n"));
            let property = Property(&text).to_string();
            prop_assert!(!property.contains(char::is_control));
            prop_assert!(!property.contains([':', ',']));
        }
    }
}
