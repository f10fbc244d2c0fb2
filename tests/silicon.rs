//! Random guests over a real 440's TLB, simulated, with a thief: `ppc440-silicon` under the core against
//! the software CPU in its place. Every register, TLB entry, exit and byte of RAM must agree after each
//! stop, and so must time; only the count of retired instructions is silicon's own.
//!
//! `PPCKVM_SEED` chooses the first guest, `PPCKVM_LONG` the seconds to go on for; a failure prints its
//! seed, and the guest that is left when all that does not matter is gone.
#![allow(clippy::unwrap_used)]

#[path = "support/isa/mod.rs"]
mod support;

#[allow(dead_code)] // The other side of these guests is in `lockstep.rs`.
#[path = "support/lockstep/mod.rs"]
mod lockstep;

#[path = "support/sim.rs"]
mod sim;

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use lockstep::found;
use lockstep::generate::{guest, guest_of_large_pages, guest_of_neighbours};
use lockstep::guest::{Guest, RAM};
use lockstep::machine::{Difference, Machine, Stepped, first_difference};
use lockstep::shrink::smallest;
use ppc440_cpu::{Cpu, Engine, Pins, Region};
use ppc440_isa::{Mapping, Mode, NoSupervisor, Regs, SpaceId, Spaces, Supervisor, Trap};
use ppc440_kvm::Hw;
use ppc440_silicon::{Counts, Silicon};
use ppckvm_api::{Entry, InProcess};
use sim::{Host, NARROW, Temper, WINDOW, silicon};
use support::random::Random;
use support::seeds::{first_seed, goes_on};
use support::tiers::{Interpreter, Tier};

/// One instruction at a time, with every trap the core's: what silicon has no other way than to do.
/// Above all, a `tlbwe` is made at once.
struct Singly;

impl Entry for Singly {
    fn enter(
        &mut self,
        cpu: &mut Cpu,
        _: &Pins,
        regs: &mut Regs,
        _: u32,
        _: &mut dyn Supervisor,
    ) -> Trap {
        let start = cpu.retired();
        loop {
            let trap = cpu.enter(regs, 1, &mut NoSupervisor);
            if trap != Trap::Attention || cpu.retired() != start {
                return trap;
            }
        }
    }
}

/// Hardware that counts instructions, be it for the tests alone.
trait Counting: Hw {
    fn instructions(&self) -> u64;
    fn skip_to(&mut self, tick: u64);
    fn set_external(&mut self, level: bool);
    fn set_critical(&mut self, level: bool);
    /// Has the core find a kick when it next looks.
    fn kick(&mut self);
    /// The guest is to come back at this count, if it can be made to.
    fn stop_at(&mut self, instructions: u64);
}

impl Counting for InProcess<Singly> {
    fn instructions(&self) -> u64 {
        self.cpu.retired()
    }

    fn skip_to(&mut self, tick: u64) {
        self.cpu.skip_to(tick);
    }

    fn set_external(&mut self, level: bool) {
        self.pins.set_external(level);
    }

    fn set_critical(&mut self, level: bool) {
        self.pins.set_critical(level);
    }

    fn kick(&mut self) {
        self.pins.kick();
    }

    fn stop_at(&mut self, _: u64) {}
}

impl Counting for Silicon<Host> {
    fn instructions(&self) -> u64 {
        self.port.instructions()
    }

    fn skip_to(&mut self, tick: u64) {
        self.port.skip_to(tick);
    }

    fn set_external(&mut self, level: bool) {
        self.port.pins.external = level;
    }

    fn set_critical(&mut self, level: bool) {
        self.port.pins.critical = level;
    }

    fn kick(&mut self) {
        self.port.pins.kick = true;
    }

    fn stop_at(&mut self, instructions: u64) {
        self.port.until = instructions;
    }
}

/// Hardware that is not entered any more when a step's instructions are completed, and of which the core
/// counts no instructions: when time is up shows when it enters.
struct Leashed<H> {
    hw: H,
    until: u64,
    /// When the core wants to look at the time.
    deadline: Cell<Option<u64>>,
}

impl<H: Counting> Leashed<H> {
    fn new(hw: H) -> Self {
        Leashed {
            hw,
            until: 0,
            deadline: Cell::new(None),
        }
    }
}

impl<H: Counting> Spaces for Leashed<H> {
    fn select(&mut self, mode: Mode, fetch: SpaceId, data: SpaceId) {
        self.hw.select(mode, fetch, data);
    }

    fn map(&mut self, space: SpaceId, ea_wanted: u32, mapping: &Mapping) {
        self.hw.map(space, ea_wanted, mapping);
    }

    fn unmap(&mut self, space: SpaceId, ea: u32, bytes: u32) {
        self.hw.unmap(space, ea, bytes);
    }

    fn clear(&mut self, space: SpaceId) {
        self.hw.clear(space);
    }

    fn retire(&mut self) {
        self.hw.retire();
    }

    fn retired(&self) -> u64 {
        self.hw.retired()
    }

    fn holds(&self, space: SpaceId, ea: u32) -> bool {
        self.hw.holds(space, ea)
    }

    fn forget_code(&mut self) {
        self.hw.forget_code();
    }
}

impl<H: Counting> Hw for Leashed<H> {
    fn enter(&mut self, regs: &mut Regs, budget: u32, supervisor: &mut dyn Supervisor) -> Trap {
        if self.deadline.get().is_some_and(|at| self.time_base() >= at) {
            return Trap::Budget;
        }
        if self.completed() >= self.until {
            self.hw.kick();
            return Trap::Attention;
        }
        match self.hw.enter(regs, budget, supervisor) {
            // The core would look at the time, at other instructions on one side than on the other.
            Trap::Budget => Trap::Attention,
            trap => trap,
        }
    }

