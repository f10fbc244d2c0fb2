//! Time base, decrementer, fixed-interval timer and watchdog (PPC440x5 user's manual, chapter 7).
//!
//! Nothing here runs by itself: every state is computed from how far the hardware's time base
//! has come when somebody looks, and the next moment at which somebody should look is known.

use ppc440_isa::regs::{tcr, tsr};

use crate::uapi::ResetKind;

/// The timers' registers and counters, free of the hardware's clock: what a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerState {
    /// Time base.
    pub tb: u64,
    /// Decrementer as `mfspr` reads it.
    pub dec: u32,
    /// Decrementer auto-reload register.
    pub decar: u32,
    /// Timer control register.
    pub tcr: u32,
    /// Timer status register.
    pub tsr: u32,
    /// The reset that the watchdog has demanded and that no [`crate::Exit::Reset`] has told of yet.
    pub watchdog_reset: Option<ResetKind>,
}

/// Which timer interrupts are requested: status and enable are both set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    pub decrementer: bool,
    pub fixed_interval: bool,
    pub watchdog: bool,
}

impl Requests {
    pub fn any(&self) -> bool {
        self.decrementer | self.fixed_interval | self.watchdog
    }
}

/// The timers against the hardware's time base. All `now` are [`crate::Hw::time_base`] ticks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timer {
    /// TB less the hardware's time base, while not frozen.
    tb_offset: u64,
    /// The hardware's tick up to which everything is accounted for.
    seen: u64,
    /// When the decrementer goes from 1 to 0, by `seen`'s clock; `None`: it has stopped at 0.
    expires: Option<u64>,
    decar: u32,
    tcr: u32,
    tsr: u32,
    requests: Requests,
    frozen: bool,
    reset: Option<ResetKind>,
}

/// TB bit whose rise the fixed-interval timer waits for, counted from the least significant.
fn fit_bit(tcr: u32) -> u32 {
    12 + 4 * (tcr >> 24 & 3)
}

/// TB bit whose rise the watchdog waits for.
fn watchdog_bit(tcr: u32) -> u32 {
    20 + 4 * (tcr >> 30 & 3)
}

/// How often `bit` goes from 0 to 1 while the time base counts `ticks` on from `tb`.
fn rises(tb: u64, ticks: u64, bit: u32) -> u64 {
    let low = (tb & ((2 << bit) - 1)) + (1 << bit);
    (low.saturating_add(ticks) >> (bit + 1)) - (low >> (bit + 1))
}

/// Ticks from `tb` until `bit` next goes from 0 to 1, at least 1.
fn ticks_to_rise(tb: u64, bit: u32) -> u64 {
    let period = 2u64 << bit;
    let to_go = (1u64 << bit).wrapping_sub(tb) & (period - 1);
    if to_go == 0 { period } else { to_go }
}

impl Timer {
    /// A snapshot; the timers must have been advanced to now.
    pub fn state(&self) -> TimerState {
        TimerState {
            tb: self.tb(),
            dec: self.dec(),
            decar: self.decar,
            tcr: self.tcr,
            tsr: self.tsr,
            watchdog_reset: self.reset,
        }
    }

    /// Takes a snapshot over, at hardware time `now`.
    pub fn set_state(&mut self, state: TimerState, now: u64) {
        *self = Timer {
            tb_offset: state.tb.wrapping_sub(now),
            seen: now,
            expires: (state.dec != 0).then(|| now + u64::from(state.dec)),
            decar: state.decar,
            tcr: state.tcr & tcr::IMPLEMENTED,
            tsr: state.tsr,
            requests: Requests::default(),
            frozen: self.frozen,
            reset: state.watchdog_reset,
        };
        self.refresh();
    }

    /// Lets time pass until `now`.
    pub fn advance(&mut self, now: u64) {
        let ticks = now.saturating_sub(self.seen);
        if ticks == 0 {
            return;
        }
        if self.frozen {
            // The clock stands still: everything that counts by it moves along.
            self.tb_offset = self.tb_offset.wrapping_sub(ticks);
            self.expires = self.expires.map(|at| at + ticks);
            self.seen = now;
            return;
        }
        let tb = self.tb();
        if rises(tb, ticks, fit_bit(self.tcr)) != 0 {
            self.tsr |= tsr::FIS;
        }
        self.watchdog(rises(tb, ticks, watchdog_bit(self.tcr)));
        self.seen = now;
        if let Some(at) = self.expires.filter(|&at| at <= now) {
            self.tsr |= tsr::DIS;
            let period = u64::from(self.decar);
            self.expires = if self.tcr & tcr::ARE == 0 || period == 0 {
                None
            } else {
                Some(at + period * (1 + (now - at) / period))
            };
        }
        self.refresh();
    }

