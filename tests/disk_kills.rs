//! Disks whose launcher is killed: each image is sound, has what was flushed, and is started again.
//!
//! The guest is `tests/guests/bare/disk.c`, whose requests follow from a seed that it prints. The
//! first kill of a pair comes early, often before the first flush, when an image's tables are made;
//! the second run begins with what the first one left.
//!
//! `PPCKVM_LONG` makes it a thousand kills.
// A test that unwraps what must be there fails at the right line.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

const UNIT: usize = 4096;
const SECTOR: usize = 512;
const MOST_UNITS: u32 = 16;
const DISK: usize = 16 << 20;

fn guest() -> PathBuf {
    let folder = std::env::var_os("BARE_GUESTS").unwrap_or_else(|| {
        panic!(
            "BARE_GUESTS is not set: the guests are missing; run tests/run.sh, or build them and \
             set their paths with: set -a; eval \"$(tests/guests/build.sh all)\"; set +a"
        )
    });
    PathBuf::from(folder).join("disk.elf")
}

fn qemu_img(arguments: &[&str], expected: &[i32]) {
    let output = Command::new("qemu-img").args(arguments).output();
    let output = output.expect("qemu-img (Debian: qemu-utils) runs");
    let code = output.status.code().unwrap();
    assert!(
        expected.contains(&code),
        "qemu-img {arguments:?}: {output:?}"
    );
}

/// Numbers as the guest makes them.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

/// What a sector may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// What it held when the launcher started.
    Before,
    Zeros,
    /// What this request wrote.
    Written(u32),
}

/// What each unit may hold.
struct Allowed {
    seed: u32,
    /// After all requests that were flushed.
    flushed: Vec<Vec<Holds>>,
    /// After those that may have been done since.
    later: Vec<Vec<Holds>>,
}

impl Allowed {
    /// With the first `flushed` requests flushed, and those up to `limit` done or not.
    fn new(seed: u32, units: u32, flushed: u32, limit: u32) -> Self {
        let mut allowed = Allowed {
            seed,
            flushed: vec![vec![Holds::Before]; units as usize],
            later: vec![Vec::new(); units as usize],
        };
        let mut random = Random(seed);
        let mut number = 0;
        while number < limit {
            let together = 1 + random.next() % 8;
            for number in number..number + together {
                let kind = random.next() % 10;
                let count = 1 + random.next() % MOST_UNITS;
                let first = random.next() % (units - MOST_UNITS);
                let holds = match kind {
                    0..=6 => Holds::Written(number),
                    _ => Holds::Zeros,
                };
                for unit in (first..first + count).map(|unit| unit as usize) {
                    match number < flushed {
                        // A discarded unit may hold anything that it held.
                        true if kind == 7 => allowed.flushed[unit].push(holds),
                        true => allowed.flushed[unit] = vec![holds],
                        false => allowed.later[unit].push(holds),
                    }
                }
            }
            number += together;
        }
        allowed
    }

    /// Holds a disk against it.
    fn assert_holds(&self, before: &[u8], now: &[u8], when: &str) {
        for (unit, (old, new)) in before.chunks(UNIT).zip(now.chunks(UNIT)).enumerate() {
            let may = [&self.flushed[unit][..], &self.later[unit]].concat();
            for (old, new) in old.chunks(SECTOR).zip(new.chunks(SECTOR)) {
                let good = may.iter().any(|holds| match holds {
                    Holds::Before => new == old,
                    Holds::Zeros => new.iter().all(|byte| *byte == 0),
                    Holds::Written(number) => new == self.written(*number, unit as u32),
                });
                assert!(
                    good,
                    "{when}: unit {unit} holds {:x?}, not {may:?}",
                    &new[..16]
                );
            }
        }
    }

    fn written(&self, number: u32, unit: u32) -> Vec<u8> {
        let words = [self.seed, number, unit, !number];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.repeat(SECTOR / 16)
    }

