//! An assembler for guests of a few instructions, and the ELF file that the command takes.

use std::collections::HashMap;

/// UART0's first register.
pub const UART0: u32 = 0xEF60_0300;
/// The power-off register, and the value that powers off.
pub const POWER_OFF: (u32, u32) = (0xEF7F_F000, 0x5555);
/// First DCR number of UIC0.
pub const UIC0: u32 = 0xC0;

/// Special purpose registers that the guests use.
pub mod spr {
    pub const SRR0: u32 = 26;
    pub const IVPR: u32 = 63;
    pub const DBCR0: u32 = 308;
    pub const TCR: u32 = 340;
    /// External input.
    pub const IVOR4: u32 = 404;
}

/// Instructions from guest physical address 0 on.
#[derive(Default)]
pub struct Asm {
    words: Vec<u32>,
    labels: HashMap<&'static str, usize>,
    fixups: Vec<(usize, &'static str)>,
}

impl Asm {
    pub fn new() -> Self {
        Asm::default()
    }

    pub fn word(mut self, word: u32) -> Self {
        self.words.push(word);
        self
    }

    /// `lis` and `ori`.
    pub fn li(self, rt: u32, value: u32) -> Self {
        self.word(0x3C00_0000 | rt << 21 | value >> 16)
            .word(0x6000_0000 | rt << 21 | rt << 16 | value & 0xFFFF)
    }

    pub fn addi(self, rt: u32, ra: u32, value: i16) -> Self {
        self.word(0x3800_0000 | rt << 21 | ra << 16 | u32::from(value as u16))
    }

    pub fn andi(self, ra: u32, rs: u32, mask: u16) -> Self {
        self.word(0x7000_0000 | rs << 21 | ra << 16 | u32::from(mask))
    }

    pub fn lbz(self, rt: u32, ra: u32, offset: u16) -> Self {
        self.word(0x8800_0000 | rt << 21 | ra << 16 | u32::from(offset))
    }

    pub fn lwz(self, rt: u32, ra: u32, offset: u16) -> Self {
        self.word(0x8000_0000 | rt << 21 | ra << 16 | u32::from(offset))
    }

    pub fn stb(self, rs: u32, ra: u32, offset: u16) -> Self {
        self.word(0x9800_0000 | rs << 21 | ra << 16 | u32::from(offset))
    }

    pub fn stw(self, rs: u32, ra: u32, offset: u16) -> Self {
        self.word(0x9000_0000 | rs << 21 | ra << 16 | u32::from(offset))
    }

    pub fn mtspr(self, spr: u32, rs: u32) -> Self {
        self.word(0x7C00_03A6 | rs << 21 | split(spr))
    }

    pub fn mfspr(self, rt: u32, spr: u32) -> Self {
        self.word(0x7C00_02A6 | rt << 21 | split(spr))
    }

    pub fn mtdcr(self, dcrn: u32, rs: u32) -> Self {
        self.word(0x7C00_0386 | rs << 21 | split(dcrn))
    }

    pub fn mfdcr(self, rt: u32, dcrn: u32) -> Self {
        self.word(0x7C00_0286 | rt << 21 | split(dcrn))
    }

    pub fn mtmsr(self, rs: u32) -> Self {
        self.word(0x7C00_0124 | rs << 21)
    }

    pub fn cmpwi(self, ra: u32, value: u16) -> Self {
        self.word(0x2C00_0000 | ra << 16 | u32::from(value))
    }

    pub fn label(mut self, name: &'static str) -> Self {
        self.labels.insert(name, self.words.len());
        self
    }

    pub fn b(self, to: &'static str) -> Self {
        self.branch(0x4800_0000, to)
    }

    pub fn beq(self, to: &'static str) -> Self {
        self.branch(0x4182_0000, to)
    }

    pub fn bne(self, to: &'static str) -> Self {
        self.branch(0x4082_0000, to)
    }

    fn branch(mut self, word: u32, to: &'static str) -> Self {
        self.fixups.push((self.words.len(), to));
        self.word(word)
    }

    /// Branches to itself for ever, which with interrupts off is a hang.
    pub fn spin(self) -> Self {
        self.word(0x4800_0000)
    }

    /// Counts in r31 for ever.
    pub fn busy(self) -> Self {
        self.addi(31, 31, 1).word(0x4BFF_FFFC)
    }

    /// Sends the text to UART0; uses r30 and r31.
    pub fn print(self, text: &str) -> Self {
        let start = self.li(30, UART0);
        text.bytes().fold(start, |asm, byte| {
            asm.addi(31, 0, byte.into()).stb(31, 30, 0)
        })
    }

    /// Resets the board; uses r31.
    pub fn reset(self) -> Self {
        self.li(31, 0x3000_0000).mtspr(spr::DBCR0, 31).spin()
    }

    /// Powers the machine off; uses r30 and r31.
    pub fn power_off(self) -> Self {
        let (register, value) = POWER_OFF;
        self.li(30, register).li(31, value).stw(31, 30, 0).spin()
    }

    /// Another program after this one; its labels are its own.
    pub fn append(self, other: Asm) -> Self {
        let words = other.bytes();
        let words = words
            .chunks_exact(4)
            .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
        words.fold(self, Asm::word)
    }

    /// Zeros up to a guest physical address.
    pub fn org(mut self, gpa: usize) -> Self {
        assert!(self.words.len() <= gpa / 4);
        self.words.resize(gpa / 4, 0);
        self
    }

    /// The program's bytes.
    pub fn bytes(mut self) -> Vec<u8> {
        for (at, label) in &self.fixups {
            let distance = (self.labels[label] as i64 - *at as i64) * 4;
            let mask = if self.words[*at] >> 26 == 18 {
                0x03FF_FFFC
            } else {
                0xFFFC
            };
            self.words[*at] |= distance as u32 & mask;
        }
        self.words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect()
    }

    /// An ELF file of the program at `gpa`, with `extra` zero bytes after it in memory.
    pub fn elf(self, gpa: u32, extra: u32) -> Vec<u8> {
        const HEADERS: u32 = 52 + 32;
        let code = self.bytes();
        let size = code.len() as u32;
        let mut file = vec![0x7F, b'E', b'L', b'F', 1, 2, 1];
        file.resize(16, 0);
        let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_be_bytes());
        let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_be_bytes());
        half(&mut file, 2); // executable
        half(&mut file, 20); // PowerPC
        for value in [1, gpa, 52, 0, 0] {
            word(&mut file, value);
        }
        for value in [52, 32, 1, 0, 0, 0] {
            half(&mut file, value);
        }
        for value in [1, HEADERS, gpa, gpa, size, size + extra, 7, 4] {
            word(&mut file, value);
        }
        file.extend(code);
        file
    }
}

/// An SPR or DCR number as the instruction holds it, its halves exchanged.
fn split(number: u32) -> u32 {
    (number & 31) << 16 | (number >> 5) << 11
}

/// A guest that waits for input without interrupts and sends each byte back; a zero byte resets.
pub fn echo() -> Asm {
    Asm::new()
        .li(3, UART0)
        .label("wait")
        .lbz(4, 3, 5)
        .andi(4, 4, 1)
        .beq("wait")
        .lbz(5, 3, 0)
        .cmpwi(5, 0)
        .beq("end")
        .stb(5, 3, 0)
        .b("wait")
        .label("end")
        .reset()
}
