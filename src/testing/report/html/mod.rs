//! One HTML page for a whole run, which needs nothing but itself.
//!
//! It reads without its script, which only adds search, filter and order. Its policy lets the
//! browser run that script and use that style, by their hashes, and load nothing: what a guest
//! printed cannot become a part of the page even if it were not escaped. Its size is bounded by
//! [`TESTS`] and [`TEXT`].

mod body;
mod text;
mod times;

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::run::{Run, TestRun};
use crate::testing::excerpt::clipped;
use text::{Escaped, push};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Tests that have a line of their own, the worst first; more are counted.
pub const TESTS: usize = 10_000;

/// Bytes of consoles, post-mortems and cases in the page; what does not fit is left out of those
/// tests that are the least bad.
pub const TEXT: usize = 16 << 20;

/// Bytes of a name or a reason.
const WORDS: usize = 400;

/// Writes a run as a page.
///
/// # Errors
/// As the writer says.
pub fn write(run: &Run, to: &mut impl Write) -> io::Result<()> {
    // Every second part is the name of something to put there.
    for (number, part) in PAGE.split('@').enumerate() {
        match (number % 2, part) {
            (0, text) => to.write_all(text.as_bytes())?,
            (_, "POLICY") => to.write_all(policy().as_bytes())?,
            (_, "TITLE") => write!(to, "{}", Escaped(&title(run)))?,
            (_, "STYLE") => to.write_all(STYLE.as_bytes())?,
            (_, "SCRIPT") => to.write_all(SCRIPT.as_bytes())?,
            (_, "HEADER") => to.write_all(header(run).as_bytes())?,
            (_, "TIMES") => to.write_all(times::svg(run).as_bytes())?,
            (_, "BUTTONS") => to.write_all(buttons(run).as_bytes())?,
            (_, "TESTS") => write_tests(run, to)?,
            (_, "NOTE") => to.write_all(note(run).as_bytes())?,
            (_, name) => unreachable!("page.html names {name}"),
        }
    }
    Ok(())
}

/// What the browser may do: nothing but run this script and use this style.
fn policy() -> String {
    let hash = |text: &str| base64(&Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// Bytes in the alphabet of RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(match digit <= chunk.len() {
                true => char::from(ALPHABET[value as usize]),
                false => '=',
            });
        }
    }
    text
}

fn clip(text: &str) -> Escaped<'_> {
    Escaped(clipped(text, WORDS))
}

/// What a browser's tab shows: what is bad first.
fn title(run: &Run) -> String {
    let bad = run.tests.iter().filter(|test| test.status.is_bad());
    let title = clipped(&run.title, WORDS);
    match (bad.count(), run.tests.len()) {
        (_, 0) => format!("no tests: {title}"),
        (0, _) => format!("passed: {title}"),
        (bad, _) => format!("{bad} failed: {title}"),
    }
}

fn header(run: &Run) -> String {
    let mut out = String::new();
    push(&mut out, format_args!("<h1>{}</h1>\n", clip(&run.title)));
    out.push_str("<div class=\"counts\">");
    for (word, count) in run.counts() {
        push(
            &mut out,
            format_args!("<span class=\"{word}\">{count} {word}</span>"),
        );
    }
    if run.tests.is_empty() {
        out.push_str("<span>no tests</span>");
    }
    push(
        &mut out,
        format_args!(
            "</div>\n<svg class=\"share\" aria-hidden=\"true\">{}</svg>\n\
             <p class=\"quiet\">{} tests in {}, begun {}</p>",
            share(run),
            run.tests.len(),
            text::took(run.took),
            text::moment(run.started)
        ),
    );
    out
}

/// A bar with a part for each kind of result.
fn share(run: &Run) -> String {
    let mut out = String::new();
    let mut begin = 0.0;
    for (word, count) in run.counts() {
        let width = count as f64 * 100.0 / run.tests.len() as f64;
        push(
            &mut out,
            format_args!(
                "<rect class=\"{word}\" x=\"{begin:.3}%\" width=\"{width:.3}%\" height=\"100%\"/>"
            ),
        );
        begin += width;
    }
    out
}

fn buttons(run: &Run) -> String {
    let buttons = run.counts().into_iter().map(|(word, count)| {
        format!(
            "<button type=\"button\" class=\"{word}\" data-word=\"{word}\" \
             aria-pressed=\"false\">{word} {count}</button>"
        )
    });
    buttons.collect::<Vec<_>>().join("\n")
}

fn write_tests(run: &Run, to: &mut impl Write) -> io::Result<()> {
    let bad = run.tests.iter().filter(|test| test.status.is_bad()).count();
    let mut left = TEXT;
    for index in run.worst_first().into_iter().take(TESTS) {
        let test = &run.tests[index];
        let mut body = body::html(test, index);
        match left.checked_sub(body.len()) {
            Some(rest) => left = rest,
            // Smaller ones may still fit.
            None => {
                body = "<p class=\"quiet\">The page is full: what this test printed is left out \
                        here.</p>\n"
                    .to_owned();
            }
        }
        let open = test.status.is_bad() && bad == 1;
        to.write_all(head(test, index, open).as_bytes())?;
        writeln!(to, "<div class=\"body\">\n{body}</div></details>")?;
    }
    Ok(())
}

/// The line of a test, with the beginning of the element that holds the rest.
fn head(test: &TestRun, index: usize, open: bool) -> String {
    let word = test.word();
    let took = test.took();
    let said = match test.attempts.is_empty() {
        true => String::new(),
        false => text::took(took),
    };
    format!(
        "<details class=\"test {word}\" id=\"t{index}\" data-word=\"{word}\" \
         data-took=\"{:.3}\"{}><summary><span class=\"word\">{word}</span>\
         <span class=\"name\">{}</span><span class=\"why\">{}</span>\
         <span class=\"took\">{said}</span></summary>",
        took.as_secs_f64(),
        if open { " open" } else { "" },
        clip(&test.name),
        clip(test.reason()),
    )
}

fn note(run: &Run) -> String {
    match run.tests.len().checked_sub(TESTS) {
        None | Some(0) => String::new(),
        Some(more) => {
            format!(
                "<p class=\"quiet\">{more} more tests, none worse than these, have no line.</p>"
            )
        }
    }
}

#[cfg(test)]
mod tests;
