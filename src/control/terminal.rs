//! What a person types at a monitor, as lines, with the keys that correct them.

/// The most bytes of a line; more are not taken.
pub const LIMIT: usize = 4096;

/// A line that is being typed.
#[derive(Debug, Default)]
pub struct Typist {
    line: Vec<u8>,
    /// The last byte was a carriage return, which a line feed may follow.
    after_return: bool,
    escape: Escape,
}

/// How far a key's escape sequence is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Sequence,
}

/// What typing comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Bytes to show.
    Echo(Vec<u8>),
    /// A line that was finished.
    Line(String),
}

impl Typist {
    /// Takes what was typed.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let mut out = Vec::new();
        for byte in bytes {
            self.byte(*byte, &mut out);
        }
        out
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<Typed>) {
        let after_return = std::mem::take(&mut self.after_return);
        match (&self.escape, byte) {
            (Escape::Begun, b'[' | b'O') => return self.escape = Escape::Sequence,
            (Escape::Begun, _) => return self.escape = Escape::None,
            (Escape::Sequence, 0x40..=0x7E) => return self.escape = Escape::None,
            (Escape::Sequence, _) => return,
            (Escape::None, _) => {}
        }
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => {
                self.after_return = byte == b'\r';
                echo(out, b"\r\n");
                let line = String::from_utf8_lossy(&self.line).into_owned();
                self.line.clear();
                out.push(Typed::Line(line));
            }
            0x08 | 0x7F => {
                let erased = usize::from(self.line.pop().is_some());
                echo(out, &b"\x08 \x08".repeat(erased));
            }
            // Ctrl-u, and Ctrl-c as a shell has it.
            0x15 | 0x03 => {
                let erased = b"\x08 \x08".repeat(self.line.len());
                self.line.clear();
                echo(out, &erased);
            }
            0x1B => self.escape = Escape::Begun,
            b'\t' => {}
            0x20.. if self.line.len() < LIMIT => {
                self.line.push(byte);
                echo(out, &[byte]);
            }
            _ => {}
        }
    }
}

fn echo(out: &mut Vec<Typed>, bytes: &[u8]) {
    match out.last_mut() {
        Some(Typed::Echo(shown)) => shown.extend(bytes),
        _ if bytes.is_empty() => {}
        _ => out.push(Typed::Echo(bytes.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(typed: &[u8]) -> Vec<String> {
        let taken = Typist::default().take(typed).into_iter();
        taken
            .filter_map(|typed| match typed {
                Typed::Line(line) => Some(line),
                Typed::Echo(_) => None,
            })
            .collect()
    }

    #[test]
    fn each_kind_of_line_end_ends_one() {
        assert_eq!(lines(b"a\rb\nc\r\nd\r\r"), ["a", "b", "c", "d", ""]);
    }

    #[test]
    fn what_is_typed_is_shown_and_can_be_taken_back() {
        assert_eq!(lines(b"infx\x7fo\x1b[A\x1bOB version\n"), ["info version"]);
        assert_eq!(lines(b"stop\x15cont\n"), ["cont"]);
        assert_eq!(
            Typist::default().take(b"ab\x08"),
            [Typed::Echo(b"ab\x08 \x08".to_vec())]
        );
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut typist = Typist::default();
        for _ in 0..1024 {
            typist.take(&[b'x'; 1 << 16]);
        }
        assert_eq!(typist.line.len(), LIMIT);
        assert!(matches!(&typist.take(b"\n")[1], Typed::Line(line) if line.len() == LIMIT));
    }
}
