//! The monitor's arithmetic: numbers, registers, and C's operators in C's order.

/// How deep brackets and signs may be.
const DEPTH: usize = 64;

/// What an expression comes to, and what is left of the text.
///
/// # Errors
/// What is no expression, and why.
pub fn value(text: &str, register: &dyn Fn(&str) -> Option<u64>) -> Result<(u64, String), String> {
    let mut parser = Parser {
        rest: text,
        register,
        depth: 0,
    };
    let value = parser.binary(0)?;
    Ok((value, parser.rest.trim_start().to_owned()))
}

struct Parser<'a> {
    rest: &'a str,
    register: &'a dyn Fn(&str) -> Option<u64>,
    depth: usize,
}

/// Operators, those that bind least first.
const LEVELS: [&[char]; 4] = [&['|', '^'], &['&'], &['+', '-'], &['*', '/', '%']];

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn skip(&mut self, letter: char) {
        self.rest = &self.rest[letter.len_utf8()..];
    }

    fn binary(&mut self, level: usize) -> Result<u64, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.next().filter(|letter| operators.contains(letter)) {
            self.skip(operator);
            let right = self.binary(level + 1)?;
            left = match operator {
                '|' => left | right,
                '^' => left ^ right,
                '&' => left & right,
                '+' => left.wrapping_add(right),
                '-' => left.wrapping_sub(right),
                '*' => left.wrapping_mul(right),
                '/' => left.checked_div(right).ok_or("division by zero")?,
                _ => left.checked_rem(right).ok_or("division by zero")?,
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<u64, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        let value = match self.next() {
            Some('(') => {
                self.skip('(');
                let value = self.binary(0)?;
                match self.next() {
                    Some(')') => self.skip(')'),
                    _ => return Err("')' expected".into()),
                }
                value
            }
            Some(sign @ ('-' | '+' | '~')) => {
                self.skip(sign);
                let value = self.unary()?;
                match sign {
                    '-' => value.wrapping_neg(),
                    '~' => !value,
                    _ => value,
                }
            }
            Some('$') => {
                self.skip('$');
                let name = self.word();
                (self.register)(name).ok_or_else(|| format!("unknown register '{name}'"))?
            }
            Some(digit) if digit.is_ascii_digit() => {
                let word = self.word();
                let number = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None if word.len() > 1 && word.starts_with('0') => {
                        u64::from_str_radix(&word[1..], 8)
                    }
                    None => word.parse(),
                };
                number.map_err(|_| format!("invalid number '{word}'"))?
            }
            Some(letter) => {
                return Err(format!(
                    "invalid char '{}' in expression",
                    letter.escape_default()
                ));
            }
            None => return Err("unexpected end of expression".into()),
        };
        self.depth -= 1;
        Ok(value)
    }

    /// Letters and digits.
    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|letter: char| !letter.is_ascii_alphanumeric())
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<u64, String> {
        let register = |name: &str| (name == "r3").then_some(0x100);
        value(text, &register).map(|(value, _)| value)
    }

    #[test]
    fn operators_bind_as_in_c() {
        for (text, result) in [
            ("1+2*3", 7),
            ("(1+2)*3", 9),
            ("0x10 | 1 & 3", 0x11),
            ("-1", u64::MAX),
            ("~0 ^ 1", u64::MAX - 1),
            ("$r3 + 010", 0x108),
            ("7 % 4 - 1", 2),
        ] {
            assert_eq!(of(text), Ok(result), "{text}");
        }
        let register = |_: &str| None;
        assert_eq!(value("1 + 1 2", &register), Ok((2, "2".into())));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        let deep = "(".repeat(100_000);
        for text in [
            "",
            "1+",
            "(1",
            "$nosuch",
            "0xg",
            "1/0",
            "1%0",
            "é",
            &deep,
            &"-".repeat(9999),
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
