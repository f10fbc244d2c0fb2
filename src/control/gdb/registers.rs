//! Registers as gdb knows them: their numbers, names and order, and where they are in the machine.
//!
//! Core registers and floating point have gdb's own numbers and are what `g` and `G` carry. SPRs have
//! QEMU's feature and names, so that scripts move over; they and the DCRs are read one by one.

use std::fmt::Write;
use std::num::NonZeroUsize;

use gdbstub::arch::{Arch, RegId, Registers};
use ppckvm_api::{Cr, State, Xer};

/// A 440 as gdb's remote protocol has it.
pub enum Power440 {}

impl Arch for Power440 {
    type Usize = u32;
    type Registers = CoreRegisters;
    type BreakpointKind = usize;
    type RegId = Register;
}

/// What `g` and `G` carry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoreRegisters {
    pub gpr: [u32; 32],
    pub fpr: [u64; 32],
    pub pc: u32,
    pub msr: u32,
    pub cr: u32,
    pub lr: u32,
    pub ctr: u32,
    pub xer: u32,
    pub fpscr: u32,
}

/// Bytes of them.
pub const CORE_BYTES: usize = 32 * 4 + 32 * 8 + 7 * 4;

impl Registers for CoreRegisters {
    type ProgramCounter = u32;

    fn pc(&self) -> u32 {
        self.pc
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        let mut put = |bytes: &[u8]| bytes.iter().for_each(|byte| write_byte(Some(*byte)));
        self.gpr.iter().for_each(|gpr| put(&gpr.to_be_bytes()));
        self.fpr.iter().for_each(|fpr| put(&fpr.to_be_bytes()));
        let rest = [
            self.pc, self.msr, self.cr, self.lr, self.ctr, self.xer, self.fpscr,
        ];
        rest.iter().for_each(|word| put(&word.to_be_bytes()));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        if bytes.len() < CORE_BYTES {
            return Err(());
        }
        let (gprs, rest) = bytes.split_at(128);
        let (fprs, rest) = rest.split_at(256);
        let words = |bytes: &[u8]| -> Vec<u32> {
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|word| u32::from_be_bytes(*word))
                .collect()
        };
        self.gpr.copy_from_slice(&words(gprs));
        for (fpr, bytes) in self.fpr.iter_mut().zip(fprs.as_chunks::<8>().0) {
            *fpr = u64::from_be_bytes(*bytes);
        }
        if let [pc, msr, cr, lr, ctr, xer, fpscr, ..] = words(rest)[..] {
            (self.pc, self.msr, self.cr, self.lr) = (pc, msr, cr, lr);
            (self.ctr, self.xer, self.fpscr) = (ctr, xer, fpscr);
        }
        Ok(())
    }
}

impl CoreRegisters {
    pub fn of(state: &State) -> Self {
        let regs = &state.regs;
        CoreRegisters {
            gpr: regs.gpr,
            fpr: regs.fpr,
            pc: regs.pc,
            msr: regs.msr,
            cr: regs.cr.word(),
            lr: regs.lr,
            ctr: regs.ctr,
            xer: regs.xer.word(),
            fpscr: regs.fpscr,
        }
    }

    pub fn put(&self, state: &mut State) {
        let regs = &mut state.regs;
        (regs.gpr, regs.fpr) = (self.gpr, self.fpr);
        (regs.pc, regs.msr) = (self.pc & !3, self.msr);
        regs.cr = Cr::from_word(self.cr);
        (regs.lr, regs.ctr) = (self.lr, self.ctr);
        regs.xer = Xer::from_word(self.xer);
        regs.fpscr = self.fpscr;
    }
}

/// One register, by gdb's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Gpr(usize),
    Fpr(usize),
    Pc,
    Msr,
    Cr,
    Lr,
    Ctr,
    Xer,
    Fpscr,
    /// By its place in [`SPRS`].
    Spr(usize),
    /// By its place in [`DCRS`].
    Dcr(usize),
}

const FIRST_FPR: usize = 32;
const PC: usize = 64;
const FPSCR: usize = 70;
const FIRST_SPR: usize = 71;
const FIRST_DCR: usize = FIRST_SPR + SPRS.len();

