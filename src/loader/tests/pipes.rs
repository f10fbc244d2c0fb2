//! Files that have no length, that can be opened once, or that never end.

use super::*;
use crate::loader::source::Patience;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::time::Duration;

const SHORT: Patience = Patience {
    writer: Duration::from_millis(20),
    silence: Duration::from_millis(20),
};
/// Many times what is needed, so that only a fault reaches it.
const LONG: Patience = Patience {
    writer: Duration::from_secs(60),
    silence: Duration::from_secs(60),
};

fn fifo() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("fifo");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &path, FileType::Fifo, mode, 0).expect("the folder is writable");
    (folder, path)
}

#[test]
fn what_comes_through_a_fifo_is_read_once_and_has_its_symbols() {
    let (_folder, path) = fifo();
    let file = elf_with_symbols(0xC000_0000, &[text(CODE)], &[("start", 0xC000_0000)]);
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, file)
    });
    let source = Source::open_within(&path, RAM, LONG).expect("somebody writes");
    writer
        .join()
        .expect("no panic")
        .expect("all of it was read");
    let section = describe_source(&source, &options(), RAM);
    assert!(section.to_string().starts_with("elf file\n"), "{section}");
    let kernel = Kernel::from_source(source.again(RAM), &options(), RAM).expect("it is good");
    assert_eq!(kernel.segments[0].bytes, CODE);
    let symbols = kernel.symbols.expect("they came with it");
    assert_eq!(symbols.address("start"), Some(0xC000_0000));
}

#[test]
fn a_fifo_without_a_writer_is_not_waited_for_without_end() {
    let (_folder, path) = fifo();
    let error = Source::open_within(&path, RAM, SHORT).expect_err("nobody writes");
    assert!(
        error.to_string().ends_with(
            "nobody opened the fifo for writing within 0 s; start the command that writes to it"
        ),
        "{error}"
    );
}

#[test]
fn a_writer_that_falls_silent_is_not_waited_for_without_end() {
    let (_folder, path) = fifo();
    // Open for reading too, so that it does not wait for the reader.
    let writer = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path);
    let mut writer = writer.expect("it is there");
    writer.write_all(b"\x7fELF").expect("a pipe holds that");
    let error = Source::open_within(&path, RAM, SHORT).expect_err("the end does not come");
    assert!(
        error.to_string().contains("and the end was not reached; "),
        "{error}"
    );
}

#[test]
fn files_that_say_they_are_empty_are_read_all_the_same() {
    let source = Source::open(Path::new("/proc/version"), RAM).expect("linux has it");
    assert!(
        source
            .bytes(RAM)
            .expect("it is small")
            .starts_with(b"Linux version ")
    );
}

#[test]
fn a_file_without_an_end_is_refused() {
    let error = Source::open(Path::new("/dev/zero"), MIB).expect_err("it is endless");
    assert!(
        error
            .to_string()
            .contains("more than 2097152 bytes, too many"),
        "{error}"
    );
}
