//! The keys of `share`.

use super::place::{BUS, LEGACY};
use super::{Key, KeyList, NotWritable, OptionError, Table, Takes, bad, text_of};
use crate::host::share::{Share, check_tag};

pub(super) static TABLE: Table = Table {
    option: "share",
    about: "A folder that the guest mounts over 9P: mount -t 9p -o trans=virtio TAG DIRECTORY",
    keys: &[
        Key::new("path", Takes::Input("DIR"), "the folder").required(),
        Key::new(
            "tag",
            Takes::Text("NAME"),
            "what the guest mounts: 1 to 31 characters without spaces",
        )
        .required(),
        Key::new("readonly", Takes::Nothing, "the guest can only read"),
        Key::new(
            "setid",
            Takes::Nothing,
            "the guest may make set-user-id and set-group-id files, which are so for the host's \
             users too",
        ),
        BUS,
        LEGACY,
    ],
    alternatives: "",
    bare: Some("path"),
    mistakes: &[
        ("dir", "path"),
        ("mount_tag", "tag"),
        ("ro", "readonly"),
        ("read-only", "readonly"),
    ],
    several: true,
};

pub(super) fn read(list: &KeyList) -> Result<Share, OptionError> {
    let tag = list.needed("tag")?;
    check_tag(tag).map_err(|why| bad("tag", tag, why))?;
    Ok(Share {
        path: list.needed("path")?.into(),
        tag: tag.into(),
        readonly: list.has("readonly"),
        setid: list.has("setid"),
    })
}

pub(super) fn write(share: &Share) -> Result<KeyList, NotWritable> {
    Ok(KeyList::new(&TABLE)
        .with("path", text_of("share", &share.path)?)
        .with("tag", &share.tag)
        .with_flag("readonly", share.readonly)
        .with_flag("setid", share.setid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Share, OptionError> {
        read(&KeyList::parse(&TABLE, text)?)
    }

    #[test]
    fn a_share_is_a_folder_and_a_tag() {
        let share = parse("path=/a,,b,tag=t,readonly").unwrap();
        assert_eq!(share.path.to_str(), Some("/a,b"));
        assert!(share.readonly && share.tag == "t" && !share.setid);
        let share = parse("path=/a,tag=t,setid").unwrap();
        assert!(share.setid);
        assert_eq!(read(&write(&share).unwrap()).unwrap(), share);
    }

    #[test]
    fn what_makes_no_share_is_refused_with_a_reason() {
        for (text, part) in [
            ("path=/a", "tag is missing; write tag=NAME"),
            ("tag=t", "path is missing; write path=DIR"),
            ("path=/a,tag=a b", "tag=a b: a tag has no spaces"),
            (
                "path=/a,tag=12345678901234567890123456789012",
                "1 to 31 characters",
            ),
            ("path=/a,tag=t,ro", "write readonly"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
