//! Instruction cases: the text files of `tests/isa`, and the world that a case runs in.
//!
//! A row is `instructions | before | after`, one case. What `before` does not name has its default
//! ([`Registers::start`], [`FILL`] in memory); what `after` does not name must be as it was before,
//! every register and every byte. `tests/isa/README.md` describes the format in full.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use ppc440_isa::regs::msr;
use ppc440_isa::{Cr, Regs, Xer};

use super::assembler::assemble;

/// Effective address of a case's first instruction.
pub const CODE: u32 = 0x0100_0000;

/// What the code page holds where a case puts nothing: `trap`.
pub const TRAP: u32 = 0x7FE0_0008;

/// The byte that memory holds where a case puts nothing.
pub const FILL: u8 = 0xA5;

/// A page of the world.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub ea: u32,
    /// Byte offset in guest RAM, and guest-physical address.
    pub ram: u32,
    pub write: bool,
    pub execute: bool,
    /// Storage attributes as bits of TLB word 2.
    pub attributes: u32,
}

const fn page(ea: u32, ram: u32) -> Page {
    Page {
        ea,
        ram,
        write: true,
        execute: false,
        attributes: 0,
    }
}

/// Caching inhibited, in TLB word 2.
pub const INHIBITED: u32 = 0x400;
/// Little-endian, in TLB word 2.
pub const LITTLE: u32 = 0x80;

/// All that is mapped. Behind 0x20001FFF, 0x7FFF and the last three nothing is.
pub const PAGES: &[Page] = &[
    page(0x0000_7000, 0x1000),
    Page {
        write: false,
        execute: true,
        ..page(CODE, 0x2000)
    },
    page(0x2000_0000, 0x3000),
    page(0x2000_1000, 0x4000),
    Page {
        write: false,
        ..page(0x2000_3000, 0x5000)
    },
    Page {
        attributes: INHIBITED,
        ..page(0x2000_5000, 0x6000)
    },
    Page {
        attributes: LITTLE,
        ..page(0x2000_7000, 0x7000)
    },
];

/// Bytes of guest RAM.
pub const RAM: u32 = 0x8000;

/// The page at an effective address.
pub fn page_at(ea: u32) -> Option<&'static Page> {
    PAGES.iter().find(|page| ea & !0xFFF == page.ea)
}

/// The memory that cases may name, as (address, bytes); those from [`QEMU_WINDOWS`] on are in
/// pages that a user program cannot have.
pub const WINDOWS: &[(u32, usize)] = &[
    (0x0000_7000, 64),
    (0x2000_0F80, 256),
    (0x2000_1F80, 128),
    (0x2000_3000, 64),
    (0x2000_5000, 64),
    (0x2000_7000, 64),
];

/// How many of the windows a user program under `qemu-ppc` has.
pub const QEMU_WINDOWS: usize = 4;

/// Where each kind of register is in [`Registers`].
pub const GPR: usize = 0;
pub const FPR: usize = 32;
pub const CR: usize = 64;
pub const XER: usize = 65;
pub const LR: usize = 66;
pub const CTR: usize = 67;
pub const FPSCR: usize = 68;
pub const PC: usize = 69;
pub const MSR: usize = 70;
pub const RESERVE: usize = 71;
pub const USPRG0: usize = 72;
pub const SPRG: usize = 73;
pub const REGISTERS: usize = 81;

/// Every register that problem state can tell, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers(pub [u64; REGISTERS]);

impl Registers {
    /// What a case starts with where it says nothing: GPR n is 0xC0DE0nn0 with its number in
    /// decimal, FPR n is the double n + 100, MSR has FP, PC is [`CODE`], the rest is 0.
    pub fn start() -> Self {
        let mut all = [0; REGISTERS];
        for n in 0..32 {
            let digits = (n as u64 / 10) << 8 | (n as u64 % 10) << 4;
            all[GPR + n] = 0xC0DE_0000 | digits;
            all[FPR + n] = (n as f64 + 100.0).to_bits();
        }
        all[PC] = u64::from(CODE);
        all[MSR] = u64::from(msr::FP);
        Registers(all)
    }

    pub fn of(regs: &Regs) -> Self {
        let mut all = [0; REGISTERS];
        for n in 0..32 {
            all[GPR + n] = regs.gpr[n].into();
            all[FPR + n] = regs.fpr[n];
        }
        all[CR] = regs.cr.word().into();
        all[XER] = regs.xer.word().into();
        all[LR] = regs.lr.into();
        all[CTR] = regs.ctr.into();
        all[FPSCR] = regs.fpscr.into();
        all[PC] = regs.pc.into();
        all[MSR] = regs.msr.into();
        all[RESERVE] = regs.reservation.into();
        all[USPRG0] = regs.usprg0.into();
        for n in 0..8 {
            all[SPRG + n] = regs.sprg[n].into();
        }
        Registers(all)
    }

