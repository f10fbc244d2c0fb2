//! Where the guest's time goes, by samples: the code that was about to run when a slice ended.
//!
//! A slice ends before a block that has more instructions than may still run: before a long one rather
//! than before the short ones that it leads to. So now and then the blocks behind a sample are samples
//! too; for that, each of them runs alone.

/// Samples that are remembered. With 32, and every second slice followed up, nothing in `tests/bench` was
/// faster, and fork+exec 5 % slower.
const REMEMBERED: usize = 8;
/// Slices of which one is followed up, when code was just found that runs much.
const OFTEN: u32 = 8;
/// Slices of which one is followed up, when no such code was found for long.
const SELDOM: u32 = 128;
/// Blocks that run alone then.
const STEPS: u32 = 4;

/// The last samples.
#[derive(Debug)]
pub(super) struct Hotness {
    last: [Option<u32>; REMEMBERED],
    next: usize,
    /// A slice has just ended.
    ended: bool,
    /// Slices from one that is followed up to the next.
    interval: u32,
    /// Slices until then.
    wait: u32,
    /// Blocks that are to run alone yet.
    steps: u32,
    /// The block that runs alone, by its RAM address.
    alone: Option<u32>,
}

/// What becomes of the code that is about to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Next {
    /// The code that is about to run is a sample.
    pub is_sample: bool,
    /// The code is to come back when its block has run.
    pub alone: bool,
}

impl Hotness {
    pub fn new() -> Self {
        Hotness {
            last: [None; REMEMBERED],
            next: 0,
            ended: false,
            interval: OFTEN,
            wait: OFTEN,
            steps: 0,
            alone: None,
        }
    }

    /// A slice ended.
    pub fn slice_ended(&mut self) {
        self.ended = true;
    }

    /// Code was found that runs much, and was not known to.
    pub fn found(&mut self) {
        self.interval = OFTEN;
        self.wait = self.wait.min(OFTEN);
    }

    /// The code at a RAM address is about to run.
    pub fn next(&mut self, ram: u32) -> Next {
        let ended = std::mem::take(&mut self.ended);
        let before = self.alone.take();
        if ended && before.is_none() {
            self.wait -= 1;
            if self.wait == 0 {
                self.steps = STEPS;
                self.interval = (2 * self.interval).min(SELDOM);
                self.wait = self.interval;
            }
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
        let mut samples = Hotness::new();
        assert!(!samples.take(0));
        for ram in (4..32).step_by(4) {
            assert!(!samples.take(ram));
        }
        assert!(samples.take(0), "the eighth behind it");
        assert!(!samples.take(32));
        assert!(!samples.take(4), "the ninth");
    }

    /// Ends slices until one is followed up, to its end; gives how many.
    fn follow(samples: &mut Hotness) -> u32 {
        let mut slices = 0;
        loop {
            slices += 1;
            samples.slice_ended();
            let mut next = samples.next(0);
            assert!(next.is_sample);
            if !next.alone {
                assert!(!samples.next(4).is_sample);
                continue;
            }
            let mut ram = 0;
            while next.alone {
                ram += 4;
                next = samples.next(ram);
                assert!(next.is_sample);
            }
            assert_eq!(ram, 4 * STEPS);
            assert_eq!(samples.next(ram), Next::default());
            return slices;
        }
    }

    #[test]
    fn slices_are_followed_up_while_there_is_something_to_find() {
        let mut samples = Hotness::new();
        assert_eq!(samples.next(0), Next::default());
        let intervals = [(); 6].map(|()| follow(&mut samples));
        assert_eq!(intervals, [8, 16, 32, 64, 128, 128]);
        samples.found();
        let intervals = [(); 3].map(|()| follow(&mut samples));
        assert_eq!(intervals, [8, 16, 32]);
    }

    #[test]
    fn a_loop_that_comes_to_itself_is_no_new_sample() {
        let mut samples = Hotness::new();
        for _ in 0..OFTEN {
            samples.slice_ended();
            samples.next(8);
        }
        samples.slice_ended();
        let itself = samples.next(8);
        assert_eq!((itself.is_sample, itself.alone), (false, true));
        assert!(samples.next(12).is_sample);
    }
}
