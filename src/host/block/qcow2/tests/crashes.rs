//! Wherever it ends, the image is sound and has what was flushed.
//!
//! A workload runs once over a disk that records its writes and syncs. Then the image is put
//! together as each possible crash would leave it. A kill of the process leaves a first part of the
//! writes; a loss of power leaves all that was synced and any part of the rest, sector by sector.

use super::memory::{Done, apply};
use super::*;

#[derive(Clone, Copy, Debug)]
enum Request {
    Write {
        sector: u64,
        count: u64,
    },
    Discard {
        sector: u64,
        count: u64,
    },
    Zero {
        sector: u64,
        count: u64,
        unmap: bool,
    },
    Flush,
}

/// What each sector may hold.
#[derive(Clone)]
struct Model {
    /// Now, read from the running disk.
    now: Vec<Vec<u64>>,
    /// After a crash: what the last flush left, and all since then.
    durable: Vec<Vec<u64>>,
    next: u64,
}

impl Model {
    fn new(kind: Kind) -> Self {
        let start: Vec<_> = (0..kind.sectors)
            .map(|at| vec![kind.untouched(at)])
            .collect();
        Model {
            now: start.clone(),
            durable: start,
            next: 1,
        }
    }

    /// Takes note of a request that began: a crash may show it.
    fn begin(&mut self, request: Request) {
        match request {
            Request::Write { sector, count } => {
                for (at, number) in (sector..sector + count).zip(self.next..) {
                    self.durable[at as usize].push(number);
                }
            }
            Request::Discard { sector, count } | Request::Zero { sector, count, .. } => {
                for at in sector..sector + count {
                    self.durable[at as usize].push(0);
                }
            }
            Request::Flush => {}
        }
    }

    fn end(&mut self, request: Request, failed: bool) {
        let keep = |now: &mut Vec<u64>, value: u64, also_old: bool| match also_old {
            true => now.push(value),
            false => *now = vec![value],
        };
        match request {
            Request::Write { sector, count } => {
                for (at, number) in (sector..sector + count).zip(self.next..) {
                    keep(&mut self.now[at as usize], number, failed);
                }
                self.next += count;
            }
            Request::Discard { sector, count } => {
                (sector..sector + count).for_each(|at| keep(&mut self.now[at as usize], 0, true));
            }
            Request::Zero { sector, count, .. } => {
                (sector..sector + count).for_each(|at| keep(&mut self.now[at as usize], 0, failed));
            }
            Request::Flush if failed => {}
            Request::Flush => self.durable.clone_from(&self.now),
        }
    }
}

fn perform(image: &Qcow2, request: Request, next: u64) -> io::Result<()> {
    match request {
        Request::Write { sector: at, count } => {
            let bytes: Vec<u8> = (next..next + count).flat_map(sector).collect();
            image.write(at * SECTOR, &bytes)
        }
        Request::Discard { sector, count } => image.discard(sector * SECTOR, count * SECTOR),
        Request::Zero {
            sector,
            count,
            unmap,
        } => image.write_zeroes(sector * SECTOR, count * SECTOR, unmap),
        Request::Flush => image.flush(),
    }
}

fn assert_holds(image: &Qcow2, allowed: &[Vec<u64>], when: &str) {
    let mut bytes = vec![0; allowed.len() * SECTOR as usize];
    image.read(0, &mut bytes).unwrap();
    for (at, (bytes, allowed)) in bytes.chunks(SECTOR as usize).zip(allowed).enumerate() {
        let found = value(bytes);
        assert!(
            found.is_some_and(|value| allowed.contains(&value)),
            "{when}: sector {at} holds {found:x?} ({:x?}) and may hold {allowed:x?}",
            &bytes[..16]
        );
    }
}

/// A workload that ran: the image it began with, what was done to the disk, and what may be on it
/// from each position in that on.
struct Ran {
    kind: Kind,
    before: Vec<u8>,
    log: Vec<Done>,
    models: Vec<(usize, Model)>,
}

fn run(kind: Kind, start: &Memory, workload: &[Request], model: Model) -> Ran {
    let before = start.bytes();
    let memory = Memory::new(before.clone());
    let image = kind.open(&memory, true).unwrap();
    let mut model = model;
    let mut models = vec![(0, model.clone())];
    for request in workload {
        model.begin(*request);
        models.push((memory.logged(), model.clone()));
        perform(&image, *request, model.next).unwrap();
        model.end(*request, false);
        models.push((memory.logged(), model.clone()));
        assert_holds(&image, &model.now, "while it runs");
    }
    drop(image);
    // The end of a run is a flush, whoever crashes in it.
    let log = memory.log();
    let after = memory.bytes();
    let leaks = checker::leaks(&after).unwrap();
    let leaks_before = checker::leaks(&before).unwrap();
    assert!(leaks <= leaks_before, "{leaks} leaks after an orderly end");
    assert_holds(&kind.open(&memory, true).unwrap(), &model.now, "at the end");
    Ran {
        kind,
        before,
        log,
        models,
    }
}