    pub fn regs(&self) -> Regs {
        let all = &self.0;
        let word = |n: usize| all[n] as u32;
        Regs {
            gpr: std::array::from_fn(|n| word(GPR + n)),
            pc: word(PC),
            msr: word(MSR),
            lr: word(LR),
            ctr: word(CTR),
            cr: Cr::from_word(word(CR)),
            xer: Xer::from_word(word(XER)),
            usprg0: word(USPRG0),
            sprg: std::array::from_fn(|n| word(SPRG + n)),
            reservation: all[RESERVE] != 0,
            fpscr: word(FPSCR),
            fpr: std::array::from_fn(|n| all[FPR + n]),
            ..Regs::default()
        }
    }
}

/// The name of a register in the case files.
pub fn register_name(index: usize) -> String {
    match index {
        GPR..FPR => format!("r{index}"),
        FPR..CR => format!("f{}", index - FPR),
        SPRG.. => format!("sprg{}", index - SPRG),
        _ => [
            "cr", "xer", "lr", "ctr", "fpscr", "pc", "msr", "reserve", "usprg0",
        ][index - CR]
            .into(),
    }
}

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The instructions completed.
    Done,
    Illegal,
    Privileged,
    /// `tw` or `twi`.
    Trap,
    /// An enabled floating-point exception.
    FloatingPoint,
    FpUnavailable,
    SystemCall,
    /// Data TLB error at this address.
    Miss(u32),
    /// Data storage interrupt at this address.
    Denied(u32),
    Alignment(u32),
    DcrRead(u32),
    /// Number and value.
    DcrWrite(u32, u32),
    /// MSR\[WE\] is set and nothing is pending.
    Wait,
    /// 1 core, 2 chip, 3 system.
    Reset(u32),
}

/// What QEMU has to do with a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Qemu {
    /// It must agree.
    Compare,
    /// It is known to differ, for this reason.
    Wrong(String),
    /// It cannot run the case, for this reason.
    Skip(String),
}

/// One row.
#[derive(Clone, Debug)]
pub struct Case {
    pub file: String,
    pub line: usize,
    pub text: String,
    pub words: Vec<u32>,
    pub user: bool,
    pub qemu: Qemu,
    pub before: Registers,
    pub after: Registers,
    /// Ones where `after` says nothing.
    pub open: Registers,
    pub memory_before: Memory,
    pub memory_after: Memory,
    pub end: End,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// The windows' bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory(pub Vec<Vec<u8>>);

impl Memory {
    pub fn filled() -> Self {
        Memory(WINDOWS.iter().map(|&(_, n)| vec![FILL; n]).collect())
    }

    fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), String> {
        for (at, &byte) in (at..).zip(bytes) {
            let slot = (WINDOWS.iter().zip(&mut self.0))
                .find_map(|(window, held)| held.get_mut(at.wrapping_sub(window.0) as usize));
            *slot.ok_or_else(|| format!("{at:08x} is in no window"))? = byte;
        }
        Ok(())
    }
}

/// Every case of every file in `tests/isa`, in order of file names.
pub fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/isa");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("tests/isa is there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "case"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no cases", folder.display());
    files.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Case> {
    let file = path.file_stem().expect("a file").to_string_lossy();
    let text = std::fs::read_to_string(path).expect("a readable file");
    let mut context = Context {
        file: file.into_owned(),
        user: true,
        qemu: Qemu::Compare,
        deviations: HashMap::new(),
        before: String::new(),
    };
    let mut cases = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let result = match line.strip_prefix('@') {
            Some(directive) => context.directive(directive),
            None => context.row(line, n + 1).map(|case| cases.push(case)),
        };
        if let Err(error) = result {
            panic!("{}:{}: {error}\n  {line}", path.display(), n + 1);
        }
    }
    cases
}

/// What the directives above a row set.
struct Context {
    file: String,
    user: bool,
    qemu: Qemu,
    /// What a row's fourth column may name.
    deviations: HashMap<String, String>,
    before: String,
}

impl Context {
    fn directive(&mut self, text: &str) -> Result<(), String> {
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        match (name, rest.split_once(' ').unwrap_or((rest, ""))) {
            ("user", _) => (self.user, self.qemu) = (true, Qemu::Compare),
            ("supervisor", _) => {
                self.user = false;
                self.qemu = Qemu::Skip("supervisor state".into());
            }
            ("qemu", ("compare", _)) => self.qemu = Qemu::Compare,
            ("qemu", ("wrong", reason)) if !reason.is_empty() => {
                self.qemu = Qemu::Wrong(reason.into());
            }
            ("qemu", ("skip", reason)) if !reason.is_empty() => {
                self.qemu = Qemu::Skip(reason.into());
            }
            ("deviation", (name, reason)) if !reason.is_empty() => {
                self.deviations.insert(name.into(), reason.into());
            }
            ("before", _) => self.before = rest.into(),
            _ => return Err("no such directive".into()),
        }
        Ok(())
    }

