//! What the agent comes in: a cpio archive of the form that Linux unpacks (newc).

/// A file's kind in its mode.
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// A cpio archive that is being written; all that is in it belongs to root.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a folder.
    pub fn folder(mut self, name: &str, mode: u32) -> Self {
        self.entry(name, FOLDER | mode, 2, &[]);
        self
    }

    /// Adds a file.
    pub fn file(mut self, name: &str, mode: u32, bytes: &[u8]) -> Self {
        self.entry(name, FILE | mode, 1, bytes);
        self
    }

    /// The archive, with the entry that ends it.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 1, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, bytes: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(bytes.len()).expect("the files are ours, and small");
        let name_size = u32::try_from(name.len() + 1).expect("the names are ours, and short");
        // Number, mode, owner, group, links, time, size, four of devices, name's size, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    fn pad(&mut self) {
        let end = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(end, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_reads_what_is_written() {
        let archive = Archive::default()
            .folder("folder", 0o700)
            .file("folder/odd", 0o640, b"12345")
            .file("empty", 0o755, b"")
            .finish();
        let folder = tempfile::tempdir().unwrap();
        let mut cpio = Command::new("cpio")
            .args(["--extract", "--quiet", "--no-preserve-owner"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(cpio.wait().unwrap().success());
        let file = folder.path().join("folder/odd");
        assert_eq!(std::fs::read(&file).unwrap(), b"12345");
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| {
            let found = std::fs::metadata(folder.path().join(name)).unwrap();
            found.permissions().mode()
        };
        assert_eq!(mode("folder"), FOLDER | 0o700);
        assert_eq!(mode("folder/odd"), FILE | 0o640);
        assert_eq!(mode("empty"), FILE | 0o755);
    }
}
