//! Guests of a few instructions: what `expect` finds, and how a failure reads.

use super::*;
use crate::ResetKind;

/// Prints each byte of `text` on UART0, then does `end`.
fn printer(text: &str, end: &[u32]) -> Machine {
    // lis r3,0xEF60
    let mut program = vec![0x3C60_EF60];
    for byte in text.bytes() {
        // li r4,byte; stb r4,0x300(r3)
        program.extend([0x3880_0000 | u32::from(byte), 0x9883_0300]);
    }
    program.extend(end);
    let bytes = program.iter().flat_map(|word| word.to_be_bytes()).collect();
    Machine::new().program(0, bytes)
}

/// lis r5,0x3000; mtspr DBCR0,r5; b .
const RESET: [u32; 3] = [0x3CA0_3000, 0x7CB4_4BA6, 0x4800_0000];
/// b .
const SPIN: [u32; 1] = [0x4800_0000];

#[test]
fn text_is_found_and_then_the_end() {
    let mut guest = Guest::start(printer("login: ok\n", &RESET)).unwrap();
    guest.expect("login:").unwrap();
    assert_eq!(guest.end().unwrap(), Outcome::Reset(ResetKind::System));
}

#[test]
fn a_guest_that_ends_first_is_a_failure_which_shows_its_console() {
    let mut guest = Guest::start(printer("first\nsecond\n", &RESET)).unwrap();
    let failure = guest.expect("third").unwrap_err();
    let text = format!("{failure:?}");
    assert!(matches!(failure, Failure::Ended { .. }), "{text}");
    assert!(text.contains("before \"third\""), "{text}");
    assert!(text.ends_with("first\nsecond"), "{text}");
}

#[test]
fn patience_ends_a_wait() {
    let guest = Guest::start(printer("", &SPIN)).unwrap();
    let mut guest = guest.patience(Duration::from_millis(1));
    // A guest that spins for ever may also be told to hang, which is an end.
    let failure = guest.expect("never").unwrap_err();
    let waited = matches!(failure, Failure::Deadline { .. } | Failure::Ended { .. });
    assert!(waited, "{failure}");
}

#[test]
fn a_machine_that_cannot_be_built_says_why() {
    let failure = Guest::start(Machine::new()).unwrap_err();
    assert!(format!("{failure:?}").contains("kernel"), "{failure}");
}