    fn row(&self, line: &str, number: usize) -> Result<Case, String> {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [text, before, after, ref deviation @ ..] = columns[..] else {
            return Err("a row has three columns: instructions | before | after".into());
        };
        let qemu = match deviation {
            [] => self.qemu.clone(),
            [name] => {
                let reason = self.deviations.get(*name);
                let reason = reason.ok_or_else(|| format!("no deviation is called {name}"))?;
                Qemu::Wrong(reason.clone())
            }
            _ => return Err("a row has four columns at most".into()),
        };
        let words = assemble(text)?;
        let mut start = Registers::start();
        if self.user {
            start.0[MSR] |= u64::from(msr::PR);
        } else {
            start.0[MSR] |= u64::from(msr::ME);
        }
        let mut case = Case {
            file: self.file.clone(),
            line: number,
            text: text.into(),
            words,
            user: self.user,
            qemu,
            before: start,
            after: start,
            open: Registers([0; REGISTERS]),
            memory_before: Memory::filled(),
            memory_after: Memory::filled(),
            end: End::Done,
        };
        for item in self
            .before
            .split_whitespace()
            .chain(before.split_whitespace())
        {
            case.set_before(item).map_err(|e| format!("{item}: {e}"))?;
        }
        case.after = case.before;
        case.memory_after = case.memory_before.clone();
        let end = after
            .split_whitespace()
            .find_map(|i| i.strip_prefix("end="));
        if let Some(end) = end {
            case.end = parse_end(end)?;
        }
        let whole = 4 * case.words.len() as u64;
        case.after.0[PC] += match case.end {
            End::Done | End::SystemCall | End::DcrRead(_) | End::DcrWrite(..) => whole,
            End::Wait | End::Reset(_) => whole,
            _ => whole - 4,
        };
        for item in after.split_whitespace().filter(|i| !i.starts_with("end=")) {
            case.set_after(item).map_err(|e| format!("{item}: {e}"))?;
        }
        Ok(case)
    }
}

impl Case {
    fn set_before(&mut self, item: &str) -> Result<(), String> {
        let (key, value) = item.split_once('=').ok_or("not of the form name=value")?;
        if let Some(at) = address(key)? {
            return self.memory_before.put(at, &bytes(value)?);
        }
        let (index, shift, bits) = place(key)?;
        let (value, open) = value_of(index, value)?;
        if open != 0 || index == PC {
            return Err("a start is a value, and PC is given".into());
        }
        put(&mut self.before.0[index], shift, bits, value)
    }

    fn set_after(&mut self, item: &str) -> Result<(), String> {
        let (key, value) = item.split_once('=').ok_or("not of the form name=value")?;
        if let Some(at) = address(key)? {
            return self.memory_after.put(at, &bytes(value)?);
        }
        let (index, shift, bits) = place(key)?;
        let (value, open) = value_of(index, value)?;
        self.open.0[index] |= (open & bits) << shift;
        put(&mut self.after.0[index], shift, bits, value)
    }
}

fn put(register: &mut u64, shift: u32, bits: u64, value: u64) -> Result<(), String> {
    if value & !bits != 0 {
        return Err("the value does not fit".into());
    }
    *register = *register & !(bits << shift) | value << shift;
    Ok(())
}

fn address(key: &str) -> Result<Option<u32>, String> {
    let Some(inside) = key.strip_prefix('[').and_then(|k| k.strip_suffix(']')) else {
        return Ok(None);
    };
    hex(inside).map(|at| Some(at as u32))
}

fn hex(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| format!("{text} is not hexadecimal"))
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err("bytes are pairs of digits".into());
    }
    (0..text.len() / 2)
        .map(|n| hex(&text[2 * n..2 * n + 2]).map(|byte| byte as u8))
        .collect()
}

