//! The messages between the host and the agent, whose other end is `guest/agent.c`.
//!
//! The agent greets with a line: `ppckvm-agent 1 `, the token in hexadecimal digits, a line feed. After
//! that both sides send messages: the tag, which is the token's last four bytes; one byte that says
//! the kind; the body's length in three; the body. Numbers are big-endian, texts in a body end with a
//! zero or with it. What has another tag is not from the agent.
//!
//! The host asks, one request after the other:
//!
//! | kind | body | answers |
//! |---|---|---|
//! | `R` | run: a byte that is 1 when input follows, numbers of words and variables (two bytes each), folder, words, variables | `o` `e` `c`…, then `x` or `f` |
//! | `I` | standard input while the command runs; none for its end | `c` when it was taken |
//! | `D` | a folder: mode, path | `k` or `f` |
//! | `L` | a symbolic link: path, target | `k` or `f` |
//! | `F` | a file: mode, path | `k` or `f` |
//! | `W` | its next bytes | `c`, or `f` once |
//! | `E` | its end | `k` or `f`; nothing after an `f` |
//! | `G` | asks for a path | `d` `l` `s`, `r` with `w`…, then `k` or `f` |
//! | `B` | asks that all be on the disks | `k` |
//!
//! And the agent answers:
//!
//! | kind | body |
//! |---|---|
//! | `o`, `e` | standard output, standard error |
//! | `c` | how many bytes were taken, which the host may send in addition |
//! | `x` | 0 and an exit status, or 1 and a signal |
//! | `k` | done; also once, after the greeting |
//! | `f` | an error's number, and what it is about |
//! | `d`, `r` | mode, path below what was asked for |
//! | `w` | a file's next bytes |
//! | `l` | path, target |
//! | `s` | a path that is neither file, folder nor link |

use std::io::{self, Read, Write};

use super::AgentError;

/// How a greeting begins.
pub(super) const GREETING: &[u8; 15] = b"ppckvm-agent 1 ";

/// Bytes that the host may be ahead of the agent: `WINDOW` in agent.c.
pub(super) const WINDOW: usize = 64 << 10;

/// Most bytes of a message to the agent: `MOST_BODY` in agent.c.
pub(super) const MOST_BODY: usize = 128 << 10;

/// Most bytes of data in a message to the agent.
pub(super) const MOST_DATA: usize = 32 << 10;

/// Most bytes of a message from the agent, which sends 32 KiB of data, or two paths.
const MOST_ANSWER: usize = 33 << 10;

/// A machine's secret, by which its agent is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(pub [u8; 16]);

impl Token {
    /// The first bytes of each message.
    pub fn tag(self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0;
        [a, b, c, d]
    }

    /// The token as the greeting has it.
    pub fn digits(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What the bytes of a channel are, before there are messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeted {
    /// The agent greets.
    Agent,
    /// Something else greets as the agent does.
    Other,
    /// The channel ended.
    End,
}

/// Reads until somebody greets; what comes before is whatever a kernel or a program printed.
pub(super) fn wait_for_greeting(from: &mut impl Read, token: Token) -> io::Result<Greeted> {
    let mut last = [0; GREETING.len()];
    while last != *GREETING {
        last.rotate_left(1);
        if from.read(&mut last[GREETING.len() - 1..])? == 0 {
            return Ok(Greeted::End);
        }
    }
    let mut said = [0; 33];
    match from.read_exact(&mut said) {
        Ok(()) if said[..] == *format!("{}\n", token.digits()).as_bytes() => Ok(Greeted::Agent),
        Ok(()) => Ok(Greeted::Other),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Greeted::End),
        Err(error) => Err(error),
    }
}

/// A message from the agent; its body is in the buffer that it was read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub kind: u8,
    pub body: &'a [u8],
}

/// Reads one message after the other.
pub(super) struct Messages<R> {
    from: R,
    tag: [u8; 4],
    body: Vec<u8>,
}

