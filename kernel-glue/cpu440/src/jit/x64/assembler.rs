//! What `dynasm!` assembles a block into: a buffer and its labels.
//!
//! The macro calls methods by their names. These do what those of `dynasmrt::VecAssembler` do, for
//! the one kind of label and jump that blocks have, in a fifth of the code: most of what a
//! translation costs is code and data that the guest's have pushed out of the host's caches.

use dynasmrt::AssemblyOffset;

/// Bytes of a block's code, at the most: an offset is a `u16`, which needs no check. The longest
/// blocks have a quarter of it.
pub(in super::super) const ROOM: usize = 1 << 16;
/// Bytes that the macro hands over at once, at the most.
const AT_ONCE: usize = 32;
/// More than an instruction comes to, and more than what one leaves for behind the block does.
const STEP: usize = 1024;

/// Not placed yet.
const NOWHERE: u16 = u16::MAX;

/// A place in the code of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DynamicLabel(u16);

/// A displacement to a label that was not placed yet.
#[derive(Clone, Copy, Debug)]
struct Forward {
    field: u16,
    label: DynamicLabel,
}

/// The code of a block.
#[derive(Debug)]
pub(super) struct Assembler {
    bytes: Box<[u8; ROOM + AT_ONCE]>,
    used: u16,
    labels: Vec<u16>,
    forwards: Vec<Forward>,
}

impl Assembler {
    /// Empty.
    pub fn new() -> Self {
        let bytes = vec![0; ROOM + AT_ONCE].into_boxed_slice();
        Assembler {
            bytes: bytes.try_into().expect("as many bytes as were asked for"),
            used: 0,
            labels: Vec::new(),
            forwards: Vec::new(),
        }
    }

    /// Begins another block.
    pub fn clear(&mut self) {
        self.used = 0;
        self.labels.clear();
        self.forwards.clear();
    }

    /// The finished code.
    ///
    /// # Panics
    /// When a label has no place.
    pub fn finish(&mut self) -> &[u8] {
        for n in 0..self.forwards.len() {
            let Forward { field, label } = self.forwards[n];
            let to = self.labels[usize::from(label.0)];
            assert!(to != NOWHERE, "every label of a block is placed");
            self.lead(field, to);
        }
        &self.bytes[..usize::from(self.used)]
    }

    /// Whether there is room for one more instruction, or for what one left for behind the block.
    pub fn has_room(&self) -> bool {
        usize::from(self.used) < ROOM - STEP
    }

    /// A label without a place.
    #[inline]
    pub fn new_dynamic_label(&mut self) -> DynamicLabel {
        self.labels.push(NOWHERE);
        DynamicLabel(self.labels.len() as u16 - 1)
    }

    /// Where the next byte goes.
    #[inline(always)]
    pub fn offset(&self) -> AssemblyOffset {
        AssemblyOffset(self.used.into())
    }

    #[inline(always)]
    pub fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    #[inline(always)]
    pub fn push_i8(&mut self, value: i8) {
        self.extend(&value.to_le_bytes());
    }

    #[inline(always)]
    pub fn push_i32(&mut self, value: i32) {
        self.extend(&value.to_le_bytes());
    }

    #[inline(always)]
    pub fn push_u32(&mut self, value: u32) {
        self.extend(&value.to_le_bytes());
    }

    #[inline(always)]
    pub fn push_i64(&mut self, value: i64) {
        self.extend(&value.to_le_bytes());
    }

    #[inline(always)]
    pub fn extend<const N: usize>(&mut self, bytes: &[u8; N]) {
        const { assert!(N <= AT_ONCE) };
        if let Some(room) = self.bytes[usize::from(self.used)..].first_chunk_mut() {
            *room = *bytes;
        }
        self.used = self.used.wrapping_add(N as u16);
    }

    /// Places a label here.
    #[inline]
    pub fn dynamic_label(&mut self, label: DynamicLabel) {
        self.labels[usize::from(label.0)] = self.used;
    }

    /// The four bytes just pushed become the displacement to a label. The rest says so, for other
    /// kinds of jump.
    #[inline]
    pub fn dynamic_reloc(&mut self, label: DynamicLabel, _: isize, _: u8, _: u8, _: u8) {
        let field = self.used.wrapping_sub(4);
        match self.labels[usize::from(label.0)] {
            NOWHERE => self.forwards.push(Forward { field, label }),
            to => self.lead(field, to),
        }
    }

    fn lead(&mut self, field: u16, to: u16) {
        let displacement = i32::from(to) - i32::from(field) - 4;
        if let Some(bytes) = self.bytes[usize::from(field)..].first_chunk_mut() {
            *bytes = displacement.to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm, x64::X64Relocation};

    use super::*;

    /// The same code, in either assembler.
    macro_rules! code {
        ($asm:expr) => {
            let (back, ahead) = ($asm.new_dynamic_label(), $asm.new_dynamic_label());
            let (low, high) = (1u8, 12u8);
            dynasm!($asm
                ; .arch x64
                ; =>back
                ; mov Rd(low), [BYTE rbp - 4]
                ; jnz =>ahead
                ; mov rcx, QWORD 0x1234_5678_9ABC_DEF0
                ; add Rd(high), -77777
                ; jmp =>back
                ; jmp =>ahead
                ; =>ahead
                ; lea r14, [BYTE r14 - 3]
                ; jb =>ahead
            );
        };
    }

    #[test]
    fn code_is_what_the_other_assembler_makes_of_it() {
        let mut other = VecAssembler::<X64Relocation>::new(0);
        code!(other);
        let expected = other.finalize().expect("all labels are placed");
        let mut own = Assembler::new();
        for _ in 0..2 {
            own.clear();
            code!(own);
            assert_eq!(own.finish(), expected);
        }
    }

    #[test]
    #[should_panic(expected = "every label of a block is placed")]
    fn a_label_without_a_place_is_noticed() {
        let mut asm = Assembler::new();
        let label = asm.new_dynamic_label();
        dynasm!(asm ; .arch x64 ; jmp =>label);
        asm.finish();
    }
}
