//! Random programs of problem state against `qemu-ppc -cpu 440epb`, and random everything against
//! panics.
//!
//! `PPCKVM_SEED` chooses the first program, `PPCKVM_LONG` the seconds to go on for; a failure prints
//! its seed, and the program and state that are left of it when all that does not matter is gone.
#![allow(clippy::unwrap_used)]

#[path = "support/isa/mod.rs"]
mod support;

use std::io::Write;
use std::time::Instant;

use ppc440_isa::disasm::disassemble;
use ppc440_isa::regs::fpscr;
use ppc440_isa::tlb::{ENTRIES, TlbWord0, TlbWord1, TlbWord2, Tlbe};
use ppc440_isa::{Cr, Insn, Xer};
use ppc440_kvm::{Exit, Sprs};
use support::cases::{
    CODE, CR, CTR, End, FPR, FPSCR, GPR, LR, PAGES, PC, RAM, Registers, XER, register_name,
};
use support::probe::{self, Answer, Job};
use support::random::{Kind, NOP, Random, excluded, program};
use support::seeds::{first_seed, goes_on};
use support::tiers::{DOES_NOT_END, Machine, TIERS, Tier};

const KINDS: [Kind; 3] = [Kind::Double, Kind::Single, Kind::Compare];

/// QEMU loses the carry between `addic` and `subfe` in long blocks.
const OPTIONS: [&str; 1] = ["-one-insn-per-tb"];

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether the program comes to an end, which QEMU would wait for.
fn ends(machine: &mut Machine, job: &Job) -> bool {
    !matches!(ours(machine, job), Err(error) if error == DOES_NOT_END)
}

/// What our CPU makes of a job, on its own as far as it goes, and under the core.
fn ours(machine: &mut Machine, job: &Job) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    let put = |machine: &mut Machine| {
        for (at, bytes) in &job.windows {
            machine.put(*at, bytes);
        }
    };
    let get = |machine: &mut Machine| {
        let windows = job.windows.iter();
        windows
            .map(|(at, bytes)| machine.get(*at, bytes.len()))
            .collect()
    };
    put(machine);
    if let (Some(end), registers) = machine.alone(&job.words, &job.start)? {
        answers.push(Answer {
            end,
            registers,
            windows: get(machine),
        });
    }
    put(machine);
    let (end, registers) = machine.under_core(&job.words, &job.start)?;
    answers.push(Answer {
        end,
        registers,
        windows: get(machine),
    });
    Ok(answers)
}

/// What is different between QEMU and us, but for what QEMU is known to get wrong.
fn differences(kind: Kind, job: &Job, theirs: &Answer, ours: &Answer) -> Vec<String> {
    let mut lines = Vec::new();
    if theirs.end != ours.end {
        lines.push(format!(
            "ends with {:x?}, QEMU with {:x?}",
            ours.end, theirs.end
        ));
    }
    let indices = (GPR..FPR)
        .chain(FPR..CR)
        .chain([CR, XER, LR, CTR, FPSCR, PC]);
    for index in indices {
        let (got, want) = (ours.registers.0[index], theirs.registers.0[index]);
        let mut open = 0;
        if index == FPSCR {
            // It has no FR (Book E, section 5.2.2).
            open |= fpscr::FR;
            if kind != Kind::Double {
                open |= fpscr::FPRF | fpscr::FI;
            }
            // Infinity times zero hides a signalling NaN in FRB there (Book E, fmadd).
            if got as u32 & want as u32 & fpscr::VXIMZ != 0 {
                open |= fpscr::VXSNAN;
            }
        }
        if (got ^ want) & !u64::from(open) != 0 {
            lines.push(format!(
                "{} is {got:x}, in QEMU {want:x}",
                register_name(index)
            ));
        }
    }
    for (((at, _), got), want) in job.windows.iter().zip(&ours.windows).zip(&theirs.windows) {
        for (n, (got, want)) in got.iter().zip(want).enumerate() {
            if got != want {
                let at = at + n as u32;
                lines.push(format!("[{at:08x}] is {got:02x}, in QEMU {want:02x}"));
            }
        }
    }
    lines
}

/// Whether our CPU still differs from an answer of QEMU's, and in what.
fn fails(machine: &mut Machine, kind: Kind, job: &Job, theirs: &Answer) -> Option<Vec<String>> {
    let lines = match ours(machine, job) {
        Err(error) => vec![error],
        Ok(answers) => answers
            .iter()
            .flat_map(|answer| differences(kind, job, theirs, answer))
            .collect(),
    };
    (!lines.is_empty()).then_some(lines)
}

