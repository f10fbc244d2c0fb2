//! Why a queue is broken.

use vm_memory::GuestMemoryError;

/// A fault that breaks a queue. Only a driver that does not keep the rules sees this.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The ring's size, its addresses or its alignment are invalid.
    #[error("the ring's size or alignment is invalid")]
    Layout,
    /// Something is not in guest RAM.
    #[error("a descriptor's {bytes} bytes at {address:#x} are not inside the guest's ram")]
    Outside {
        /// First guest physical address.
        address: u64,
        /// Length in bytes.
        bytes: u64,
    },
    /// The driver says that more buffers are available than the ring holds.
    #[error("{waiting} buffers are available in a ring of {size}")]
    AvailableIndex {
        /// How many the driver says there are.
        waiting: u16,
        /// How many there can be.
        size: u16,
    },
    /// The driver made more chains available than the ring has descriptors, before any came back.
    #[error("more than {size} buffers were taken from a ring of {size} before any came back")]
    Outstanding {
        /// The number of descriptors in the ring.
        size: u16,
    },
    /// A chain leaves its table, loops, or has an invalid indirect table.
    #[error(
        "the descriptor chain from {head} leaves its table, or loops, or its indirect table is \
         invalid"
    )]
    BrokenChain {
        /// The chain's first descriptor.
        head: u16,
    },
    /// A chain with too many descriptors, or of 4 GiB or more.
    #[error("the descriptor chain from {head} has more than 1024 descriptors or 4 GiB")]
    TooLong {
        /// The chain's first descriptor.
        head: u16,
    },
    /// A chain that goes back to readable buffers.
    #[error("the descriptor chain from {head} has readable buffers after writable ones")]
    ReadableAfterWritable {
        /// The chain's first descriptor.
        head: u16,
    },
    /// A request whose parts are too short or too long for its device.
    #[error("the descriptor chain from {head} holds no request: {why}")]
    Request {
        /// The chain's first descriptor.
        head: u16,
        /// What is wrong.
        why: &'static str,
    },
    /// The ring cannot be read or written.
    #[error("the ring is not inside the guest's ram: {0}")]
    Memory(#[from] GuestMemoryError),
    /// The library for split rings refuses the ring, for the reason that it names.
    #[error("{0}")]
    Ring(#[from] virtio_queue::Error),
}
