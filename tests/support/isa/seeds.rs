//! How random tests are reproduced and made longer, from the environment.

use std::time::{Duration, Instant};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let value = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    Some(value.unwrap_or_else(|| {
        panic!("{name} is {text}, which is no number; give a decimal or 0x number")
    }))
}

/// `PPCKVM_SEED`, or else always the same.
pub fn first_seed() -> u64 {
    number("PPCKVM_SEED").unwrap_or(440)
}

/// Whether to go on after `rounds` rounds: as long as `PPCKVM_LONG` says, or for a few.
pub fn goes_on(start: Instant, rounds: u64, few: u64) -> bool {
    match number("PPCKVM_LONG") {
        Some(seconds) => start.elapsed() < Duration::from_secs(seconds),
        None => rounds < few,
    }
}
