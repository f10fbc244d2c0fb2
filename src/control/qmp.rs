//! QEMU's machine protocol: a greeting, then an answer for each object that a client sends, and
//! events in between.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::QEMU_VERSION;
use super::hmp;
use super::messages::{Message, Messages};
use super::subject::{Space, Subject};
use crate::vm::outcome::{OnPanic, OnReset};

/// One client's conversation.
#[derive(Debug, Default)]
pub struct Session {
    messages: Messages,
    /// Whether the client has said `qmp_capabilities`.
    pub is_negotiated: bool,
}

/// What a client is told instead of what it asked for: class and description.
struct Refusal(&'static str, String);

impl<E: std::fmt::Display> From<E> for Refusal {
    fn from(error: E) -> Self {
        Refusal("GenericError", error.to_string())
    }
}

type Answer = Result<Value, Refusal>;

/// A command: its name, the arguments that it must and can have, and what it does.
type Command = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    fn(&mut Subject, &Map<String, Value>) -> Answer,
);

/// All commands but `qmp_capabilities`.
const COMMANDS: [Command; 22] = [
    ("query-version", &[], &[], |_, _| Ok(version())),
    ("query-commands", &[], &[], |_, _| Ok(commands())),
    ("query-status", &[], &[], |subject, _| {
        let (status, running) = subject.run_state();
        Ok(json!({"status": status, "running": running}))
    }),
    ("query-name", &[], &[], |subject, _| {
        Ok(match &subject.inventory.name {
            Some(name) => json!({"name": name}),
            None => json!({}),
        })
    }),
    ("query-kvm", &[], &[], |subject, _| {
        let is_kvm = subject.call(|vm| vm.description().contains("/dev/kvm,"))?;
        Ok(json!({"enabled": is_kvm, "present": is_kvm}))
    }),
    ("query-chardev", &[], &[], |subject, _| {
        let chardevs = subject.inventory.chardevs.iter();
        let entry = |(label, filename): &(String, String)| json!({"label": label, "filename": filename, "frontend-open": true});
        Ok(chardevs.map(entry).collect())
    }),
    ("query-block", &[], &[], |subject, _| Ok(blocks(subject))),
    ("query-cpus-fast", &[], &[], |subject, _| {
        let thread = subject.call(|_| rustix::thread::gettid().as_raw_nonzero().get())?;
        let path = "/machine/unattached/device[0]";
        Ok(json!([{"cpu-index": 0, "qom-path": path, "target": "ppc", "thread-id": thread}]))
    }),
    ("stop", &[], &[], |subject, _| {
        subject.remote.pause()?;
        Ok(json!({}))
    }),
    ("cont", &[], &[], |subject, _| {
        let (state, _) = subject.run_state();
        if state == "shutdown" {
            return Err("Resetting the Virtual Machine is required".into());
        }
        subject.remote.resume()?;
        Ok(json!({}))
    }),
    ("system_reset", &[], &[], |subject, _| {
        subject.reset()?;
        Ok(json!({}))
    }),
    // The board has no power button, and QEMU's does nothing either.
    ("system_powerdown", &[], &[], |_, _| Ok(json!({}))),
    ("quit", &[], &[], |subject, _| {
        subject.quit();
        Ok(json!({}))
    }),
    (
        "set-action",
        &[],
        &["reboot", "shutdown", "panic", "watchdog"],
        set_action,
    ),
    (
        "human-monitor-command",
        &["command-line"],
        &["cpu-index"],
        |subject, arguments| {
            let line = text(arguments, "command-line")?;
            Ok(hmp::command(subject, line).into())
        },
    ),
    (
        "dump-guest-memory",
        &["paging", "protocol"],
        &["detach", "begin", "length", "format"],
        dump,
    ),
    (
        "memsave",
        &["val", "size", "filename"],
        &["cpu-index"],
        |subject, arguments| save(subject, arguments, Space::Effective),
    ),
    (
        "pmemsave",
        &["val", "size", "filename"],
        &[],
        |subject, arguments| save(subject, arguments, Space::Physical),
    ),
    ("getfd", &["fdname"], &[], |_, _| {
        Err(
            "no descriptors are taken here; give them to the process when it starts, as fd=N"
                .into(),
        )
    }),
    ("add-fd", &[], &["fdset-id", "opaque"], |_, _| {
        Err(
            "no descriptors are taken here; give them to the process when it starts, as fd=N"
                .into(),
        )
    }),
    ("chardev-add", &["id", "backend"], &[], |_, _| {
        Err("character devices are added when the machine starts; write -chardev".into())
    }),
    ("query-named-block-nodes", &[], &["flat"], |_, _| {
        Ok(json!([]))
    }),
];

