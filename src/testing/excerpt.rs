//! A text's first and last lines, within bounds, with a note of what was left out between them.

use std::collections::VecDeque;

/// How much of a text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Lines kept of the beginning, and as many of the end.
    pub lines: usize,
    /// Bytes kept of the beginning, and as many of the end.
    pub bytes: usize,
}

/// The first and last lines of a text that can be any length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    bounds: Bounds,
    head: Vec<String>,
    head_bytes: usize,
    tail: VecDeque<String>,
    tail_bytes: usize,
    /// Lines between the two that are not kept.
    cut: u64,
}

impl Excerpt {
    /// An empty text of which so much will be kept.
    pub fn new(bounds: Bounds) -> Self {
        Excerpt {
            bounds,
            head: Vec::new(),
            head_bytes: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            cut: 0,
        }
    }

    /// Adds a line without its end; a line longer than the bounds is cut.
    pub fn push(&mut self, line: &str) {
        let line = clipped(line, self.bounds.bytes);
        let fits = self.head_bytes + line.len() <= self.bounds.bytes
            && self.head.len() < self.bounds.lines;
        if fits && self.tail.is_empty() && self.cut == 0 {
            self.head_bytes += line.len();
            self.head.push(line.to_owned());
            return;
        }
        self.tail_bytes += line.len();
        self.tail.push_back(line.to_owned());
        while self.tail.len() > self.bounds.lines || self.tail_bytes > self.bounds.bytes {
            let Some(first) = self.tail.pop_front() else {
                break;
            };
            self.tail_bytes -= first.len();
            self.cut += 1;
        }
    }

    /// Takes another text's lines after its own.
    pub fn append(&mut self, other: Excerpt) {
        other.head.iter().for_each(|line| self.push(line));
        if other.cut > 0 {
            self.push(&left_out(other.cut));
        }
        other.tail.iter().for_each(|line| self.push(line));
    }

    /// The lines that are kept; where some were left out, one says how many.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let note = (self.cut > 0).then(|| left_out(self.cut));
        let head = self.head.iter().cloned();
        head.chain(note).chain(self.tail.iter().cloned())
    }

    /// The text that is kept.
    pub fn text(&self) -> String {
        self.lines().fold(String::new(), |mut text, line| {
            text.push_str(&line);
            text.push('\n');
            text
        })
    }

    /// Whether no line was added.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty() && self.cut == 0
    }

    /// Lines that are not kept.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.head_bytes + self.tail_bytes
    }
}

fn left_out(lines: u64) -> String {
    format!("[... {lines} lines are left out here ...]")
}

/// The beginning of a text, at most so many bytes of it, ending between characters.
pub(crate) fn clipped(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(lines: usize, bytes: usize) -> Excerpt {
        Excerpt::new(Bounds { lines, bytes })
    }

    #[test]
    fn a_short_text_is_kept_whole() {
        let mut text = excerpt(2, 100);
        ["a", "b", "c", "d"].iter().for_each(|line| text.push(line));
        assert_eq!(text.text(), "a\nb\nc\nd\n");
        assert_eq!(text.cut(), 0);
    }

    #[test]
    fn the_middle_of_a_long_text_is_left_out_and_counted() {
        let mut text = excerpt(2, 100);
        (0..10).for_each(|line| text.push(&line.to_string()));
        let lines: Vec<String> = text.lines().collect();
        assert_eq!(
            lines,
            ["0", "1", "[... 6 lines are left out here ...]", "8", "9"]
        );
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let mut text = excerpt(4, 5);
        text.push("äöü");
        assert_eq!(text.text(), "äö\n");
        (0..1000).for_each(|_| text.push("12345"));
        assert!(text.bytes() <= 10);
    }

    #[test]
    fn appended_lines_come_after_with_what_was_cut() {
        let mut first = excerpt(8, 100);
        first.push("a");
        let mut second = excerpt(1, 100);
        ["b", "c", "d"].iter().for_each(|line| second.push(line));
        first.append(second);
        assert_eq!(
            first.text(),
            "a\nb\n[... 1 lines are left out here ...]\nd\n"
        );
    }
}
