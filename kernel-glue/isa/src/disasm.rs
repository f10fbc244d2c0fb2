//! From an instruction word to assembler text, as GNU `objdump -M 440` prints it.
//!
//! The table gives every instruction its mnemonic and operands; what is here is the text of each
//! kind of operand and the simplified mnemonics (`li`, `mr`, `beq`, `mflr`) that objdump prefers.
//! Where it differs from objdump: it knows `mftb`, it names only the special registers that the
//! 440EP has, and it prints branches whose reserved BO bits are set, which objdump refuses.

use core::fmt::{self, Write};

use crate::{Insn, Operand, Word, decode, spr};

/// The text of the instruction `word` at effective address `address`, which branch targets count
/// from. A word that is no instruction is `.long` and its value.
pub fn disassemble(word: u32, address: u32) -> Disassembly {
    Disassembly { word, address }
}

/// An instruction to be printed; see [`disassemble`].
///
/// ```
/// use ppc440_isa::disasm::disassemble;
/// assert_eq!(disassemble(0x4082_FFF8, 0xC000_0010).to_string(), "bne+    0xc0000008");
/// assert_eq!(disassemble(0x7C00_0000, 0).to_string(), "cmpw    r0,r0");
/// assert_eq!(disassemble(0x0000_0000, 0).to_string(), ".long 0x0");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disassembly {
    word: u32,
    address: u32,
}

impl fmt::Display for Disassembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match decode(self.word) {
            Some(insn) => Text::of(insn, Word(self.word), self.address).fmt(f),
            None => write!(f, ".long {:#x}", self.word),
        }
    }
}

/// One operand as it is printed.
#[derive(Clone, Copy)]
enum Arg {
    Gpr(usize),
    /// GPR 0 stands for the value 0.
    GprOrZero(usize),
    Fpr(usize),
    CrField(usize),
    CrBit(u32),
    Signed(i32),
    Unsigned(u32),
    Target(u32),
    /// Displacement and base.
    Memory(i32, usize),
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Arg::GprOrZero(0) => f.write_str("0"),
            Arg::Gpr(n) | Arg::GprOrZero(n) => write!(f, "r{n}"),
            Arg::Fpr(n) => write!(f, "f{n}"),
            Arg::CrField(n) => write!(f, "cr{n}"),
            Arg::CrBit(n) => {
                let name = ["lt", "gt", "eq", "so"][n as usize % 4];
                match n / 4 {
                    0 => f.write_str(name),
                    field => write!(f, "4*cr{field}+{name}"),
                }
            }
            Arg::Signed(value) => write!(f, "{value}"),
            Arg::Unsigned(value) => write!(f, "{value}"),
            Arg::Target(address) => write!(f, "{address:#x}"),
            Arg::Memory(displacement, base) => {
                write!(f, "{displacement}({})", Arg::GprOrZero(base))
            }
        }
    }
}

/// A list of at most `N` items without allocation. No instruction has more operands, and no
/// mnemonic more pieces, than the lists below hold; what would not fit is dropped.
#[derive(Clone, Copy)]
struct List<T, const N: usize> {
    items: [T; N],
    length: usize,
}

impl<T: Copy, const N: usize> List<T, N> {
    fn of(items: &[T], filler: T) -> Self {
        let mut list = List {
            items: [filler; N],
            length: 0,
        };
        for &item in items {
            list.push(item);
        }
        list
    }

    fn push(&mut self, item: T) {
        if let Some(slot) = self.items.get_mut(self.length) {
            *slot = item;
            self.length += 1;
        }
    }

    fn as_slice(&self) -> &[T] {
        &self.items[..self.length]
    }
}

/// A line in pieces: the mnemonic's, printed without a gap, and the operands.
struct Text {
    mnemonic: List<&'static str, 6>,
    args: List<Arg, 5>,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut width = 0;
        for piece in self.mnemonic.as_slice() {
            // Only the registers' names come in capitals.
            for letter in piece.chars() {
                f.write_char(letter.to_ascii_lowercase())?;
            }
            width += piece.len();
        }
        for (i, arg) in self.args.as_slice().iter().enumerate() {
            if i == 0 {
                write!(f, "{:1$}", "", 8usize.saturating_sub(width).max(1))?;
            } else {
                f.write_str(",")?;
            }
            arg.fmt(f)?;
        }
        Ok(())
    }
}

