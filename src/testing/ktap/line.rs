//! One line of a log: what of it is TAP, and how far it is indented.

use super::status::Status;

/// Levels of `# ` in front of a line that are looked through.
const HASHES: usize = 4;

/// Columns of a level of `# `, and of a tab in front of a line.
const HASH: usize = 2;
const TAB: usize = 4;

/// A result line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResultLine {
    pub number: u64,
    pub name: String,
    pub status: Status,
    /// What stands after `#`, whole.
    pub directive: Option<String>,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// A document, or a level, begins.
    Version,
    /// How many tests there will be; all of them skipped, where a reason is there.
    Plan(u64, Option<String>),
    /// The name of the level that is open or comes next.
    Subtest(String),
    Result(ResultLine),
    /// Anything else; it never changes a status.
    Other(String),
}

/// A line without what the kernel's log puts in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Columns in front of it, those of `# ` included.
    pub indent: usize,
    /// Levels of `# ` in front of it.
    pub hashes: usize,
    pub says: Says,
}

/// What stands in front of the version line of a document, and in front of each of its lines.
pub(super) fn literal_prefix(line: &str) -> Option<&str> {
    let (at, _) = version_at(line)?;
    let prefix = &line[..at];
    let prefix = prefix.trim_end_matches([' ', '\t']);
    let is_hashes = prefix.chars().all(|c| matches!(c, '#' | ' ' | '\t'));
    (!is_hashes).then(|| &line[..at])
}

/// Where a version line begins in a line that ends with one, and its number.
fn version_at(line: &str) -> Option<(usize, u64)> {
    let line = line.trim_end();
    let digits = line.len() - line.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (before, number) = line.split_at(line.len() - digits);
    let number = number.parse().ok()?;
    let at = before.strip_suffix("TAP version ")?.len();
    let at = if before[..at].ends_with('K') {
        at - 1
    } else {
        at
    };
    Some((at, number))
}

/// The length of one printk prefix at the start: `<6>`, `[    0.060000]`, `[    T1]`.
fn printk_part(text: &str) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    let end = |close: u8| bytes.iter().take(24).position(|byte| *byte == close);
    match bytes.first()? {
        b'<' => {
            let end = end(b'>')?;
            let is_level = end > 1 && bytes[1..end].iter().all(u8::is_ascii_digit);
            is_level.then_some((end + 1, false))
        }
        b'[' => {
            let end = end(b']')?;
            let inside = std::str::from_utf8(&bytes[1..end]).ok()?.trim_start();
            let is_digits =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let is_time = inside.split_once('.').is_some_and(|(whole, part)| {
                is_digits(whole) && part.len() >= 6 && is_digits(part)
            });
            let is_caller = inside.strip_prefix(['T', 'C']).is_some_and(is_digits);
            (is_time || is_caller).then_some((end + 1, true))
        }
        _ => None,
    }
}

/// A line without what printk puts in front of it.
pub(super) fn without_printk(text: &str) -> &str {
    let mut rest = text;
    let mut bracketed = false;
    while let Some((length, is_bracket)) = printk_part(rest) {
        rest = &rest[length..];
        bracketed |= is_bracket;
    }
    match bracketed {
        true => rest.strip_prefix(' ').unwrap_or(rest),
        false => rest,
    }
}

/// The pieces of a line in which the kernel's log broke in: each begins with a time of printk's.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices('[').map(|(at, _)| at);
    let is_time = |at: &usize| {
        *at > 0
            && text.as_bytes()[*at..].iter().take(20).any(|byte| *byte == b'.')
            && printk_part(&text[*at..]).is_some()
            // What is in front of it belongs to the same prefix.
            && !without_printk(&text[..*at]).is_empty()
    };
    let mut cuts: Vec<usize> = starts.filter(is_time).collect();
    cuts.insert(0, 0);
    cuts.push(text.len());
    let pairs: Vec<(usize, usize)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter().map(|(from, to)| &text[from..to])
}

/// Reads a line without its prefixes.
pub(super) fn read(text: &str) -> Line {
    let mut rest = text;
    let (mut indent, mut hashes) = (0, 0);
    let mut top = None;
    loop {
        let (columns, inner) = unindented(rest);
        let says = says(inner);
        if !matches!(says, Says::Other(_)) {
            return Line {
                indent: indent + columns,
                hashes,
                says,
            };
        }
        // The line as a diagnostic of its own level, should nothing be found further in.
        let top = top.get_or_insert((indent + columns, says));
        match inner.strip_prefix("# ") {
            Some(further) if hashes < HASHES => {
                indent += columns + HASH;
                hashes += 1;
                rest = further;
            }
            _ => {
                return Line {
                    indent: top.0,
                    hashes: 0,
                    says: top.1.clone(),
                };
            }
        }
    }
}

