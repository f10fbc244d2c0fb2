//! Where the guest's time goes, by samples: the code that was about to run when a slice ended.

/// Samples that are remembered.
const REMEMBERED: usize = 8;

/// The last samples.
#[derive(Debug)]
pub(super) struct Samples {
    last: [Option<u32>; REMEMBERED],
    next: usize,
}

impl Samples {
    pub fn new() -> Self {
        Samples {
            last: [None; REMEMBERED],
            next: 0,
        }
    }

    /// Takes a sample: the RAM address that a slice ended at. Says whether an earlier one was there too;
    /// then, code there takes a good part of the time, and goes on to do so.
    pub fn take(&mut self, ram: u32) -> bool {
        let again = self.last.contains(&Some(ram));
        self.last[self.next] = Some(ram);
        self.next = (self.next + 1) % REMEMBERED;
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_soon_is_hot() {
        let mut samples = Samples::new();
        assert!(!samples.take(0));
        for ram in (4..32).step_by(4) {
            assert!(!samples.take(ram));
        }
        assert!(samples.take(0), "the eighth behind it");
        assert!(!samples.take(32));
        assert!(!samples.take(4), "the ninth");
    }
}
