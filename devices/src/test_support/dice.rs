//! Random numbers that a seed repeats, and how many cases a random test has.

/// The seed that `PPCKVM_SEED` chooses for the tests that have one; `default` without it.
///
/// # Panics
/// When the variable is no number: a person is told instead of getting another seed.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("PPCKVM_SEED").ok();
    seed.map_or(default, |seed| {
        seed.parse().expect("PPCKVM_SEED is a number")
    })
}

/// How many cases a random test has: `few`, or `many` in the long mode, when `PPCKVM_LONG` is set.
pub fn cases<N>(few: N, many: N) -> N {
    match std::env::var_os("PPCKVM_LONG") {
        Some(_) => many,
        None => few,
    }
}

/// A small generator (xorshift64), so that a failure comes back with the same seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator; every seed makes another sequence.
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns any number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// Returns true once in `times` calls, on average.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns one of `these`, which is not empty.
    pub fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len() as u64) as usize]
    }

    /// Returns `count` random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.roll().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