/// Index, shift and width of what a name stands for.
fn place(key: &str) -> Result<(usize, u32, u64), String> {
    const WORD: u64 = 0xFFFF_FFFF;
    let numbered = |prefix: &str, count: usize| -> Option<usize> {
        let n: usize = key.strip_prefix(prefix)?.parse().ok()?;
        (n < count).then_some(n)
    };
    if let Some(n) = numbered("r", 32) {
        return Ok((GPR + n, 0, WORD));
    }
    if let Some(n) = numbered("f", 32) {
        return Ok((FPR + n, 0, u64::MAX));
    }
    if let Some(n) = numbered("cr", 8) {
        return Ok((CR, 28 - 4 * n as u32, 0xF));
    }
    (CR..REGISTERS)
        .find(|&index| register_name(index) == key)
        .map(|index| (index, 0, if index == RESERVE { 1 } else { WORD }))
        .ok_or_else(|| format!("no register is called {key}"))
}

/// A value and the bits that it leaves open: hexadecimal, `?` for all open, `value~mask` for some.
/// A floating-point register also takes a name; PC also `.+8`.
fn value_of(index: usize, text: &str) -> Result<(u64, u64), String> {
    if text == "?" {
        return Ok((0, u64::MAX));
    }
    let (value, open) = match text.split_once('~') {
        Some((value, open)) => (value, hex(open)?),
        None => (text, 0),
    };
    if index == PC
        && let Some(distance) = value.strip_prefix('.')
    {
        let distance: i64 = distance.parse().map_err(|_| "not a distance")?;
        return Ok(((i64::from(CODE) + distance) as u64, open));
    }
    if (FPR..CR).contains(&index)
        && let Some((sign, name)) = value.split_at_checked(1)
        && matches!(sign, "+" | "-")
    {
        let magnitude = float_named(name).ok_or_else(|| format!("no number is called {name}"))?;
        return Ok((magnitude | u64::from(sign == "-") << 63, open));
    }
    Ok((hex(value)?, open))
}

/// Doubles that have a name in the case files.
fn float_named(name: &str) -> Option<u64> {
    Some(match name {
        "0" => 0,
        "inf" => 0x7FF0_0000_0000_0000,
        // The NaN that an invalid operation makes, and two with fractions to tell apart.
        "nan" => 0x7FF8_0000_0000_0000,
        "qnan" => 0x7FF8_1234_5678_9ABC,
        "snan" => 0x7FF4_1234_5678_9ABC,
        // Smallest and largest of each kind.
        "denmin" => 1,
        "denmax" => 0x000F_FFFF_FFFF_FFFF,
        "min" => 0x0010_0000_0000_0000,
        "max" => 0x7FEF_FFFF_FFFF_FFFF,
        "sdenmin" => 0x36A0_0000_0000_0000,
        "sdenmax" => 0x380F_FFFF_C000_0000,
        "smin" => 0x3810_0000_0000_0000,
        "smax" => 0x47EF_FFFF_E000_0000,
        _ => {
            return name
                .parse::<f64>()
                .ok()
                .filter(|v| v.is_finite())
                .map(f64::to_bits);
        }
    })
}

fn parse_end(text: &str) -> Result<End, String> {
    let (name, value) = text.split_once('@').unwrap_or((text, ""));
    let at = || hex(value).map(|at| at as u32);
    Ok(match name {
        "illegal" => End::Illegal,
        "privileged" => End::Privileged,
        "trap" => End::Trap,
        "float" => End::FloatingPoint,
        "fp-unavailable" => End::FpUnavailable,
        "call" => End::SystemCall,
        "miss" => End::Miss(at()?),
        "denied" => End::Denied(at()?),
        "alignment" => End::Alignment(at()?),
        "wait" => End::Wait,
        "reset" => End::Reset(at()?),
        "dcr-read" => End::DcrRead(at()?),
        "dcr-write" => {
            let (number, value) = value.split_once(':').ok_or("dcr-write@number:value")?;
            End::DcrWrite(hex(number)? as u32, hex(value)? as u32)
        }
        _ => return Err(format!("no case ends with {name}")),
    })
}

/// What is different from what a case expects, a line each. `memory` has as many windows as were
/// looked at.
pub fn differences(
    case: &Case,
    end: End,
    registers: &Registers,
    memory: &[Vec<u8>],
) -> Vec<String> {
    let mut lines = Vec::new();
    if end != case.end {
        lines.push(format!("ends with {end:x?}, not {:x?}", case.end));
    }
    for index in 0..REGISTERS {
        let (got, want) = (registers.0[index], case.after.0[index]);
        if (got ^ want) & !case.open.0[index] != 0 {
            let name = register_name(index);
            lines.push(format!("{name} is {got:x}, not {want:x}"));
        }
    }
    for ((&(at, _), got), want) in WINDOWS.iter().zip(memory).zip(&case.memory_after.0) {
        for (n, (got, want)) in got.iter().zip(want).enumerate() {
            if got != want {
                let at = at + n as u32;
                lines.push(format!("[{at:08x}] is {got:02x}, not {want:02x}"));
            }
        }
    }
    lines
}
