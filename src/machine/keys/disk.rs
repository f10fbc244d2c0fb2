//! The keys of `disk`.

use super::place::{BUS, LEGACY};
use super::{Choice, Key, KeyList, NotWritable, OptionError, Table, Takes, bad, text_of};
use crate::host::block::{Backing, Disk};

pub(super) static TABLE: Table = Table {
    option: "disk",
    about: "A disk; the first is /dev/vda",
    keys: &[
        Key::new(
            "path",
            Takes::Input("FILE"),
            "a raw or qcow2 image, or a block device",
        )
        .required(),
        Key::new(
            "format",
            Takes::Choice(&[
                Choice {
                    word: "raw",
                    help: "Byte for byte.",
                },
                Choice {
                    word: "qcow2",
                    help: "QEMU's copy-on-write format.",
                },
            ]),
            "in place of what the first bytes say",
        ),
        Key::new(
            "readonly",
            Takes::Nothing,
            "the guest can only read; several machines may share the image",
        ),
        Key::new(
            "overlay",
            Takes::Nothing,
            "the guest can write, into a temporary file in $TMPDIR or /var/tmp; the image stays as \
             it is",
        ),
        Key::new(
            "backing",
            Takes::Choice(&[
                Choice {
                    word: "none",
                    help: "No backing file.",
                },
                Choice {
                    word: "beside",
                    help: "Files in the image's own folder.",
                },
                Choice {
                    word: "any",
                    help: "Any file that the image names.",
                },
            ]),
            "which backing files a qcow2 image may have; beside without this: those in its folder",
        ),
        Key::new(
            "serial",
            Takes::Text("S"),
            "what the guest reads as the disk's serial number, at most 20 characters",
        ),
        BUS,
        LEGACY,
    ],
    alternatives: "",
    bare: Some("path"),
    mistakes: &[
        ("file", "path"),
        ("filename", "path"),
        ("ro", "readonly"),
        ("read-only", "readonly"),
        ("snapshot", "overlay"),
    ],
    several: true,
};

pub(super) fn read(list: &KeyList) -> Result<Disk, OptionError> {
    let mut disk = Disk::file(list.needed("path")?);
    if let Some(format) = list.parsed("format")? {
        disk = disk.format(format);
    }
    disk = match (list.has("readonly"), list.has("overlay")) {
        (true, true) => {
            return Err(OptionError::List(
                "readonly and overlay exclude each other: with overlay the guest can write; leave \
                 one of them out"
                    .into(),
            ));
        }
        (true, false) => disk.readonly(),
        (false, true) => disk.overlay(),
        (false, false) => disk,
    };
    if let Some(rule) = list.parsed("backing")? {
        disk = disk.backing(rule);
    }
    match list.value("serial") {
        None => Ok(disk),
        Some(serial) => disk
            .serial(serial)
            .map_err(|error| bad("serial", serial, error)),
    }
}

pub(super) fn write(disk: &Disk) -> Result<KeyList, NotWritable> {
    let path = disk.image().ok_or_else(|| NotWritable {
        what: "a disk".into(),
        why: "it is in memory",
    })?;
    let serial = Some(disk.serial_number()).filter(|serial| !serial.is_empty());
    let backing = Some(disk.backing_rule()).filter(|rule| *rule != Backing::default());
    Ok(KeyList::new(&TABLE)
        .with("path", text_of("disk", path)?)
        .with_some("format", disk.given_format())
        .with_flag("readonly", disk.is_readonly())
        .with_flag("overlay", disk.is_overlay())
        .with_some("backing", backing)
        .with_some("serial", serial))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::block::Format;

    fn parse(text: &str) -> Result<Disk, OptionError> {
        read(&KeyList::parse(&TABLE, text)?)
    }

    #[test]
    fn keys_come_in_any_order() {
        let disk = parse("serial=A B,overlay,format=raw,path=x=y.img").unwrap();
        let expected = Disk::file("x=y.img").format(Format::Raw).overlay();
        assert_eq!(disk, expected.serial("A B").unwrap());
        assert_eq!(
            parse("path=d,readonly,backing=none").unwrap(),
            Disk::file("d").readonly().backing(Backing::None)
        );
    }

    #[test]
    fn what_makes_no_disk_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "path is missing; write path=FILE"),
            ("x.img", "write path=x.img; there are path, format"),
            ("path=a,path=b", "path is given twice"),
            ("path=a,format=vmdk", "format=vmdk: use raw or qcow2"),
            ("path=a,readonly,overlay", "exclude"),
            ("path=a,backing=all", "backing=all: use none, beside or any"),
            ("path=a,serial=123456789012345678901", "1 to 20"),
            ("path=a,serial=\u{e9}", "printable"),
            ("path=a,cache=none", "`cache` is no key"),
            ("file=a", "write path=FILE"),
            ("path=a,ro", "write readonly"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
