//! What is measured: the rows of the table.

/// What a row times or weighs.
pub enum What {
    /// Start to the first byte of a guest of six instructions.
    First,
    /// Start to the first line of `/init`, in a run of its own on the root file system as it is.
    Boot,
    /// One command, in the guests and on the host.
    Work {
        /// Makes the input; not timed. Shells of all three have `$BUSYBOX` (the guest's program)
        /// and `$TRUE`.
        prepare: &'static str,
        command: &'static str,
    },
    /// One command in the guests, which have a disk; they print nothing.
    Disk { command: &'static str },
    /// One command, in runs of their own, in which the guests have a network device. The shells have
    /// `$SERVER`, the address and port of `server.rs`.
    Net { command: &'static str },
    /// The process's memory after all else.
    Memory,
}

/// What a machine runs; rows with the same share a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The guest of six instructions.
    First,
    /// Linux with the root file system as it is.
    Boot,
    /// Linux with the programs.
    Work,
    /// The same with a network device.
    Net,
}

impl What {
    /// In which run it is measured.
    pub fn runs(&self) -> Runs {
        match self {
            What::First => Runs::First,
            What::Boot => Runs::Boot,
            What::Work { .. } | What::Disk { .. } | What::Memory => Runs::Work,
            What::Net { .. } => Runs::Net,
        }
    }
}

/// A row of the table.
pub struct Row {
    /// Its name for `--rows`.
    pub key: &'static str,
    pub title: &'static str,
    pub what: What,
}

const fn work(
    key: &'static str,
    title: &'static str,
    prepare: &'static str,
    command: &'static str,
) -> Row {
    let what = What::Work { prepare, command };
    Row { key, title, what }
}

const fn disk(key: &'static str, title: &'static str, command: &'static str) -> Row {
    let what = What::Disk { command };
    Row { key, title, what }
}

/// Every row. What a command prints must be the same on every machine.
pub const ROWS: &[Row] = &[
    Row {
        key: "first",
        title: "start to first instruction",
        what: What::First,
    },
    Row {
        key: "boot",
        title: "boot to init",
        what: What::Boot,
    },
    work("integers", "integer compute", "true", "integers 1500"),
    work(
        "sha256",
        "sha256sum of 32 MB",
        "dd if=/dev/zero of=zeros bs=1M count=32 2>/dev/null",
        "sha256sum zeros",
    ),
    work(
        "gzip",
        "gzip of 6.3 MB",
        // Machine code, several times over; the repeats are further apart than gzip looks back.
        "rm -f zeros; for i in 1 2 3 4 5 6 7 8; do cat $BUSYBOX; done | head -c 6300000 >code",
        "gzip -c code >code.gz",
    ),
    work(
        "double",
        "floating point, double",
        "true",
        "floats-double 20",
    ),
    work(
        "single",
        "floating point, single",
        "true",
        "floats-single 20",
    ),
    work(
        "forkexec",
        "500 x fork+exec",
        "true",
        // It prints how long it took.
        "forkexec 500 $TRUE >/dev/null",
    ),
    work("getppid", "200000 x getppid", "true", "getppid 200000"),
    work(
        "pingpong",
        "20000 x pipe ping-pong",
        "true",
        "pingpong 20000",
    ),
    work("faults", "102400 page faults", "true", "faults 100"),
    disk(
        "diskread",
        "256 MiB from a disk",
        "disk read /dev/vda 256 >/dev/null",
    ),
    disk(
        "diskwrite",
        "256 MiB to a disk, flushed",
        "disk write /dev/vda 256 >/dev/null",
    ),
    disk(
        "diskrandom",
        "10000 x 4 KiB from a disk",
        "disk random /dev/vda 10000 >/dev/null",
    ),
    Row {
        key: "receive",
        title: "TCP into the guest, 64 MiB",
        what: What::Net {
            command: "stream get $SERVER 64",
        },
    },
    Row {
        key: "send",
        title: "TCP out of the guest, 64 MiB",
        what: What::Net {
            command: "stream put $SERVER 64",
        },
    },
    Row {
        key: "memory",
        title: "peak memory",
        what: What::Memory,
    },
];
