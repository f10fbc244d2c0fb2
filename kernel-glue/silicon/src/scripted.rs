//! A host for tests, whose guest does as it is told.

use std::collections::VecDeque;
use std::vec::Vec;

use ppc440_isa::Regs;
use ppc440_kvm::Pins;

use crate::port::{Frame, Port, Stop, Turn};

/// What one turn of the guest does to its registers, and how it ends.
pub(crate) type Act = std::boxed::Box<dyn FnMut(&mut Regs) -> Stop>;

/// What was asked of the host, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Enter(Turn),
    Write(u8, [u32; 3], u8),
    Iccci,
    FpLoad,
    FpSave,
    TakeReservation,
    Interrupted(u8),
    Arm(Option<u64>),
}

/// The host.
pub(crate) struct Scripted {
    pub frames: Vec<Frame>,
    pub ram: Vec<u8>,
    pub acts: VecDeque<Act>,
    pub asked: Vec<Asked>,
    pub scratch: [u32; 2],
    pub reservation: bool,
    pub wanted: bool,
    pub now: u64,
    pub pins: Pins,
}

impl Scripted {
    /// 64 KB of RAM in a block of 64 KB at real page 0x100.
    pub fn new() -> Self {
        Scripted {
            frames: (0..16)
                .map(|page| Frame {
                    page: 0x100 + page,
                    order: 4,
                })
                .collect(),
            ram: std::vec![0; 0x1_0000],
            acts: VecDeque::new(),
            asked: Vec::new(),
            scratch: [0; 2],
            reservation: false,
            wanted: false,
            now: 0,
            pins: Pins::default(),
        }
    }
}

impl Port for Scripted {
    fn enter(&mut self, regs: &mut Regs, turn: Turn) -> Stop {
        self.asked.push(Asked::Enter(turn));
        let mut act = self.acts.pop_front().expect("a turn that the test expects");
        act(regs)
    }

    fn tlb_write(&mut self, index: u8, words: [u32; 3], tid: u8) {
        self.asked.push(Asked::Write(index, words, tid));
    }

    fn iccci(&mut self) {
        self.asked.push(Asked::Iccci);
    }

    fn frame(&self, ram: u32) -> Option<Frame> {
        self.frames.get(ram as usize >> 12).copied()
    }

    fn load(&self, ram: u32, bytes: &mut [u8]) -> bool {
        let from = self.ram.get(ram as usize..ram as usize + bytes.len());
        from.map(|from| bytes.copy_from_slice(from)).is_some()
    }

    fn store(&mut self, ram: u32, bytes: &[u8]) -> bool {
        let to = self.ram.get_mut(ram as usize..ram as usize + bytes.len());
        to.map(|to| to.copy_from_slice(bytes)).is_some()
    }

    fn scratch(&mut self, words: [u32; 2]) -> Frame {
        self.scratch = words;
        Frame {
            page: 0x777,
            order: 0,
        }
    }

    fn fp_load(&mut self, _: &Regs) {
        self.asked.push(Asked::FpLoad);
    }

    fn fp_save(&mut self, regs: &mut Regs) {
        self.asked.push(Asked::FpSave);
        regs.fpscr += 1;
    }

    fn take_reservation(&mut self) -> bool {
        self.asked.push(Asked::TakeReservation);
        core::mem::take(&mut self.reservation)
    }

    fn interrupted(&mut self, number: u8) -> bool {
        self.asked.push(Asked::Interrupted(number));
        core::mem::take(&mut self.wanted)
    }

    fn time_base(&self) -> u64 {
        self.now
    }

    fn arm(&mut self, deadline: Option<u64>) {
        self.asked.push(Asked::Arm(deadline));
    }

    fn pins(&mut self) -> Pins {
        self.pins
    }

    fn stopwatch(&self) -> u64 {
        0
    }
}
