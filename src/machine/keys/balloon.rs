//! The keys of `balloon` and of `rng`, which have only a place.

use super::Table;
use super::place::{BUS, LEGACY};

pub(super) static BALLOON: Table = Table {
    option: "balloon",
    about: "A balloon, through which the guest gives memory that it does not use back to the host",
    keys: &[BUS, LEGACY],
    alternatives: "",
    bare: None,
    mistakes: &[],
    several: false,
};

pub(super) static RNG: Table = Table {
    option: "rng",
    about: "Where the entropy device is, which a guest has without this too",
    keys: &[BUS, LEGACY],
    alternatives: "",
    bare: None,
    mistakes: &[],
    several: false,
};
