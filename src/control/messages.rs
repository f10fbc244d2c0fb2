//! Cuts a stream of bytes into JSON texts, with or without newlines between them, and never keeps
//! more than one of them.

/// The most bytes of one message.
pub const LIMIT: usize = 1 << 20;

/// What was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text that is whole by its brackets; whether it is JSON, its reader finds.
    Text(Vec<u8>),
    /// Why the bytes since the last message are none. What follows up to the end of the line is
    /// left out.
    Broken(&'static str),
}

/// The cutter.
#[derive(Debug, Default)]
pub struct Messages {
    text: Vec<u8>,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// Everything up to the end of the line is left out.
    skips: bool,
}

impl Messages {
    /// Takes bytes, and returns what they complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if self.skips {
                let Some(end) = std::iter::once(&byte)
                    .chain(after)
                    .position(|byte| *byte == b'\n')
                else {
                    return out;
                };
                self.skips = false;
                rest = &after[end..];
                continue;
            }
            self.byte(byte, &mut out);
        }
        out
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<Message>) {
        if self.in_string {
            if byte == b'\n' {
                return self.refuse("JSON parse error, a string ends with its line", false, out);
            }
            self.push(byte, out);
            match (self.is_escaped, byte) {
                (true, _) => self.is_escaped = false,
                (false, b'\\') => self.is_escaped = true,
                (false, b'"') => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => self.complete(out),
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.complete(out);
                }
                self.depth += 1;
                self.push(byte, out);
            }
            b'}' | b']' => {
                self.push(byte, out);
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.complete(out);
                }
            }
            b'"' => {
                self.in_string = true;
                self.push(byte, out);
            }
            _ => self.push(byte, out),
        }
    }

    fn push(&mut self, byte: u8, out: &mut Vec<Message>) {
        self.text.push(byte);
        if self.text.len() > LIMIT {
            self.refuse("JSON token size limit exceeded", true, out);
        }
    }

    fn complete(&mut self, out: &mut Vec<Message>) {
        if !self.text.is_empty() {
            out.push(Message::Text(std::mem::take(&mut self.text)));
        }
    }

    fn refuse(&mut self, why: &'static str, skips: bool, out: &mut Vec<Message>) {
        *self = Messages {
            skips,
            ..Messages::default()
        };
        out.push(Message::Broken(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: &[&str]) -> Vec<String> {
        let mut messages = Messages::default();
        let taken = pieces
            .iter()
            .flat_map(|piece| messages.take(piece.as_bytes()));
        let text = |message| match message {
            Message::Text(text) => String::from_utf8(text).unwrap(),
            Message::Broken(why) => format!("! {why}"),
        };
        taken.map(text).collect()
    }

    #[test]
    fn objects_come_with_and_without_lines_and_in_pieces() {
        let expected = [r#"{"a":{"b":"}\"{"}}"#, "[1]", "{}"];
        for text in [
            "{\"a\":{\"b\":\"}\\\"{\"}}\n[1]\n{}\n",
            "{\"a\":{\"b\":\"}\\\"{\"}}[1]{}",
            "  {\"a\":{\"b\":\"}\\\"{\"}} \r\n\t[1]\r\n{}",
        ] {
            assert_eq!(texts(&[text]), expected);
            let pieces: Vec<&str> = text.split_inclusive(|_: char| true).collect();
            assert_eq!(texts(&pieces), expected);
        }
    }

    #[test]
    fn what_is_broken_is_over_with_its_line() {
        assert_eq!(
            texts(&["{\"a\":\"b\n{\"c\":1}\n"]),
            [
                "! JSON parse error, a string ends with its line",
                r#"{"c":1}"#
            ]
        );
        assert_eq!(texts(&["xx\n{]\n]}{}"]), ["xx", "{]", "]", "}", "{}"]);
    }

    #[test]
    fn a_gigabyte_without_an_end_keeps_no_more_than_a_message() {
        for piece in [b'[', b'"', b'x', b'\\'] {
            let mut messages = Messages::default();
            let piece = vec![piece; 1 << 20];
            let mut broken = 0;
            messages.take(b"[\"");
            for _ in 0..1024 {
                broken += messages.take(&piece).len();
                assert!(messages.text.capacity() <= 2 * LIMIT);
            }
            assert_eq!(broken, 1);
            // The next line counts again.
            let next = messages.take(b"\n{}");
            assert_eq!(next, [Message::Text(b"{}".to_vec())]);
        }
    }
}
