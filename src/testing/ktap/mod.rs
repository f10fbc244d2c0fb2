//! The Kernel Test Anything Protocol, read as it comes: from a console, or from a log of any age.
//!
//! [`Ktap`] takes a log line by line and knows no machine. It reads what KUnit, kselftest and TAP
//! producers print, in the midst of everything else that a kernel says: prefixes of printk are taken
//! off, foreign lines change no status, and what was announced and never came is
//! [`Status::Crashed`].
//!
//! ```
//! use ppckvm::testing::{Ktap, Status};
//!
//! let mut ktap = Ktap::new();
//! for line in ["KTAP version 1", "1..2", "ok 1 - first", "[    1.500000] usb: hello"] {
//!     ktap.push_line(line);
//! }
//! let tree = ktap.finish();
//! assert_eq!(tree.counts().to_string(), "1 passed, 1 crashed, 1 errors");
//! assert_eq!(tree.tests[1].status, Status::Crashed);
//! ```
//!
//! Memory is bounded whatever the log holds: long lines are cut at [`LINE`] bytes, and beyond
//! [`TESTS`] tests or [`TEXT`] bytes of names and messages, tests are only counted.

mod line;
mod status;
mod tree;

use std::collections::HashMap;

pub use status::{Counts, Status};
pub use tree::{Leaf, Oops, Test, Tree};

use super::excerpt::{Bounds, Excerpt, clipped};
use line::{Line, ResultLine, Says};

/// What is read of one line, in bytes; the rest of it is skipped.
pub const LINE: usize = 4096;

/// Tests that are kept; more are counted.
pub const TESTS: usize = 200_000;

/// Names and messages that are kept, in bytes; of more tests nothing but counts is kept.
pub const TEXT: usize = 64 << 20;

/// Levels of tests in tests; lines that are further in are messages.
const LEVELS: usize = 16;

/// Announced tests that are listed one by one when they did not come.
const MISSING: u64 = 1000;

/// Errors and oopses that are kept of each place.
const ERRORS: usize = 100;

/// What is kept of what was said while one test ran.
const LOG: Bounds = Bounds {
    lines: 100,
    bytes: 16 << 10,
};

/// Lines at which no test runs any more, although the kernel prints on.
const ENDS: [&str; 3] = [
    "List of all partitions:",
    "Kernel panic - not syncing: VFS:",
    "reboot: System halted",
];

/// What begins a kernel's complaint about itself.
const OOPSES: [&str; 5] = [
    "Oops: ",
    "BUG: ",
    "kernel BUG at ",
    "Unable to handle kernel ",
    "Kernel panic - not syncing",
];

/// What KUnit's executor says instead of running tests.
const EXECUTOR: &str = "kunit executor: ";

/// The attributes that KUnit prints of tests.
const ATTRIBUTES: [&str; 3] = ["speed", "module", "is_init"];

/// What a line of a log came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A document began.
    Document,
    /// A test said that it has tests of its own. Its name can still be unknown, and is `?` then.
    Began {
        /// The names of the tests that are open, outermost first, its own last.
        path: Vec<String>,
    },
    /// A result came.
    Finished {
        /// The names of the tests around it, outermost first, its own last.
        path: Vec<String>,
        /// What its line says.
        status: Status,
        /// What stands after `#` on its line.
        directive: Option<String>,
        /// Whether it has tests of its own, so that it is their sum.
        suite: bool,
    },
    /// The kernel says that something is wrong with it.
    Oops(Oops),
    /// All tests that the document announced have ended.
    Complete,
}

/// A level of tests that is open.
#[derive(Debug)]
struct Level {
    indent: usize,
    hashes: usize,
    name: Option<String>,
    plan: Option<u64>,
    skips_all: Option<String>,
    /// The number that the next result should have.
    next: u64,
    /// Results that came.
    results: u64,
    tests: Vec<Test>,
    unlisted: Counts,
    taken: HashMap<String, u32>,
    log: Excerpt,
    errors: Vec<String>,
    /// Attributes of its own, and of the case that comes next.
    attributes: Vec<(String, String)>,
    of_next: Vec<(String, String)>,
}