impl Text {
    fn new(mnemonic: &[&'static str], args: &[Arg]) -> Text {
        Text {
            mnemonic: List::of(mnemonic, ""),
            args: List::of(args, Arg::Unsigned(0)),
        }
    }

    fn of(insn: Insn, word: Word, address: u32) -> Text {
        if let Some(text) = branch(insn, word, address).or_else(|| special_register(insn, word)) {
            return text;
        }
        let simplified = simplified(insn, word);
        let needs_operands = simplified.is_none();
        let mut text = simplified.unwrap_or_else(|| Text::new(&[unsuffixed(insn)], &[]));
        for &operand in insn.operands() {
            match operand {
                Operand::Oe if word.oe() => text.mnemonic.push("o"),
                Operand::Rc if word.rc() => text.mnemonic.push("."),
                Operand::Lk if word.lk() => text.mnemonic.push("l"),
                Operand::Aa if word.aa() => text.mnemonic.push("a"),
                Operand::Oe | Operand::Rc | Operand::Lk | Operand::Aa => {}
                _ if needs_operands => {
                    if let Some(arg) = arg(insn, operand, word, address) {
                        text.args.push(arg);
                    }
                }
                _ => {}
            }
        }
        text
    }
}

/// The mnemonic that stands when no simplified one does: compares name their operand size.
fn unsuffixed(insn: Insn) -> &'static str {
    match insn {
        Insn::Cmp => "cmpw",
        Insn::Cmpi => "cmpwi",
        Insn::Cmpl => "cmplw",
        Insn::Cmpli => "cmplwi",
        _ => insn.mnemonic(),
    }
}

/// The text of one operand, or `None` where objdump leaves it out.
fn arg(insn: Insn, operand: Operand, word: Word, address: u32) -> Option<Arg> {
    use Insn::*;
    let displacement_from = |displacement: i32| {
        Arg::Target((displacement as u32).wrapping_add(if word.aa() { 0 } else { address }))
    };
    // Operands that are optional: left out when they, or they and all after them, are 0.
    let bits = operand.bits();
    let and_after = (bits | (bits - 1)) & insn.operand_bits();
    match (insn, operand) {
        (Cmp | Cmpi | Cmpl | Cmpli, Operand::Crfd) if word.crfd() == 0 => return None,
        (Icbt, Operand::Ct) if word.ct() == 0 => return None,
        (Tlbsx, Operand::Rt) if word.rt() == 0 => return None,
        (Dccci | Iccci | Mbar | Tlbre | Tlbwe, _) if word.0 & and_after == 0 => return None,
        _ => {}
    }
    Some(match operand {
        Operand::Rt => Arg::Gpr(word.rt()),
        Operand::Rs => Arg::Gpr(word.rs()),
        Operand::Ra => Arg::Gpr(word.ra()),
        Operand::Ra0 => Arg::GprOrZero(word.ra()),
        Operand::Rb => Arg::Gpr(word.rb()),
        Operand::Frt => Arg::Fpr(word.frt()),
        Operand::Frs => Arg::Fpr(word.frs()),
        Operand::Fra => Arg::Fpr(word.fra()),
        Operand::Frb => Arg::Fpr(word.frb()),
        Operand::Frc => Arg::Fpr(word.frc()),
        Operand::D => Arg::Memory(word.d(), word.ra()),
        Operand::Si => Arg::Signed(word.d()),
        Operand::Ui => Arg::Unsigned(word.ui()),
        Operand::Sh => Arg::Unsigned(word.sh()),
        Operand::Mb => Arg::Unsigned(word.mb()),
        Operand::Me => Arg::Unsigned(word.me()),
        Operand::Bo => Arg::Unsigned(word.bo()),
        Operand::Bi => Arg::CrBit(word.bi()),
        Operand::Bd => displacement_from(word.bd()),
        Operand::Li => displacement_from(word.li()),
        Operand::To => Arg::Unsigned(word.to()),
        Operand::Nb => Arg::Unsigned(if word.nb() == 0 { 32 } else { word.nb() }),
        // FPSCR bits have numbers, CR bits have names.
        Operand::Bt if matches!(insn, Mtfsb0 | Mtfsb1) => Arg::Unsigned(word.bt()),
        Operand::Bt => Arg::CrBit(word.bt()),
        Operand::Ba => Arg::CrBit(word.ba()),
        Operand::Bb => Arg::CrBit(word.bb()),
        Operand::Bc => Arg::CrBit(word.bc()),
        Operand::Crfd if insn == Mtfsfi => Arg::Unsigned(word.crfd() as u32),
        Operand::Crfd => Arg::CrField(word.crfd()),
        Operand::Crfs => Arg::CrField(word.crfs()),
        Operand::Crm => Arg::Unsigned(word.crm()),
        Operand::Fm => Arg::Unsigned(word.fm()),
        Operand::Imm4 => Arg::Unsigned(word.imm4()),
        Operand::Spr | Operand::Tbr => Arg::Unsigned(word.spr()),
        Operand::Dcr => Arg::Unsigned(word.dcr()),
        Operand::Ws => Arg::Unsigned(word.ws()),
        Operand::Ct => Arg::Unsigned(word.ct()),
        Operand::Mo => Arg::Unsigned(word.mo()),
        Operand::E => Arg::Unsigned(u32::from(word.e())),
        Operand::Oe | Operand::Rc | Operand::Aa | Operand::Lk => return None,
    })
}

