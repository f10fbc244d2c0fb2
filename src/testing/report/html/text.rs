//! Text of guests and users as HTML: nothing in it is markup, and nothing is invisible.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

/// A text as HTML, for an element or a quoted attribute. Control characters are shown as their
/// pictures, and what would change the text's direction or be invisible as `\u{202e}`.
pub(super) struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| write_char(c, f))
    }
}

fn write_char(c: char, to: &mut impl fmt::Write) -> fmt::Result {
    match c {
        '<' => to.write_str("&lt;"),
        '>' => to.write_str("&gt;"),
        '&' => to.write_str("&amp;"),
        '"' => to.write_str("&quot;"),
        '\'' => to.write_str("&#39;"),
        '\n' | '\t' => to.write_char(c),
        '\u{7f}' => to.write_char('\u{2421}'),
        // The pictures of the control characters stand in their order from U+2400.
        '\0'..' ' => to.write_char(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
        c if is_unseen(c) => write!(to, "{}", c.escape_unicode()),
        c => to.write_char(c),
    }
}

/// Whether a character is invisible, ends a line, or turns the direction of those around it.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// The colours of a terminal, which last until they are changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Colours {
    bold: bool,
    /// One of 16.
    front: Option<u8>,
}

impl Colours {
    /// Takes the numbers of a sequence that ends with `m`.
    fn set(&mut self, numbers: &str) {
        let mut numbers = numbers.split(';').map(|number| match number {
            "" => Some(0),
            number => number.parse::<u8>().ok(),
        });
        while let Some(number) = numbers.next() {
            match number {
                Some(0) => *self = Colours::default(),
                Some(1) => self.bold = true,
                Some(22) => self.bold = false,
                Some(number @ 30..=37) => self.front = Some(number - 30),
                Some(number @ 90..=97) => self.front = Some(number - 82),
                Some(39) => self.front = None,
                // A colour of many: its own numbers follow, and are not ours.
                Some(38 | 48) => match numbers.next() {
                    Some(Some(5)) => _ = numbers.next(),
                    Some(Some(2)) => _ = numbers.nth(2),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn write(self, text: &str, to: &mut String) {
        if text.is_empty() {
            return;
        }
        let class = match (self.bold, self.front) {
            (false, None) => return push(to, format_args!("{}", Escaped(text))),
            (true, None) => "b".to_owned(),
            (false, Some(front)) => format!("f{front}"),
            (true, Some(front)) => format!("b f{front}"),
        };
        push(
            to,
            format_args!("<span class=\"{class}\">{}</span>", Escaped(text)),
        );
    }
}

/// Writes a line of a console with its colours. Other sequences of a terminal are shown as text.
pub(super) fn write_line(line: &str, colours: &mut Colours, to: &mut String) {
    let mut rest = line.trim_end_matches('\r');
    let mut plain = 0;
    while let Some(at) = rest[plain..].find("\u{1b}[") {
        let begin = plain + at;
        let numbers = &rest[begin + 2..];
        let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';');
        let end = end.filter(|&end| numbers[end..].starts_with('m'));
        let Some(end) = end else {
            plain = begin + 2;
            continue;
        };
        colours.write(&rest[..begin], to);
        colours.set(&numbers[..end]);
        rest = &numbers[end + 1..];
        plain = 0;
    }
    colours.write(rest, to);
}

/// Writes into a text, which cannot fail.
pub(super) fn push(to: &mut String, text: fmt::Arguments<'_>) {
    to.write_fmt(text).expect("a String takes any text");
}

/// A time as people say it: `0.25 s`, `3 min 05 s`.
pub(super) fn took(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..9.995 => format!("{seconds:.2} s"),
        ..59.95 => format!("{seconds:.1} s"),
        _ => {
            let whole = seconds.round() as u64;
            format!("{} min {:02} s", whole / 60, whole % 60)
        }
    }
}

/// A moment as `2000-02-29 12:08:05 UTC`; of one before 1970, 1970's beginning.
pub(super) fn moment(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin with March end with the leap day; 400 of them have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &str) -> String {
        let mut to = String::new();
        write_line(text, &mut Colours::default(), &mut to);
        to
    }

    #[test]
    fn nothing_in_a_text_is_markup_or_invisible() {
        let text = Escaped("</script>&\"'\0\u{1b}\u{7f}\u{85}\u{2028}\u{202e}ä").to_string();
        let expected = "&lt;/script&gt;&amp;&quot;&#39;␀␛␡\\u{85}\\u{2028}\\u{202e}ä";
        assert_eq!(text, expected);
    }

    #[test]
    fn colours_are_spans_and_other_sequences_are_text() {
        let red = "<span class=\"f1\">red</span>";
        assert_eq!(line("\u{1b}[31mred\u{1b}[0m."), format!("{red}."));
        assert_eq!(line("a\u{1b}[1;92mb"), "a<span class=\"b f10\">b</span>");
        assert_eq!(line("\u{1b}[2J\u{1b}[31mred"), format!("␛[2J{red}"));
        assert_eq!(line("\u{1b}[38;5;1;31mred"), red);
        assert_eq!(line("\u{1b}[3"), "␛[3");
        assert_eq!(line("end\r"), "end");
    }

    #[test]
    fn colours_last_until_the_next_line() {
        let (mut to, mut colours) = (String::new(), Colours::default());
        write_line("\u{1b}[31ma", &mut colours, &mut to);
        write_line("b\u{1b}[m", &mut colours, &mut to);
        write_line("c", &mut colours, &mut to);
        let expected = "<span class=\"f1\">a</span><span class=\"f1\">b</span>c";
        assert_eq!(to, expected);
    }

    #[test]
    fn moments_are_days_of_the_calendar() {
        let at = |seconds| moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_826_085), "2000-02-29 12:08:05 UTC");
        assert_eq!(at(1_704_067_199), "2023-12-31 23:59:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn times_are_said_as_people_do() {
        let said = |millis| took(Duration::from_millis(millis));
        assert_eq!(said(250), "0.25 s");
        assert_eq!(said(12_340), "12.3 s");
        assert_eq!(said(185_000), "3 min 05 s");
    }

    proptest! {
        #[test]
        fn a_line_of_any_bytes_holds_no_markup_but_spans(bytes in any::<Vec<u8>>()) {
            let text = String::from_utf8_lossy(&bytes);
            let html = line(&text);
            let html = html.replace("</span>", "");
            for part in html.split('<').skip(1) {
                prop_assert!(part.starts_with("span class=\""), "{}", part);
            }
        }
    }
}
