//! Back traces by the chain of stack frames that the PowerPC ABI asks for: the word at r1 leads to
//! the caller's frame, and the word after that one holds the return address.

use super::Memory;

/// Frames that are followed.
const DEPTH: usize = 48;

/// Bytes from a frame's start to the marker of Linux's exception frames, and the marker.
const MARKER: (u32, u32) = (8, 0x7265_6773);
/// Bytes from such a frame's start to the interrupted `pc`, and to its LR.
const SAVED_PC: u32 = 16 + 32 * 4;
const SAVED_LR: u32 = SAVED_PC + 16;

/// The way in which a [`Frame`]'s address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// The address is `pc`.
    Pc,
    /// The address is in LR: the caller, unless the function has called another since.
    Lr,
    /// The address is a return address on the stack.
    Stack,
    /// The address was interrupted: an exception frame of Linux's holds it.
    Interrupted,
}

/// One step of a back trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The effective address in the code.
    pub address: u32,
    /// The way in which it is known.
    pub found: Found,
}

/// Follows the stack from `pc`, LR and r1 on, as far as it makes sense.
pub(super) fn frames(memory: &impl Memory, pc: u32, lr: u32, r1: u32) -> Vec<Frame> {
    let mut frames = vec![Frame {
        address: pc,
        found: Found::Pc,
    }];
    let mut push = |address: u32, found| {
        // LR is no address of code where something else was kept in it.
        if address != 0 && address & 3 == 0 {
            frames.push(Frame { address, found });
        }
    };
    push(lr, Found::Lr);
    let mut sp = r1;
    for _ in 0..DEPTH {
        if sp & 3 != 0 {
            break;
        }
        let at = |offset| memory.word(sp.wrapping_add(offset));
        if at(MARKER.0) == Some(MARKER.1)
            && let (Some(pc), Some(lr)) = (at(SAVED_PC), at(SAVED_LR))
        {
            push(pc, Found::Interrupted);
            push(lr, Found::Lr);
        }
        let Some(caller) = at(0).filter(|caller| *caller > sp) else {
            break;
        };
        match memory.word(caller.wrapping_add(4)) {
            Some(address) => push(address, Found::Stack),
            None => break,
        }
        sp = caller;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    impl Memory for HashMap<u32, u32> {
        fn word(&self, ea: u32) -> Option<u32> {
            self.get(&ea).copied()
        }
    }

    #[test]
    fn the_chain_is_followed_to_its_end() {
        let stack = HashMap::from([
            (0x1000, 0x1020),
            (0x1020, 0x1040),
            (0x1024, 0x204),
            (0x1040, 0),
            (0x1044, 0x304),
        ]);
        let addresses: Vec<u32> = frames(&stack, 0x100, 0x104, 0x1000)
            .iter()
            .map(|frame| frame.address)
            .collect();
        assert_eq!(addresses, [0x100, 0x104, 0x204, 0x304]);
    }

    #[test]
    fn a_chain_that_leads_back_or_nowhere_ends() {
        for next in [0x1000, 0xFF0, 0x1001, 0x9000_0000, 0] {
            let stack = HashMap::from([(0x1000, next)]);
            assert_eq!(frames(&stack, 0x100, 0, 0x1000).len(), 1, "{next:#x}");
        }
        assert_eq!(frames(&HashMap::new(), 0x100, 0, u32::MAX).len(), 1);
    }

    #[test]
    fn an_exception_frame_tells_what_was_interrupted() {
        let stack = HashMap::from([
            (0x1000, 0x1100),
            (0x1008, MARKER.1),
            (0x1000 + SAVED_PC, 0x500),
            (0x1000 + SAVED_LR, 0x604),
            (0x1100, 0),
            (0x1104, 0x704),
        ]);
        let found = frames(&stack, 0x100, 0, 0x1000);
        let interrupted = Frame {
            address: 0x500,
            found: Found::Interrupted,
        };
        assert_eq!(found[1], interrupted);
        assert_eq!((found[2].address, found[3].address), (0x604, 0x704));
    }
}
