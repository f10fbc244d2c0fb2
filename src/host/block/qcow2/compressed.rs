//! Compressed clusters: read whole, and the last few kept.

use std::collections::VecDeque;
use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress};
use ruzstd::decoding::StreamingDecoder;

use super::geometry::{Geometry, damaged};
use super::header::Compression;
use super::storage::Storage;

/// Clusters that are kept unpacked: one for each request under way, and one before it.
const KEPT: usize = 8;

/// Clusters that were unpacked a short time ago, by where they are in the file.
///
/// A compressed cluster is never changed, and none is written: a place never has another one.
#[derive(Default)]
pub(super) struct Unpacked(VecDeque<(u64, std::sync::Arc<[u8]>)>);

impl Unpacked {
    pub fn get(&self, at: u64) -> Option<std::sync::Arc<[u8]>> {
        let found = self.0.iter().find(|(place, _)| *place == at);
        found.map(|(_, bytes)| bytes.clone())
    }

    pub fn keep(&mut self, at: u64, bytes: std::sync::Arc<[u8]>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((at, bytes));
    }
}

/// Reads and unpacks the cluster that is compressed in `bytes` bytes at `at`.
///
/// # Errors
/// What the host says, or a stream that is not of one cluster.
pub(super) fn unpack(
    storage: &dyn Storage,
    geometry: Geometry,
    compression: Compression,
    at: u64,
    bytes: u64,
) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; bytes as usize];
    storage.read(at, &mut packed)?;
    let mut cluster = vec![0; geometry.cluster() as usize];
    let wrong = || {
        damaged(format!(
            "the compressed cluster at {at:#x} cannot be unpacked"
        ))
    };
    match compression {
        Compression::Deflate => {
            let mut stream = Decompress::new(false);
            let done = stream.decompress(&packed, &mut cluster, FlushDecompress::Finish);
            if done.is_err() || stream.total_out() != geometry.cluster() {
                return Err(wrong());
            }
        }
        Compression::Zstd => {
            let mut stream = StreamingDecoder::new(&packed[..]).map_err(|_| wrong())?;
            stream.read_exact(&mut cluster).map_err(|_| wrong())?;
        }
    }
    Ok(cluster)
}
