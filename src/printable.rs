//! Text that a guest or a file chose, in a line of ours.
//!
//! A name or a message is whatever its author wrote, and a terminal obeys control characters: it
//! can be made to hide a line, to change its title or to answer with input.

use std::fmt::{self, Write};

/// Text that somebody else chose, printed so that a terminal does not obey it: control characters,
/// and those that change the direction of text, are shown as `\n` or `\u{1b}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match is_harmless(c) {
            true => f.write_char(c),
            false => write!(f, "{}", c.escape_default()),
        })
    }
}

impl Printable<'_> {
    /// Makes text of bytes that should be text; those that are not UTF-8 are shown as `\xff`.
    pub fn bytes(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            // Writing to a string does not fail.
            let _ = write!(text, "{}", Printable(chunk.valid()));
            for byte in chunk.invalid() {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        text
    }
}

/// Whether a terminal only shows it, in its place.
fn is_harmless(c: char) -> bool {
    let separates = matches!(c, '\u{2028}' | '\u{2029}');
    let directs = matches!(c, '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || separates || directs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        for (text, shown) in [
            ("VFS: no root", "VFS: no root"),
            ("Grüße, 世界 \\", "Grüße, 世界 \\"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            (
                "\u{7}\u{8}\r\n\t\0\u{7f}",
                "\\u{7}\\u{8}\\r\\n\\t\\u{0}\\u{7f}",
            ),
            // The one-byte form of ESC [, and text from right to left.
            ("\u{9b}31m", "\\u{9b}31m"),
            (
                "a\u{202e}b\u{2066}\u{2028}",
                "a\\u{202e}b\\u{2066}\\u{2028}",
            ),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        let bytes = b"ok\xff\xfe\x1b\xe4\xb8\xad\x9b";
        assert_eq!(Printable::bytes(bytes), "ok\\xff\\xfe\\u{1b}\u{4e2d}\\x9b");
    }
}
