//! Suites as TOML files.
//!
//! ```toml
//! [machine]                      # the long options of `run`
//! kernel = "uImage"
//! initrd = "rootfs.cpio.gz"
//!
//! [[test]]
//! name = "boot"
//! expect = ["login:", { send = "root\n" }, { regex = "[#$] $" }]
//! reject = ["Oops:", "BUG:"]
//!
//! [[test]]
//! name = "uname"
//! run = "uname -m | grep ppc"
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::plan::{End, Pattern, Stage, Step, TestPlan};
use crate::machine::keys::config_file::{ConfigError, ConfigFault, ConfigFile, Reader};
use crate::testing::agent::Init;
use crate::{Serial, Spec};

/// How deep tests may go on from tests.
const DEPTH: usize = 16;

/// Keys of a test beside those of a machine, with what a line of help says.
pub const KEYS: [(&str, &str); 12] = [
    ("name", "the test's name, which no other has"),
    ("from", "the test whose steps come first"),
    (
        "expect",
        "what the console says in turn: texts, { regex = \"…\" }, and { send = \"…\" } to type",
    ),
    (
        "reject",
        "what the console must not say: texts and { regex = \"…\" }",
    ),
    (
        "in",
        "files and folders that are copied in, as HOST or HOST:GUEST",
    ),
    (
        "run",
        "a shell's line that runs in the guest; its status must be 0",
    ),
    ("env", "variables of its environment, a table"),
    (
        "out",
        "files and folders that are copied out, as GUEST or GUEST:HOST",
    ),
    (
        "ktap",
        "whether the command, or the console without one, reports tests of its own",
    ),
    (
        "end",
        "the ending that is right: power-off, halt, reset, watchdog, panic, hang or timeout",
    ),
    ("retries", "how often it is tried again when it goes badly"),
    (
        "init",
        "what becomes of the guest's own init where commands run: instead or after-boot",
    ),
];

/// One test as it stands in the file.
struct Entry {
    plan: TestPlan,
    line: usize,
    from: Option<(String, usize)>,
    stage: Stage,
    has_init: bool,
}

/// Reads the tests of a file's text; `path` is for messages and for the paths in it. What `change` makes
/// of each machine's keys comes before they are checked.
pub fn parse(
    path: &Path,
    text: &str,
    change: &mut dyn FnMut(&mut ConfigFile),
) -> Result<Vec<TestPlan>, ConfigError> {
    let reader = Reader { path, text };
    let root = reader.parse()?;
    let mut machine = None;
    let mut tests = Vec::new();
    for (name, value) in root.get_ref().iter() {
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("machine", DeValue::Table(keys)) => machine = Some(keys),
            ("machine", _) => {
                return Err(reader.wrong_type(value, "machine", "a table of keys", "[machine]"));
            }
            ("test", DeValue::Array(elements)) => {
                for element in elements.iter() {
                    match element.get_ref() {
                        DeValue::Table(keys) => tests.push((reader.line(&element.span()), keys)),
                        _ => {
                            return Err(reader.wrong_type(
                                element,
                                "test",
                                "a table of keys",
                                "[[test]]",
                            ));
                        }
                    }
                }
            }
            ("test", _) => {
                return Err(reader.wrong_type(value, "test", "a list of tables", "[[test]]"));
            }
            (other, _) => {
                let line = reader.line(&name.span());
                let why = "is no part of a suite, which has [machine] and [[test]]; a machine's options \
                           stand under [machine]";
                return Err(reader.error(line, other, ConfigFault::Invalid(why.into())));
            }
        }
    }
    if tests.is_empty() {
        let why = "it has no test; add one, which begins with [[test]]";
        return Err(reader.error(1, "", ConfigFault::Invalid(why.into())));
    }
    let mut entries = Vec::new();
    for (line, keys) in tests {
        entries.push(entry(&reader, machine, line, keys, change)?);
    }
    joined(&reader, entries)
}

