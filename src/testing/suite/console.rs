//! What a guest's console says while a test runs: kept within bounds, and looked through.

use std::io::{self, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::plan::Pattern;
use crate::testing::excerpt::{Bounds, Excerpt};
use crate::testing::ktap::{Event, Ktap, Tree};

/// What a step of a dialogue can still find, in bytes.
const RECENT: usize = 64 << 10;

/// The longest line; what is longer is taken for several.
const LINE: usize = 4096;

/// What is kept of a console for reports.
const KEPT: Bounds = Bounds {
    lines: 2000,
    bytes: 256 << 10,
};

/// Text that comes in pieces, kept as lines within bounds, and written to a file as it comes.
pub(super) struct Recording {
    lines: Excerpt,
    partial: Vec<u8>,
    ktap: Option<Ktap>,
    is_complete: bool,
    file: Option<Box<dyn Write + Send>>,
    /// Why the file is not complete.
    pub lost: Option<io::Error>,
}

impl Recording {
    pub fn new(file: Option<Box<dyn Write + Send>>, reads_ktap: bool) -> Self {
        Recording {
            lines: Excerpt::new(KEPT),
            partial: Vec::new(),
            ktap: reads_ktap.then(Ktap::new),
            is_complete: false,
            file,
            lost: None,
        }
    }

    /// Takes what came next; each line that it completes goes to `see`.
    fn take(&mut self, bytes: &[u8], mut see: impl FnMut(&[u8])) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(bytes)
        {
            self.lost = Some(error);
            self.file = None;
        }
        if let Some(ktap) = &mut self.ktap {
            let events = ktap.push(bytes);
            self.is_complete |= events.contains(&Event::Complete);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            while self.partial.len() >= LINE || self.partial.ends_with(b"\n") {
                let end = self.partial.len().min(LINE);
                let line: Vec<u8> = self.partial.drain(..end).collect();
                self.line(&line, &mut see);
            }
        }
    }

    fn line(&mut self, line: &[u8], see: &mut impl FnMut(&[u8])) {
        let line = line.trim_ascii_end();
        see(line);
        self.lines.push(&String::from_utf8_lossy(line));
    }

    /// Ends it: the lines that are kept, and the tests that it told of.
    pub fn finish(mut self) -> (Excerpt, Option<Tree>, Option<io::Error>) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() {
            self.line(&rest, &mut |_| {});
        }
        if let Some(Err(error)) = self.file.as_mut().map(Write::flush) {
            self.lost = Some(error);
        }
        (self.lines, self.ktap.map(Ktap::finish), self.lost)
    }
}

impl Write for Recording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes, |_| {});
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a test must know of its console at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It said what it must not say.
    Rejected,
    /// All tests that it announced have ended.
    Complete,
}

/// A console that one thread reads and another talks with.
pub(super) struct Console {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    recording: Recording,
    recent: Vec<u8>,
    rejected: Option<(String, String)>,
    is_over: bool,
}

impl Console {
    pub fn new(recording: Recording) -> Self {
        Console {
            state: Mutex::new(State {
                recording,
                recent: Vec::new(),
                rejected: None,
                is_over: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a console to its end, and tells what must be known at once.
    pub fn read(&self, from: &mut impl Read, reject: &[Pattern], tell: impl Fn(News)) {
        let mut buffer = [0; 16 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.take(&buffer[..count], reject, &tell),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.state().is_over = true;
        self.changed.notify_all();
    }

    fn take(&self, bytes: &[u8], reject: &[Pattern], tell: &impl Fn(News)) {
        let mut state = self.state();
        let State {
            recording,
            recent,
            rejected,
            ..
        } = &mut *state;
        let (was_complete, was_rejected) = (recording.is_complete, rejected.is_some());
        recording.take(bytes, |line| {
            if rejected.is_none()
                && let Some(pattern) = reject.iter().find(|pattern| pattern.find(line).is_some())
            {
                let line = String::from_utf8_lossy(line).into_owned();
                *rejected = Some((pattern.to_string(), line));
            }
        });
        recent.extend(bytes.iter().filter(|byte| **byte != b'\r'));
        let old = recent.len().saturating_sub(RECENT);
        recent.drain(..old);
        let news = [
            (News::Rejected, !was_rejected && rejected.is_some()),
            (News::Complete, !was_complete && recording.is_complete),
        ];
        drop(state);
        self.changed.notify_all();
        for (news, _) in news.into_iter().filter(|(_, is_new)| *is_new) {
            tell(news);
        }
    }

    /// Waits until the console says something, behind what was last found; `false` when it is over
    /// first, or said what it must not.
    pub fn wait_for(&self, pattern: &Pattern) -> bool {
        let mut state = self.state();
        loop {
            if let Some(end) = pattern.find(&state.recent) {
                state.recent.drain(..end);
                return true;
            }
            if state.is_over || state.rejected.is_some() {
                return false;
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether all tests that it announced have ended.
    pub fn is_complete(&self) -> bool {
        self.state().recording.is_complete
    }

    /// What it said that it must not say: the pattern, and the line.
    pub fn rejected(&self) -> Option<(String, String)> {
        self.state().rejected.clone()
    }

    pub fn finish(self) -> Recording {
        let state = self.state.into_inner();
        state.unwrap_or_else(PoisonError::into_inner).recording
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn console() -> Console {
        Console::new(Recording::new(None, true))
    }

    #[test]
    fn a_dialogue_finds_one_text_behind_the_other() {
        let console = console();
        console.read(&mut &b"login: \r\nPassword: login: "[..], &[], |_| {});
        let text = |words: &str| Pattern::Text(words.into());
        assert!(console.wait_for(&text("login: \n")));
        assert!(console.wait_for(&text("login: ")));
        assert!(!console.wait_for(&text("login: ")), "it is over");
        let (lines, ..) = console.finish().finish();
        assert_eq!(lines.text(), "login:\nPassword: login:\n");
    }

    #[test]
    fn what_must_not_be_said_is_told_at_once_with_its_line() {
        let console = console();
        let news = Cell::new(None);
        let reject = [Pattern::regex("^BUG: .*at").unwrap()];
        let said = b"a\nBUG: scheduling\nBUG: bad page at 7\nBUG: late at 8\n";
        console.read(&mut &said[..], &reject, |what| news.set(Some(what)));
        assert_eq!(news.get(), Some(News::Rejected));
        let (pattern, line) = console.rejected().unwrap();
        assert_eq!(
            (pattern.as_str(), line.as_str()),
            ("/^BUG: .*at/", "BUG: bad page at 7")
        );
        assert!(!console.wait_for(&Pattern::Text("never".into())));
    }

    #[test]
    fn tests_that_it_reports_are_read_and_their_end_is_told() {
        let console = console();
        let news = Cell::new(None);
        let said = b"KTAP version 1\n1..2\nok 1 a\nnot ok 2 b\n";
        console.read(&mut &said[..], &[], |what| news.set(Some(what)));
        assert_eq!(news.get(), Some(News::Complete));
        let (_, tree, _) = console.finish().finish();
        assert_eq!(tree.unwrap().counts().to_string(), "1 passed, 1 failed");
    }

    #[test]
    fn a_flood_is_bounded_and_a_file_that_is_full_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut recording = Recording::new(Some(Box::new(Full)), false);
        let flood = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            recording.write_all(&flood).unwrap();
        }
        assert!(recording.partial.len() < LINE);
        let (lines, _, lost) = recording.finish();
        assert!(lines.bytes() <= 2 * KEPT.bytes);
        assert_eq!(lost.unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