const NEGOTIATE: &str = "qmp_capabilities";

impl Session {
    /// What a client gets first.
    pub fn greeting() -> Vec<u8> {
        line(&json!({"QMP": {"version": version(), "capabilities": []}}))
    }

    /// Takes bytes, and returns the messages that they complete.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.messages.take(bytes)
    }

    /// Does what a message says; the answer.
    pub fn answer(&mut self, subject: &mut Subject, message: Message) -> Vec<u8> {
        let (id, answer) = match message {
            Message::Broken(why) => (None, Err(why.into())),
            Message::Text(text) => match serde_json::from_slice::<Value>(&text) {
                Err(error) => (None, Err(format!("JSON parse error, {error}").into())),
                Ok(Value::Object(mut object)) => {
                    let id = object.remove("id");
                    (id, self.execute(subject, &object))
                }
                Ok(_) => (None, Err("QMP input must be a JSON object".into())),
            },
        };
        let mut object = match answer {
            Ok(value) => json!({"return": value}),
            Err(Refusal(class, desc)) => json!({"error": {"class": class, "desc": desc}}),
        };
        if let Some(id) = id {
            object["id"] = id;
        }
        line(&object)
    }

    fn execute(&mut self, subject: &mut Subject, object: &Map<String, Value>) -> Answer {
        let others = object
            .keys()
            .find(|key| !matches!(key.as_str(), "execute" | "arguments"));
        if let Some(key) = others {
            return Err(format!("QMP input member '{key}' is unexpected").into());
        }
        let name = match object.get("execute") {
            None => return Err("QMP input lacks member 'execute'".into()),
            Some(Value::String(name)) => name.as_str(),
            Some(_) => return Err("QMP input member 'execute' must be a string".into()),
        };
        let none = Map::new();
        let arguments = match object.get("arguments") {
            None => &none,
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err("QMP input member 'arguments' must be an object".into()),
        };
        match (name, self.is_negotiated) {
            (NEGOTIATE, false) => {
                check(arguments, &[], &["enable"])?;
                let enable = arguments.get("enable").and_then(Value::as_array);
                if let Some(capability) = enable.and_then(|enable| enable.first()) {
                    let name = capability.as_str().unwrap_or_default();
                    return Err(format!("Capability '{name}' not available").into());
                }
                self.is_negotiated = true;
                return Ok(json!({}));
            }
            (NEGOTIATE, true) => {
                let why = "Capabilities negotiation is already complete, command ignored";
                return Err(Refusal("CommandNotFound", why.into()));
            }
            (_, false) => {
                let why = "Expecting capabilities negotiation with 'qmp_capabilities'";
                return Err(Refusal("CommandNotFound", why.into()));
            }
            (_, true) => {}
        }
        let Some((_, must, can, command)) = COMMANDS.iter().find(|command| command.0 == name)
        else {
            let why = format!("The command {name} has not been found");
            return Err(Refusal("CommandNotFound", why));
        };
        check(arguments, must, can)?;
        command(subject, arguments)
    }
}

/// An event, as clients are told it.
pub fn event(at: SystemTime, name: &str, data: Option<Value>) -> Vec<u8> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = json!({"seconds": since.as_secs(), "microseconds": since.subsec_micros()});
    let mut event = json!({"timestamp": timestamp, "event": name});
    if let Some(data) = data {
        event["data"] = data;
    }
    line(&event)
}

/// Whether a command asks for the machine to be switched off, of which clients are told though
/// nothing happens.
pub fn is_powerdown(message: &Message) -> bool {
    let Message::Text(text) = message else {
        return false;
    };
    let value = serde_json::from_slice::<Value>(text);
    value.is_ok_and(|value| value["execute"] == "system_powerdown")
}

fn check(arguments: &Map<String, Value>, must: &[&str], can: &[&str]) -> Result<(), Refusal> {
    if let Some(missing) = must.iter().find(|key| !arguments.contains_key(**key)) {
        return Err(format!("Parameter '{missing}' is missing").into());
    }
    let is_known = |key: &str| must.contains(&key) || can.contains(&key);
    match arguments.keys().find(|key| !is_known(key)) {
        Some(key) => Err(format!("Parameter '{key}' is unexpected").into()),
        None => Ok(()),
    }
}

fn text<'a>(arguments: &'a Map<String, Value>, key: &str) -> Result<&'a str, Refusal> {
    let value = arguments.get(key).and_then(Value::as_str);
    value.ok_or_else(|| format!("Invalid parameter type for '{key}', expected: string").into())
}