impl Level {
    fn new(indent: usize, hashes: usize, name: Option<String>) -> Self {
        Level {
            indent,
            hashes,
            name,
            plan: None,
            skips_all: None,
            next: 1,
            results: 0,
            tests: Vec::new(),
            unlisted: Counts::default(),
            taken: HashMap::new(),
            log: Excerpt::new(LOG),
            errors: Vec::new(),
            attributes: Vec::new(),
            of_next: Vec::new(),
        }
    }

    /// A name that no test before had on this level.
    fn unique(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        if self.taken.contains_key(name) {
            // The number that was tried last, so that many of one name cost no more than few.
            let mut number = self.taken[name];
            while self.taken.contains_key(&unique) {
                number += 1;
                unique = format!("{name} ({number})");
            }
            self.taken.insert(name.to_owned(), number);
        }
        self.taken.insert(unique.clone(), 1);
        unique
    }
}

/// A reader of test results in a log.
#[derive(Debug)]
pub struct Ktap {
    /// What came of a line that has no end yet, for [`Ktap::push`].
    partial: Vec<u8>,
    /// Open levels; the first is the document's.
    levels: Vec<Level>,
    /// What is in front of each line of the document, besides what printk puts there.
    prefix: Option<String>,
    /// The name that the next level has.
    pending: Option<String>,
    /// Tests of the documents before.
    tests: Vec<Test>,
    unlisted: Counts,
    taken: HashMap<String, u32>,
    errors: Vec<String>,
    more_errors: u64,
    documents: u64,
    oopses: Vec<Oops>,
    kept_tests: usize,
    kept_text: usize,
}

impl Default for Ktap {
    fn default() -> Self {
        Ktap::new()
    }
}

impl Ktap {
    /// A reader at the beginning of a log.
    pub fn new() -> Self {
        Ktap {
            partial: Vec::new(),
            levels: Vec::new(),
            prefix: None,
            pending: None,
            tests: Vec::new(),
            unlisted: Counts::default(),
            taken: HashMap::new(),
            errors: Vec::new(),
            more_errors: 0,
            documents: 0,
            oopses: Vec::new(),
            kept_tests: 0,
            kept_text: 0,
        }
    }