    /// Runs the watchdog through `timeouts` of its timeouts.
    fn watchdog(&mut self, timeouts: u64) {
        for _ in 0..timeouts.min(3) {
            if self.tsr & tsr::ENW == 0 {
                self.tsr |= tsr::ENW;
            } else if self.tsr & tsr::WIS == 0 {
                self.tsr |= tsr::WIS;
            } else if let Some(kind) = ResetKind::from_code(self.tcr >> 28) {
                self.tsr = self.tsr & !tsr::WRS | (kind as u32) << 28;
                self.reset = Some(kind);
            }
        }
    }

    fn refresh(&mut self) {
        let both = |status: u32, enable: u32| self.tsr & status != 0 && self.tcr & enable != 0;
        self.requests = Requests {
            decrementer: both(tsr::DIS, tcr::DIE),
            fixed_interval: both(tsr::FIS, tcr::FIE),
            watchdog: both(tsr::WIS, tcr::WIE),
        };
    }

    /// The interrupts that are requested now.
    #[inline]
    pub fn requests(&self) -> Requests {
        self.requests
    }

    /// The reset that the watchdog demanded, once.
    pub fn take_reset(&mut self) -> Option<ResetKind> {
        self.reset.take()
    }

    /// Whether the watchdog can still do something: interrupt, or reset.
    pub fn watchdog_armed(&self) -> bool {
        self.tcr & (tcr::WIE | tcr::WRC) != 0 && !self.frozen
    }

