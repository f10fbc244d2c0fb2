//! Where the guest's time goes, by samples: the code that was about to run when a slice ended.
//!
//! A slice ends before a block that has more instructions than may still run: before a long one rather
//! than before the short ones that it leads to. So now and then the blocks behind a sample are samples
//! too; for that, each of them runs alone.

/// Samples that are remembered.
const REMEMBERED: usize = 8;
/// Of as many slices, the end of one is followed up.
const FOLLOWED: u32 = 8;
/// Blocks that run alone then.
const STEPS: u32 = 4;

/// The last samples.
#[derive(Debug)]
pub(super) struct Samples {
    last: [Option<u32>; REMEMBERED],
    next: usize,
    /// Slices that ended.
    slices: u32,
    /// One has just ended.
    ended: bool,
    /// Blocks that are to run alone yet.
    steps: u32,
    /// The block that runs alone, by its RAM address.
    alone: Option<u32>,
}

/// What becomes of the code that is about to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Next {
    /// It is a sample.
    pub is_sample: bool,
    /// It is to come back when its block has run.
    pub alone: bool,
}

impl Samples {
    pub fn new() -> Self {
        Samples {
            last: [None; REMEMBERED],
            next: 0,
            slices: 0,
            ended: false,
            steps: 0,
            alone: None,
        }
    }

    /// A slice ended.
    pub fn slice_ended(&mut self) {
        self.ended = true;
        self.slices = self.slices.wrapping_add(1);
    }

    /// The code at a RAM address is about to run.
    pub fn next(&mut self, ram: u32) -> Next {
        let ended = std::mem::take(&mut self.ended);
        let before = self.alone.take();
        if ended && before.is_none() && self.slices.is_multiple_of(FOLLOWED) {
            self.steps = STEPS;
        }
        let alone = self.steps != 0;
        if alone {
            self.steps -= 1;
            self.alone = Some(ram);
        }
        // A loop comes to itself, which says nothing new.
        let is_sample = (ended || before.is_some()) && before != Some(ram);
        Next { is_sample, alone }
    }

    /// Takes a sample. Says whether an earlier one was at the same RAM address; then, code there takes a
    /// good part of the time, and goes on to do so.
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

    #[test]
    fn of_eight_slices_one_is_followed_up() {
        let mut samples = Samples::new();
        let next = |samples: &mut Samples, ram| {
            let next = samples.next(ram);
            (next.is_sample, next.alone)
        };
        assert_eq!(next(&mut samples, 0), (false, false));
        for _ in 0..7 {
            samples.slice_ended();
            assert_eq!(next(&mut samples, 0), (true, false));
            assert_eq!(next(&mut samples, 4), (false, false));
        }
        samples.slice_ended();
        assert_eq!(next(&mut samples, 0), (true, true));
        assert_eq!(next(&mut samples, 8), (true, true));
        samples.slice_ended();
        assert_eq!(next(&mut samples, 8), (false, true), "it came to itself");
        assert_eq!(next(&mut samples, 12), (true, true));
        assert_eq!(next(&mut samples, 16), (true, false));
        assert_eq!(next(&mut samples, 20), (false, false));
    }
}