impl RegId for Register {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let named = [
            Register::Pc,
            Register::Msr,
            Register::Cr,
            Register::Lr,
            Register::Ctr,
            Register::Xer,
            Register::Fpscr,
        ];
        let register = match id {
            gpr @ ..FIRST_FPR => Register::Gpr(gpr),
            fpr @ ..PC => Register::Fpr(fpr - FIRST_FPR),
            named_one @ ..=FPSCR => named[named_one - PC],
            spr @ ..FIRST_DCR => Register::Spr(spr - FIRST_SPR),
            dcr if dcr - FIRST_DCR < DCRS.len() => Register::Dcr(dcr - FIRST_DCR),
            _ => return None,
        };
        let bytes = match register {
            Register::Fpr(_) => 8,
            _ => 4,
        };
        Some((register, NonZeroUsize::new(bytes)))
    }
}

/// Where an SPR is in the machine's state.
type Place = fn(&mut State) -> &mut u32;

/// SPRs that are storage, by QEMU's names.
pub const SPRS: &[(&str, Place)] = &[
    ("srr0", |state| &mut state.regs.srr0),
    ("srr1", |state| &mut state.regs.srr1),
    ("csrr0", |state| &mut state.regs.csrr0),
    ("csrr1", |state| &mut state.regs.csrr1),
    ("dear", |state| &mut state.regs.dear),
    ("esr", |state| &mut state.regs.esr),
    ("usprg0", |state| &mut state.regs.usprg0),
    ("sprg0", |state| &mut state.regs.sprg[0]),
    ("sprg1", |state| &mut state.regs.sprg[1]),
    ("sprg2", |state| &mut state.regs.sprg[2]),
    ("sprg3", |state| &mut state.regs.sprg[3]),
    ("sprg4", |state| &mut state.regs.sprg[4]),
    ("sprg5", |state| &mut state.regs.sprg[5]),
    ("sprg6", |state| &mut state.regs.sprg[6]),
    ("sprg7", |state| &mut state.regs.sprg[7]),
    ("mmucr", |state| &mut state.regs.mmucr),
    ("pvr", |state| &mut state.sprs.pvr),
    ("ivpr", |state| &mut state.sprs.ivpr),
    ("ivor0", |state| &mut state.sprs.ivor[0]),
    ("ivor1", |state| &mut state.sprs.ivor[1]),
    ("ivor2", |state| &mut state.sprs.ivor[2]),
    ("ivor3", |state| &mut state.sprs.ivor[3]),
    ("ivor4", |state| &mut state.sprs.ivor[4]),
    ("ivor5", |state| &mut state.sprs.ivor[5]),
    ("ivor6", |state| &mut state.sprs.ivor[6]),
    ("ivor7", |state| &mut state.sprs.ivor[7]),
    ("ivor8", |state| &mut state.sprs.ivor[8]),
    ("ivor9", |state| &mut state.sprs.ivor[9]),
    ("ivor10", |state| &mut state.sprs.ivor[10]),
    ("ivor11", |state| &mut state.sprs.ivor[11]),
    ("ivor12", |state| &mut state.sprs.ivor[12]),
    ("ivor13", |state| &mut state.sprs.ivor[13]),
    ("ivor14", |state| &mut state.sprs.ivor[14]),
    ("ivor15", |state| &mut state.sprs.ivor[15]),
    ("mcsrr0", |state| &mut state.sprs.mcsrr0),
    ("mcsrr1", |state| &mut state.sprs.mcsrr1),
    ("mcsr", |state| &mut state.sprs.mcsr),
    ("ccr0", |state| &mut state.sprs.ccr0),
    ("ccr1", |state| &mut state.sprs.ccr1),
    ("dbcr0", |state| &mut state.sprs.dbcr0),
    ("dbcr1", |state| &mut state.sprs.dbcr1),
    ("dbcr2", |state| &mut state.sprs.dbcr2),
    ("dbsr", |state| &mut state.sprs.dbsr),
    ("iac1", |state| &mut state.sprs.iac[0]),
    ("iac2", |state| &mut state.sprs.iac[1]),
    ("iac3", |state| &mut state.sprs.iac[2]),
    ("iac4", |state| &mut state.sprs.iac[3]),
    ("dac1", |state| &mut state.sprs.dac[0]),
    ("dac2", |state| &mut state.sprs.dac[1]),
    ("dvc1", |state| &mut state.sprs.dvc[0]),
    ("dvc2", |state| &mut state.sprs.dvc[1]),
    ("rstcfg", |state| &mut state.sprs.rstcfg),
    ("dbdr", |state| &mut state.sprs.dbdr),
    ("decr", |state| &mut state.timers.dec),
    ("decar", |state| &mut state.timers.decar),
    ("tcr", |state| &mut state.timers.tcr),
    ("tsr", |state| &mut state.timers.tsr),
];

