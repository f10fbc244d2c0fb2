//! The keys of `vsock`.

use super::place::{BUS, LEGACY};
use super::{Key, KeyList, NotWritable, OptionError, Table, Takes, bad, text_of};
use crate::host::vsock::{self, Vsock};

pub(super) static TABLE: Table = Table {
    option: "vsock",
    about: "Streams between the guest and Unix sockets: who connects to PATH says CONNECT PORT, and \
            what the guest connects to is PATH_PORT",
    keys: &[
        Key::new(
            "cid",
            Takes::Number("N"),
            "the guest's context identifier, 3 or more; the host's is 2",
        )
        .required(),
        Key::new(
            "uds",
            Takes::Path("PATH"),
            "where the host connects to the guest; a path that does not exist yet",
        )
        .required(),
        BUS,
        LEGACY,
    ],
    alternatives: "",
    bare: None,
    mistakes: &[("guest-cid", "cid"), ("path", "uds"), ("uds_path", "uds")],
    several: false,
};

pub(super) fn read(list: &KeyList) -> Result<Vsock, OptionError> {
    let cid = list.needed("cid")?;
    match list.parsed("cid")? {
        Some(number) if vsock::is_valid(number) => Ok(Vsock {
            cid: number,
            uds: list.needed("uds")?.into(),
        }),
        _ => Err(bad("cid", cid, vsock::CID)),
    }
}

pub(super) fn write(vsock: &Vsock) -> Result<KeyList, NotWritable> {
    Ok(KeyList::new(&TABLE)
        .with("cid", vsock.cid)
        .with("uds", text_of("vsock", &vsock.uds)?))
}