/// A smaller job that still fails: instructions become NOPs, registers and memory 0, as long as
/// something can. Each round runs every candidate in one QEMU.
fn shrink(tier: &dyn Tier, kind: Kind, mut job: Job) -> (Job, Vec<String>) {
    let mut machine = Machine::new(tier);
    loop {
        let mut candidates = Vec::new();
        for at in 0..job.words.len() {
            if job.words[at] != NOP {
                let mut smaller = job.clone();
                smaller.words[at] = NOP;
                candidates.push(smaller);
            }
        }
        if job.words.last() == Some(&NOP) && job.words.len() > 1 {
            let mut smaller = job.clone();
            smaller.words.pop();
            candidates.push(smaller);
        }
        for index in (GPR..FPR).chain(FPR..CR).chain([CR, XER, LR, CTR]) {
            // The pointers stay where the buffer is.
            let kept = (24..=26).contains(&index);
            if job.start.0[index] != 0 && !kept {
                let mut smaller = job.clone();
                smaller.start.0[index] = 0;
                candidates.push(smaller);
            }
        }
        for window in 0..job.windows.len() {
            if job.windows[window].1.iter().any(|&byte| byte != 0) {
                let mut smaller = job.clone();
                smaller.windows[window].1.fill(0);
                candidates.push(smaller);
            }
        }
        candidates.retain(|smaller| ends(&mut machine, smaller));
        let answers = probe::run(&candidates, &OPTIONS);
        let next = (candidates.into_iter().zip(&answers))
            .find(|(smaller, theirs)| fails(&mut machine, kind, smaller, theirs).is_some());
        match next {
            Some((smaller, _)) => job = smaller,
            None => break,
        }
    }
    let theirs = &probe::run(std::slice::from_ref(&job), &OPTIONS)[0];
    let lines = fails(&mut machine, kind, &job, theirs).unwrap_or_default();
    (job, lines)
}

fn describe(job: &Job) -> String {
    let mut text = String::new();
    for (n, &word) in job.words.iter().enumerate() {
        let address = CODE + 4 * n as u32;
        text += &format!(
            "    {address:08x} {word:08x} {}\n",
            disassemble(word, address)
        );
    }
    let used = (0..=FPSCR).filter(|&index| job.start.0[index] != 0);
    for index in used {
        text += &format!("    {}={:x}", register_name(index), job.start.0[index]);
    }
    for (at, bytes) in job
        .windows
        .iter()
        .filter(|(_, b)| b.iter().any(|&b| b != 0))
    {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("\n    [{at:08x}]={digits}");
    }
    text
}

#[test]
fn random_programs_do_what_qemu_does() {
    const PROGRAMS: usize = 400;
    let (first, start) = (first_seed(), Instant::now());
    let mut machines: Vec<_> = TIERS.iter().map(|tier| Machine::new(*tier)).collect();
    let (mut rounds, mut instructions) = (0, 0);
    let (mut programs, mut traps) = (0, 0);
    while goes_on(start, rounds, 15) {
        let kind = KINDS[rounds as usize % KINDS.len()];
        let mut jobs = Vec::new();
        for n in 0..PROGRAMS {
            let mut random = Random((first + rounds) << 20 | n as u64);
            let length = 4 + random.below(40) as usize;
            let job = program(&mut random, kind, length);
            // A return to an old LR may make a loop.
            if ends(&mut machines[0], &job) {
                jobs.push(job);
            }
        }
        let answers = probe::run(&jobs, &OPTIONS);
        for (n, (job, theirs)) in jobs.iter().zip(&answers).enumerate() {
            instructions += job.words.len();
            traps += usize::from(theirs.end != End::Done);
            for (machine, tier) in machines.iter_mut().zip(TIERS) {
                if fails(machine, kind, job, theirs).is_some() {
                    let (job, lines) = shrink(*tier, kind, job.clone());
                    panic!(
                        "program {n} of PPCKVM_SEED={} ({kind:?}, {}) differs:\n    {}\nfrom\n{}",
                        first + rounds,
                        tier.name(),
                        lines.join("\n    "),
                        describe(&job)
                    );
                }
            }
        }
        programs += jobs.len();
        rounds += 1;
    }
    let left_out = Insn::ALL
        .iter()
        .filter(|&&insn| excluded(insn).is_some())
        .count();
    say(&format!(
        "random programs like qemu-ppc: {programs} of {instructions} instructions, {traps} ended by a trap; \
         {left_out} of {} instructions left out with reasons; seed {first}",
        Insn::ALL.len()
    ));
}

/// An instruction more often than not, and now and then any word.
fn any_word(random: &mut Random) -> u32 {
    if random.one_in(8) {
        return random.word();
    }
    let insn = random.of(Insn::ALL);
    insn.pattern().1 | random.word() & !insn.pattern().0
}

/// An address that is more often mapped than not.
fn any_address(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => random.word(),
        1 => PAGES[random.below(PAGES.len() as u32) as usize].ea + random.below(4096),
        2 => (random.word() & 0xFFFF_F000)
            .wrapping_add(random.below(64))
            .wrapping_sub(32),
        _ => random.below(RAM),
    }
}