    /// The highest number of a request of this seed that a disk shows.
    fn highest(seed: u32, now: &[u8]) -> u32 {
        let word = |bytes: &[u8], at: usize| {
            u32::from_be_bytes(bytes[at * 4..at * 4 + 4].try_into().unwrap())
        };
        let shown = now.chunks(SECTOR).enumerate().filter(|(at, bytes)| {
            word(bytes, 0) == seed
                && word(bytes, 2) as usize == at * SECTOR / UNIT
                && word(bytes, 3) == !word(bytes, 1)
        });
        shown.map(|(_, bytes)| word(bytes, 1)).max().unwrap_or(0)
    }
}

/// What a killed run said: its seed, and how many requests were flushed.
struct Run {
    seed: u32,
    flushed: u32,
}

fn hexadecimal(text: &str) -> u32 {
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap()
}

/// Starts the launcher and kills it when the guest has done so many requests.
fn run_and_kill(disk: &str, requests: u32) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ppckvm"))
        .args(["run", "--memory", "128M", "--no-rng", "--kernel"])
        .arg(guest())
        .args(["--disk", disk])
        .env_remove("PPCKVM_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut done, mut line) = (0, Vec::new());
    let mut run = Run {
        seed: 0,
        flushed: 0,
    };
    let mut said = String::new();
    // Whatever is on its way in the pipe was done, so all of it is read.
    loop {
        let bytes = output.fill_buf().unwrap().to_vec();
        if bytes.is_empty() {
            break;
        }
        output.consume(bytes.len());
        for byte in bytes {
            done += u32::from(byte == b'.');
            match byte {
                b'\n' => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    if let Some(rest) = text.trim().strip_prefix("seed ") {
                        run.seed = hexadecimal(rest.split(' ').next().unwrap());
                    } else if let Some(number) = text.trim().strip_prefix("flushed ") {
                        run.flushed = hexadecimal(number);
                    } else if text.contains("failed") || text.contains("no disk") {
                        said.push_str(&text);
                    }
                    line.clear();
                }
                byte => line.push(byte),
            }
        }
        if run.seed != 0 && done >= requests {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    let mut error = String::new();
    let stderr = child.stderr.take().unwrap();
    BufReader::new(stderr).read_to_string(&mut error).unwrap();
    assert!(run.seed != 0 && said.is_empty(), "{disk}: {said}{error}");
    run
}

/// A kind of image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Raw,
    /// With these options for `qemu-img create`.
    Qcow2(&'static str),
    Compressed,
    Backing,
    /// A qcow2 image that stays as it is.
    Overlay,
    Snapshot,
}

const KINDS: [Kind; 9] = [
    Kind::Raw,
    Kind::Qcow2("cluster_size=512"),
    Kind::Qcow2("cluster_size=4k"),
    Kind::Qcow2("cluster_size=64k"),
    Kind::Qcow2("compat=0.10"),
    Kind::Compressed,
    Kind::Backing,
    Kind::Overlay,
    Kind::Snapshot,
];

struct Images {
    folder: TempDir,
    kind: Kind,
    contents: Vec<u8>,
}

impl Images {
    fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut contents = vec![0; DISK];
        if !matches!(kind, Kind::Raw | Kind::Qcow2(_)) {
            for (at, sector) in contents.chunks_mut(SECTOR).enumerate() {
                sector.fill((at / 5 % 251) as u8);
            }
        }
        Images {
            folder,
            kind,
            contents,
        }
    }

    fn path(&self, name: &str) -> String {
        let path: &Path = self.folder.path();
        path.join(name).to_str().unwrap().to_owned()
    }

    /// Makes the image anew; the `--disk` that uses it.
    fn create(&self) -> String {
        let (base, image) = (self.path("base"), self.path("image"));
        let _ = fs::remove_file(&image);
        if self.kind != Kind::Raw && !fs::exists(&base).unwrap() {
            fs::write(&base, &self.contents).unwrap();
        }
        let convert = ["convert", "-f", "raw", "-O", "qcow2"];
        match self.kind {
            Kind::Raw => fs::write(&image, &self.contents).unwrap(),
            Kind::Qcow2(options) => {
                let create = ["create", "-q", "-f", "qcow2", "-o", options, &image, "16M"];
                qemu_img(&create, &[0]);
            }
            Kind::Compressed => {
                qemu_img(&[&convert[..], &["-c", &base, &image]].concat(), &[0]);
            }
            Kind::Overlay => qemu_img(&[&convert[..], &[&base, &image]].concat(), &[0]),
            Kind::Backing => {
                let create = [
                    "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base", &image,
                ];
                qemu_img(&create, &[0]);
            }
            Kind::Snapshot => {
                qemu_img(&[&convert[..], &[&base, &image]].concat(), &[0]);
                qemu_img(&["snapshot", "-c", "before", &image], &[0]);
            }
        }
        let format = if self.kind == Kind::Raw {
            "raw"
        } else {
            "qcow2"
        };
        let overlay = if self.kind == Kind::Overlay {
            ",overlay"
        } else {
            ""
        };
        format!("path={image},format={format}{overlay}")
    }

    /// Checks the image's tables, and gives what is on the disk.
    fn contents(&self) -> Vec<u8> {
        let image = self.path("image");
        if self.kind == Kind::Raw {
            return fs::read(image).unwrap();
        }
        // Clusters that nothing refers to are lost to the image, which is no fault of the contents.
        qemu_img(&["check", "-q", "-f", "qcow2", &image], &[0, 3]);
        let raw = self.path("raw");
        qemu_img(&["convert", "-f", "qcow2", "-O", "raw", &image, &raw], &[0]);
        fs::read(raw).unwrap()
    }
}