/// DCRs that are told, of the interrupt controllers: a read here has no effect on them.
pub const DCRS: [&str; 14] = [
    "uic0_sr", "uic0_er", "uic0_cr", "uic0_pr", "uic0_tr", "uic0_msr", "uic0_vcr", "uic1_sr",
    "uic1_er", "uic1_cr", "uic1_pr", "uic1_tr", "uic1_msr", "uic1_vcr",
];

/// The value of a register that `g` does not carry, or of one that it does.
pub fn read(state: &mut State, dcrs: &[u32], register: Register, buffer: &mut [u8]) -> usize {
    let core = CoreRegisters::of(state);
    let word = match register {
        Register::Fpr(fpr) => {
            let bytes = core.fpr[fpr & 31].to_be_bytes();
            buffer[..8].copy_from_slice(&bytes);
            return 8;
        }
        Register::Gpr(gpr) => core.gpr[gpr & 31],
        Register::Pc => core.pc,
        Register::Msr => core.msr,
        Register::Cr => core.cr,
        Register::Lr => core.lr,
        Register::Ctr => core.ctr,
        Register::Xer => core.xer,
        Register::Fpscr => core.fpscr,
        Register::Spr(place) => SPRS.get(place).map_or(0, |(_, at)| *at(state)),
        Register::Dcr(place) => dcrs.get(place).copied().unwrap_or(0),
    };
    buffer[..4].copy_from_slice(&word.to_be_bytes());
    4
}

/// Gives a register a value; `false` for one that cannot be written, or a value of another size.
pub fn write(state: &mut State, register: Register, value: &[u8]) -> bool {
    let mut core = CoreRegisters::of(state);
    let word = value.first_chunk().map(|word| u32::from_be_bytes(*word));
    let (Some(word), 4) = (word, value.len()) else {
        return match (register, value.try_into().map(u64::from_be_bytes)) {
            (Register::Fpr(fpr), Ok(bits)) => {
                state.regs.fpr[fpr & 31] = bits;
                true
            }
            _ => false,
        };
    };
    let place = match register {
        Register::Gpr(gpr) => &mut core.gpr[gpr & 31],
        Register::Pc => &mut core.pc,
        Register::Msr => &mut core.msr,
        Register::Cr => &mut core.cr,
        Register::Lr => &mut core.lr,
        Register::Ctr => &mut core.ctr,
        Register::Xer => &mut core.xer,
        Register::Fpscr => &mut core.fpscr,
        Register::Spr(place) => {
            let Some((_, at)) = SPRS.get(place).filter(|(name, _)| *name != "pvr") else {
                return false;
            };
            *at(state) = word;
            return true;
        }
        Register::Fpr(_) | Register::Dcr(_) => return false,
    };
    *place = word;
    core.put(state);
    true
}