/// The columns in front of a text, and the text.
fn unindented(text: &str) -> (usize, &str) {
    let inner = text.trim_start_matches([' ', '\t']);
    let blank = &text[..text.len() - inner.len()];
    let columns = blank
        .bytes()
        .map(|byte| if byte == b'\t' { TAB } else { 1 });
    (columns.sum(), inner)
}

fn says(text: &str) -> Says {
    let text = text.trim_end();
    if let Some((0, _)) = version_at(text) {
        return Says::Version;
    }
    if let Some(name) = text.strip_prefix("# Subtest:") {
        return Says::Subtest(name.trim().to_owned());
    }
    if let Some(plan) = plan(text) {
        return plan;
    }
    match result(text) {
        Some(result) => Says::Result(result),
        None => Says::Other(text.to_owned()),
    }
}

/// `1..N`, and `1..0 # SKIP reason`.
fn plan(text: &str) -> Option<Says> {
    let rest = text.strip_prefix("1..")?;
    let (count, after) = match rest.split_once([' ', '\t']) {
        Some((count, after)) => (count, after.trim()),
        None => (rest, ""),
    };
    let count = count.parse().ok()?;
    let reason = match after.strip_prefix('#') {
        _ if after.is_empty() => None,
        Some(directive) => {
            let (word, reason) = first_word(directive.trim_start());
            word.eq_ignore_ascii_case("skip").then(|| reason.to_owned())
        }
        None => return None,
    };
    Some(Says::Plan(count, reason))
}

/// A text's first word without a colon at its end, and what is after it.
fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word.trim_end_matches(':'), rest.trim())
}

