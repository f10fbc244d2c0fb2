//! Virtio (version 1.2, and the legacy interface before 1.0): transports, queues, and the devices
//! over their queues.
//!
//! A transport shows a device's registers to the guest; a device implements [`VirtioDevice`] and
//! works on its [`Queue`]s, from any thread. What is behind a device on the host — files, sockets,
//! stacks — is not here: a device that needs some defines a trait for it.
//!
//! A legacy driver and one that speaks VERSION_1 differ in the byte order of everything and in the
//! place of the rings. A device sees only [`Activation::order`]; the rest is the queue's.

pub mod backlog;
pub mod balloon;
pub mod blk;
mod byte_order;
pub mod chain;
pub mod console;
pub mod device;
pub mod interrupt;
pub mod mmio;
pub mod net;
pub mod p9;
pub mod pci;
#[cfg(test)]
mod probe;
pub mod queue;
mod queue_error;
mod ring_legacy;
pub mod rng;
pub mod transport;
pub mod vsock;

pub use backlog::Backlog;
pub use byte_order::ByteOrder;
pub use chain::{Chain, Reader, Writer};
pub use device::{Activation, VirtioDevice, read_fields};
pub use interrupt::Interrupt;
pub use queue::Queue;
pub use queue_error::QueueError;
