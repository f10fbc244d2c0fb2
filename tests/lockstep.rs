//! The CPU tiers in lockstep: random guests run on the interpreter and on another tier, and every
//! register, TLB entry, exit and byte of RAM must agree after each stop.
//!
//! `PPCKVM_SEED` chooses the first guest, `PPCKVM_LONG` the seconds to go on for; a failure prints
//! its seed, and the guest that is left when all that does not matter is gone.
#![allow(clippy::unwrap_used)]

#[path = "support/isa/mod.rs"]
mod support;

#[path = "support/lockstep/mod.rs"]
mod lockstep;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use lockstep::found;
use lockstep::generate::{guest, guest_of_large_pages, guest_of_neighbours};
use lockstep::guest::Guest;
use lockstep::machine::Difference;
use lockstep::run::{Mistake, Side, difference, survey};
use lockstep::shrink::smallest;
use ppc440_isa::{Regs, Xer};
use ppc440_kvm::Interrupt;
use support::random::{NOP, Random};
use support::seeds::{first_seed, goes_on};
use support::tiers::TIERS;

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn seeded(seed: u64) -> Guest {
    guest(&mut Random(seed << 20))
}

fn name(seed: u64) -> String {
    format!("the guest of PPCKVM_SEED={seed}")
}

fn describe(guest: &Guest, found: &Difference) -> String {
    format!(
        "behind step {}:\n    {}\nfrom\n{guest}",
        found.step,
        found.lines.join("\n    ")
    )
}

/// Runs a guest on every tier, cut up, against the interpreter; gives it back.
fn check(guest: Guest, name: &str) -> Guest {
    let reference = Side {
        tier: TIERS[0],
        cut: false,
        mistake: None,
    };
    for &tier in TIERS {
        let other = Side {
            tier,
            cut: true,
            mistake: None,
        };
        let sides = [reference, other];
        if let Some(found) = difference(&guest, sides) {
            let (guest, found) = smallest(guest.clone(), found, &|guest| difference(guest, sides));
            panic!(
                "{name} differs on {}, {}",
                tier.name(),
                describe(&guest, &found)
            );
        }
    }
    guest
}

#[test]
fn every_tier_does_what_the_interpreter_does_however_it_is_cut() {
    let (first, start) = (first_seed(), Instant::now());
    let (mut guests, mut instructions) = (0, 0);
    while goes_on(start, guests, 400) {
        let seed = first + guests;
        let guest = check(seeded(seed), &name(seed));
        let all = guest.steps.iter().map(|step| u64::from(step.instructions));
        instructions += all.sum::<u64>();
        guests += 1;
    }
    say(&format!(
        "random guests in lockstep: {guests}, {instructions} instructions on {} tier(s); seed {first}",
        TIERS.len()
    ));
}

#[test]
fn guests_that_found_mistakes_agree() {
    for (what, guest) in found::all() {
        check(guest, what);
    }
}

#[test]
fn accesses_with_a_common_look_up_are_as_exact_as_others() {
    let (first, start) = (first_seed(), Instant::now());
    let mut guests = 0;
    while goes_on(start, guests, 400) {
        let seed = first + guests;
        check(guest_of_neighbours(&mut Random(seed << 20)), &name(seed));
        guests += 1;
    }
}

#[test]
fn loads_in_and_around_large_pages_are_as_exact_as_others() {
    let (first, start) = (first_seed(), Instant::now());
    let mut guests = 0;
    while goes_on(start, guests, 400) {
        let seed = first + guests;
        check(guest_of_large_pages(&mut Random(seed << 20)), &name(seed));
        guests += 1;
    }
}

/// Overflow is forgotten when a carry comes, as flags kept lazily might be.
fn forgets_overflow(before: &Regs, after: &mut Regs) {
    const OV: u32 = 0x4000_0000;
    const CA: u32 = 0x2000_0000;
    let [was, is] = [before.xer.word(), after.xer.word()];
    if was & OV != 0 && !was & is & CA != 0 {
        after.xer = Xer::from_word(is & !OV);
    }
}

/// The link register keeps its value in a call to the next page.
fn forgets_to_link(before: &Regs, after: &mut Regs) {
    if before.lr != after.lr && (before.pc ^ after.pc) & !0xFFF == 0x1000 {
        after.lr = before.lr;
    }
}

#[test]
fn mistakes_are_found_and_made_small() {
    let mistakes: [(Mistake, &str, usize); 2] =
        [(forgets_overflow, "xer: ", 2), (forgets_to_link, "lr: ", 4)];
    for (mistake, named, most) in mistakes {
        let [right, wrong] = [None, Some(mistake)].map(|mistake| Side {
            tier: TIERS[0],
            cut: false,
            mistake,
        });
        let sides = [right, wrong];
        let (guest, found) = (0..2_000)
            .map(seeded)
            .find_map(|guest| Some((difference(&guest, sides)?, guest)))
            .map(|(found, guest)| smallest(guest, found, &|guest| difference(guest, sides)))
            .expect("some guest shows the mistake");
        let text = describe(&guest, &found);
        assert!(
            found.lines.iter().any(|line| line.starts_with(named)),
            "{text}"
        );
        let code = guest.words[..0x1000].iter();
        let left = code.filter(|&&word| word != NOP).count();
        assert!(left <= most && guest.steps.len() <= 2, "{text}");
    }
}

#[test]
fn guests_meet_every_situation() {
    let side = Side {
        tier: TIERS[0],
        cut: false,
        mistake: None,
    };
    const GUESTS: u64 = 200;
    let mut met: BTreeMap<String, u64> = BTreeMap::new();
    let (mut completed, mut whole) = (0, 0);
    for kind in Interrupt::ALL {
        met.insert(format!("{kind:?}"), 0);
    }
    for seed in 0..GUESTS {
        let survey = survey(&seeded(seed), side);
        completed += survey.completed;
        whole += u64::from(survey.whole);
        for (name, count) in survey.stats.named() {
            *met.entry(name.into()).or_default() += count;
        }
        for kind in survey.interrupts {
            *met.entry(format!("{kind:?}")).or_default() += 1;
        }
    }
    say(&format!(
        "in lockstep {completed} instructions, {whole} of {GUESTS} guests to the end; {met:?}"
    ));
    // Nothing raises it on a 440EP.
    met.remove("ApUnavailable");
    for (name, count) in met {
        assert!(count >= 10, "{name} happened {count} times");
    }
    assert!(whole * 10 >= GUESTS * 9, "{whole} guests came to the end");
}

#[test]
fn a_seed_makes_the_same_guest() {
    for seed in 0..20 {
        assert_eq!(seeded(seed).to_string(), seeded(seed).to_string());
    }
}