impl<R: Read> Messages<R> {
    /// The messages with this token's tag.
    pub fn new(from: R, token: Token) -> Self {
        Messages {
            from,
            tag: token.tag(),
            body: Vec::new(),
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// The channel's end, and bytes that are no message.
    pub fn next(&mut self) -> Result<Message<'_>, AgentError> {
        let mut header = [0; 8];
        self.fill(&mut header)?;
        let [t0, t1, t2, t3, kind, l0, l1, l2] = header;
        if [t0, t1, t2, t3] != self.tag {
            let why = "it does not begin with the token's tag";
            return Err(AgentError::Broken { why });
        }
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if length > MOST_ANSWER {
            let why = "it is longer than any of the agent's";
            return Err(AgentError::Broken { why });
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(length, 0);
        let filled = self.fill(&mut body);
        self.body = body;
        filled?;
        Ok(Message {
            kind,
            body: &self.body,
        })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), AgentError> {
        // The channel is in this process; it has no error but its end.
        self.from.read_exact(bytes).map_err(|_| AgentError::Ended)
    }
}

/// Sends a message.
///
/// # Errors
/// The channel's end.
pub(super) fn send(
    to: &mut impl Write,
    tag: [u8; 4],
    kind: u8,
    parts: &[&[u8]],
) -> Result<(), AgentError> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [_, l0, l1, l2] = u32::try_from(length)
        .expect("bodies are bounded")
        .to_be_bytes();
    let mut bytes = Vec::with_capacity(8 + length);
    bytes.extend_from_slice(&tag);
    bytes.extend_from_slice(&[kind, l0, l1, l2]);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    to.write_all(&bytes).map_err(|_| AgentError::Ended)
}

/// A number and what follows it.
pub(super) fn number(body: &[u8]) -> Result<(u32, &[u8]), AgentError> {
    let why = "its body is too short";
    let (number, rest) = body.split_first_chunk().ok_or(AgentError::Broken { why })?;
    Ok((u32::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: Token = Token(*b"0123456789abcdef");

    fn greeted(bytes: &[u8]) -> Greeted {
        wait_for_greeting(&mut &*bytes, TOKEN).unwrap()
    }

    #[test]
    fn a_greeting_is_found_after_anything_and_only_with_the_token() {
        let line = format!("ppckvm-agent 1 {}\n", TOKEN.digits());
        for before in [
            "",
            "p",
            "ppckvm",
            "[    0.1] pp\r\nppckvm-agent",
            "\0\u{ff}pp",
        ] {
            let text = format!("{before}{line}");
            assert_eq!(greeted(text.as_bytes()), Greeted::Agent, "{before:?}");
            assert_eq!(greeted(&text.as_bytes()[..text.len() - 1]), Greeted::End);
        }
        let other = line.replace("30", "31");
        assert_eq!(greeted(other.as_bytes()), Greeted::Other);
    }

    #[test]
    fn messages_are_read_as_they_are_sent() {
        let mut bytes = Vec::new();
        send(&mut bytes, TOKEN.tag(), b'o', &[b"a", b"bc"]).unwrap();
        send(&mut bytes, TOKEN.tag(), b'k', &[]).unwrap();
        let mut messages = Messages::new(&*bytes, TOKEN);
        let (kind, body) = (b'o', &b"abc"[..]);
        assert_eq!(messages.next().unwrap(), Message { kind, body });
        let (kind, body) = (b'k', &b""[..]);
        assert_eq!(messages.next().unwrap(), Message { kind, body });
        assert!(matches!(messages.next(), Err(AgentError::Ended)));
    }

    #[test]
    fn a_message_of_another_tag_or_of_any_length_is_broken() {
        for bytes in [&b"cdexo\0\0\0"[..], b"cdefo\xff\xff\xff"] {
            let mut messages = Messages::new(bytes, TOKEN);
            assert!(matches!(messages.next(), Err(AgentError::Broken { .. })));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut messages = Messages::new(&*bytes, TOKEN);
            while messages.next().is_ok() {}
            wait_for_greeting(&mut &*bytes, TOKEN).unwrap();
        }
    }
}
