//! Samples, and the table of their medians.

use std::collections::HashMap;
use std::time::Duration;

use crate::Machine;

/// What a number counts.
#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    Mebibytes,
}

/// Every sample of every measure, by machine, in the order in which measures were first taken.
#[derive(Default)]
pub struct Samples {
    measures: Vec<(&'static str, Unit)>,
    taken: HashMap<(&'static str, Machine), Vec<f64>>,
}

impl Samples {
    /// Takes a number of seconds or MiB.
    pub fn add(&mut self, machine: Machine, measure: &'static str, unit: Unit, value: f64) {
        if !self.measures.iter().any(|(known, _)| *known == measure) {
            self.measures.push((measure, unit));
        }
        self.taken
            .entry((measure, machine))
            .or_default()
            .push(value);
    }

    /// Takes a time.
    pub fn time(&mut self, machine: Machine, measure: &'static str, time: Duration) {
        self.add(machine, measure, Unit::Seconds, time.as_secs_f64());
    }

    /// Prints medians with the least and the most, and ratios of medians.
    pub fn print(&self) {
        println!(
            "\n{:<27} {:>23} {:>23} {:>23} {:>12} {:>13}",
            "median (least-most)", "ppckvm", "QEMU", "native", "QEMU/ppckvm", "ppckvm/native"
        );
        for (measure, unit) in &self.measures {
            let all = Machine::ALL.map(|machine| {
                let taken = self.taken.get(&(*measure, machine)).cloned();
                let mut samples = taken.unwrap_or_default();
                samples.sort_by(f64::total_cmp);
                samples
            });
            let [ours, qemu, native] = all.each_ref().map(|samples| median(samples));
            let shown = all.each_ref().map(|samples| spread(samples, *unit));
            println!(
                "{measure:<27} {:>23} {:>23} {:>23} {:>12} {:>13}",
                shown[0],
                shown[1],
                shown[2],
                ratio(qemu, ours),
                ratio(ours, native)
            );
        }
    }
}

fn ratio(above: Option<f64>, below: Option<f64>) -> String {
    match (above, below) {
        (Some(above), Some(below)) => format!("{:.2}", above / below),
        _ => "-".to_owned(),
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn spread(sorted: &[f64], unit: Unit) -> String {
    let (Some(median), Some(least), Some(most)) = (median(sorted), sorted.first(), sorted.last())
    else {
        return "-".to_owned();
    };
    let scaled = |factor: f64, digits: usize, unit: &str| {
        let [median, least, most] = [median, *least, *most].map(|value| value * factor);
        format!("{median:.digits$} ({least:.digits$}-{most:.digits$}) {unit}")
    };
    match unit {
        Unit::Mebibytes => scaled(1.0, 1, "MiB"),
        Unit::Seconds if median < 0.1 => scaled(1e3, 1, "ms"),
        Unit::Seconds => scaled(1.0, 2, "s"),
    }
}