fn any_entry(random: &mut Random) -> Tlbe {
    let size = random.of(&[0, 1, 1, 1, 2, 3, 4, 5, 7, 9, 6, 15]) << 4;
    let valid = if random.one_in(8) { 0 } else { 0x200 };
    let space = if random.one_in(4) { 0x100 } else { 0 };
    let attributes = if random.one_in(4) {
        random.word() & 0xFFC0
    } else {
        0
    };
    let outside = if random.one_in(8) { random.word() } else { 0 };
    Tlbe {
        tid: random.of(&[0, 0, 0, 1, 255]),
        word0: TlbWord0::from(any_address(random) & 0xFFFF_FC00 | size | valid | space),
        word1: TlbWord1::from(random.below(RAM) & 0xFFFF_FC00 | outside),
        word2: TlbWord2::from(attributes | random.word() & 0x3F),
    }
}

/// One machine with nothing right about it, run for a while.
fn fuzz(machine: &mut Machine, random: &mut Random, instructions: u32) -> u64 {
    for page in PAGES {
        let words: Vec<u8> = (0..1024)
            .flat_map(|_| any_word(random).to_be_bytes())
            .collect();
        machine.put(page.ea, &words);
    }
    let mut vcpu = machine.vcpu();
    for index in 0..ENTRIES {
        vcpu.set_tlb(index, any_entry(random));
    }
    vcpu.regs.pid = random.of(&[0, 1, 255]);
    let mut sprs = Sprs {
        ivpr: random.of(&[0, CODE, 0x2000_0000]),
        ivor: std::array::from_fn(|n| 0x100 * n as u32),
        ..*vcpu.sprs()
    };
    if random.one_in(3) {
        sprs.dbcr0 = random.word() & !0x3000_0000;
        sprs.dbcr1 = random.word();
        sprs.dbcr2 = random.word();
        sprs.iac = std::array::from_fn(|_| any_address(random));
        sprs.dac = std::array::from_fn(|_| any_address(random));
        sprs.ccr0 = random.word();
    }
    vcpu.set_sprs(&machine.hw, &sprs);
    let regs = &mut vcpu.regs;
    regs.gpr = std::array::from_fn(|_| any_address(random));
    regs.fpr = std::array::from_fn(|_| random.bits());
    (regs.pc, regs.lr, regs.ctr) = (
        any_address(random),
        any_address(random),
        any_address(random),
    );
    (regs.pc, regs.fpscr) = (regs.pc & !3, random.word() & !0x0800);
    regs.msr = random.word() & 0x0003_FF30;
    (regs.cr, regs.xer) = (Cr::from_word(random.word()), Xer::from_word(random.word()));

    machine.allow(instructions, 1 + random.below(64));
    let mut exits = 0;
    for _ in 0..instructions {
        exits += 1;
        match vcpu.run(&mut machine.hw) {
            Exit::Interrupted if machine.is_over() => break,
            Exit::Mmio { write: false, .. } => vcpu.complete_mmio(random.bits().to_be_bytes()),
            Exit::Dcr { write: false, .. } => vcpu.complete_dcr(random.word()),
            Exit::Reset { kind, .. } => {
                vcpu.reset(&machine.hw, kind);
                for index in 0..8 {
                    vcpu.set_tlb(index, any_entry(random));
                }
                vcpu.regs.pc = any_address(random) & !3;
            }
            // It waits or is stuck: somewhere else it may not be.
            Exit::Wait { .. } | Exit::CannotGoOn { .. } => {
                vcpu.regs.msr = random.word() & 0x0003_FF30;
                vcpu.regs.pc = any_address(random) & !3;
            }
            _ => {}
        }
        // What an owner of the vcpu may do between two runs.
        match random.below(64) {
            0 => {
                let state = vcpu.state(&machine.hw);
                vcpu.set_state(&machine.hw, &state);
            }
            1 => vcpu.set_tlb(random.below(64) as usize, any_entry(random)),
            2 => vcpu.regs = Registers::of(&vcpu.regs).regs(),
            _ => {}
        }
    }
    exits
}

#[test]
fn nothing_that_a_guest_does_panics() {
    let (first, start) = (first_seed(), Instant::now());
    let mut machines: Vec<_> = TIERS.iter().map(|tier| Machine::new(*tier)).collect();
    let (mut rounds, mut exits) = (0, 0);
    while goes_on(start, rounds, 150) {
        for machine in &mut machines {
            let mut random = Random((first + rounds) << 20 | 0xF_FFFF);
            let tell = Tell(first + rounds);
            exits += fuzz(machine, &mut random, 3_000);
            drop(tell);
        }
        rounds += 1;
    }
    say(&format!(
        "random machines without a panic: {rounds}, {exits} exits; seed {first}"
    ));
}

/// Names the seed of a machine that panicked.
struct Tell(u64);

impl Drop for Tell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("the machine of PPCKVM_SEED={} panicked", self.0));
        }
    }
}