/// One of the files in which gdb reads what registers there are.
pub fn description(annex: &[u8]) -> Option<String> {
    const HEAD: &str = "<?xml version=\"1.0\"?>\n<!DOCTYPE ";
    let mut text = String::from(HEAD);
    let feature = |text: &mut String, name: &str| {
        let _ = write!(
            text,
            "feature SYSTEM \"gdb-target.dtd\">\n<feature name=\"{name}\">\n"
        );
    };
    let one = |text: &mut String, name: &str, number: usize, bits: u32, rest: &str| {
        let _ = writeln!(
            text,
            "<reg name=\"{name}\" bitsize=\"{bits}\" regnum=\"{number}\"{rest}/>"
        );
    };
    match annex {
        b"target.xml" => {
            text.push_str("target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n");
            text.push_str("<architecture>powerpc:common</architecture>\n");
            for file in [
                "power-core.xml",
                "power-fpu.xml",
                "power-spr.xml",
                "power440-dcr.xml",
            ] {
                let _ = writeln!(text, "<xi:include href=\"{file}\"/>");
            }
            text.push_str("</target>\n");
            return Some(text);
        }
        b"power-core.xml" => {
            feature(&mut text, "org.gnu.gdb.power.core");
            for gpr in 0..32 {
                one(&mut text, &format!("r{gpr}"), gpr, 32, " type=\"uint32\"");
            }
            one(&mut text, "pc", PC, 32, " type=\"code_ptr\"");
            one(&mut text, "msr", PC + 1, 32, " type=\"uint32\"");
            one(&mut text, "cr", PC + 2, 32, " type=\"uint32\"");
            one(&mut text, "lr", PC + 3, 32, " type=\"code_ptr\"");
            one(&mut text, "ctr", PC + 4, 32, " type=\"uint32\"");
            one(&mut text, "xer", PC + 5, 32, " type=\"uint32\"");
        }
        b"power-fpu.xml" => {
            feature(&mut text, "org.gnu.gdb.power.fpu");
            for fpr in 0..32 {
                let number = FIRST_FPR + fpr;
                one(
                    &mut text,
                    &format!("f{fpr}"),
                    number,
                    64,
                    " type=\"ieee_double\"",
                );
            }
            one(&mut text, "fpscr", FPSCR, 32, " group=\"float\"");
        }
        b"power-spr.xml" => {
            feature(&mut text, "org.qemu.power.spr");
            for (place, (name, _)) in SPRS.iter().enumerate() {
                one(&mut text, name, FIRST_SPR + place, 32, " group=\"spr\"");
            }
        }
        b"power440-dcr.xml" => {
            feature(&mut text, "org.ppckvm.power440.dcr");
            for (place, name) in DCRS.iter().enumerate() {
                one(&mut text, name, FIRST_DCR + place, 32, " group=\"dcr\"");
            }
        }
        _ => return None,
    }
    text.push_str("</feature>\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core() -> CoreRegisters {
        CoreRegisters {
            gpr: std::array::from_fn(|n| 0x1000_0000 + n as u32),
            fpr: std::array::from_fn(|n| 0x4000_0000_0000_0000 + n as u64),
            pc: 0xC000_0004,
            msr: 0x29000,
            cr: 0x2400_0042,
            lr: 8,
            ctr: 7,
            xer: 0x2000_0000,
            fpscr: 0xA000_0000,
        }
    }

    #[test]
    fn core_registers_come_in_gdbs_order_and_go_back() {
        let mut bytes = Vec::new();
        core().gdb_serialize(|byte| bytes.push(byte.unwrap()));
        assert_eq!(bytes.len(), CORE_BYTES);
        assert_eq!(bytes[4..8], [0x10, 0, 0, 1]);
        assert_eq!(bytes[128..136], [0x40, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[384..388], [0xC0, 0, 0, 4]);
        assert_eq!(bytes[CORE_BYTES - 4..], [0xA0, 0, 0, 0]);
        let mut back = CoreRegisters::default();
        back.gdb_deserialize(&bytes).unwrap();
        assert_eq!(back, core());
        assert!(back.gdb_deserialize(&bytes[1..]).is_err());
    }

    #[test]
    fn each_register_of_the_descriptions_is_one_that_is_read() {
        let mut numbers = Vec::new();
        for annex in [
            "power-core.xml",
            "power-fpu.xml",
            "power-spr.xml",
            "power440-dcr.xml",
        ] {
            let text = description(annex.as_bytes()).unwrap();
            for line in text.lines().filter(|line| line.starts_with("<reg ")) {
                let number = line
                    .split("regnum=\"")
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap();
                let number: usize = number.parse().unwrap();
                let (_, bytes) = Register::from_raw_id(number).unwrap();
                let bits = format!("bitsize=\"{}\"", 8 * bytes.unwrap().get());
                assert!(line.contains(&bits), "{line}");
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..FIRST_DCR + DCRS.len()).collect::<Vec<_>>());
        assert!(Register::from_raw_id(numbers.len()).is_none());
        assert!(description(b"other.xml").is_none());
    }
}
