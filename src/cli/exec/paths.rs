//! The two paths of `--in` and `--out`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// From where to where.
pub type Copy = (PathBuf, PathBuf);

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// `HOST[:GUEST]`: the guest's path begins with the last `:/`.
pub fn copy_in(text: &OsStr) -> Result<Copy, String> {
    let bytes = text.as_bytes();
    let colon = bytes.windows(2).rposition(|two| two == b":/");
    let (host, guest) = match colon {
        Some(at) => (path(&bytes[..at]), path(&bytes[at + 1..])),
        None => (path(bytes), Path::new("/")),
    };
    if host.as_os_str().is_empty() {
        return Err(format!(
            "--in {}: name a file or folder of the host",
            text.display()
        ));
    }
    Ok((
        host.to_owned(),
        named(guest, host, guest.as_os_str().as_bytes().ends_with(b"/")),
    ))
}

/// `GUEST[:HOST]`: the guest's path ends before the first colon.
pub fn copy_out(text: &OsStr) -> Result<Copy, String> {
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':');
    let (guest, host) = match colon {
        Some(at) => (path(&bytes[..at]), path(&bytes[at + 1..])),
        None => (path(bytes), Path::new(".")),
    };
    if !guest.is_absolute() || host.as_os_str().is_empty() {
        return Err(format!(
            "--out {}: use GUEST[:HOST], the guest's path beginning with a slash",
            text.display()
        ));
    }
    Ok((guest.to_owned(), named(host, guest, host.is_dir())))
}

/// The place itself, or what has the other's name in it.
fn named(place: &Path, other: &Path, inside: bool) -> PathBuf {
    match (inside, other.file_name()) {
        (true, Some(name)) => place.join(name),
        _ => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_goes_to_the_root_unless_it_says_where() {
        let read = |text: &str| copy_in(OsStr::new(text)).unwrap();
        let pair = |a: &str, b: &str| (PathBuf::from(a), PathBuf::from(b));
        assert_eq!(read("a/b"), pair("a/b", "/b"));
        assert_eq!(read("a/b:/c"), pair("a/b", "/c"));
        assert_eq!(read("a/b:/c/"), pair("a/b", "/c/b"));
        assert_eq!(read("a:b"), pair("a:b", "/a:b"));
        assert!(copy_in(OsStr::new(":/c")).is_err());
    }

    #[test]
    fn out_goes_here_or_into_a_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().display().to_string();
        let read = |text: &str| copy_out(OsStr::new(text)).unwrap();
        let pair = |a: &str, b: &str| (PathBuf::from(a), PathBuf::from(b));
        assert_eq!(read("/a/b"), pair("/a/b", "./b"));
        assert_eq!(
            read(&format!("/a/b:{there}/c")),
            pair("/a/b", &format!("{there}/c"))
        );
        assert_eq!(
            read(&format!("/a/b:{there}")),
            pair("/a/b", &format!("{there}/b"))
        );
        assert!(copy_out(OsStr::new("a")).is_err());
        assert!(copy_out(OsStr::new("/a:")).is_err());
    }
}