    /// When the state will next change in a way that the guest is told of without asking, in the
    /// hardware's ticks; `None` when it never will.
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadline_of(Requests {
            decrementer: true,
            fixed_interval: true,
            watchdog: true,
        })
    }

    /// Returns [`Timer::next_deadline`], counting only the interrupts in `wanted`, and always the
    /// watchdog's reset.
    pub fn deadline_of(&self, wanted: Requests) -> Option<u64> {
        if self.frozen {
            return None;
        }
        let rise = |bit| self.seen.saturating_add(ticks_to_rise(self.tb(), bit));
        let wants = |wanted: bool, enable: u32, status: u32| {
            wanted && self.tcr & enable != 0 && self.tsr & status == 0
        };
        let dec = self
            .expires
            .filter(|_| wants(wanted.decrementer, tcr::DIE, tsr::DIS));
        let fit = wants(wanted.fixed_interval, tcr::FIE, tsr::FIS).then(|| rise(fit_bit(self.tcr)));
        let watchdog = (wants(wanted.watchdog, tcr::WIE, tsr::WIS) || self.tcr & tcr::WRC != 0)
            .then(|| rise(watchdog_bit(self.tcr)));
        [dec, fit, watchdog].into_iter().flatten().min()
    }

    /// The time base, as of the last [`Timer::advance`].
    pub fn tb(&self) -> u64 {
        self.seen.wrapping_add(self.tb_offset)
    }

    /// Sets the time base. A bit that a timer watches and that goes from 0 to 1 by this counts as
    /// its rise (section 7.3).
    pub fn set_tb(&mut self, tb: u64) {
        let risen = !self.tb() & tb;
        if risen >> fit_bit(self.tcr) & 1 != 0 {
            self.tsr |= tsr::FIS;
        }
        self.watchdog(risen >> watchdog_bit(self.tcr) & 1);
        self.tb_offset = tb.wrapping_sub(self.seen);
        self.refresh();
    }

    /// The decrementer, as of the last [`Timer::advance`].
    pub fn dec(&self) -> u32 {
        self.expires
            .map_or(0, |at| at.saturating_sub(self.seen) as u32)
    }

    /// Sets the decrementer; 0 stops it and is no expiry.
    pub fn set_dec(&mut self, value: u32) {
        self.expires = (value != 0).then(|| self.seen + u64::from(value));
    }

    pub fn set_decar(&mut self, value: u32) {
        self.decar = value;
    }

    pub fn tcr(&self) -> u32 {
        self.tcr
    }

    /// Writes TCR; bits of WRC that are set stay set.
    pub fn set_tcr(&mut self, value: u32) {
        self.tcr = value & tcr::IMPLEMENTED | self.tcr & tcr::WRC;
        self.refresh();
    }

    pub fn tsr(&self) -> u32 {
        self.tsr
    }

    /// Clears the bits of TSR that are set in `mask`.
    pub fn clear_tsr(&mut self, mask: u32) {
        self.tsr &= !mask;
        self.refresh();
    }

    /// Stops or restarts all counting (DBCR0\[FT\] while a debug event is recorded).
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// What a reset does at `now`: TCR\[WRC\] and TCR\[ARE\] go; TSR\[WRS\] stays as the watchdog left
    /// it, which does nothing more in the time that the reset has taken until now.
    pub fn reset(&mut self, now: u64) {
        self.tcr &= !(tcr::WRC | tcr::ARE);
        self.reset = None;
        self.advance(now);
        self.frozen = false;
        self.refresh();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(tcr: u32) -> Timer {
        let mut timer = Timer::default();
        timer.set_tcr(tcr);
        timer
    }

    #[test]
    fn rises_are_counted_one_by_one() {
        for bit in [0, 3, 12] {
            for tb in [0u64, 1, 7, 8, 9, 15, 16, 4095, 4096, 8191, 8192, u64::MAX] {
                let mut counted = 0;
                for ticks in 1..9000u64 {
                    let (before, after) = (tb.wrapping_add(ticks - 1), tb.wrapping_add(ticks));
                    let rose = before >> bit & 1 == 0 && after >> bit & 1 == 1;
                    if rose && counted == 0 {
                        assert_eq!(ticks_to_rise(tb, bit), ticks);
                    }
                    counted += u64::from(rose);
                    assert_eq!(
                        rises(tb, ticks, bit),
                        counted,
                        "bit {bit} from {tb:#x} + {ticks}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_decrementer_expires_from_1_to_0_and_stops_there() {
        let mut timer = timer(0);
        timer.advance(1000);
        timer.set_dec(10);
        timer.advance(1009);
        assert_eq!((timer.dec(), timer.tsr()), (1, 0));
        timer.advance(1010);
        assert_eq!((timer.dec(), timer.tsr()), (0, tsr::DIS));
        timer.clear_tsr(tsr::DIS);
        timer.advance(1 << 40);
        assert_eq!((timer.dec(), timer.tsr() & tsr::DIS), (0, 0));
    }

    #[test]
    fn writing_0_stops_the_decrementer_without_an_expiry() {
        let mut timer = timer(tcr::DIE);
        timer.set_dec(10);
        assert_eq!(timer.next_deadline(), Some(10));
        timer.advance(5);
        timer.set_dec(0);
        assert_eq!(timer.next_deadline(), None);
        timer.advance(100);
        assert_eq!((timer.dec(), timer.tsr() & tsr::DIS), (0, 0));
    }

    #[test]
    fn auto_reload_keeps_its_period_however_late_anybody_looks() {
        let mut timer = timer(tcr::ARE | tcr::DIE);
        timer.set_decar(100);
        timer.set_dec(30);
        timer.advance(30);
        assert_eq!((timer.dec(), timer.tsr()), (100, tsr::DIS));
        timer.clear_tsr(tsr::DIS);
        assert_eq!(timer.next_deadline(), Some(130));
        timer.advance(30 + 7 * 100 + 1);
        assert_eq!((timer.dec(), timer.tsr()), (99, tsr::DIS));
        timer.set_decar(0);
        timer.advance(30 + 8 * 100);
        assert_eq!(timer.dec(), 0);
        timer.clear_tsr(tsr::DIS);
        timer.advance(10_000);
        assert_eq!(timer.tsr() & tsr::DIS, 0);
    }

    #[test]
    fn dis_is_a_level_until_it_is_cleared_or_disabled() {
        let mut timer = timer(tcr::DIE);
        timer.set_dec(1);
        timer.advance(1);
        assert!(timer.requests().decrementer);
        timer.set_tcr(0);
        assert!(!timer.requests().decrementer);
        timer.set_tcr(tcr::DIE);
        assert!(timer.requests().decrementer);
        timer.clear_tsr(tsr::DIS);
        assert!(!timer.requests().decrementer);
    }

    #[test]
    fn each_fit_period_has_its_bit() {
        for (code, bit) in [(0u32, 12), (1, 16), (2, 20), (3, 24)] {
            let mut timer = timer(code << 24 | tcr::FIE);
            assert_eq!(timer.next_deadline(), Some(1 << bit));
            timer.advance((1 << bit) - 1);
            assert!(!timer.requests().fixed_interval);
            timer.advance(1 << bit);
            assert!(timer.requests().fixed_interval);
            timer.clear_tsr(tsr::FIS);
            assert_eq!(timer.next_deadline(), Some(3 << bit));
        }
    }

    #[test]
    fn a_write_to_the_time_base_that_raises_the_bit_is_a_timeout() {
        let mut timer = timer(tcr::FIE);
        timer.advance(10);
        timer.set_tb(0xFFF);
        assert_eq!(timer.tsr(), 0);
        timer.set_tb(1 << 12);
        assert_eq!(timer.tsr(), tsr::FIS);
        timer.set_tb(1 << 20);
        assert_eq!(timer.tsr(), tsr::FIS | tsr::ENW);
        timer.advance(25);
        assert_eq!(timer.tb(), (1 << 20) + 15);
    }

    #[test]
    fn the_watchdog_goes_from_enw_over_wis_to_its_reset() {
        for (code, bit) in [(0u32, 20), (1, 24), (2, 28), (3, 32)] {
            let mut timer = timer(code << 30 | tcr::WIE | 2 << 28);
            let period = 2u64 << bit;
            let first = 1u64 << bit;
            assert_eq!(timer.next_deadline(), Some(first));
            timer.advance(first);
            assert_eq!(timer.tsr() & (tsr::ENW | tsr::WIS), tsr::ENW);
            timer.advance(first + period);
            assert_eq!(timer.tsr() & (tsr::ENW | tsr::WIS), tsr::ENW | tsr::WIS);
            assert!(timer.requests().watchdog);
            assert_eq!(timer.take_reset(), None);
            timer.advance(first + 2 * period);
            assert_eq!(timer.take_reset(), Some(ResetKind::Chip));
            assert_eq!(timer.tsr() & tsr::WRS, 2 << 28);
            assert_eq!(timer.take_reset(), None);
        }
    }

    #[test]
    fn a_watchdog_without_wrc_never_resets() {
        let mut timer = timer(tcr::WIE);
        timer.advance(100 << 20);
        assert!(timer.requests().watchdog);
        assert_eq!((timer.take_reset(), timer.next_deadline()), (None, None));
    }

    #[test]
    fn wrc_bits_can_only_be_set() {
        let mut timer = timer(1 << 28);
        timer.set_tcr(2 << 28 | tcr::DIE);
        assert_eq!(timer.tcr(), 3 << 28 | tcr::DIE);
        timer.set_tcr(0xFFFF_FFFF);
        assert_eq!(timer.tcr(), tcr::IMPLEMENTED);
        timer.reset(timer.seen);
        assert_eq!(timer.tcr() & (tcr::WRC | tcr::ARE), 0);
    }

    #[test]
    fn frozen_timers_stand_still() {
        let mut timer = timer(tcr::DIE);
        timer.set_dec(100);
        timer.advance(40);
        timer.freeze(true);
        assert_eq!(timer.next_deadline(), None);
        timer.advance(1000);
        assert_eq!((timer.dec(), timer.tb()), (60, 40));
        timer.freeze(false);
        timer.advance(1060);
        assert_eq!((timer.dec(), timer.tb(), timer.tsr()), (0, 100, tsr::DIS));
    }

    #[test]
    fn a_snapshot_goes_on_at_another_time() {
        let mut timer = timer(tcr::DIE);
        timer.set_dec(100);
        timer.advance(40);
        let state = timer.state();
        assert_eq!((state.tb, state.dec), (40, 60));
        let mut other = Timer::default();
        other.set_state(state, 1_000_000);
        other.advance(1_000_059);
        assert_eq!((other.tb(), other.dec()), (99, 1));
        assert_eq!(other.next_deadline(), Some(1_000_060));
    }
}
