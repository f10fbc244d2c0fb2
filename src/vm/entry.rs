//! The CPU's state when the guest starts.

use ppckvm_api::{State, TlbWord0, TlbWord1, TlbWord2, Tlbe};

use crate::loader::BootRegisters;

/// The CPU as the guest finds it: the whole address space mapped one to one, supervisor only, by
/// 16 entries of 256 MiB; the registers as the kernel's entry wants them; everything else as after
/// `State`'s reset. The first entry also covers what Linux needs: its own code, found by `tlbsx`.
pub(crate) fn state(pristine: &State, registers: &BootRegisters, ram: u32) -> State {
    const SHIFT: u32 = 28;
    let mut state = pristine.clone();
    state.tlb = std::array::from_fn(|index| {
        let base = match u32::try_from(index) {
            Ok(index) if index < 1 << (32 - SHIFT) => index << SHIFT,
            _ => return Tlbe::default(),
        };
        let device = base >= ram;
        Tlbe {
            tid: 0,
            word0: TlbWord0::new()
                .with_epn(base >> 10)
                .with_v(true)
                .with_size(9),
            word1: TlbWord1::new().with_rpn(base >> 10),
            word2: TlbWord2::new()
                .with_i(device)
                .with_g(device)
                .with_sx(true)
                .with_sw(true)
                .with_sr(true),
        }
    });
    state.regs.pc = registers.pc;
    state.regs.gpr[1] = registers.r1;
    state.regs.gpr[3] = registers.r3;
    state.regs.gpr[4] = registers.r4;
    state.regs.gpr[5] = registers.r5;
    state.regs.gpr[6] = registers.r6;
    state.regs.gpr[7] = registers.r7;
    state
}
