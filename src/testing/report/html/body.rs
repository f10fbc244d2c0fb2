//! What a test shows when it is opened.

use super::super::Case;
use super::super::run::{Attempt, TestRun};
use super::text::{Colours, Escaped, push, took, write_line};
use crate::testing::excerpt::clipped;

/// Bytes of a console of a test that somebody must look at, and of another.
const CONSOLE: usize = 64 << 10;
const QUIET_CONSOLE: usize = 4 << 10;

/// Bytes of one line of a console.
const LINE: usize = 2 << 10;

/// Lines that are kept before the first bad one, and after it.
const BEFORE: usize = 20;
const AFTER: usize = 60;

/// Bytes of a message, a command or a post-mortem.
const TEXT: usize = 32 << 10;

/// Attempts that are shown, the last ones.
const ATTEMPTS: usize = 10;

/// Cases of a test that are shown, and bytes of what each said.
const CASES: usize = 500;
const LOG: usize = 4 << 10;

/// All that is known of a test.
pub(super) fn html(test: &TestRun, index: usize) -> String {
    let mut out = String::new();
    if !test.message.is_empty() {
        push(
            &mut out,
            format_args!("<p>{}</p>\n", Escaped(clipped(&test.message, TEXT))),
        );
    }
    if !test.repeat.is_empty() {
        push(
            &mut out,
            format_args!(
                "<h3>Repeat it</h3>\n<div class=\"repeat\"><pre><code>{}</code></pre></div>\n",
                Escaped(clipped(&test.repeat, TEXT))
            ),
        );
    }
    if let Some(results) = &test.results {
        push(
            &mut out,
            format_args!("<h3>Its tests: {}</h3>\n", results.counts()),
        );
        write_cases(&results.cases, &mut out);
    }
    let skipped = test.attempts.len().saturating_sub(ATTEMPTS);
    if skipped > 0 {
        push(
            &mut out,
            format_args!("<p class=\"quiet\">{skipped} attempts before are left out here.</p>\n"),
        );
    }
    for (number, attempt) in test.attempts.iter().enumerate().skip(skipped) {
        write_attempt(test, index, number, attempt, &mut out);
    }
    if test.attempts.is_empty() {
        out.push_str("<p class=\"quiet\">No guest ran.</p>\n");
    }
    out
}

fn write_attempt(test: &TestRun, index: usize, number: usize, attempt: &Attempt, out: &mut String) {
    let word = attempt.status.word();
    let mut heading = format!("{word} after {}", took(attempt.took()));
    if test.attempts.len() > 1 {
        heading = format!("Attempt {}: {heading}", number + 1);
    }
    push(
        out,
        format_args!(
            "<h3 class=\"{word}\"><span class=\"word\">{heading}</span></h3>\n<p>{}</p>\n",
            Escaped(clipped(&attempt.verdict, TEXT))
        ),
    );
    if attempt.console.is_empty() {
        out.push_str("<p class=\"quiet\">The console is empty.</p>\n");
    } else {
        let limit = match test.needs_a_look() {
            true => CONSOLE,
            false => QUIET_CONSOLE,
        };
        write_console(attempt, limit, &format!("t{index}-{number}"), out);
    }
    if !attempt.post_mortem.is_empty() {
        push(
            out,
            format_args!(
                "<details><summary>Post-mortem</summary><pre tabindex=\"0\">{}</pre></details>\n",
                Escaped(clipped(&attempt.post_mortem, TEXT))
            ),
        );
    }
}

/// Writes a console; its first bad line is marked and has `id`.
fn write_console(attempt: &Attempt, limit: usize, id: &str, out: &mut String) {
    let lines: Vec<String> = attempt.console.lines().collect();
    let bad = attempt.first_bad_line(&lines);
    if bad.is_some() {
        push(
            out,
            format_args!("<p><a href=\"#{id}\">First bad line</a></p>\n"),
        );
    }
    out.push_str("<pre tabindex=\"0\" aria-label=\"Console\">");
    let kept = kept(&lines, bad, limit);
    let mut colours = Colours::default();
    let mut cut = 0;
    for (at, line) in lines.iter().enumerate() {
        if !kept[at] {
            cut += 1;
            continue;
        }
        write_cut(&mut cut, out);
        let line = clipped(line, LINE);
        if bad == Some(at) {
            push(out, format_args!("<mark id=\"{id}\">"));
            write_line(line, &mut colours, out);
            out.push_str("</mark>");
        } else {
            write_line(line, &mut colours, out);
            out.push('\n');
        }
    }
    write_cut(&mut cut, out);
    out.push_str("</pre>\n");
}

