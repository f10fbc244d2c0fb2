//! The memory of TCP connections: 64 MiB for all of them, shared fairly.
//!
//! Every connection has two buffers, one for each direction. The first connections get large ones;
//! the more there are, the smaller are those of the next, so that the last still gets what carries
//! data well, and a connection that ends makes room. Sizes stay as they are while a connection
//! lives, because the guest was told of them.

/// Connections at one time, forwarded ones included.
pub const CONNECTIONS: usize = 1024;

/// Bytes of all buffers.
const TOTAL: usize = 64 << 20;

/// The least bytes of a buffer: what every one of [`CONNECTIONS`] can have.
const LEAST: usize = 16 << 10;

/// The most bytes of a buffer: what carries data at full speed.
const MOST: usize = 256 << 10;

/// Bytes beyond what every connection can have.
const EXTRA: usize = TOTAL - CONNECTIONS * 2 * LEAST;

/// The part of what is left that one connection may have.
const PART: usize = 32;

/// What is left.
#[derive(Debug)]
pub struct Buffers {
    extra: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        Buffers { extra: EXTRA }
    }
}

impl Buffers {
    /// Takes memory for a connection: bytes of each of its two buffers, a power of two.
    pub fn take(&mut self) -> usize {
        let fair = LEAST + self.extra / PART / 2;
        let bytes = (1 << fair.ilog2()).min(MOST);
        self.extra -= 2 * (bytes - LEAST);
        bytes
    }

    /// A connection whose buffers had so many bytes each is over.
    pub fn give_back(&mut self, bytes: usize) {
        self.extra += 2 * (bytes - LEAST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_together_stay_within_the_total() {
        let mut buffers = Buffers::default();
        let sizes: Vec<usize> = (0..CONNECTIONS).map(|_| buffers.take()).collect();
        assert!(2 * sizes.iter().sum::<usize>() <= TOTAL);
        assert!(sizes.is_sorted_by(|a, b| a >= b));
        assert_eq!((sizes[0], sizes[CONNECTIONS - 1]), (MOST, LEAST));
        // As many as a program opens at once are at full speed.
        assert_eq!(sizes[15], MOST);
    }

    #[test]
    fn a_connection_that_ends_makes_room() {
        let mut buffers = Buffers::default();
        let sizes: Vec<usize> = (0..CONNECTIONS).map(|_| buffers.take()).collect();
        sizes.iter().for_each(|bytes| buffers.give_back(*bytes));
        assert_eq!(buffers.extra, EXTRA);
        assert_eq!(buffers.take(), MOST);
    }
}
