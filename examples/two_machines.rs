//! Runs two machines in one process: the second is stopped when the first has ended.
//!
//! `cargo run --example two_machines`

use std::error::Error;
use std::thread;

use ppckvm::{Machine, Outcome, ResetKind};

/// Prints a letter on the serial port and resets the board.
const HELLO: [u32; 6] = [
    0x3C60_EF60, // lis   r3,0xEF60       UART0 is at 0xEF600300
    0x3880_0021, // li    r4,'!'
    0x9883_0300, // stb   r4,0x300(r3)    transmit
    0x3CA0_3000, // lis   r5,0x3000       DBCR0[RST] = system
    0x7CB4_4BA6, // mtspr DBCR0,r5
    0x4800_0000, // b     .
];

/// Counts for ever, and says so each 2^20 rounds: a guest that only somebody else can end.
const COUNT: [u32; 7] = [
    0x3C60_EF60, // lis   r3,0xEF60
    0x3880_002E, // li    r4,'.'
    0x3CA0_0010, // lis   r5,0x0010       round: 2^20 times
    0x7CA9_03A6, // mtctr r5
    0x4200_0000, // bdnz  .
    0x9883_0300, // stb   r4,0x300(r3)
    0x4BFF_FFF0, // b     round
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut first = program(&HELLO).build()?;
    let mut second = program(&COUNT).build()?;
    let stopper = second.stopper();
    let counting = thread::Builder::new()
        // Translated code uses up to 640 KB of it.
        .stack_size(2 << 20)
        .spawn(move || second.run())?;

    let outcome = first.run();
    assert_eq!(outcome, Outcome::Reset(ResetKind::System));
    println!("first: {outcome}; it printed {:?}", first.output_text());

    stopper.stop();
    let outcome = counting
        .join()
        .map_err(|_| "the second machine's thread panicked")?;
    assert_eq!(outcome, Outcome::Stopped);
    println!("second: {outcome}");
    Ok(())
}

fn program(words: &[u32]) -> Machine {
    let bytes = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    Machine::new().program(0, bytes)
}