    /// Reads bytes as they come; a line counts when its end has come.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.keep_partial(&rest[..end]);
            let line = std::mem::take(&mut self.partial);
            events.extend(self.push_line(&line));
            // The allocation serves the next line.
            self.partial = line;
            self.partial.clear();
            rest = &rest[end + 1..];
        }
        self.keep_partial(rest);
        events
    }

    fn keep_partial(&mut self, bytes: &[u8]) {
        let room = LINE.saturating_sub(self.partial.len());
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Reads a line, with or without its end, and returns what it came to.
    pub fn push_line(&mut self, line: impl AsRef<[u8]>) -> Vec<Event> {
        let line = line.as_ref();
        let line = String::from_utf8_lossy(&line[..line.len().min(LINE)]);
        let line = without_escapes(&line);
        let mut events = Vec::new();
        let ends = |c: char| matches!(c, '\r' | '\n' | '\0');
        let parts = line.split(ends).filter(|part| !part.is_empty());
        for part in parts.flat_map(line::pieces) {
            self.read(line::without_printk(part), &mut events);
        }
        events
    }

    /// The end of the log: what is still open has crashed.
    pub fn finish(mut self) -> Tree {
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.push_line(&line);
        }
        self.end_document();
        if self.documents == 0 {
            self.error(
                "no KTAP or TAP version line was found: nothing says that tests were run".into(),
            );
        }
        Tree {
            tests: self.tests,
            errors: self.errors,
            more_errors: self.more_errors,
            documents: self.documents,
            unlisted: self.unlisted,
            oopses: self.oopses,
        }
    }

    fn read(&mut self, text: &str, events: &mut Vec<Event>) {
        let text = match &self.prefix {
            Some(prefix) => text.strip_prefix(prefix.as_str()).unwrap_or(text),
            None => text,
        };
        if let Some(prefix) = line::literal_prefix(text) {
            let rest = &text[prefix.len()..];
            self.begin(line::read(rest).indent, 0, events);
            self.prefix = Some(clipped(prefix, 128).to_owned());
            return;
        }
        self.note_oops(text, events);
        if ENDS.iter().any(|end| text.contains(end)) {
            self.end_document();
            return;
        }
        let Line {
            indent,
            hashes,
            says,
        } = line::read(text);
        match says {
            Says::Version => self.begin(indent, hashes, events),
            Says::Other(text) => self.message(&text),
            _ if self.levels.is_empty() => {}
            // Words behind a `#` that only look like it.
            Says::Plan(..) | Says::Result(_) if !self.is_nested(hashes) => {
                self.message(text.trim())
            }
            Says::Subtest(name) => self.subtest(indent, hashes, name, events),
            Says::Plan(count, reason) => self.plan(indent, hashes, count, reason, events),
            Says::Result(result) => self.result(indent, hashes, result, events),
        }
    }

    /// Whether tests can be behind so many `#`: a level there is open, or a program of kselftest's
    /// was announced, whose output is one level further in.
    fn is_nested(&self, hashes: usize) -> bool {
        let open = self.top().map_or(0, |level| level.hashes);
        hashes <= open || (hashes == open + 1 && self.pending.is_some())
    }

    fn top(&self) -> Option<&Level> {
        self.levels.last()
    }

    /// A version line: a document, or a level of the one that is open.
    fn begin(&mut self, indent: usize, hashes: usize, events: &mut Vec<Event>) {
        let base = self.levels.first().map(|level| level.indent);
        match base {
            Some(base) if indent > base => {
                self.abandon(|level| level.indent >= indent);
                self.open(indent, hashes, events);
            }
            _ => {
                self.end_document();
                self.documents += 1;
                self.levels.push(Level::new(indent, hashes, None));
                // Names that came in earlier documents are not given again.
                self.levels[0].taken = std::mem::take(&mut self.taken);
                events.push(Event::Document);
            }
        }
    }

    /// Opens a level inside the one that is open.
    fn open(&mut self, indent: usize, hashes: usize, events: &mut Vec<Event>) {
        if self.levels.len() >= LEVELS {
            return;
        }
        let name = self.pending.take();
        self.levels.push(Level::new(indent, hashes, name));
        events.push(Event::Began { path: self.path() });
    }

    /// The names of the open levels.
    fn path(&self) -> Vec<String> {
        let inner = self.levels.iter().skip(1);
        inner
            .map(|level| level.name.clone().unwrap_or_else(|| "?".into()))
            .collect()
    }

    fn subtest(&mut self, indent: usize, hashes: usize, name: String, events: &mut Vec<Event>) {
        self.abandon(|level| level.indent > indent);
        let inner = self.levels.len() > 1;
        match self.levels.last_mut() {
            Some(top) if top.indent < indent => {
                self.pending = Some(name);
                self.open(indent, hashes, events);
            }
            // After the version line of its own level.
            Some(top) if inner && top.name.is_none() && top.results == 0 => top.name = Some(name),
            // In front of its level, as TAP 14 has it.
            _ => self.pending = Some(name),
        }
    }

    fn plan(
        &mut self,
        indent: usize,
        hashes: usize,
        count: u64,
        reason: Option<String>,
        events: &mut Vec<Event>,
    ) {
        self.abandon(|level| level.indent > indent);
        if self.top().is_some_and(|top| top.indent < indent) {
            self.open(indent, hashes, events);
        }
        if let Some(top) = self.levels.last_mut()
            && top.plan.is_none()
        {
            top.plan = Some(count);
            top.skips_all = reason;
            self.tell_complete(events);
        }
    }

    fn result(
        &mut self,
        indent: usize,
        hashes: usize,
        result: ResultLine,
        events: &mut Vec<Event>,
    ) {
        // The level of this result is the one at its indent; the one inside it, if open, is what
        // ends here.
        let own = self.levels.iter().rposition(|level| level.indent <= indent);
        let own = own.unwrap_or(0);
        if self.levels.get(own + 1).is_none() && self.levels[own].indent < indent {
            // A level that nothing announced.
            if self.levels.len() >= LEVELS {
                return self.message(&result.name);
            }
            self.open(indent, hashes, events);
            return self.add(result, None, events);
        }
        while self.levels.len() > own + 2 {
            self.abandon_top();
        }
        let inner = (self.levels.len() > own + 1)
            .then(|| self.levels.pop())
            .flatten();
        self.add(result, inner, events);
    }

    /// Adds a result to the level that is open, with the level that it sums up.
    fn add(&mut self, result: ResultLine, inner: Option<Level>, events: &mut Vec<Event>) {
        let ResultLine {
            number,
            name,
            status,
            directive,
        } = result;
        self.pending = None;
        let suite = inner.is_some();
        let inner_name = inner.as_ref().and_then(|level| level.name.clone());
        let name = match (name.is_empty(), inner_name) {
            (false, _) => name,
            (true, Some(name)) => name,
            (true, None) => format!("test {number}"),
        };
        let mut test = test(name, status, directive);
        if let Some(inner) = inner {
            self.close(inner, &mut test);
        }
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        if number != level.next {
            let fault = format!("its number is {number}, and {} was expected", level.next);
            push_error(&mut test.errors, fault);
        }
        level.next = number.saturating_add(1);
        let log = std::mem::replace(&mut level.log, Excerpt::new(LOG));
        test.log.append(log);
        if !suite {
            test.attributes.append(&mut level.of_next);
        }
        let (status, directive) = (test.status, test.directive.clone());
        let name = self.keep(test);
        let mut path = self.path();
        path.push(name);
        events.push(Event::Finished {
            path,
            status,
            directive,
            suite,
        });
        self.tell_complete(events);
    }

    /// Says when all is there that the document announced.
    fn tell_complete(&self, events: &mut Vec<Event>) {
        if let [document] = &self.levels[..]
            && document.plan.is_some_and(|plan| plan <= document.results)
        {
            events.push(Event::Complete);
        }
    }

    /// Keeps a test in the level that is open, or counts it; returns its name.
    fn keep(&mut self, mut test: Test) -> String {
        let listed = self.kept_tests < TESTS && self.kept_text < TEXT;
        let Some(level) = self.levels.last_mut() else {
            return test.name;
        };
        level.results += 1;
        if !listed {
            level.unlisted.join(&test.counts());
            return test.name;
        }
        test.name = level.unique(&test.name);
        let attributes = test.attributes.iter();
        let attributes: usize = attributes.map(|(key, value)| key.len() + value.len()).sum();
        let errors: usize = test.errors.iter().map(String::len).sum();
        let directive = test.directive.as_ref().map_or(0, String::len);
        self.kept_tests += 1;
        // A name is kept twice.
        self.kept_text += 2 * test.name.len() + directive + test.log.bytes() + errors + attributes;
        let name = test.name.clone();
        level.tests.push(test);
        name
    }

    /// Moves what a level holds into its test, with what is missing.
    fn close(&mut self, level: Level, test: &mut Test) {
        self.levels.push(level);
        self.add_missing();
        let Some(mut level) = self.levels.pop() else {
            return;
        };
        if level.results == 0 {
            match level.skips_all.take() {
                Some(reason) => {
                    test.status = Status::Skipped;
                    test.directive.get_or_insert(format!("SKIP {reason}"));
                }
                None if matches!(test.status, Status::Passed | Status::Crashed) => {
                    test.status = Status::NoTests;
                    push_error(&mut level.errors, "it has no tests".into());
                }
                None => {}
            }
        }
        test.tests = level.tests;
        test.unlisted = level.unlisted;
        test.errors.append(&mut level.errors);
        test.attributes.append(&mut level.attributes);
        test.log.append(level.log);
    }

    /// Adds the tests that the open level announced and that did not come.
    fn add_missing(&mut self) {
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        let missing = level.plan.unwrap_or(0).saturating_sub(level.results);
        let first = level.results + 1;
        let mut log = Some(std::mem::replace(&mut level.log, Excerpt::new(LOG)));
        for number in first..first.saturating_add(missing.min(MISSING)) {
            let name = format!("test {number}");
            let mut test = test(name, Status::Crashed, None);
            test.errors
                .push("it was announced, and has no result".into());
            // What was said last came while the first of them ran.
            if let Some(log) = log.take() {
                test.log.append(log);
            }
            self.keep(test);
        }
        if missing > MISSING
            && let Some(level) = self.levels.last_mut()
        {
            let more = missing - MISSING;
            let fault = format!("{more} more tests were announced, and have no result");
            push_error(&mut level.errors, fault);
        }
    }

    /// Closes the levels inside the document that no result will sum up.
    fn abandon(&mut self, is_over: impl Fn(&Level) -> bool) {
        while self.levels.len() > 1 && self.top().is_some_and(&is_over) {
            self.abandon_top();
        }
    }

    fn abandon_top(&mut self) {
        let Some(level) = self.levels.pop() else {
            return;
        };
        let name = level.name.clone();
        let number = self.top().map_or(0, |parent| parent.results + 1);
        let name = name.unwrap_or_else(|| format!("test {number}"));
        let mut test = test(name, Status::Crashed, None);
        let empty = level.results == 0 && level.plan.unwrap_or(0) == 0;
        self.close(level, &mut test);
        if empty {
            // Its tests did not come to their first result.
            test.status = Status::Crashed;
            test.errors.clear();
        }
        push_error(&mut test.errors, "its result line is missing".into());
        if let Some(parent) = self.levels.last_mut() {
            parent.next = parent.next.saturating_add(1);
        }
        self.keep(test);
    }

    /// Closes the document that is open.
    fn end_document(&mut self) {
        self.abandon(|_| true);
        self.add_missing();
        self.pending = None;
        self.prefix = None;
        let Some(level) = self.levels.pop() else {
            return;
        };
        let empty = level.results == 0 && level.skips_all.is_none();
        level.errors.into_iter().for_each(|error| self.error(error));
        if empty {
            self.error("a document has a version line and no tests".into());
        }
        self.tests.extend(level.tests);
        self.unlisted.join(&level.unlisted);
        self.taken = level.taken;
    }

    fn error(&mut self, error: String) {
        match self.errors.len() < ERRORS {
            true => self.errors.push(error),
            false => self.more_errors += 1,
        }
    }

    /// A line that changes no status.
    fn message(&mut self, text: &str) {
        if let Some((_, what)) = text.split_once(EXECUTOR) {
            self.error(format!("the kernel's {EXECUTOR}{}", what.trim()));
        }
        let room = self.kept_text < TEXT;
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        match attribute(text) {
            Some((owner, key, value)) => {
                let own = owner.is_empty() || level.name.as_deref() == Some(owner);
                let list = match own {
                    true => &mut level.attributes,
                    false => &mut level.of_next,
                };
                if list.len() < ATTRIBUTES.len() {
                    list.push((key.to_owned(), clipped(value, 128).to_owned()));
                }
            }
            None if room => level.log.push(text),
            None => {}
        }
        let name = text.strip_prefix("# selftests: ");
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.pending = Some(format!("selftests: {name}"));
        }
    }

    fn note_oops(&mut self, text: &str, events: &mut Vec<Event>) {
        let text = text.trim();
        let is_oops = OOPSES.iter().any(|oops| text.starts_with(oops));
        // Without a document it is the guest's end that tells, not a test's.
        if is_oops && !self.levels.is_empty() {
            let oops = Oops {
                path: self.path(),
                line: text.to_owned(),
            };
            if self.oopses.len() < ERRORS {
                self.oopses.push(oops.clone());
            }
            events.push(Event::Oops(oops));
        }
    }
}

/// `# name.speed: slow` and `# module: name`: whose it is, if that is said, its name and its value.
fn attribute(text: &str) -> Option<(&str, &str, &str)> {
    let (key, value) = text.strip_prefix("# ")?.split_once(": ")?;
    let (owner, key) = key.rsplit_once('.').unwrap_or(("", key));
    let known = ATTRIBUTES.contains(&key);
    known.then_some((owner, key, value.trim()))
}

fn test(name: String, status: Status, directive: Option<String>) -> Test {
    Test {
        name,
        status,
        directive,
        log: Excerpt::new(LOG),
        errors: Vec::new(),
        attributes: Vec::new(),
        tests: Vec::new(),
        unlisted: Counts::default(),
    }
}

fn push_error(errors: &mut Vec<String>, error: String) {
    if errors.len() < ERRORS {
        errors.push(error);
    }
}

/// The text without what colours a terminal.
fn without_escapes(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // Parameters, then the letter that ends it.
                while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                chars.next_if(|c| matches!(c, '@'..='~'));
            }
            c => out.push(c),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests;
