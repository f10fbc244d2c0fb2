//! A device of one's own with registers and an interrupt: a doorbell that answers.
//!
//! `cargo run --example mmio_device`
//!
//! The guest is a program of some instructions: it rings, waits, and prints what its interrupt
//! handler reads.

use std::error::Error;

use ppckvm::{AccessError, Interrupt, IrqLine, Machine, MmioDevice, Outcome, ResetKind, Trigger};

/// Where the doorbell is: in one of `Board::FREE_MMIO`. Linux would find it by a node of its tree, which
/// `Machine::tree_node` adds.
const BASE: u32 = 0xEF72_0000;
/// Which input it has: one of `Board::FREE_INPUTS`.
const INPUT: Interrupt = Interrupt::uic0(29, Trigger::LevelHigh);

/// Rings when it is written at offset 0; raises its wire until the answer is read at offset 4.
struct Doorbell {
    irq: IrqLine,
    answer: u32,
}

impl MmioDevice for Doorbell {
    fn read(&mut self, offset: u32, data: &mut [u8]) -> Result<(), AccessError> {
        let width = data.len();
        match <&mut [u8; 4]>::try_from(data) {
            Ok(word) if offset == 4 => {
                *word = self.answer.to_be_bytes();
                self.irq.set(false);
                Ok(())
            }
            Ok(_) => Err(AccessError::NoRegister { offset }),
            Err(_) => Err(AccessError::Width { offset, width }),
        }
    }

    fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), AccessError> {
        match <[u8; 4]>::try_from(data) {
            Ok(word) if offset == 0 => {
                self.answer = u32::from_be_bytes(word).wrapping_add(1);
                self.irq.set(true);
                Ok(())
            }
            Ok(_) => Err(AccessError::NoRegister { offset }),
            Err(_) => {
                let width = data.len();
                Err(AccessError::Width { offset, width })
            }
        }
    }

    fn reset(&mut self) {
        self.answer = 0;
        self.irq.set(false);
    }
}

/// Sets the vector and the interrupt controller up, rings with `@`, and waits.
const RING: [u32; 16] = [
    0x3860_0000, // li    r3,0
    0x7C7F_0BA6, // mtspr IVPR,r3
    0x3880_0100, // li    r4,0x100
    0x7C94_63A6, // mtspr IVOR4,r4          external input
    0x38A0_FFFF, // li    r5,-1
    0x7CA4_3386, // mtdcr UIC0_PR,r5        active high
    0x7C65_3386, // mtdcr UIC0_TR,r3        level
    0x7C63_3386, // mtdcr UIC0_CR,r3        not critical
    0x7CA0_3386, // mtdcr UIC0_SR,r5        forget what was
    0x38C0_0004, // li    r6,1 << (31 - 29)
    0x7CC2_3386, // mtdcr UIC0_ER,r6        enable input 29
    0x3FE0_EF72, // lis   r31,0xEF72
    0x7C00_8146, // wrteei 1
    0x38E0_0040, // li    r7,'@'
    0x90FF_0000, // stw   r7,0(r31)         ring
    0x4800_0000, // b     .
];

/// The handler at 0x100: prints the answer on UART0 and resets the board.
const ANSWER: [u32; 6] = [
    0x811F_0004, // lwz   r8,4(r31)
    0x3D20_EF60, // lis   r9,0xEF60
    0x9909_0300, // stb   r8,0x300(r9)
    0x3D40_3000, // lis   r10,0x3000
    0x7D54_4BA6, // mtspr DBCR0,r10         system reset
    0x4800_0000, // b     .
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut program: Vec<u8> = RING.iter().flat_map(|word| word.to_be_bytes()).collect();
    program.resize(0x100, 0);
    program.extend(ANSWER.iter().flat_map(|word| word.to_be_bytes()));

    let mut vm = Machine::new()
        .program(0, program)
        .mmio_device(BASE, 8, "doorbell", Some(INPUT), |wiring| {
            let irq = wiring.irq;
            Box::new(Doorbell { irq, answer: 0 })
        })
        .build()?;
    let outcome = vm.run();
    println!("{outcome}; the guest printed {:?}", vm.output_text());
    assert_eq!(outcome, Outcome::Reset(ResetKind::System));
    assert_eq!(vm.output(), b"A", "`@` and one");
    Ok(())
}