/// Reads one test.
fn entry(
    reader: &Reader<'_>,
    machine: Option<&DeTable<'_>>,
    line: usize,
    keys: &DeTable<'_>,
    change: &mut dyn FnMut(&mut ConfigFile),
) -> Result<Entry, ConfigError> {
    let invalid = |line, key: &str, why: String| reader.error(line, key, ConfigFault::Invalid(why));
    let is_own = |name: &str| KEYS.iter().any(|(key, _)| *key == name);
    let mut config = match machine {
        Some(machine) => ConfigFile::of_keys(reader, machine.iter())?,
        None => ConfigFile::of_keys(reader, std::iter::empty())?,
    };
    let of_machine = keys.iter().filter(|(name, _)| !is_own(name.get_ref()));
    let of_machine = ConfigFile::of_keys(reader, of_machine).map_err(|mut error| {
        if let ConfigFault::Option(crate::OptionError::Unknown { key, known, meant }) =
            &mut *error.fault
        {
            let own = KEYS.iter().map(|(name, _)| *name);
            let near = own.clone().min_by_key(|own| strsim::osa_distance(own, key));
            let near = near.filter(|own| strsim::osa_distance(own, key) <= 2);
            *meant = near.map(str::to_owned).or(meant.take());
            *known = format!("{}, {known}", own.collect::<Vec<_>>().join(", "));
        }
        error
    })?;
    config.override_with(of_machine);
    change(&mut config);
    let spec = config.spec()?;
    let mut entry = Entry {
        plan: TestPlan::new("", spec),
        line,
        from: None,
        stage: Stage::default(),
        has_init: false,
    };
    if entry.plan.spec.boot.kernel.is_none() {
        return Err(invalid(
            line,
            "kernel",
            "no kernel is named; add kernel = \"uImage\" to [machine]".into(),
        ));
    }
    check_ports(&entry.plan.spec).map_err(|why| invalid(line, "serial", why.into()))?;
    let folder = reader.path.parent().unwrap_or(Path::new(""));
    for (name, value) in keys.iter() {
        let line = reader.line(&name.span());
        let Entry {
            plan,
            stage,
            has_init,
            ..
        } = &mut entry;
        let name = name.get_ref().as_ref();
        match name {
            "name" => plan.name = text(reader, name, value)?,
            "from" => entry.from = Some((text(reader, name, value)?, line)),
            "expect" => stage.dialogue = each(reader, name, value, step)?,
            "reject" => plan.reject = each(reader, name, value, pattern)?,
            "run" => {
                let line = text(reader, name, value)?;
                stage.run = Some(["/bin/sh", "-c", &line].map(Into::into).into());
            }
            "env" => stage.environment = environment(reader, value)?,
            "in" => {
                for pair in each(reader, name, value, text)? {
                    let (from, to) = copy(&pair, line, reader, name)?;
                    let from = folder.join(from);
                    if let Err(error) = std::fs::metadata(&from) {
                        return Err(reader.error(
                            line,
                            name,
                            ConfigFault::Missing { path: from, error },
                        ));
                    }
                    let to = to.or_else(|| from.file_name().map(|name| Path::new("/").join(name)));
                    stage.copies_in.push((from.clone(), to.unwrap_or_default()));
                }
            }
            "out" => {
                for pair in each(reader, name, value, text)? {
                    let (from, to) = copy(&pair, line, reader, name)?;
                    let to = to.or_else(|| from.file_name().map(PathBuf::from));
                    stage
                        .copies_out
                        .push((from, folder.join(to.unwrap_or_default())));
                }
            }
            "ktap" => match value.get_ref() {
                DeValue::Boolean(on) => stage.ktap = *on,
                _ => return Err(reader.wrong_type(value, name, "true or false", "ktap = true")),
            },
            "end" => {
                let word = text(reader, name, value)?;
                let end = End::ALL.iter().find(|(known, _)| *known == word);
                plan.end = match end {
                    Some((_, end)) => Some(*end),
                    None => {
                        let known = End::ALL.map(|(known, _)| known).join(", ");
                        return Err(invalid(
                            line,
                            name,
                            format!("{word:?} is no ending; use one of {known}"),
                        ));
                    }
                };
            }
            "retries" => plan.retries = Some(number(reader, name, value)?),
            "init" => {
                *has_init = true;
                plan.init = match text(reader, name, value)?.as_str() {
                    "instead" => Init::Instead,
                    "after-boot" => Init::AfterBoot,
                    other => {
                        return Err(invalid(
                            line,
                            name,
                            format!("{other:?} is neither instead nor after-boot"),
                        ));
                    }
                };
            }
            _ => {}
        }
    }
    let Entry { plan, stage, .. } = &entry;
    if plan.name.is_empty() || plan.name.contains(char::is_control) {
        return Err(invalid(
            line,
            "name",
            "a test has a name of its own in one line; add name = \"boot\"".into(),
        ));
    }
    if !stage.environment.is_empty() && stage.run.is_none() {
        return Err(invalid(
            line,
            "env",
            "there is no command that it is for; add run = \"…\"".into(),
        ));
    }
    Ok(entry)
}

/// Refuses ports on the standard input and output of the runner, which belong to no test.
pub fn check_ports(spec: &Spec) -> Result<(), &'static str> {
    let consoles = spec
        .devices
        .iter()
        .filter_map(|device| match &device.device {
            crate::Device::Console(serial) => Some(serial),
            _ => None,
        });
    match spec
        .serial
        .iter()
        .chain(consoles)
        .any(|at| *at == Serial::Stdio)
    {
        true => Err("standard input and output belong to no test; leave it out, or name a file"),
        false => Ok(()),
    }
}