/// Simplified mnemonics other than of branches and special registers; suffixes come after.
fn simplified(insn: Insn, word: Word) -> Option<Text> {
    use Insn::*;
    let (rs, ra, rb) = (
        Arg::Gpr(word.rs()),
        Arg::Gpr(word.ra()),
        Arg::Gpr(word.rb()),
    );
    let (bt, ba) = (Arg::CrBit(word.bt()), Arg::CrBit(word.ba()));
    let same_sources = word.ba() == word.bb();
    let same_bits = same_sources && word.bt() == word.ba();
    let text = match insn {
        Addi if word.ra() == 0 => Text::new(&["li"], &[rs, Arg::Signed(word.d())]),
        Addis if word.ra() == 0 => Text::new(&["lis"], &[rs, Arg::Signed(word.d())]),
        Ori if word.0 & 0x03FF_FFFF == 0 => Text::new(&["nop"], &[]),
        Xori if word.0 & 0x03FF_FFFF == 0 => Text::new(&["xnop"], &[]),
        Or if word.rs() == word.rb() => Text::new(&["mr"], &[ra, rs]),
        Nor if word.rs() == word.rb() => Text::new(&["not"], &[ra, rs]),
        Crxor if same_bits => Text::new(&["crclr"], &[bt]),
        Creqv if same_bits => Text::new(&["crset"], &[bt]),
        Cror if same_sources => Text::new(&["crmove"], &[bt, ba]),
        Crnor if same_sources => Text::new(&["crnot"], &[bt, ba]),
        Mtcrf if word.crm() == 0xFF => Text::new(&["mtcr"], &[rs]),
        Isel if word.bc() < 3 => {
            let name = ["isellt", "iselgt", "iseleq"][word.bc() as usize];
            Text::new(&[name], &[rs, Arg::GprOrZero(word.ra()), rb])
        }
        Rlwinm => {
            let (name, amount) = rotate(word)?;
            Text::new(&[name], &[ra, rs, Arg::Unsigned(amount)])
        }
        Rlwnm if word.mb() == 0 && word.me() == 31 => Text::new(&["rotlw"], &[ra, rs, rb]),
        Tw if word.to() == 31 && word.ra() == 0 && word.rb() == 0 => Text::new(&["trap"], &[]),
        Tw => Text::new(&["tw", condition_of_trap(word.to())?], &[ra, rb]),
        Twi => Text::new(
            &["tw", condition_of_trap(word.to())?, "i"],
            &[ra, Arg::Signed(word.d())],
        ),
        _ => return None,
    };
    Some(text)
}

/// The shift or clear that a rotate with mask is, and its amount.
fn rotate(word: Word) -> Option<(&'static str, u32)> {
    match (word.sh(), word.mb(), word.me()) {
        (sh, 0, 31) => Some(("rotlwi", sh)),
        (0, mb, 31) => Some(("clrlwi", mb)),
        (0, 0, me) => Some(("clrrwi", 31 - me)),
        (sh, 0, me) if me == 31 - sh => Some(("slwi", sh)),
        (sh, mb, 31) if mb == 32 - sh => Some(("srwi", mb)),
        _ => None,
    }
}

fn condition_of_trap(to: u32) -> Option<&'static str> {
    Some(match to {
        1 => "lgt",
        2 => "llt",
        4 => "eq",
        5 => "lge",
        6 => "lle",
        8 => "gt",
        12 => "ge",
        16 => "lt",
        20 => "le",
        24 => "ne",
        31 => "u",
        _ => return None,
    })
}

