//! Requests of several threads at a time.

use std::sync::atomic::AtomicBool;

use super::*;

/// Each thread has sectors of its own; they meet in clusters and tables, and one flushes.
#[test]
fn threads_that_share_clusters_and_tables_do_not_lose_each_others_data() {
    const THREADS: u64 = 4;
    for kind in [
        Kind {
            cluster_bits: 12,
            sectors: 4096,
            ..Kind::SMALL
        },
        Kind {
            cluster_bits: 12,
            sectors: 4096,
            backed: true,
            ..Kind::SMALL
        },
        Kind {
            refcount_order: 6,
            sectors: 6000,
            ..Kind::SMALL
        },
    ] {
        let memory = kind.create();
        let image = kind.open(&memory, true).unwrap();
        let done = AtomicBool::new(false);
        let models: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let work = |thread: u64| {
                let image = &image;
                move || {
                    let mut random = Random(thread + 1);
                    let own = kind.sectors / THREADS;
                    let mut model: Vec<u64> = (0..own)
                        .map(|at| kind.untouched(at * THREADS + thread))
                        .collect();
                    for number in 1..3000 {
                        let at = random.below(own);
                        let place = (at * THREADS + thread) * SECTOR;
                        match random.below(8) {
                            0 => {
                                let unmap = number % 2 == 0;
                                image.write_zeroes(place, SECTOR, unmap).unwrap();
                                model[at as usize] = 0;
                            }
                            1..=5 => {
                                let value = thread << 32 | number;
                                image.write(place, &sector(value)).unwrap();
                                model[at as usize] = value;
                            }
                            _ => {
                                let mut bytes = vec![0; 512];
                                image.read(place, &mut bytes).unwrap();
                                assert_eq!(value(&bytes), Some(model[at as usize]));
                            }
                        }
                    }
                    model
                }
            };
            let workers: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(work(thread)))
                .collect();
            let flusher = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    image.flush().unwrap();
                    std::thread::yield_now();
                }
            });
            let models = workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .collect();
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            flusher.join().unwrap();
            models
        });
        drop(image);
        assert_eq!(checker::leaks(&memory.bytes()), Ok(0));
        let image = kind.open(&memory, true).unwrap();
        let mut bytes = vec![0; (kind.sectors * SECTOR) as usize];
        image.read(0, &mut bytes).unwrap();
        for (at, bytes) in bytes.chunks(512).enumerate() {
            let (thread, at) = (at % THREADS as usize, at / THREADS as usize);
            if at < models[thread].len() {
                assert_eq!(value(bytes), Some(models[thread][at]));
            }
        }
    }
}
