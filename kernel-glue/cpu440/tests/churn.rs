//! A guest that rewrites its code and its data all the time, on pages that come and go: what the
//! translator holds stays within its bounds, and every change is seen.
//!
//! `PPCKVM_LONG` gives the seconds to go on for.
#![cfg(target_arch = "x86_64")]

#[path = "../../../tests/support/isa/seeds.rs"]
mod seeds;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use ppc440_cpu::{Clock, Cpu, Engine, Pins, Region, Windows, memory_file};
use ppc440_isa::{Mapping, NoSupervisor, Regs, Trap};

/// Where the rewritten routines are, for the guest: twice as many pages as may have code at once.
const ROUTINES: u32 = 0x0400_0000;
const PAGES: u32 = 8192;
/// Where they are in RAM.
const RAM: u32 = 0x1000;
/// Bytes from one routine to the next.
const ROUTINE: u32 = 256;
/// Words of a routine that are rewritten.
const REWRITTEN: usize = 16;
/// Calls between two looks from outside.
const CALLS: u32 = 2000;

const ADDI_R7: u32 = 0x38E7_0000;
const BLR: u32 = 0x4E80_0020;

/// Where the data are, for the guest and in RAM: a word for each page of routines.
const DATA: u32 = 0x1000_0000;
const DATA_RAM: u32 = RAM + PAGES * 4096;
const DATA_PAGES: u32 = 1024;

/// Takes a routine and one of its words by a random number, gives it another number to add to r7,
/// adds that number to a word of data, and calls the routine; `r4` times.
const PROGRAM: [u32; 17] = [
    0x7CC6_A1D6, // mullw r6,r6,r20
    0x7CC6_AA14, // add r6,r6,r21
    0x54C3_C9EE, // rlwinm r3,r6,25,7,23
    0x546A_EABA, // rlwinm r10,r3,29,10,29
    0x7C63_C214, // add r3,r3,r24
    0x54C9_16BA, // rlwinm r9,r6,2,26,29
    0x54C8_657E, // rlwinm r8,r6,12,21,31
    0x7D7A_502E, // lwzx r11,r26,r10
    0x7D6B_4214, // add r11,r11,r8
    0x7D7A_512E, // stwx r11,r26,r10
    0x7D08_BB78, // or r8,r8,r23
    0x7D83_482E, // lwzx r12,r3,r9
    0x7D03_492E, // stwx r8,r3,r9
    0x7C69_03A6, // mtctr r3
    0x4E80_0421, // bctrl
    0x3484_FFFF, // addic. r4,r4,-1
    0x4082_FFC0, // bne back to the start
];
const SC: u32 = 0x4400_0002;