impl Ran {
    /// What may be on the disk if it crashes when so much of the log is done.
    fn allowed(&self, position: usize) -> &[Vec<u64>] {
        let known = self.models.iter().take_while(|(at, _)| *at <= position);
        &known.last().unwrap().1.durable
    }

    /// The image is sound, has what was flushed, and can be used again.
    fn assert_survives(&self, bytes: &[u8], position: usize, random: &mut Random, when: &str) {
        if let Err(error) = checker::leaks(bytes) {
            panic!("{when}: {error}");
        }
        let memory = Memory::new(bytes.to_vec());
        let image = self.kind.open(&memory, true);
        let image = image.unwrap_or_else(|error| panic!("{when}: {error}"));
        let mut allowed = self.allowed(position).to_vec();
        assert_holds(&image, &allowed, when);
        // Start again on it, write, flush, kill.
        let count = random.below(20) + 1;
        let at = random.below(self.kind.sectors - count);
        let request = Request::Write { sector: at, count };
        perform(&image, request, 1 << 40).unwrap();
        for (at, number) in (at..at + count).zip(1 << 40..) {
            allowed[at as usize] = vec![number];
        }
        image.flush().unwrap();
        let again = Memory::new(memory.bytes());
        if let Err(error) = checker::leaks(&again.bytes()) {
            panic!("{when}, then again: {error}");
        }
        assert_holds(&self.kind.open(&again, true).unwrap(), &allowed, when);
    }

    fn kill(&self, position: usize, random: &mut Random) {
        let mut bytes = self.before.clone();
        self.log[..position]
            .iter()
            .for_each(|done| apply(&mut bytes, done));
        self.assert_survives(&bytes, position, random, &format!("killed at {position}"));
        // In the middle of the next write.
        if let Some(Done::Write { at, bytes: next }) = self.log.get(position)
            && next.len() > 8
        {
            let part = (random.below(next.len() as u64 / 8) * 8) as usize;
            let bytes_of_part = next[..part].to_vec();
            let done = Done::Write {
                at: *at,
                bytes: bytes_of_part,
            };
            // Sectors are whole, for data that this test can recognise.
            if part.is_multiple_of(512) || !next.len().is_multiple_of(512) {
                apply(&mut bytes, &done);
                let when = format!("killed at {position} and {part} bytes");
                self.assert_survives(&bytes, position, random, &when);
            }
        }
    }

    /// Loses power when `position` of the log is done; `keeps` says which unsynced sectors stay.
    fn lose_power(
        &self,
        position: usize,
        random: &mut Random,
        when: &str,
        mut keeps: impl FnMut(&mut Random, usize) -> bool,
    ) {
        let synced = self.log[..position]
            .iter()
            .rposition(|done| matches!(done, Done::Sync));
        let synced = synced.map_or(0, |at| at + 1);
        let mut bytes = self.before.clone();
        self.log[..synced]
            .iter()
            .for_each(|done| apply(&mut bytes, done));
        for (number, done) in self.log[synced..position].iter().enumerate() {
            let Done::Write { at, bytes: written } = done else {
                continue;
            };
            let mut from = 0;
            while from < written.len() {
                let place = *at as usize + from;
                let to = written.len().min(from + 512 - place % 512);
                if keeps(random, number) {
                    let part = Done::Write {
                        at: place as u64,
                        bytes: written[from..to].to_vec(),
                    };
                    apply(&mut bytes, &part);
                }
                from = to;
            }
        }
        let when = format!("no power at {position}, {when}");
        self.assert_survives(&bytes, position, random, &when);
    }

    fn unsynced(&self, position: usize) -> usize {
        let after = self.log[..position].iter().rev();
        after
            .take_while(|done| matches!(done, Done::Write { .. }))
            .count()
    }

    /// All kills, and losses of power that keep all or nothing, one write alone, all but one, and
    /// some at random.
    fn every_crash(&self, random: &mut Random) {
        for position in 0..=self.log.len() {
            self.kill(position, random);
            let writes = self.unsynced(position);
            self.lose_power(position, random, "nothing kept", |_, _| false);
            // The same subsets are found from each position; the last one before a sync has all.
            let last = matches!(self.log.get(position), Some(Done::Sync) | None);
            if !last {
                continue;
            }
            for only in 0..writes {
                self.lose_power(position, random, "one kept", |_, at| at == only);
                self.lose_power(position, random, "one lost", |_, at| at != only);
            }
            // Exhaustively, where there are few.
            for subset in 0..(1_u32 << writes.min(6)) {
                let kept = |_: &mut Random, at: usize| subset >> (at % 6) & 1 == 1;
                self.lose_power(position, random, &format!("subset {subset:#b}"), kept);
            }
            for _ in 0..4 {
                self.lose_power(position, random, "some kept", |random, _| {
                    random.below(2) == 0
                });
            }
        }
    }