fn result(text: &str) -> Option<ResultLine> {
    let (ok, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let rest = rest.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = rest[..digits].parse().ok()?;
    let rest = &rest[digits..];
    if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('-') {
        Some(name) if name.is_empty() || name.starts_with(' ') => name.trim_start(),
        _ => rest,
    };
    let (name, directive) = split_directive(rest);
    let mut name = name.replace("\\#", "#");
    let directive = directive.filter(|text| !text.is_empty());
    let (word, after) = directive.map(first_word).unwrap_or_default();
    let status = status(ok, word);
    if name.is_empty() && is_directive(word) {
        // What kselftest.h prints: `ok 3 # SKIP name`.
        after.clone_into(&mut name);
    }
    Some(ResultLine {
        number,
        name,
        status,
        directive: directive.map(str::to_owned),
    })
}

/// A name, and what stands after the `#` that ends it.
fn split_directive(text: &str) -> (&str, Option<&str>) {
    let mut ends = text.match_indices('#').map(|(at, _)| at);
    let is_end = |at: &usize| *at == 0 || text[..*at].ends_with([' ', '\t']);
    match ends.find(is_end) {
        Some(at) => (text[..at].trim_end(), Some(text[at + 1..].trim())),
        None => (text.trim_end(), None),
    }
}

fn is_directive(word: &str) -> bool {
    let known = ["skip", "todo", "xfail", "xpass", "timeout", "error"];
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// What `ok` or `not ok` and a directive come to; a word that is no directive changes nothing.
fn status(ok: bool, word: &str) -> Status {
    match (ok, word.to_ascii_lowercase().as_str()) {
        (_, "skip") => Status::Skipped,
        (false, "todo") | (_, "xfail") => Status::ExpectedFailure,
        (true, "xpass") => Status::UnexpectedPass,
        // Neither has passed, whatever is in front of it.
        (_, "timeout") => Status::TimedOut,
        (_, "error") => Status::Error,
        (true, _) => Status::Passed,
        (false, _) => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_printk_are_taken_off_by_their_form() {
        for (line, rest) in [
            ("[    0.060000] ok 1", "ok 1"),
            ("[    0.060000]     ok 1", "    ok 1"),
            ("[    0.060000][    T1] ok 1", "ok 1"),
            ("[12345.678901][T12345] \tok 1", "\tok 1"),
            ("<6>[    0.060000][    C0] ok 1", "ok 1"),
            ("<6>ok 1", "ok 1"),
            ("[    0.060000]", ""),
            ("[ok] 1", "[ok] 1"),
            ("[1.5] 1", "[1.5] 1"),
            ("<module>", "<module>"),
            ("[", "["),
            ("ok 1 [    0.060000] x", "ok 1 [    0.060000] x"),
        ] {
            assert_eq!(without_printk(line), rest, "{line}");
        }
    }

    #[test]
    fn a_line_is_cut_where_the_kernels_log_breaks_in() {
        let cut = |text| pieces(text).collect::<Vec<_>>();
        assert_eq!(
            cut("ok 1 - a[    0.060000] random: done"),
            ["ok 1 - a", "[    0.060000] random: done"]
        );
        assert_eq!(
            cut("[    0.060000][    T1] ok"),
            ["[    0.060000][    T1] ok"]
        );
        assert_eq!(cut("<6>[    0.060000] ok"), ["<6>[    0.060000] ok"]);
        assert_eq!(cut("ok 1 - a[3] [T1] b"), ["ok 1 - a[3] [T1] b"]);
    }

    #[test]
    fn results_in_every_spelling() {
        use Status::*;
        for (line, number, name, status, directive) in [
            ("ok 1 - a_b", 1, "a_b", Passed, None),
            ("ok 1 a b", 1, "a b", Passed, None),
            ("ok 12", 12, "", Passed, None),
            ("not ok 3 - x", 3, "x", Failed, None),
            (
                "ok 1 - x # SKIP not built",
                1,
                "x",
                Skipped,
                Some("SKIP not built"),
            ),
            ("not ok 1 - x # skip", 1, "x", Skipped, Some("skip")),
            (
                "not ok 1 x # TODO later",
                1,
                "x",
                ExpectedFailure,
                Some("TODO later"),
            ),
            ("ok 1 x # todo", 1, "x", Passed, Some("todo")),
            (
                "ok 1 x # XFAIL known",
                1,
                "x",
                ExpectedFailure,
                Some("XFAIL known"),
            ),
            ("not ok 1 x # xfail", 1, "x", ExpectedFailure, Some("xfail")),
            ("ok 1 x # XPASS", 1, "x", UnexpectedPass, Some("XPASS")),
            ("not ok 1 x # XPASS", 1, "x", Failed, Some("XPASS")),
            (
                "not ok 1 x # TIMEOUT 45 seconds",
                1,
                "x",
                TimedOut,
                Some("TIMEOUT 45 seconds"),
            ),
            (
                "not ok 1 x # ERROR no memory",
                1,
                "x",
                Error,
                Some("ERROR no memory"),
            ),
            ("not ok 1 x # exit=1", 1, "x", Failed, Some("exit=1")),
            ("ok 1 x # anything", 1, "x", Passed, Some("anything")),
            ("ok 1 - foo bar\t#", 1, "foo bar", Passed, None),
            ("ok 1 - c#sharp", 1, "c#sharp", Passed, None),
            ("ok 1 - c \\# d", 1, "c # d", Passed, None),
            (
                "ok 2 # SKIP no hardware",
                2,
                "no hardware",
                Skipped,
                Some("SKIP no hardware"),
            ),
            ("ok 1 -5 is negative", 1, "-5 is negative", Passed, None),
        ] {
            let Says::Result(found) = read(line).says else {
                panic!("{line}");
            };
            let seen = (found.number, found.name.as_str(), found.status);
            assert_eq!(seen, (number, name, status), "{line}");
            assert_eq!(found.directive.as_deref(), directive, "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_tap_is_none() {
        for line in [
            "ok",
            "ok then",
            "okay 1",
            "not ok",
            "ok 1x",
            "1..",
            "1..x",
            "1..3 apples",
            "2..3",
            "TAP version",
            "TAP version x",
            "ok 99999999999999999999999 - x",
        ] {
            assert!(matches!(read(line).says, Says::Other(_)), "{line}");
        }
    }

    #[test]
    fn hashes_in_front_are_levels() {
        let at = |line| {
            let line = read(line);
            (line.indent, line.hashes)
        };
        assert_eq!(at("# TAP version 13"), (2, 1));
        assert_eq!(at("# ok 1 a"), (2, 1));
        assert_eq!(at("# # ok 1 a"), (4, 2));
        assert_eq!(at("#   ok 1 a"), (4, 1));
        assert_eq!(at("    # Subtest: a"), (4, 0));
        assert_eq!(at("# # Subtest: a"), (2, 1));
        assert_eq!(at("    # EXPECTATION FAILED"), (4, 0));
        assert_eq!(read("# a # b").says, Says::Other("# a # b".into()));
    }

    #[test]
    fn a_plan_can_skip_everything() {
        assert_eq!(read("1..4").says, Says::Plan(4, None));
        let skipped = Says::Plan(0, Some("no device".into()));
        assert_eq!(read("1..0 # SKIP no device").says, skipped);
        assert_eq!(read("1..0 # skip: no device").says, skipped);
    }

    #[test]
    fn a_version_line_can_have_words_in_front() {
        assert_eq!(literal_prefix("console: TAP version 14"), Some("console: "));
        for line in [
            "KTAP version 1",
            "  TAP version 13",
            "# TAP version 13",
            "ok 1",
        ] {
            assert_eq!(literal_prefix(line), None, "{line}");
        }
    }
}