/// Kills early, starts again on what is left, kills again. Returns how many requests were flushed.
fn a_pair_of_kills(images: &Images, first: u32, second: u32) -> u32 {
    let disk = images.create();
    let mut before = images.contents.clone();
    let mut flushed = 0;
    for requests in [first, second] {
        let run = run_and_kill(&disk, requests);
        let now = images.contents();
        let when = format!("{:?}, killed after {requests} requests", images.kind);
        if images.kind == Kind::Overlay {
            assert!(now == images.contents, "{when}: the image has changed");
            continue;
        }
        // The guest does one request after the other, so it was at most in the next one; a batch
        // is at most eight.
        let highest = Allowed::highest(run.seed, &now);
        let limit = (highest + 1).max(run.flushed) + 24;
        let units = (DISK / UNIT) as u32;
        let allowed = Allowed::new(run.seed, units, run.flushed, limit);
        allowed.assert_holds(&before, &now, &when);
        before = now;
        flushed += run.flushed;
    }
    if images.kind == Kind::Snapshot {
        let image = images.path("image");
        qemu_img(&["check", "-q", "-r", "leaks", &image], &[0]);
        qemu_img(&["snapshot", "-a", "before", &image], &[0]);
        let (base, format) = (images.path("base"), ["-f", "raw", "-F", "qcow2"]);
        qemu_img(
            &[&["compare", "-q"], &format[..], &[&base, &image]].concat(),
            &[0],
        );
    }
    flushed
}

#[test]
fn killed_again_and_again_every_image_has_what_was_flushed() {
    let pairs = match std::env::var_os("PPCKVM_LONG") {
        Some(_) => 1000_usize.div_ceil(2 * KINDS.len()),
        None => 1,
    };
    let mut random = Random(440);
    for kind in KINDS {
        let images = Images::new(kind);
        let mut flushed = 0;
        for _ in 0..pairs {
            let first = random.next() % 30;
            let second = 40 + random.next() % 200;
            flushed += a_pair_of_kills(&images, first, second);
        }
        assert!(
            kind == Kind::Overlay || flushed > 0,
            "{kind:?}: nothing was flushed"
        );
        eprintln!("{kind:?}: {} kills, {flushed} requests flushed", 2 * pairs);
    }
}