    fn some_crashes(&self, random: &mut Random, count: u64) {
        for _ in 0..count {
            let position = random.below(self.log.len() as u64 + 1) as usize;
            self.kill(position, random);
            let share = random.below(5);
            self.lose_power(position, random, "some kept", |random, _| {
                random.below(5) < share
            });
        }
    }
}

fn workload(random: &mut Random, kind: Kind, requests: u64) -> Vec<Request> {
    let request = |random: &mut Random| {
        let most = match random.below(4) {
            0 => kind.sectors / 2,
            1 => 3 << (kind.cluster_bits - 9),
            _ => 5,
        };
        let count = (random.below(most) + 1).min(kind.sectors);
        let sector = random.below(kind.sectors - count + 1);
        match random.below(12) {
            0..=5 => Request::Write { sector, count },
            6..=7 => Request::Discard { sector, count },
            8..=9 => Request::Zero {
                sector,
                count,
                unmap: random.below(2) == 0,
            },
            _ => Request::Flush,
        }
    };
    (0..requests).map(|_| request(random)).collect()
}

/// Versions, sizes of clusters and widths of counts, with something behind and without.
fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (version, cluster_bits, refcount_order) in [
        (3, 9, 4),
        (3, 9, 6),
        (3, 10, 0),
        (2, 9, 4),
        (3, 12, 3),
        (3, 11, 5),
    ] {
        for backed in [false, true] {
            kinds.push(Kind {
                version,
                cluster_bits,
                refcount_order,
                sectors: 160 << (cluster_bits - 9),
                backed,
            });
        }
    }
    kinds
}

#[test]
fn every_crash_of_a_small_workload_leaves_what_was_flushed() {
    let write = |sector, count| Request::Write { sector, count };
    let small = [
        write(0, 1),
        Request::Flush,
        // Into another L2 table, over the first, and over both.
        write(70, 3),
        write(0, 2),
        Request::Flush,
        Request::Discard {
            sector: 0,
            count: 2,
        },
        write(63, 2),
        Request::Flush,
        // Takes what was given back.
        write(100, 3),
        Request::Zero {
            sector: 62,
            count: 3,
            unmap: false,
        },
        write(63, 1),
        Request::Flush,
    ];
    for kind in kinds() {
        let scale = 1 << (kind.cluster_bits - 9);
        let scaled = small.map(|request| match request {
            Request::Write { sector, count } => write(sector * scale + 1, count * scale - 1),
            Request::Discard { sector, count } => Request::Discard {
                sector: sector * scale,
                count: count * scale,
            },
            Request::Zero {
                sector,
                count,
                unmap,
            } => Request::Zero {
                sector: sector * scale,
                count: count * scale + 1,
                unmap,
            },
            Request::Flush => Request::Flush,
        });
        let scaled = match scale {
            1 => &small,
            _ => &scaled,
        };
        let ran = run(kind, &kind.create(), scaled, Model::new(kind));
        ran.every_crash(&mut Random(440));
    }
}

/// `PPCKVM_LONG` multiplies the workloads.
#[test]
fn crashes_of_random_workloads_leave_what_was_flushed() {
    let rounds = std::env::var_os("PPCKVM_LONG").map_or(3, |_| 200);
    for (number, kind) in kinds().into_iter().enumerate() {
        for round in 0..rounds {
            let mut random = Random(0x9E37_79B9 + (number as u64) * 1_000_003 + round * 7919);
            let requests = workload(&mut random, kind, 60);
            let ran = run(kind, &kind.create(), &requests, Model::new(kind));
            ran.some_crashes(&mut random, 60);
        }
    }
}

