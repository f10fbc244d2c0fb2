//! The instruction cases of `tests/isa`: on every CPU tier, alone and under the core, and the
//! unprivileged ones under `qemu-ppc`.
#![allow(clippy::unwrap_used)]

#[path = "support/isa/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use ppc440_isa::regs::fpscr;
use ppc440_isa::{Insn, Word, decode, spr};
use support::assembler::suffix;
use support::cases::{self, Case, End, FPSCR, MSR, QEMU_WINDOWS, Qemu, WINDOWS};
use support::probe::{self, Job};
use support::tiers::{Machine, TIERS};

/// A line that the test harness does not capture: counts are for the end of a run.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Fails with the first failures of many.
fn expect_none(what: &str, failures: &[String]) {
    let shown: Vec<_> = failures.iter().take(40).map(String::as_str).collect();
    assert!(
        failures.is_empty(),
        "{} {what}:\n{}",
        failures.len(),
        shown.join("\n")
    );
}

#[test]
fn every_instruction_has_cases_in_every_form() {
    let mut seen = BTreeSet::new();
    for case in cases::all() {
        for &word in &case.words {
            let Some(insn) = decode(word) else { continue };
            for &operand in insn.operands().iter().filter(|&&o| suffix(o).is_some()) {
                seen.insert((insn, Some(operand.bits()), word & operand.bits() != 0));
            }
            seen.insert((insn, None, true));
        }
    }
    let mut missing = Vec::new();
    for &insn in Insn::ALL {
        if !seen.contains(&(insn, None, true)) {
            missing.push(format!("{} has no case", insn.mnemonic()));
            continue;
        }
        for &operand in insn.operands() {
            let Some(letter) = suffix(operand) else {
                continue;
            };
            for (present, text) in [(true, "with"), (false, "without")] {
                if !seen.contains(&(insn, Some(operand.bits()), present)) {
                    missing.push(format!("{} has no case {text} `{letter}`", insn.mnemonic()));
                }
            }
        }
    }
    expect_none("forms are without a case", &missing);
}

#[test]
fn every_spr_has_a_case() {
    let mut moved = BTreeSet::new();
    for case in cases::all() {
        let moves = case
            .words
            .iter()
            .filter(|&&word| matches!(decode(word), Some(Insn::Mfspr | Insn::Mtspr | Insn::Mftb)));
        moved.extend(moves.map(|&word| Word(word).spr()));
    }
    let missing: Vec<_> = spr::ALL
        .iter()
        .filter(|(number, _)| !moved.contains(number))
        .map(|(number, name)| format!("{name}, {number}"))
        .collect();
    expect_none("special purpose registers are in no case", &missing);
}

#[test]
fn cases_hold_on_every_tier() {
    let all = cases::all();
    let mut failures = Vec::new();
    let mut left_to_the_core = 0;
    for tier in TIERS {
        let mut machine = Machine::new(*tier);
        let mut fail = |case: &Case, place: &str, lines: &[String]| {
            failures.push(format!(
                "{case} ({} {place})\n    {}",
                tier.name(),
                lines.join("\n    ")
            ));
        };
        for case in &all {
            if case.user {
                match machine.run_alone(case) {
                    Ok(None) => left_to_the_core += 1,
                    Ok(Some(o)) => {
                        let lines = cases::differences(case, o.end, &o.registers, &o.memory.0);
                        if !lines.is_empty() {
                            fail(case, "alone", &lines);
                        }
                    }
                    Err(error) => fail(case, "alone", &[error]),
                }
            }
            match machine.run_in_vcpu(case) {
                Ok(o) => {
                    let lines = cases::differences(case, o.end, &o.registers, &o.memory.0);
                    if !lines.is_empty() {
                        fail(case, "under the core", &lines);
                    }
                }
                Err(error) => fail(case, "under the core", &[error]),
            }
        }
    }
    expect_none("cases fail", &failures);

    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &all {
        *kinds.entry(&case.file).or_default() += 1;
    }
    let counts: Vec<_> = kinds
        .iter()
        .map(|(kind, n)| format!("{kind} {n}"))
        .collect();
    let tiers: Vec<_> = TIERS.iter().map(|tier| tier.name()).collect();
    say(&format!(
        "cases: {}; {} in all on {}, of which the CPU alone left {left_to_the_core} to the core",
        counts.join(", "),
        all.len(),
        tiers.join(", "),
    ));
}

fn job(case: &Case) -> Job {
    let windows = WINDOWS.iter().zip(&case.memory_before.0).take(QEMU_WINDOWS);
    Job {
        words: case.words.clone(),
        start: case.before,
        windows: windows
            .map(|(&(at, _), bytes)| (at, bytes.clone()))
            .collect(),
    }
}

#[test]
fn qemu_agrees_but_for_what_it_is_known_to_get_wrong() {
    let all = cases::all();
    let runnable: Vec<&Case> = all
        .iter()
        .filter(|c| !matches!(c.qemu, Qemu::Skip(_)))
        .collect();
    let jobs: Vec<Job> = runnable.iter().map(|case| job(case)).collect();
    let answers = probe::run(&jobs, &[]);

    let mut failures = Vec::new();
    let mut agree = 0;
    let mut without_fr = 0;
    // For each reason, how many cases differ and how many do not.
    let mut wrong: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (case, answer) in runnable.iter().zip(answers) {
        // A signal tells neither a miss from a denied access nor what these registers hold.
        let mut answer = answer;
        answer.registers.0[MSR..].copy_from_slice(&case.after.0[MSR..]);
        if let (End::Miss(at), End::Denied(_)) = (answer.end, case.end) {
            answer.end = End::Denied(at);
        }
        if (answer.registers.0[FPSCR] ^ case.after.0[FPSCR]) as u32 & !(case.open.0[FPSCR] as u32)
            == fpscr::FR
        {
            // It has no FR at all (Book E, section 5.2.2).
            answer.registers.0[FPSCR] ^= u64::from(fpscr::FR);
            without_fr += 1;
        }
        let lines = cases::differences(case, answer.end, &answer.registers, &answer.windows);
        match &case.qemu {
            Qemu::Wrong(reason) => {
                let (differ, same) = wrong.entry(reason).or_default();
                *(if lines.is_empty() { same } else { differ }) += 1;
            }
            _ if lines.is_empty() => agree += 1,
            _ => failures.push(format!("{case}\n    {}", lines.join("\n    "))),
        }
    }
    expect_none("cases differ under qemu-ppc", &failures);

    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &all {
        if let Qemu::Skip(reason) = &case.qemu {
            *skipped.entry(reason).or_default() += 1;
        }
    }
    say(&format!(
        "cases under qemu-ppc: {agree} agree, {without_fr} of them but for FPSCR[FR]"
    ));
    for (reason, (differ, same)) in &wrong {
        assert!(
            *differ > 0,
            "qemu-ppc is marked wrong for nothing: {reason}"
        );
        say(&format!(
            "  wrong in {differ} of {}: {reason}",
            differ + same
        ));
    }
    for (reason, count) in &skipped {
        say(&format!("  not run {count}: {reason}"));
    }
}
