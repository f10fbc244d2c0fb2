//! One JSON object a line, as `libtest` prints them with `--format json`.

use std::io::{self, Write};

use super::json::Quoted;
use super::{Case, Results};
use crate::testing::ktap::Status;

/// Writes results as lines of JSON, the last of which sums them up.
///
/// # Errors
/// As the writer says.
pub fn write(results: &Results, to: &mut impl Write) -> io::Result<()> {
    let count = results.cases.len();
    writeln!(
        to,
        "{{\"type\":\"suite\",\"event\":\"started\",\"test_count\":{count}}}"
    )?;
    for case in &results.cases {
        self::case(case, to)?;
    }
    let counts = results.counts();
    let event = if results.passed() { "ok" } else { "failed" };
    writeln!(
        to,
        "{{\"type\":\"suite\",\"event\":\"{event}\",\"passed\":{},\"failed\":{},\"ignored\":{},\
         \"measured\":0,\"filtered_out\":0}}",
        counts.passed + counts.expected_failures,
        counts.bad(),
        counts.skipped
    )
}

fn case(case: &Case, to: &mut impl Write) -> io::Result<()> {
    let name = case.full_name();
    let name = Quoted(&name);
    let event = match case.status {
        Status::Skipped => "ignored",
        status if status.is_bad() => "failed",
        _ => "ok",
    };
    write!(
        to,
        "{{\"type\":\"test\",\"event\":\"{event}\",\"name\":{name}"
    )?;
    if !case.message.is_empty() {
        write!(to, ",\"message\":{}", Quoted(&case.message))?;
    }
    if case.status.is_bad() {
        // Which of the kinds of failure it is, which libtest does not tell apart.
        write!(to, ",\"reason\":\"{}\"", case.status)?;
        write!(to, ",\"stdout\":{}", Quoted(&case.log))?;
    }
    writeln!(to, "}}")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use serde_json::Value;

    #[test]
    fn each_line_is_an_object_and_the_last_one_sums_up() {
        let mut text = Vec::new();
        write(&sample(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().map(serde_json::from_str::<Value>);
        let lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0]["test_count"], 8);
        assert_eq!(lines[1]["name"], "ring::empty");
        assert_eq!(lines[1]["event"], "ok");
        assert_eq!(lines[2]["event"], "failed");
        assert!(
            lines[2]["stdout"]
                .as_str()
                .unwrap()
                .contains("<ring.c>:7 & \u{1}")
        );
        assert_eq!(lines[3]["event"], "ignored");
        assert_eq!(lines[3]["message"], "SKIP no \"memory\"");
        assert_eq!(lines[6]["reason"], "timeout");
        assert_eq!(lines[8]["reason"], "crashed");
        let sum = &lines[9];
        assert_eq!(sum["event"], "failed");
        assert_eq!((&sum["passed"], &sum["failed"]), (&4.into(), &3.into()));
    }
}
