//! The Bamboo board's devices, each alone over its registers.
//!
//! A device here knows offsets, bytes and wires. It knows no address of the board, no CPU, no
//! thread and no terminal; whoever assembles a machine puts it on a [`bus`] and ties its
//! [wires](irq) and sinks.
//!
//! ```
//! use ppckvm_devices::bus::{DcrBus, MmioBus};
//! use ppckvm_devices::irq::IrqLine;
//! use ppckvm_devices::uart16550::{self, Uart};
//! use ppckvm_devices::uic::{self, Uic};
//!
//! // The core's external and critical inputs.
//! let (external, critical) = (IrqLine::detached(), IrqLine::detached());
//! let uic = Uic::new(external.clone(), critical);
//! let uart = Uart::new(uic.line(0), Box::new(|byte: u8| print!("{}", char::from(byte))));
//!
//! let mut dcrs = DcrBus::new();
//! dcrs.register(0xC0..0xC9, "uic0", Box::new(uic.clone()))?;
//! let mut mmio = MmioBus::new();
//! mmio.register(0xEF60_0300..0xEF60_0308, "uart0", Box::new(uart.clone()))?;
//!
//! // The guest enables input 0, active high, and the receive interrupt.
//! dcrs.write(0xC0 + uic::regs::PR, u32::MAX)?;
//! dcrs.write(0xC0 + uic::regs::SR, u32::MAX)?;
//! dcrs.write(0xC0 + uic::regs::ER, uic::regs::bit(0))?;
//! mmio.write(0xEF60_0301, &[uart16550::regs::IER_RDI])?;
//!
//! // Somebody types.
//! assert_eq!(uart.receive(b"l"), 1);
//! assert!(external.is_asserted());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
// A test that unwraps what must be there fails at the right line.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access_width;
pub mod bus;
pub mod cpr;
pub mod dma;
pub mod ds1307;
pub mod ebc;
pub mod emac;
pub mod flash;
pub mod gpio;
pub mod iic;
mod indirect;
pub mod irq;
pub mod mal;
pub mod pci_bridge;
pub mod pci_config;
pub mod plb;
pub mod pvpanic;
pub mod repeats;
pub mod sdr;
pub mod sdram;
pub mod syscon;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
pub mod uart16550;
pub mod uic;
pub mod virtio;
pub mod zmii;

pub use bus::{AccessError, AccessKind, DcrBus, DcrDevice, MmioBus, MmioDevice, Reset, Unanswered};
pub use irq::{IrqLine, IrqSink};
