//! From the text of an instruction to its word, by the instruction table.
//!
//! The text is the table's own mnemonic, its suffixes (`o`, `.`, `l`, `a`) appended, and its
//! operands in the table's order: `add.`'s are `r3,r4,r5`, `lwz`'s `r3,8(r4)`. Registers are `r3`,
//! `f3`, `cr3`; everything else is a decimal or `0x` number; branch displacements count from the
//! branch and may be written `.+8`; an SPR may go by its name. There are no simplified mnemonics.
//! `.long 0x…` is any word.

use std::collections::HashMap;
use std::sync::LazyLock;

use ppc440_isa::{Insn, Operand, decode, spr};

/// Every mnemonic with every set of suffixes: the instruction, and the suffixes' bits.
static MNEMONICS: LazyLock<HashMap<String, (Insn, u32)>> = LazyLock::new(|| {
    let mut all = HashMap::new();
    for &insn in Insn::ALL {
        let suffixes: Vec<Operand> = (insn.operands().iter().copied())
            .filter(|&operand| suffix(operand).is_some())
            .collect();
        for set in 0..1 << suffixes.len() {
            let mut name = insn.mnemonic().to_string();
            let mut bits = 0;
            for (n, &operand) in suffixes.iter().enumerate() {
                if set & 1 << n != 0 {
                    name.push_str(suffix(operand).expect("filtered above"));
                    bits |= operand.bits();
                }
            }
            let other = all.insert(name.clone(), (insn, bits));
            assert_eq!(other, None, "two instructions are called {name}");
        }
    }
    all
});

/// The letter that a suffix operand adds to the mnemonic.
pub fn suffix(operand: Operand) -> Option<&'static str> {
    match operand {
        Operand::Oe => Some("o"),
        Operand::Rc => Some("."),
        Operand::Lk => Some("l"),
        Operand::Aa => Some("a"),
        _ => None,
    }
}

/// The instructions of a text, which `;` separates.
///
/// # Errors
/// What in the text means nothing.
pub fn assemble(text: &str) -> Result<Vec<u32>, String> {
    text.split(';').map(|one| instruction(one.trim())).collect()
}

fn instruction(text: &str) -> Result<u32, String> {
    let (mnemonic, operands) = text.split_once(' ').unwrap_or((text, ""));
    if mnemonic == ".long" {
        return number(operands.trim()).map(|value| value as u32);
    }
    let &(insn, suffixes) = MNEMONICS
        .get(mnemonic)
        .ok_or_else(|| format!("no instruction is called {mnemonic}"))?;
    let mut word = insn.pattern().1 | suffixes;
    let mut texts = operands.split(',').map(str::trim).filter(|t| !t.is_empty());
    for &operand in insn.operands().iter().filter(|&&o| suffix(o).is_none()) {
        let text = texts
            .next()
            .ok_or_else(|| format!("{text}: the operand {operand:?} is missing"))?;
        word |= encode(operand, text).map_err(|error| format!("{operand:?} {text}: {error}"))?;
    }
    if let Some(more) = texts.next() {
        return Err(format!("{text}: {more} is one operand too many"));
    }
    match decode(word) {
        Some(found) if found == insn => Ok(word),
        found => Err(format!("{text} is {word:08x}, which decodes as {found:?}")),
    }
}

/// The bits of one operand.
fn encode(operand: Operand, text: &str) -> Result<u32, String> {
    use Operand::*;
    let value = match operand {
        Rt | Rs | Ra | Ra0 | Rb => register(text, "r", 32)?,
        Frt | Frs | Fra | Frb | Frc => register(text, "f", 32)?,
        Crfd | Crfs => register(text, "cr", 8)?,
        D => {
            let (d, base) = text
                .strip_suffix(')')
                .and_then(|text| text.split_once('('))
                .ok_or("not of the form d(ra)")?;
            let d = ranged(number(d)?, -0x8000, 0x7FFF)? as u32 & 0xFFFF;
            return Ok(d | register(base, "r", 32)? << 16);
        }
        Spr | Tbr => {
            let named = spr::ALL.iter().find(|(_, name)| *name == text);
            let number = match named {
                Some(&(number, _)) => number,
                None => ranged(number(text)?, 0, 1023)? as u32,
            };
            return Ok((number & 31) << 16 | (number >> 5) << 11);
        }
        Dcr => {
            let number = ranged(number(text)?, 0, 1023)? as u32;
            return Ok((number & 31) << 16 | (number >> 5) << 11);
        }
        Si | Bd | Li => {
            let field = operand.bits();
            let value = number(text.strip_prefix('.').unwrap_or(text))?;
            // The sign's weight is the field's highest bit.
            let half = i64::from(field + (field & field.wrapping_neg())) / 2;
            ranged(value, -half, half - 1)?;
            if value as u32 & !field & 3 != 0 && operand != Si {
                return Err("not a multiple of 4".into());
            }
            return Ok(value as u32 & field);
        }
        _ => {
            let largest = operand.bits() >> operand.bits().trailing_zeros();
            ranged(number(text)?, 0, i64::from(largest))? as u32
        }
    };
    Ok(value << operand.bits().trailing_zeros())
}

fn register(text: &str, prefix: &str, count: i64) -> Result<u32, String> {
    let number = text
        .strip_prefix(prefix)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("not a register {prefix}N"))?;
    ranged(number, 0, count - 1).map(|n| n as u32)
}

fn number(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| format!("{text} is no number"))?;
    Ok(if negative { -value } else { value })
}

fn ranged(value: i64, least: i64, most: i64) -> Result<i64, String> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{value} is not between {least} and {most}"))
    }
}