/// Conditional branches. The hint is the prediction that BO's last bit makes: with the bit clear a
/// backward branch is taken, and any other is not.
fn branch(insn: Insn, word: Word, address: u32) -> Option<Text> {
    /// No CTR, and CTR ends at zero.
    const NO_CTR: u32 = 0b00100;
    const CTR_ZERO: u32 = 0b00010;
    /// No condition, and the condition must hold.
    const NO_CONDITION: u32 = 0b10000;
    const CONDITION_TRUE: u32 = 0b01000;
    let (to, backward) = match insn {
        Insn::Bc => ("", word.bd() < 0),
        Insn::Bclr => ("lr", false),
        Insn::Bcctr => ("ctr", false),
        _ => return None,
    };
    let bo = word.bo();
    let predicted = (bo & 1 != 0) != backward;
    let hint = if predicted { "+" } else { "-" };
    let link = if word.lk() { "l" } else { "" };
    let absolute = if insn == Insn::Bc && word.aa() {
        "a"
    } else {
        ""
    };
    let condition_bit = Arg::CrBit(word.bi());

    let mut text = match (bo & NO_CTR != 0, bo & NO_CONDITION != 0) {
        (true, false) => {
            let names = match bo & CONDITION_TRUE != 0 {
                false => ["ge", "le", "ne", "ns"],
                true => ["lt", "gt", "eq", "so"],
            };
            let name = names[word.bi() as usize % 4];
            let field = word.bi() as usize / 4;
            let args: &[Arg] = if field == 0 {
                &[]
            } else {
                &[Arg::CrField(field)]
            };
            Text::new(&["b", name, to, link, absolute, hint], args)
        }
        (false, false) => {
            let name = match (bo & CTR_ZERO != 0, bo & CONDITION_TRUE != 0) {
                (false, false) => "bdnzf",
                (false, true) => "bdnzt",
                (true, false) => "bdzf",
                (true, true) => "bdzt",
            };
            Text::new(&[name, to, link, absolute, hint], &[condition_bit])
        }
        (false, true) if word.bi() == 0 => {
            let name = if bo & CTR_ZERO == 0 { "bdnz" } else { "bdz" };
            Text::new(&[name, to, link, absolute, hint], &[])
        }
        (true, true) if word.bi() == 0 && bo == 20 && insn != Insn::Bc => {
            Text::new(&["b", to, link], &[])
        }
        // The assembler has no other name for these.
        _ => {
            let hint = if bo & 1 != 0 && !backward { "+" } else { "" };
            Text::new(
                &["bc", to, link, absolute, hint],
                &[Arg::Unsigned(bo), condition_bit],
            )
        }
    };
    if insn == Insn::Bc {
        text.args.push(arg(insn, Operand::Bd, word, address)?);
    }
    Some(text)
}

/// `mfspr`, `mtspr` and `mftb` under the register's name.
fn special_register(insn: Insn, word: Word) -> Option<Text> {
    let number = word.spr();
    let register = Arg::Gpr(word.rt());
    match (insn, number) {
        (Insn::Mfspr | Insn::Mftb, spr::TBL) => return Some(Text::new(&["mftb"], &[register])),
        (Insn::Mfspr | Insn::Mftb, spr::TBU) => return Some(Text::new(&["mftbu"], &[register])),
        _ => {}
    }
    // The assembler names no register after MCSR, and none in a direction that it does not have.
    if number > spr::MCSR {
        return None;
    }
    let name = spr::name(number)?;
    let sprg = matches!(number, spr::SPRG4_USER..=spr::SPRG7_USER | spr::SPRG0..=spr::SPRG7);
    match insn {
        Insn::Mfspr if matches!(number, spr::DECAR | spr::TBL_WRITE | spr::TBU_WRITE) => None,
        Insn::Mfspr if sprg => Some(Text::new(&["mfsprg"], &[register, sprg_number(number)])),
        Insn::Mfspr => Some(Text::new(&["mf", name], &[register])),
        Insn::Mtspr
            if matches!(
                number,
                spr::SPRG4_USER..=spr::SPRG7_USER | spr::TBL | spr::TBU | spr::PIR | spr::PVR
            ) =>
        {
            None
        }
        Insn::Mtspr if sprg => Some(Text::new(&["mtsprg"], &[sprg_number(number), register])),
        Insn::Mtspr => Some(Text::new(&["mt", name], &[register])),
        _ => None,
    }
}

/// Which of the eight SPRGs it is, under either of its numbers.
fn sprg_number(number: u32) -> Arg {
    Arg::Unsigned(number % 8)
}
