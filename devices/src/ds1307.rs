//! A DS1307: a clock with a calendar and 56 bytes of memory, both kept by a battery.
//!
//! It stands on an IIC bus, at address 0x68. The time that it keeps is that of a [`Source`], moved
//! by what software set; it counts on while the machine is off or resets. Only the square wave
//! output is missing: nothing is wired to it.
//!
//! The registers hold 2000 to 2099, in BCD. A date that does not exist counts on from the day that
//! follows from it, so that 31 February is 3 March; the data sheet leaves this open.

use std::time::Duration;

use crate::iic::{Direction, Slave};

/// The chip's address on the bus, 7 bits.
pub const ADDRESS: u8 = 0x68;

/// Seconds, and [`SECONDS_CH`].
pub const SECONDS: u8 = 0x00;
/// Minutes.
pub const MINUTES: u8 = 0x01;
/// Hours, and [`HOURS_12`].
pub const HOURS: u8 = 0x02;
/// Day of the week, 1 to 7; which day is 1 is software's choice.
pub const DAY: u8 = 0x03;
/// Day of the month.
pub const DATE: u8 = 0x04;
/// Month, 1 to 12.
pub const MONTH: u8 = 0x05;
/// Year, 0 to 99.
pub const YEAR: u8 = 0x06;
/// Control of the square wave output.
pub const CONTROL: u8 = 0x07;
/// The first byte of memory.
pub const RAM: u8 = 0x08;

/// SECONDS: the clock is halted.
pub const SECONDS_CH: u8 = 0x80;
/// HOURS: 1 to 12 with [`HOURS_PM`], not 0 to 23.
pub const HOURS_12: u8 = 0x40;
/// HOURS: after noon.
pub const HOURS_PM: u8 = 0x20;
/// CONTROL: OUT, SQWE, RS1 and RS0.
pub const CONTROL_MASK: u8 = 0x93;
const CONTROL_RESET: u8 = 0x03;

/// How many registers there are, memory included.
const REGISTERS: u8 = 0x40;
const RAM_BYTES: usize = (REGISTERS - RAM) as usize;
/// SECONDS to YEAR.
const TIMES: usize = 7;

const SECOND: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

/// Returns the time since 1970-01-01 00:00:00 UTC, and never goes back by itself.
pub type Source = Box<dyn Fn() -> Duration + Send>;

/// The values that a snapshot of the chip must hold. Times are in nanoseconds since 1970-01-01 00:00:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// How far the clock is ahead of its source.
    pub ahead: i64,
    /// The time at which the clock was halted, while it is.
    pub halted: Option<i64>,
    /// Whether hours are shown as 1 to 12.
    pub twelve_hours: bool,
    /// How far DAY is ahead of 1 for Sunday (0 to 6).
    pub day_shift: u8,
    /// Control.
    pub control: u8,
    /// The memory.
    pub ram: [u8; RAM_BYTES],
    /// The register that is next.
    pub pointer: u8,
    /// Whether the next byte written is the pointer.
    pub takes_pointer: bool,
    /// The time registers as they were when the transfer began, and as software wrote them since.
    pub latch: [u8; TIMES],
    /// Which time registers software wrote in this transfer, bit n for register n.
    pub written: u8,
}

impl Default for State {
    fn default() -> Self {
        State {
            ahead: 0,
            halted: None,
            twelve_hours: false,
            day_shift: 0,
            control: CONTROL_RESET,
            ram: [0; RAM_BYTES],
            pointer: 0,
            takes_pointer: false,
            latch: [0; TIMES],
            written: 0,
        }
    }
}

/// A DS1307 clock chip.
pub struct Ds1307 {
    state: State,
    source: Source,
}

impl Ds1307 {
    /// A chip that runs and shows its source's time, in UTC.
    pub fn new(source: Source) -> Self {
        Ds1307 {
            state: State::default(),
            source,
        }
    }