fn number(arguments: &Map<String, Value>, key: &str) -> Result<u64, Refusal> {
    let value = arguments.get(key).and_then(Value::as_u64);
    value.ok_or_else(|| format!("Invalid parameter type for '{key}', expected: integer").into())
}

fn save(subject: &mut Subject, arguments: &Map<String, Value>, space: Space) -> Answer {
    let (address, size) = (number(arguments, "val")?, number(arguments, "size")?);
    let invalid = || format!("Invalid addr {address:#x}/size {size} specified");
    let address = u32::try_from(address).map_err(|_| invalid())?;
    subject.save(space, address, size, text(arguments, "filename")?)?;
    Ok(json!({}))
}

fn dump(subject: &mut Subject, arguments: &Map<String, Value>) -> Answer {
    if arguments.contains_key("begin") || arguments.contains_key("length") {
        return Err("only all of memory is dumped; pmemsave writes a part".into());
    }
    if arguments
        .get("format")
        .is_some_and(|format| format != "elf")
    {
        return Err("there is no format but elf".into());
    }
    let paging = arguments.get("paging").and_then(Value::as_bool);
    let paging = paging.ok_or("Invalid parameter type for 'paging', expected: boolean")?;
    let protocol = text(arguments, "protocol")?;
    let path = protocol
        .strip_prefix("file:")
        .ok_or("parameter 'protocol' must start with 'file:'")?;
    subject.dump(path, paging)?;
    Ok(json!({}))
}

fn set_action(subject: &mut Subject, arguments: &Map<String, Value>) -> Answer {
    for key in arguments.keys() {
        let value = text(arguments, key)?.to_owned();
        match (key.as_str(), value.as_str()) {
            ("reboot", "reset") => subject.call(|vm| vm.set_on_reset(OnReset::Reboot))??,
            ("reboot", "shutdown") => subject.call(|vm| vm.set_on_reset(OnReset::Exit))??,
            ("shutdown", "poweroff" | "pause") => {
                let on_power_off = match value.as_str() {
                    "pause" => crate::vm::outcome::OnStandstill::Stay,
                    _ => crate::vm::outcome::OnStandstill::Exit,
                };
                subject.call(move |vm| vm.standstills.on_power_off = on_power_off)?;
            }
            ("watchdog", "reset") => {}
            ("panic", wanted @ ("none" | "shutdown" | "exit-failure")) => {
                let now = subject.call(|vm| vm.on_panic)?;
                if (wanted == "none") != (now == OnPanic::Continue) {
                    let why = "what a panic does is decided when the machine starts; write -action";
                    return Err(why.into());
                }
            }
            _ => return Err(format!("Parameter '{key}' does not accept value '{value}'").into()),
        }
    }
    Ok(json!({}))
}

fn blocks(subject: &Subject) -> Value {
    let disks = subject.inventory.disks.iter();
    let entry = |disk: &super::inventory::DiskEntry| {
        json!({
            "device": disk.name,
            "locked": false,
            "removable": false,
            "type": "unknown",
            "io-status": "ok",
            "inserted": {
                "file": disk.file.as_deref().unwrap_or("memory"),
                "drv": disk.format.as_deref().unwrap_or("raw"),
                "ro": disk.is_read_only,
                "encrypted": false,
            },
        })
    };
    disks.map(entry).collect()
}

fn commands() -> Value {
    let names = COMMANDS.iter().map(|command| command.0).chain([NEGOTIATE]);
    names.map(|name| json!({"name": name})).collect()
}

fn version() -> Value {
    let [major, minor, micro] = QEMU_VERSION;
    let package = concat!("ppckvm ", env!("CARGO_PKG_VERSION"));
    json!({"qemu": {"major": major, "minor": minor, "micro": micro}, "package": package})
}

/// One line, with the blanks that QEMU writes, for who looks for `"return": {}`.
fn line(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    write(value, &mut out);
    out.push_str("\r\n");
    out.into_bytes()
}

/// What a client sent is at most 128 deep, so is what it gets.
fn write(value: &Value, out: &mut String) {
    let list = |out: &mut String,
                open: char,
                close: char,
                parts: &mut dyn Iterator<Item = (Option<&String>, &Value)>| {
        out.push(open);
        for (index, (key, value)) in parts.enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            if let Some(key) = key {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(": ");
            }
            write(value, out);
        }
        out.push(close);
    };
    match value {
        Value::Object(map) => {
            let mut parts = map.iter().map(|(key, value)| (Some(key), value));
            list(out, '{', '}', &mut parts);
        }
        Value::Array(values) => list(out, '[', ']', &mut values.iter().map(|value| (None, value))),
        plain => out.push_str(&plain.to_string()),
    }
}
