//! What a guest has left a terminal in: a hidden cursor, colours, another screen.
//!
//! The terminal goes back to a shell at the end, and a verdict is printed on it. A guest that was
//! ended in the middle of its work did not clean up behind itself.

/// Bytes of a control sequence that are looked at; none that matters is longer.
const LONGEST: usize = 32;

/// Modes of a terminal that are off for a shell (`ESC [ ? n h` switches them on): cursor keys of
/// applications, the mouse's buttons and movements, the alternate screen, bracketed paste.
const OFF: [u16; 8] = [1, 47, 1000, 1002, 1003, 1047, 1049, 2004];

/// The cursor's mode, which is on for a shell.
const CURSOR: u16 = 25;

/// A terminal as the bytes that were written to it left it.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    is_styled: bool,
    /// Modes that are not as a shell has them, in the order in which they were switched.
    switched: Vec<u16>,
    /// The control sequence that has begun, from its ESC on.
    sequence: Vec<u8>,
}

impl Screen {
    /// Takes note of bytes that the terminal was given.
    pub fn wrote(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match (self.sequence.as_slice(), byte) {
                (_, 0x1B) => self.sequence = vec![byte],
                ([], _) => {}
                ([_], b'[') => self.sequence.push(byte),
                // Sequences of other kinds change nothing that counts here.
                ([_], _) => self.sequence.clear(),
                (begun, 0x20..=0x3F) if begun.len() < LONGEST => self.sequence.push(byte),
                (_, last) => {
                    let sequence = std::mem::take(&mut self.sequence);
                    self.control(&sequence[2..], last);
                }
            }
        }
    }

    /// A whole control sequence: `ESC [`, parameters, and the byte that says what it is.
    fn control(&mut self, parameters: &[u8], last: u8) {
        let Ok(text) = std::str::from_utf8(parameters) else {
            return;
        };
        match (last, text.strip_prefix('?')) {
            (b'h' | b'l', Some(modes)) => {
                for mode in modes.split(';').filter_map(|mode| mode.parse().ok()) {
                    self.switch(mode, last == b'h');
                }
            }
            (b'm', None) => {
                let style = text.rsplit(';').next().unwrap_or_default();
                self.is_styled = !matches!(style, "" | "0" | "00");
            }
            _ => {}
        }
    }

    fn switch(&mut self, mode: u16, on: bool) {
        if mode != CURSOR && !OFF.contains(&mode) {
            return;
        }
        self.switched.retain(|other| *other != mode);
        if on != (mode == CURSOR) {
            self.switched.push(mode);
        }
    }

    /// What brings the terminal back to how a shell has it.
    pub fn leave(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.is_styled {
            bytes.extend(b"\x1B[0m");
        }
        for mode in self.switched.iter().rev() {
            let to = if *mode == CURSOR { 'h' } else { 'l' };
            bytes.extend(format!("\x1B[?{mode}{to}").bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(pieces: &[&str]) -> String {
        let mut screen = Screen::default();
        pieces
            .iter()
            .for_each(|piece| screen.wrote(piece.as_bytes()));
        String::from_utf8(screen.leave()).unwrap()
    }

    #[test]
    fn a_hidden_cursor_is_shown_again() {
        assert_eq!(left(&["\x1B[?25l"]), "\x1B[?25h");
        assert_eq!(left(&["\x1B[?", "25l\x1B[?25", "h"]), "");
    }

    #[test]
    fn an_editor_that_was_cut_short_gives_the_screen_back() {
        let editor = "\x1B[?1049h\x1B[?1h\x1B[?25;2004h\x1B[31;1mx\n";
        assert_eq!(left(&[editor]), "\x1B[0m\x1B[?2004l\x1B[?1l\x1B[?1049l");
        assert_eq!(left(&[editor, "\x1B[m\x1B[?2004;1;1049l"]), "");
    }

    #[test]
    fn what_is_no_sequence_is_let_through() {
        assert_eq!(left(&["\x1B[", &"9".repeat(100), "\n"]), "");
        assert_eq!(left(&["\x1B\x1B[?25l\n\x1B(Bx\n"]), "\x1B[?25h");
    }
}
