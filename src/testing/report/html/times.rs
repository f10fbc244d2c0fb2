//! The time line: when each guest ran, and beside which others.

use std::time::Duration;

use super::super::run::{Attempt, Run, TestRun};
use super::text::{Escaped, push, took};
use super::{TESTS, WORDS};
use crate::testing::excerpt::clipped;

/// Most rows of guests; what runs beside more than these is drawn over the others.
const ROWS: usize = 64;

/// A guest in the picture.
struct Bar<'a> {
    index: usize,
    test: &'a TestRun,
    attempt: &'a Attempt,
    row: usize,
}

/// The guests, each in the first row in which no other runs at that time.
fn bars(run: &Run) -> (Vec<Bar<'_>>, usize) {
    let tests = run.worst_first().into_iter().take(TESTS);
    let mut bars: Vec<Bar<'_>> = tests
        .flat_map(|index| {
            let test = &run.tests[index];
            test.attempts.iter().map(move |attempt| Bar {
                index,
                test,
                attempt,
                row: 0,
            })
        })
        .take(2 * TESTS)
        .collect();
    bars.sort_by_key(|bar| (bar.attempt.begin, bar.attempt.end));
    let mut rows: Vec<Duration> = Vec::new();
    for bar in &mut bars {
        let free = rows.iter().position(|end| *end <= bar.attempt.begin);
        bar.row = match free {
            Some(row) => row,
            None if rows.len() < ROWS => rows.len(),
            None => (0..ROWS).min_by_key(|&row| rows[row]).unwrap_or(0),
        };
        match rows.get_mut(bar.row) {
            Some(end) => *end = bar.attempt.end.max(*end),
            None => rows.push(bar.attempt.end),
        }
    }
    (bars, rows.len())
}

/// The section with the picture; empty where no guest ran.
pub(super) fn svg(run: &Run) -> String {
    let (bars, rows) = bars(run);
    let last = bars.iter().map(|bar| bar.attempt.end).max();
    let Some(last) = last else {
        return String::new();
    };
    let whole = last.max(run.took).max(Duration::from_millis(1));
    let height = match rows {
        ..=6 => 14,
        7..=16 => 10,
        _ => 6,
    };
    let mut out = String::new();
    // The list below has all of it in words, and a thousand links would be in the way of the keys.
    push(
        &mut out,
        format_args!(
            "<section>\n<h2>Time line: at most {rows} guests at once</h2>\n\
             <svg class=\"times\" height=\"{}\" aria-hidden=\"true\">\n",
            rows * height + 2
        ),
    );
    for bar in &bars {
        let part = |time: Duration| time.as_secs_f64() * 100.0 / whole.as_secs_f64();
        let class = match bar.attempt.status.is_bad() {
            true => bar.attempt.status.word(),
            false => bar.test.word(),
        };
        push(
            &mut out,
            format_args!(
                "<a href=\"#t{}\" tabindex=\"-1\"><rect class=\"{class}\" x=\"{:.3}%\" y=\"{}\" \
                 width=\"{:.3}%\" height=\"{height}\"><title>{}: {class}, {}</title></rect></a>\n",
                bar.index,
                part(bar.attempt.begin),
                bar.row * height,
                // A short one must still be seen.
                part(bar.attempt.took()).max(0.2),
                Escaped(clipped(&bar.test.name, WORDS)),
                took(bar.attempt.took()),
            ),
        );
    }
    push(
        &mut out,
        format_args!(
            "</svg>\n<div class=\"scale\"><span>0</span><span>{}</span><span>{}</span></div>\n\
             </section>",
            took(whole / 2),
            took(whole)
        ),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::run::sample_run;
    use super::*;

    #[test]
    fn guests_at_one_time_are_in_rows_of_their_own() {
        let run = sample_run();
        let (bars, rows) = bars(&run);
        assert_eq!(rows, 2);
        let seen: Vec<(&str, u128, usize)> = bars
            .iter()
            .map(|bar| {
                (
                    bar.test.name.as_str(),
                    bar.attempt.begin.as_millis(),
                    bar.row,
                )
            })
            .collect();
        let crash = "disk::</script><script>";
        let expected = [
            ("kunit", 0, 0),
            ("boot", 0, 1),
            (crash, 1500, 0),
            ("net", 1500, 1),
            ("net", 3000, 0),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn rows_are_bounded() {
        let mut run = sample_run();
        let many = run.tests[0].clone();
        run.tests = vec![many; 3 * ROWS];
        assert_eq!(bars(&run).1, ROWS);
    }

    #[test]
    fn a_run_without_guests_has_no_time_line() {
        let mut run = sample_run();
        run.tests.iter_mut().for_each(|test| test.attempts.clear());
        assert_eq!(svg(&run), "");
    }
}