/// Gives each test the steps of those that it goes on from.
fn joined(reader: &Reader<'_>, entries: Vec<Entry>) -> Result<Vec<TestPlan>, ConfigError> {
    let invalid = |line, key: &str, why: String| reader.error(line, key, ConfigFault::Invalid(why));
    let mut places = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(other) = places.insert(entry.plan.name.as_str(), index) {
            let why = format!(
                "{:?} is the name of the test in line {} too; give it another",
                entry.plan.name, entries[other].line
            );
            return Err(invalid(entry.line, "name", why));
        }
    }
    let mut plans = Vec::new();
    for entry in &entries {
        let mut stages = vec![entry.stage.clone()];
        let mut from = &entry.from;
        while let Some((name, line)) = from {
            let Some(before) = places.get(name.as_str()).map(|index| &entries[*index]) else {
                return Err(invalid(*line, "from", format!("there is no test {name:?}")));
            };
            if stages.len() > DEPTH {
                let why = "it goes on from itself, or from too many tests";
                return Err(invalid(*line, "from", why.into()));
            }
            stages.insert(0, before.stage.clone());
            from = &before.from;
        }
        let talks = stages.iter().any(|stage| !stage.dialogue.is_empty());
        let mut plan = entry.plan.clone();
        if talks && !entry.has_init {
            // The dialogue is with what the guest starts itself.
            plan.init = Init::AfterBoot;
        }
        plan.stages = stages;
        plans.push(plan);
    }
    Ok(plans)
}

type Value<'v> = Spanned<DeValue<'v>>;

fn text(reader: &Reader<'_>, key: &str, value: &Value<'_>) -> Result<String, ConfigError> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err(reader.wrong_type(value, key, "a text", &format!("{key} = \"…\""))),
    }
}

fn number(reader: &Reader<'_>, key: &str, value: &Value<'_>) -> Result<u32, ConfigError> {
    let number = match value.get_ref() {
        DeValue::Integer(number) => number.as_str().parse().ok(),
        _ => None,
    };
    let wrong = || {
        reader.wrong_type(
            value,
            key,
            "a whole number from 0 on",
            &format!("{key} = 2"),
        )
    };
    number.ok_or_else(wrong)
}

/// Reads a list, or one element in its place.
fn each<T>(
    reader: &Reader<'_>,
    key: &str,
    value: &Value<'_>,
    one: impl Fn(&Reader<'_>, &str, &Value<'_>) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    match value.get_ref() {
        DeValue::Array(elements) => elements
            .iter()
            .map(|element| one(reader, key, element))
            .collect(),
        _ => Ok(vec![one(reader, key, value)?]),
    }
}

/// The only key of a table, and its value.
fn only<'k>(table: &'k DeTable<'_>) -> Option<(&'k str, &'k str)> {
    let mut entries = table.iter();
    match (entries.next(), entries.next()) {
        (Some((name, value)), None) => match value.get_ref() {
            DeValue::String(text) => Some((name.get_ref(), text)),
            _ => None,
        },
        _ => None,
    }
}

fn pattern(reader: &Reader<'_>, key: &str, value: &Value<'_>) -> Result<Pattern, ConfigError> {
    match value.get_ref() {
        DeValue::String(words) if !words.is_empty() => Ok(Pattern::Text(words.to_string())),
        DeValue::Table(table) if let Some(("regex", text)) = only(table) => Pattern::regex(text)
            .map_err(|why| {
                let why = format!("{why}; see the syntax of regular expressions in the manual");
                reader.error(reader.line(&value.span()), key, ConfigFault::Invalid(why))
            }),
        _ => Err(reader.wrong_type(
            value,
            key,
            "a text that is not empty, or { regex = \"…\" }",
            "\"login:\"",
        )),
    }
}

fn step(reader: &Reader<'_>, key: &str, value: &Value<'_>) -> Result<Step, ConfigError> {
    match value.get_ref() {
        DeValue::Table(table) if let Some(("send", text)) = only(table) => {
            Ok(Step::Send(text.to_owned()))
        }
        DeValue::Table(table) if only(table).is_none_or(|(name, _)| name != "regex") => Err(reader
            .wrong_type(
                value,
                key,
                "{ send = \"…\" } or { regex = \"…\" }",
                "{ send = \"root\\n\" }",
            )),
        _ => pattern(reader, key, value).map(Step::Expect),
    }
}

fn environment(
    reader: &Reader<'_>,
    value: &Value<'_>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(reader.wrong_type(
            value,
            "env",
            "a table of texts",
            "env = { NAME = \"value\" }",
        ));
    };
    let one = |(name, value): (&Spanned<_>, &Value<'_>)| {
        let name: &std::borrow::Cow<'_, str> = name.get_ref();
        Ok((name.to_string(), text(reader, "env", value)?))
    };
    table.iter().map(one).collect()
}

/// Reads `FROM` or `FROM:TO`.
fn copy(
    pair: &str,
    line: usize,
    reader: &Reader<'_>,
    key: &str,
) -> Result<(PathBuf, Option<PathBuf>), ConfigError> {
    let (from, to) = match pair.split_once(':') {
        Some((from, to)) => (from, Some(to)),
        None => (pair, None),
    };
    if from.is_empty() || to.is_some_and(str::is_empty) {
        let why = format!("{pair:?} has an empty path; write FROM or FROM:TO");
        return Err(reader.error(line, key, ConfigFault::Invalid(why)));
    }
    Ok((from.into(), to.map(PathBuf::from)))
}