    /// Returns what a snapshot must hold.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes up a state that [`Ds1307::state`] returned.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    fn source_now(&self) -> i64 {
        // Until the year 2262.
        i64::try_from((self.source)().as_nanos()).unwrap_or(i64::MAX)
    }

    fn now(&self) -> i64 {
        let running = || self.source_now().saturating_add(self.state.ahead);
        self.state.halted.unwrap_or_else(running)
    }

    /// Copies the time into the registers that a transfer reads, so that it cannot change between
    /// two of them.
    fn latch(&mut self) {
        let seconds = self.now().div_euclid(SECOND);
        let (days, second) = (
            seconds.div_euclid(DAY_SECONDS),
            seconds.rem_euclid(DAY_SECONDS),
        );
        let (year, month, date) = civil(days);
        let hour = second / 3600;
        let hours = if self.state.twelve_hours {
            let half = if hour < 12 { 0 } else { HOURS_PM };
            HOURS_12 | half | bcd((hour + 11) % 12 + 1)
        } else {
            bcd(hour)
        };
        let halted = match self.state.halted {
            Some(_) => SECONDS_CH,
            None => 0,
        };
        self.state.latch = [
            halted | bcd(second % 60),
            bcd(second / 60 % 60),
            hours,
            bcd((weekday(days) + i64::from(self.state.day_shift)) % 7 + 1),
            bcd(date),
            bcd(month),
            bcd(year.rem_euclid(100)),
        ];
    }

    /// Makes what software wrote into the time registers the time.
    fn commit(&mut self) {
        let written = std::mem::take(&mut self.state.written);
        if written == 0 {
            return;
        }
        let [seconds, minutes, hours, day, date, month, year] = self.state.latch;
        self.state.twelve_hours = hours & HOURS_12 != 0;
        let hour = if self.state.twelve_hours {
            number(hours & 0x1F) % 12 + if hours & HOURS_PM != 0 { 12 } else { 0 }
        } else {
            number(hours & 0x3F)
        };
        let days = days(
            2000 + number(year),
            number(month & 0x1F),
            number(date & 0x3F),
        );
        let clock =
            days * DAY_SECONDS + hour * 3600 + number(minutes & 0x7F) * 60 + number(seconds & 0x7F);
        // Writing the seconds also resets the divider below them.
        let fraction = match written & 1 << SECONDS {
            0 => self.now().rem_euclid(SECOND),
            _ => 0,
        };
        let clock = clock * SECOND + fraction;
        self.state.ahead = clock.saturating_sub(self.source_now());
        self.state.halted = (seconds & SECONDS_CH != 0).then_some(clock);
        let natural = weekday(clock.div_euclid(SECOND * DAY_SECONDS));
        let shift = (i64::from(day & 7) - 1 - natural).rem_euclid(7);
        self.state.day_shift = u8::try_from(shift).unwrap_or(0);
    }

    fn advance(&mut self) {
        self.state.pointer = (self.state.pointer + 1) % REGISTERS;
        if self.state.pointer == 0 {
            self.commit();
            self.latch();
        }
    }
}

impl Slave for Ds1307 {
    fn start(&mut self, direction: Direction) -> bool {
        self.commit();
        self.latch();
        self.state.takes_pointer = direction == Direction::Write;
        true
    }

    fn write(&mut self, byte: u8) -> bool {
        let state = &mut self.state;
        if std::mem::take(&mut state.takes_pointer) {
            state.pointer = byte % REGISTERS;
            return true;
        }
        match state.pointer {
            CONTROL => state.control = byte & CONTROL_MASK,
            pointer @ SECONDS..CONTROL => {
                if let Some(register) = state.latch.get_mut(usize::from(pointer)) {
                    *register = byte;
                    state.written |= 1 << pointer;
                }
            }
            pointer => {
                if let Some(cell) = state.ram.get_mut(usize::from(pointer - RAM)) {
                    *cell = byte;
                }
            }
        }
        self.advance();
        true
    }

    fn read(&mut self) -> u8 {
        let state = &self.state;
        let byte = match state.pointer {
            CONTROL => Some(&state.control),
            pointer @ SECONDS..CONTROL => state.latch.get(usize::from(pointer)),
            pointer => state.ram.get(usize::from(pointer - RAM)),
        };
        let byte = byte.copied().unwrap_or(0);
        self.advance();
        byte
    }

    fn stop(&mut self) {
        self.commit();
    }
}

/// Two digits, from 0 to 99.
fn bcd(number: i64) -> u8 {
    u8::try_from(number / 10 * 16 + number % 10).unwrap_or(0)
}

/// What two digits say; digits above 9 count as what they are.
fn number(bcd: u8) -> i64 {
    i64::from(bcd >> 4) * 10 + i64::from(bcd & 0x0F)
}

