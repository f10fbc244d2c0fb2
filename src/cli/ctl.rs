//! `ppckvm ctl`: one command to a machine that runs, over QEMU's machine protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ppckvm::Printable;
use serde_json::{Map, Value, json};

use crate::args::CtlArgs;
use crate::{FAILED, Failure};

/// How long an answer may take: a command can write all of guest memory.
const PATIENCE: Duration = Duration::from_secs(150);

/// The most bytes of a line of the machine's.
const LIMIT: u64 = 16 << 20;

/// Sends the command and prints its answer; the exit status.
///
/// # Errors
/// A machine that is not there, or does not speak the protocol.
pub fn run(args: &CtlArgs) -> Result<u8, Failure> {
    let mut machine = Machine::connect(&args.at)?;
    let (name, words) = args.command.split_first().ok_or("name a command")?;
    let arguments = arguments(words);
    let is_of_protocol = match &arguments {
        Some(_) => machine.knows(name)?,
        None => false,
    };
    let answer = match arguments.filter(|_| is_of_protocol) {
        Some(arguments) => machine.execute(name, &arguments.into())?,
        None => {
            let line = json!({"command-line": args.command.join(" ")});
            machine.execute("human-monitor-command", &line)?
        }
    };
    let (text, status) = match &answer["return"] {
        Value::Null => {
            let why = answer["error"]["desc"].as_str().unwrap_or("no answer");
            return Err(format!("{}: {}", args.at, Printable(why)).into());
        }
        Value::String(text) => (text.replace("\r\n", "\n"), status(text)),
        Value::Object(map) if map.is_empty() => (String::new(), 0),
        value => (format!("{value:#}\n"), 0),
    };
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written.and_then(|()| stdout.flush())?;
    Ok(status)
}

/// What a monitor's answer to a person is as an exit status.
fn status(text: &str) -> u8 {
    let is_error = text.starts_with("Error: ") || text.starts_with("unknown command: ");
    if is_error { FAILED } else { 0 }
}

/// `KEY=VALUE` words as arguments; none when there are other words. A value that is JSON counts as
/// that.
fn arguments(words: &[String]) -> Option<Map<String, Value>> {
    let pair = |word: &String| {
        let (key, value) = word.split_once('=')?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Some((key.to_owned(), value))
    };
    words.iter().map(pair).collect()
}

/// A connection.
struct Machine {
    at: String,
    reader: BufReader<Box<dyn Read>>,
    writer: Box<dyn Write>,
}

impl Machine {
    fn connect(at: &str) -> Result<Self, Failure> {
        let fail = |error: std::io::Error| {
            format!("{at}: {error}; start a machine with --control unix={at}")
        };
        let is_address = !at.contains('/')
            && at
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let (reader, writer): (Box<dyn Read>, Box<dyn Write>) = match is_address {
            true => {
                let stream = TcpStream::connect(at).map_err(fail)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
            false => {
                let stream = UnixStream::connect(at).map_err(fail)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
        };
        let mut machine = Machine {
            at: at.to_owned(),
            reader: BufReader::new(reader),
            writer,
        };
        if machine.read()?.get("QMP").is_none() {
            return Err(format!("{at}: what listens there does not speak QMP").into());
        }
        machine.execute("qmp_capabilities", &json!({}))?;
        Ok(machine)
    }

    /// Whether the protocol has a command of this name.
    fn knows(&mut self, name: &str) -> Result<bool, Failure> {
        let commands = self.execute("query-commands", &json!({}))?;
        let commands = commands["return"].as_array().cloned().unwrap_or_default();
        Ok(commands.iter().any(|command| command["name"] == name))
    }

    /// Sends a command; its answer.
    fn execute(&mut self, name: &str, arguments: &Value) -> Result<Value, Failure> {
        let command = json!({"execute": name, "arguments": arguments});
        writeln!(self.writer, "{command}")?;
        self.writer.flush()?;
        loop {
            let answer = self.read()?;
            if answer.get("return").is_some() || answer.get("error").is_some() {
                return Ok(answer);
            }
        }
    }

    fn read(&mut self) -> Result<Value, Failure> {
        let mut line = Vec::new();
        let mut part = Read::take(&mut self.reader, LIMIT);
        let count = part
            .read_until(b'\n', &mut line)
            .map_err(|error| format!("{}: no answer: {error}", self.at))?;
        if count == 0 {
            return Err(format!("{}: the machine ended before it answered", self.at).into());
        }
        serde_json::from_slice(&line).map_err(|error| {
            format!(
                "{}: what listens there does not speak QMP: {error}",
                self.at
            )
            .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_values_are_arguments_and_others_are_a_line() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let map = arguments(&words("val=16 size=4 filename=a=b")).unwrap();
        assert_eq!(
            Value::from(map),
            json!({"val": 16, "size": 4, "filename": "a=b"})
        );
        assert_eq!(arguments(&words("info status")), None);
        assert_eq!(arguments(&[]), Some(Map::new()));
    }
}