fn write_cut(lines: &mut u64, out: &mut String) {
    if *lines > 0 {
        push(
            out,
            format_args!("[... {lines} lines are left out here ...]\n"),
        );
        *lines = 0;
    }
}

/// Which lines are shown within `limit` bytes: those around the bad one, then the last, then the
/// first.
fn kept(lines: &[String], bad: Option<usize>, limit: usize) -> Vec<bool> {
    let mut kept = vec![false; lines.len()];
    let mut left = limit;
    // Returns whether the line fits, or was there already.
    let mut keep = |at: usize, least: usize| {
        let bytes = lines[at].len().min(LINE) + 1;
        let fits = kept[at] || left >= bytes + least;
        if fits && !kept[at] {
            left -= bytes;
            kept[at] = true;
        }
        fits
    };
    if let Some(bad) = bad {
        let half = limit / 2;
        keep(bad, 0);
        let before = (bad.saturating_sub(BEFORE)..bad).rev();
        let after = bad + 1..(bad + 1 + AFTER).min(lines.len());
        let _ = before.take_while(|&at| keep(at, half)).count();
        let _ = after.take_while(|&at| keep(at, half)).count();
    }
    let quarter = limit / 4;
    let _ = (0..lines.len())
        .rev()
        .take_while(|&at| keep(at, quarter))
        .count();
    let _ = (0..lines.len()).take_while(|&at| keep(at, 0)).count();
    kept
}

/// Writes the bad cases with what they said, and the others as a list that opens.
fn write_cases(cases: &[Case], out: &mut String) {
    let (bad, other): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| case.status.is_bad());
    write_list(&bad, out);
    if !other.is_empty() {
        push(
            out,
            format_args!("<details><summary>{} others</summary>\n", other.len()),
        );
        write_list(&other, out);
        out.push_str("</details>\n");
    }
}

fn write_list(cases: &[&Case], out: &mut String) {
    if cases.is_empty() {
        return;
    }
    out.push_str("<ul class=\"cases\">\n");
    for case in cases.iter().take(CASES) {
        let word = case.status.word();
        push(
            out,
            format_args!(
                "<li class=\"{word}\"><span class=\"word\">{word}</span><span class=\"name\">{}\
                 </span> <span class=\"quiet\">{}</span>",
                Escaped(clipped(&case.full_name(), LOG)),
                Escaped(clipped(&case.message, LOG))
            ),
        );
        if case.status.is_bad() && !case.log.is_empty() {
            let begin = case
                .log
                .ceil_char_boundary(case.log.len().saturating_sub(LOG));
            push(
                out,
                format_args!("<pre tabindex=\"0\">{}</pre>", Escaped(&case.log[begin..])),
            );
        }
        out.push_str("</li>\n");
    }
    if cases.len() > CASES {
        push(
            out,
            format_args!(
                "<li class=\"quiet\">{} more are left out here</li>\n",
                cases.len() - CASES
            ),
        );
    }
    out.push_str("</ul>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_console_the_bad_line_and_both_ends_are_kept() {
        let mut lines: Vec<String> = (0..100_000).map(|line| format!("line {line}")).collect();
        lines[50_000] = "x".repeat(10 * LINE);
        let kept = kept(&lines, Some(50_000), CONSOLE);
        assert!(kept[50_000] && kept[49_980] && kept[50_060]);
        assert!(kept[0] && kept[99_999]);
        assert!(!kept[40_000] && !kept[60_000]);
        let sizes = lines.iter().zip(&kept).filter(|(_, kept)| **kept);
        let bytes: usize = sizes.map(|(line, _)| line.len().min(LINE) + 1).sum();
        assert!(bytes <= CONSOLE && bytes > CONSOLE - 2 * LINE, "{bytes}");
    }

    #[test]
    fn a_short_console_is_kept_whole() {
        let lines = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(kept(&lines, None, QUIET_CONSOLE), [true, true]);
    }
}
