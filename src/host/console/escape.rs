//! The keys that the launcher keeps for itself: `Ctrl-a` and what follows it.

/// The byte that `Ctrl-a` sends.
pub const CTRL_A: u8 = 0x01;

/// What `Ctrl-a h` prints.
pub const HELP: &str = "\r\n\
    Ctrl-a x       quit\r\n\
    Ctrl-a b       send a break; Linux takes the next key for a SysRq command\r\n\
    Ctrl-a c       the monitor, and back to the guest\r\n\
    Ctrl-a h       this help\r\n\
    Ctrl-a Ctrl-a  send one Ctrl-a to the guest\r\n";

/// What `Ctrl-a b` prints when the guest takes no break.
pub const NO_BREAK: &str = "\r\nthe guest takes no break now: it does not listen on a serial port \
    here, or has not read what was typed\r\n";

/// What `Ctrl-a c` prints where there is no monitor.
pub const NO_MONITOR: &str =
    "\r\nthis machine was started without a monitor; Ctrl-a h lists the keys\r\n";

/// What the user asked the launcher for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End the run.
    Quit,
    /// Send the guest a break.
    Break,
    /// Show the keys.
    Help,
    /// Turn to the monitor, or back to the guest.
    Monitor,
}

/// Splits typed bytes into those for the guest and those for the launcher; a sequence may come in
/// several pieces.
#[derive(Debug, Default)]
pub struct Escape {
    /// The last byte was `Ctrl-a`.
    pending: bool,
}

impl Escape {
    /// Appends to `guest` what `typed` holds for the guest, and gives what it asks of the
    /// launcher, in order. An unknown sequence reaches the guest as it was typed.
    pub fn filter(&mut self, typed: &[u8], guest: &mut Vec<u8>) -> Vec<Command> {
        let mut commands = Vec::new();
        for &byte in typed {
            if !std::mem::take(&mut self.pending) {
                match byte {
                    CTRL_A => self.pending = true,
                    byte => guest.push(byte),
                }
                continue;
            }
            match byte {
                b'x' | b'X' => commands.push(Command::Quit),
                b'b' | b'B' => commands.push(Command::Break),
                b'h' | b'H' | b'?' => commands.push(Command::Help),
                b'c' | b'C' => commands.push(Command::Monitor),
                CTRL_A => guest.push(CTRL_A),
                byte => guest.extend([CTRL_A, byte]),
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Command>) {
        let mut escape = Escape::default();
        let mut guest = Vec::new();
        let commands = pieces
            .iter()
            .flat_map(|piece| escape.filter(piece, &mut guest))
            .collect();
        (guest, commands)
    }

    #[test]
    fn plain_bytes_reach_the_guest() {
        assert_eq!(
            filter(&[b"ls -l\rx\x03\xFF"]),
            (b"ls -l\rx\x03\xFF".to_vec(), vec![])
        );
    }

    #[test]
    fn a_sequence_may_come_in_two_pieces() {
        assert_eq!(
            filter(&[b"a\x01", b"xb"]),
            (b"ab".to_vec(), vec![Command::Quit])
        );
        assert_eq!(filter(&[b"\x01h\x01x"]).1, [Command::Help, Command::Quit]);
        assert_eq!(
            filter(&[b"\x01", b"bh"]),
            (b"h".to_vec(), vec![Command::Break])
        );
    }

    #[test]
    fn who_asks_for_the_monitor_is_heard() {
        assert_eq!(filter(&[b"\x01c"]), (vec![], vec![Command::Monitor]));
    }

    #[test]
    fn ctrl_a_twice_sends_one() {
        assert_eq!(filter(&[b"\x01\x01x"]), (b"\x01x".to_vec(), vec![]));
        assert_eq!(filter(&[b"\x01\x01\x01\x01"]).0, b"\x01\x01");
    }

    #[test]
    fn an_unknown_sequence_is_the_guests() {
        assert_eq!(filter(&[b"\x01\x1B[A"]), (b"\x01\x1B[A".to_vec(), vec![]));
    }
}