/// The day of the week of a day since 1970-01-01, which was a Thursday: 0 is Sunday.
fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: i64 = 719_468;
/// Days in 400 years.
const CYCLE: i64 = 146_097;

/// Days from 1970-01-01 to a date of the Gregorian calendar. A month outside 1 to 12 and a date
/// outside its month count on into the months before or after.
fn days(year: i64, month: i64, date: i64) -> i64 {
    // Years that begin in March end with the leap day.
    let months = year * 12 + month - 3;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + march_days(month) + date - 1 - EPOCH
}

/// Days from 1 March to the first of a month, of which March is 0.
fn march_days(month: i64) -> i64 {
    (153 * month + 2) / 5
}

/// Year, month and date of a day since 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH;
    let (cycle, day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    // Without the leap days before it, every year is 365 days long.
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - march_days(month) + 1;
    let january = i64::from(month >= 10);
    (cycle * 400 + year + january, (month + 2) % 12 + 1, date)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// 2026-02-28 23:59:58 UTC, a Saturday.
    const START: u64 = 1_772_323_198;

    #[derive(Clone)]
    struct Hand(Arc<Mutex<Duration>>);

    impl Hand {
        fn forward(&self, time: Duration) {
            *self.0.lock().unwrap() += time;
        }
    }

    fn chip_at(seconds: u64) -> (Ds1307, Hand) {
        let hand = Hand(Arc::new(Mutex::new(Duration::from_secs(seconds))));
        let source = hand.clone();
        let chip = Ds1307::new(Box::new(move || *source.0.lock().unwrap()));
        (chip, hand)
    }

    fn read(chip: &mut Ds1307, from: u8, count: usize) -> Vec<u8> {
        assert!(chip.start(Direction::Write));
        assert!(chip.write(from));
        assert!(chip.start(Direction::Read));
        let bytes = (0..count).map(|_| chip.read()).collect();
        chip.stop();
        bytes
    }

    fn write(chip: &mut Ds1307, from: u8, bytes: &[u8]) {
        assert!(chip.start(Direction::Write));
        for byte in [from].iter().chain(bytes) {
            assert!(chip.write(*byte));
        }
        chip.stop();
    }

    fn time(chip: &mut Ds1307) -> Vec<u8> {
        read(chip, SECONDS, TIMES)
    }

    #[test]
    fn it_shows_the_sources_time_and_counts_with_it() {
        let (mut chip, hand) = chip_at(START);
        assert_eq!(time(&mut chip), [0x58, 0x59, 0x23, 7, 0x28, 0x02, 0x26]);
        hand.forward(Duration::from_secs(2));
        assert_eq!(time(&mut chip), [0x00, 0x00, 0x00, 1, 0x01, 0x03, 0x26]);
        hand.forward(Duration::from_secs(2 * 365 * 86_400));
        assert_eq!(
            time(&mut chip),
            [0x00, 0x00, 0x00, 3, 0x29, 0x02, 0x28],
            "a leap year"
        );
    }

    #[test]
    fn a_transfer_reads_one_moment() {
        let (mut chip, hand) = chip_at(START);
        chip.start(Direction::Write);
        chip.write(SECONDS);
        chip.start(Direction::Read);
        assert_eq!(chip.read(), 0x58);
        hand.forward(Duration::from_secs(2));
        assert_eq!(chip.read(), 0x59, "still the old minute");
        for _ in MINUTES..REGISTERS - 1 {
            chip.read();
        }
        assert_eq!(chip.read(), 0x00, "around the end, a new moment");
        assert_eq!(chip.read(), 0x00);
    }

    #[test]
    fn what_software_sets_counts_on_and_survives_in_the_state() {
        let (mut chip, hand) = chip_at(START);
        hand.forward(Duration::from_millis(700));
        // 2001-12-31 23:59:59, a Monday.
        write(&mut chip, SECONDS, &[0x59, 0x59, 0x23, 2, 0x31, 0x12, 0x01]);
        hand.forward(Duration::from_millis(999));
        assert_eq!(time(&mut chip), [0x59, 0x59, 0x23, 2, 0x31, 0x12, 0x01]);
        hand.forward(Duration::from_millis(1));
        assert_eq!(time(&mut chip), [0x00, 0x00, 0x00, 3, 0x01, 0x01, 0x02]);
        let state = chip.state();
        let (mut other, hand) = chip_at(START);
        hand.forward(Duration::from_millis(1700));
        other.set_state(state);
        assert_eq!(time(&mut other), [0x00, 0x00, 0x00, 3, 0x01, 0x01, 0x02]);
    }

    #[test]
    fn writing_one_register_keeps_the_others_and_the_running_second() {
        let (mut chip, hand) = chip_at(START);
        hand.forward(Duration::from_millis(600));
        write(&mut chip, MINUTES, &[0x30]);
        write(&mut chip, DAY, &[1]);
        assert_eq!(time(&mut chip), [0x58, 0x30, 0x23, 1, 0x28, 0x02, 0x26]);
        hand.forward(Duration::from_millis(400));
        assert_eq!(time(&mut chip), [0x59, 0x30, 0x23, 1, 0x28, 0x02, 0x26]);
        write(&mut chip, YEAR, &[0x99]);
        assert_eq!(
            read(&mut chip, DAY, 4),
            [1, 0x28, 0x02, 0x99],
            "the day of the week does not depend on the date"
        );
    }

    #[test]
    fn a_halted_clock_stands_still_until_it_is_started() {
        let (mut chip, hand) = chip_at(START);
        write(&mut chip, SECONDS, &[SECONDS_CH | 0x05]);
        hand.forward(Duration::from_secs(1000));
        assert_eq!(time(&mut chip)[..2], [SECONDS_CH | 0x05, 0x59]);
        write(&mut chip, SECONDS, &[0x10]);
        hand.forward(Duration::from_secs(3));
        assert_eq!(time(&mut chip)[..2], [0x13, 0x59]);
    }

    #[test]
    fn twelve_hours_have_two_halves() {
        let (mut chip, hand) = chip_at(START);
        for (hour, twelve) in [(0x00, 0x52), (0x01, 0x41), (0x12, 0x72), (0x13, 0x61)] {
            write(&mut chip, HOURS, &[hour]);
            assert_eq!(read(&mut chip, HOURS, 1), [hour]);
            write(&mut chip, HOURS, &[twelve]);
            assert_eq!(read(&mut chip, HOURS, 1), [twelve]);
            hand.forward(Duration::from_secs(3600));
            hand.forward(Duration::from_secs(23 * 3600));
            assert_eq!(read(&mut chip, HOURS, 1), [twelve]);
        }
    }

    #[test]
    fn a_date_that_does_not_exist_counts_on() {
        let (mut chip, _) = chip_at(START);
        write(&mut chip, DATE, &[0x31, 0x02, 0x26]);
        assert_eq!(read(&mut chip, DATE, 3), [0x03, 0x03, 0x26]);
        write(&mut chip, DATE, &[0x01, 0x13, 0x26]);
        assert_eq!(read(&mut chip, DATE, 3), [0x01, 0x01, 0x27]);
        // Whatever is written is data.
        for byte in 0..=u8::MAX {
            write(&mut chip, SECONDS, &[byte; TIMES]);
            time(&mut chip);
        }
    }

    #[test]
    fn memory_and_control_are_kept_and_the_pointer_goes_around() {
        let (mut chip, _) = chip_at(START);
        assert_eq!(read(&mut chip, CONTROL, 2), [CONTROL_RESET, 0]);
        write(&mut chip, CONTROL, &[0xFF, 0x11, 0x22]);
        assert_eq!(read(&mut chip, CONTROL, 3), [CONTROL_MASK, 0x11, 0x22]);
        write(&mut chip, 0x3F, &[0x33, 0x07]);
        assert_eq!(read(&mut chip, 0x3F, 2), [0x33, 0x07]);
        // A read without a pointer goes on where the last transfer ended.
        chip.start(Direction::Read);
        assert_eq!(chip.read(), 0x59);
        chip.stop();
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_day_before() {
        let mut expected = (1900, 1, 1);
        for day in days(1900, 1, 1)..=days(2300, 1, 1) {
            assert_eq!(civil(day), expected);
            assert_eq!(days(expected.0, expected.1, expected.2), day);
            let (year, month, date) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, date) {
                (12, 31) => (year + 1, 1, 1),
                (_, date) if date == length => (year, month + 1, 1),
                _ => (year, month, date + 1),
            };
        }
        assert_eq!((days(1970, 1, 1), weekday(0)), (0, 4));
    }
}