/// The guest's random numbers.
fn next(random: u32) -> u32 {
    random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

struct Guest {
    cpu: Cpu,
    regs: Regs,
    /// The RAM page of each effective page of routines.
    pages: Vec<u32>,
    /// The numbers that each routine in RAM adds.
    numbers: Vec<[u16; REWRITTEN]>,
    /// The RAM page of each effective page of data, counted from the first.
    data_pages: Vec<u32>,
    /// The words of data, as they are in RAM.
    data: Vec<u32>,
}

impl Guest {
    fn new(windows: Option<Windows>) -> Self {
        let bytes = (DATA_RAM + DATA_PAGES * 4096) as usize;
        let region = match windows {
            Some(_) => memory_file(bytes).expect("a memory file"),
            None => Region::new(bytes).expect("anonymous memory"),
        };
        let clock = Clock::Virtual;
        let cpu = Cpu::new(Arc::new(region), Pins::new(), clock, 1, Engine::Translator);
        let mut cpu = cpu.expect("a CPU");
        if let Some(windows) = windows {
            cpu.set_windows(windows);
        }
        let mut guest = Guest {
            cpu,
            regs: Regs::default(),
            pages: (0..PAGES).map(|page| RAM + page * 4096).collect(),
            numbers: vec![[1; REWRITTEN]; (PAGES * 4096 / ROUTINE) as usize],
            data_pages: (0..DATA_PAGES).collect(),
            data: vec![0; DATA_PAGES as usize * 1024],
        };
        guest.regs.gpr[6] = seeds::first_seed() as u32;
        guest.regs.gpr[20] = 1_664_525;
        guest.regs.gpr[21] = 1_013_904_223;
        guest.regs.gpr[23] = ADDI_R7;
        guest.regs.gpr[24] = ROUTINES;
        guest.regs.gpr[26] = DATA;
        guest.store(0, &PROGRAM);
        guest.store(4 * PROGRAM.len() as u32, &[SC]);
        guest.map(0, 0);
        for page in 0..PAGES {
            guest.map(ROUTINES + page * 4096, RAM + page * 4096);
        }
        for page in 0..DATA_PAGES {
            guest.map(DATA + page * 4096, DATA_RAM + page * 4096);
        }
        for at in (RAM..RAM + PAGES * 4096).step_by(ROUTINE as usize) {
            guest.write_routine(at);
        }
        guest
    }

    fn store(&mut self, ram: u32, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert!(self.cpu.store(ram, &bytes));
    }

    /// A routine that is two blocks, the second linked to the first.
    fn write_routine(&mut self, ram: u32) {
        let mut words = [ADDI_R7 | 1; REWRITTEN + 18];
        words[REWRITTEN] = 0x4800_0004; // b to the next
        words[REWRITTEN + 17] = BLR;
        self.store(ram, &words);
        self.numbers[((ram - RAM) / ROUTINE) as usize] = [1; REWRITTEN];
    }

    fn map(&mut self, ea: u32, ram: u32) {
        self.cpu.map(0, ea, &Mapping::page(ea, ram));
    }

    /// Maps each of two pages where the other was.
    fn exchange(&mut self, a: u32, b: u32) {
        self.pages.swap(a as usize, b as usize);
        for page in [a, b] {
            let ea = ROUTINES + page * 4096;
            self.cpu.unmap(0, ea, 4096);
            self.map(ea, self.pages[page as usize]);
        }
    }

    /// Likewise of data.
    fn exchange_data(&mut self, a: u32, b: u32) {
        self.data_pages.swap(a as usize, b as usize);
        for page in [a, b] {
            let ea = DATA + page * 4096;
            self.cpu.unmap(0, ea, 4096);
            self.map(ea, DATA_RAM + self.data_pages[page as usize] * 4096);
        }
    }

    /// Lets the guest run, and checks what it added up.
    fn run(&mut self) {
        let (mut random, mut sum) = (self.regs.gpr[6], self.regs.gpr[7]);
        self.regs.pc = 0;
        self.regs.gpr[4] = CALLS;
        assert_eq!(
            self.cpu.enter(&mut self.regs, u32::MAX, &mut NoSupervisor),
            Trap::Syscall
        );
        for _ in 0..CALLS {
            random = next(random);
            let at = random >> 7 & 0x01FF_FF00;
            let ram = self.pages[(at >> 12) as usize] + (at & 0xFFF);
            let numbers = &mut self.numbers[((ram - RAM) / ROUTINE) as usize];
            let number = random >> 20 & 0x7FF;
            numbers[(random & 15) as usize] = number as u16;
            let data = at >> 3 & 0x003F_FFFC;
            let word = self.data_pages[(data >> 12) as usize] * 1024 + (data >> 2 & 0x3FF);
            let word = &mut self.data[word as usize];
            *word = word.wrapping_add(number);
            let rewritten: u32 = numbers.iter().map(|number| u32::from(*number)).sum();
            sum = sum.wrapping_add(rewritten + 16);
        }
        assert_eq!((self.regs.gpr[6], self.regs.gpr[7]), (random, sum));
    }
}

/// This process's resident memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("a number of kilobytes")
}

/// Runs the guest, and looks at what is held in between.
fn churn(what: &str, windows: Option<Windows>, least: u64) {
    let mut guest = Guest::new(windows);
    let mut random = 1;
    let mut warm = None;
    let (start, mut rounds) = (Instant::now(), 0);
    while seeds::goes_on(start, rounds, least) || warm.is_none() {
        guest.run();
        for _ in 0..3 {
            random = next(random);
            let (a, b) = (random >> 8 & (PAGES - 1), random >> 19 & (PAGES - 1));
            guest.exchange(a, b);
            guest.write_routine(RAM + a * 4096);
            guest.exchange_data(a % DATA_PAGES, b % DATA_PAGES);
        }
        let held = guest.cpu.translator_statistics().expect("a translator");
        assert!(held.code_bytes + held.table_bytes <= 64 << 20, "{held:?}");
        let most = windows.map(|windows| windows.most as u64);
        assert!(
            held.shown_pages.is_some() == most.is_some() && held.shown_pages <= most,
            "{held:?}"
        );
        // Everything that grows does so until the code memory has been filled some times.
        if rounds == 2 * least / 3 {
            assert!(held.evicted > 100_000, "{held:?}");
            warm = Some(resident());
        }
        rounds += 1;
    }
    for (page, ram) in (0..).zip(&guest.data_pages) {
        let words = &guest.data[*ram as usize * 1024..][..1024];
        let expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut bytes = [0; 4096];
        assert!(guest.cpu.load(DATA_RAM + ram * 4096, &mut bytes));
        assert!(bytes[..] == expected, "page {page} of the data");
    }
    let (warm, end) = (warm.expect("enough rounds"), resident());
    let held = guest.cpu.translator_statistics().expect("a translator");
    assert!(
        end < warm + (4 << 10),
        "{warm} KiB became {end} KiB: {held:?}"
    );
    let _ = writeln!(
        std::io::stderr(),
        "churn {what}: {rounds} rounds, {warm} KiB resident at first and {end} KiB at the end; {held:?}"
    );
}

// One test, so that nobody else's memory is counted.
#[test]
fn what_is_held_stays_within_its_bounds_however_much_changes() {
    churn("by tables", None, 150);
    let windows = Windows {
        at_once: true,
        most: 500,
    };
    churn("in windows", Some(windows), 80);
}