#[test]
fn crashes_while_the_refcount_table_grows_leave_what_was_flushed() {
    // One cluster of the table counts 2 MiB of the file with counts of 64 bits.
    let kind = Kind {
        refcount_order: 6,
        sectors: 6000,
        ..Kind::SMALL
    };
    let mut requests = vec![
        Request::Write {
            sector: 0,
            count: 3600,
        },
        Request::Flush,
    ];
    for part in 0..8 {
        requests.push(Request::Write {
            sector: 3600 + part * 100,
            count: 100,
        });
    }
    requests.push(Request::Flush);
    let ran = run(kind, &kind.create(), &requests, Model::new(kind));
    let grown = |done: &Done| matches!(done, Done::Write { at: 48, .. });
    let at = ran.log.iter().position(grown).expect("the table grew");
    let random = &mut Random(440);
    for position in at - 40..(at + 12).min(ran.log.len()) {
        ran.kill(position, random);
        ran.lose_power(position, random, "nothing kept", |_, _| false);
        ran.lose_power(position, random, "some kept", |random, _| {
            random.below(2) == 0
        });
    }
    qemu_agrees(&{
        let mut bytes = ran.before.clone();
        ran.log.iter().for_each(|done| apply(&mut bytes, done));
        bytes
    });
}

/// Images that QEMU made: compressed, with a snapshot, with room kept for zeros.
#[test]
fn crashes_of_images_that_qemu_made_leave_what_was_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, image) = (folder.path().join("raw"), folder.path().join("image"));
    let names = (raw.to_str().unwrap(), image.to_str().unwrap());
    let kind = Kind {
        cluster_bits: 12,
        sectors: 1024,
        ..Kind::SMALL
    };
    let holds = |at: u64| 0xF00D_0000 + at / 3;
    let contents: Vec<u8> = (0..1024).flat_map(|at| sector(holds(at))).collect();
    std::fs::write(&raw, &contents).unwrap();
    let mut model = Model::new(kind);
    let held: Vec<_> = (0..1024).map(|at| vec![holds(at)]).collect();
    (model.now, model.durable) = (held.clone(), held);
    for (number, (options, snapshot)) in [
        (&["-c", "-o", "cluster_size=4k"][..], false),
        (&["-c", "-o", "cluster_size=4k,compression_type=zstd"], true),
        (&["-o", "cluster_size=4k"], true),
        (&["-o", "cluster_size=4k,compat=0.10"], true),
        (&["-o", "cluster_size=4k,preallocation=metadata"], false),
    ]
    .into_iter()
    .enumerate()
    {
        let arguments = [&["convert", "-O", "qcow2"], options, &[names.0, names.1]].concat();
        qemu_img(&arguments, &[0]);
        if snapshot {
            qemu_img(&["snapshot", "-c", "before", names.1], &[0]);
        }
        let start = Memory::new(std::fs::read(&image).unwrap());
        let mut random = Random(number as u64 + 1);
        let requests = workload(&mut random, kind, 40);
        let ran = run(kind, &start, &requests, model.clone());
        ran.some_crashes(&mut random, 60);
        for _ in 0..3 {
            let position = random.below(ran.log.len() as u64 + 1) as usize;
            let mut bytes = ran.before.clone();
            ran.log[..position]
                .iter()
                .for_each(|done| apply(&mut bytes, done));
            qemu_agrees(&bytes);
            if snapshot {
                std::fs::write(&image, &bytes).unwrap();
                qemu_img(&["check", "-q", "-r", "leaks", names.1], &[0]);
                qemu_img(&["snapshot", "-a", "before", names.1], &[0]);
                qemu_img(
                    &[
                        "compare", "-q", "-f", "raw", "-F", "qcow2", names.0, names.1,
                    ],
                    &[0],
                );
            }
        }
    }
}

/// One failed write anywhere: what was acknowledged is there, and whatever crashes later leaves it.
#[test]
fn failed_writes_and_crashes_leave_what_was_flushed() {
    let rounds = std::env::var_os("PPCKVM_LONG").map_or(60, |_| 2000);
    for round in 0..rounds {
        for kind in [
            Kind::SMALL,
            Kind {
                backed: true,
                ..Kind::SMALL
            },
        ] {
            let mut random = Random(round * 31 + 17);
            let memory = kind.create();
            let before = memory.bytes();
            let image = kind.open(&memory, true).unwrap();
            let from = random.below(80) as usize;
            let syncs = round % 4 == 0;
            memory.fail_when(move |number, done| {
                number >= from && number < from + 3 && (syncs || matches!(done, Done::Write { .. }))
            });
            let start = memory.logged();
            let mut model = Model::new(kind);
            let mut models = vec![(0, model.clone())];
            for request in workload(&mut random, kind, 40) {
                model.begin(request);
                models.push((memory.logged() - start, model.clone()));
                let failed = perform(&image, request, model.next).is_err();
                model.end(request, failed);
                models.push((memory.logged() - start, model.clone()));
                assert_holds(&image, &model.now, "while it runs");
            }
            drop(image);
            let log = memory.log()[start..].to_vec();
            let ran = Ran {
                kind,
                before,
                log,
                models,
            };
            ran.some_crashes(&mut random, 20);
        }
    }
}
