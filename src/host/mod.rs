//! What lies outside the machine: files, sockets, networks, folders and terminals of the host.

pub(crate) mod balloon;
pub(crate) mod block;
pub(crate) mod console;
pub(crate) mod descriptors;
pub(crate) mod entropy;
pub(crate) mod events;
pub(crate) mod listener;
pub(crate) mod lock;
pub(crate) mod net;
pub(crate) mod sandbox;
pub(crate) mod serial;
pub(crate) mod share;
pub(crate) mod vsock;