    fn execute(&mut self, regs: &mut Regs, word: u32) -> Option<Trap> {
        self.hw.execute(regs, word)
    }

    fn load(&mut self, ram: u32, bytes: &mut [u8]) -> bool {
        self.hw.load(ram, bytes)
    }

    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool {
        self.hw.store(ram, bytes)
    }

    fn time_base(&self) -> u64 {
        self.hw.time_base()
    }

    fn budget(&self, deadline: Option<u64>) -> u32 {
        self.deadline.set(deadline);
        self.hw.budget(deadline);
        u32::MAX
    }

    fn pins(&mut self) -> ppc440_kvm::Pins {
        self.hw.pins()
    }

    fn stopwatch(&self) -> u64 {
        self.hw.stopwatch()
    }
}

impl<H: Counting> Stepped for Leashed<H> {
    fn begin(&mut self, instructions: u32) {
        self.until = self.completed() + u64::from(instructions);
        self.hw.stop_at(self.until);
    }

    fn completed(&self) -> u64 {
        self.hw.instructions()
    }

    fn skip_to(&mut self, tick: u64) {
        self.hw.skip_to(tick);
    }

    fn set_external(&mut self, level: bool) {
        self.hw.set_external(level);
    }

    fn set_critical(&mut self, level: bool) {
        self.hw.set_critical(level);
    }

    fn broken(&self) -> Option<&str> {
        None
    }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What happened to all guests together.
#[derive(Default)]
struct Total {
    guests: u64,
    instructions: u64,
    counts: Counts,
    taken: u64,
}

impl Total {
    fn add(&mut self, hw: &Leashed<Silicon<Host>>) {
        let (sum, counts) = (&mut self.counts, hw.hw.counts());
        for (sum, count) in sum.exits.iter_mut().zip(counts.exits) {
            *sum += count;
        }
        sum.fills += counts.fills;
        sum.stolen += counts.stolen;
        sum.evicted += counts.evicted;
        sum.dropped += counts.dropped;
        sum.iccci += counts.iccci;
        sum.single += counts.single;
        sum.fp_loads += counts.fp_loads;
        sum.no_word += counts.no_word;
        self.guests += 1;
        self.instructions += hw.completed();
        self.taken += hw.hw.port.happened.stolen;
    }
}

/// Runs a guest on both; where they part.
fn difference(guest: &Guest, seed: u64, total: Option<&mut Total>) -> Option<Difference> {
    let region = Interpreter.ram(RAM as usize);
    let pins = Pins::new();
    let cpu = Interpreter.cpu(region.clone(), pins.clone());
    let entry = Singly;
    let hw = Leashed::new(InProcess { cpu, pins, entry });
    let mut reference = Machine::new(hw, region, guest);
    let region = Arc::new(Region::new(RAM as usize + 4096).unwrap());
    let temper = Temper {
        window: [WINDOW, NARROW][seed as usize % 2],
        steals: [1, 2, 5, 30, 0][seed as usize % 5],
        interrupts: [0, 3, 40, 300][seed as usize % 4],
        no_word: [0, 2, 10][seed as usize % 3],
    };
    let host = Host::new(region.clone(), Engine::Interpreter, seed, temper);
    let hw = Leashed::new(silicon(host));
    let mut other = Machine::new(hw, region, guest);
    let found = first_difference(guest, &mut reference, &mut other);
    if let Some(total) = total {
        total.add(&other.hw);
    }
    found
}

fn check(guest: Guest, seed: u64, total: &mut Total) {
    if let Some(found) = difference(&guest, seed, Some(total)) {
        let (guest, found) = smallest(guest, found, &|guest| difference(guest, seed, None));
        panic!(
            "the guest of PPCKVM_SEED={seed} differs over silicon behind step {}:\n    {}\nfrom\n{guest}",
            found.step,
            found.lines.join("\n    ")
        );
    }
}

/// Checks guests of one kind, and counts what happened to them.
fn check_all(few: u64, make: fn(&mut Random) -> Guest) -> Total {
    let (first, start) = (first_seed(), Instant::now());
    let mut total = Total::default();
    while goes_on(start, total.guests, few) {
        let seed = first + total.guests;
        check(make(&mut Random(seed << 20)), seed, &mut total);
    }
    total
}

#[test]
fn guests_over_silicon_do_what_they_do_over_the_software_cpu() {
    let total = check_all(400, guest);
    let Total {
        guests,
        instructions,
        counts,
        taken,
    } = total;
    say(&format!(
        "random guests over silicon: {guests}, {instructions} instructions, {taken} entries taken; {counts:?}"
    ));
    for (what, count, least) in [
        ("fills", counts.fills, guests),
        ("stolen", counts.stolen, guests),
        ("evicted", counts.evicted, guests / 20),
        ("dropped", counts.dropped, guests),
        ("iccci", counts.iccci, guests),
        ("single", counts.single, guests),
        ("fp_loads", counts.fp_loads, guests),
    ] {
        assert!(count >= least, "{what} happened {count} times");
    }
    // The software CPU raises no machine check, no AP unavailable, and no critical interrupt of a host.
    for number in [2, 3, 4, 5, 6, 7, 8, 10, 13, 14] {
        assert!(counts.exits[number] >= guests / 40, "interrupt {number}");
    }
}

#[test]
fn guests_that_found_mistakes_agree() {
    let mut total = Total::default();
    for (seed, (_, guest)) in found::all().into_iter().enumerate() {
        check(guest, seed as u64, &mut total);
    }
}

#[test]
fn large_pages_and_neighbours_agree() {
    check_all(200, guest_of_large_pages);
    check_all(200, guest_of_neighbours);
}
