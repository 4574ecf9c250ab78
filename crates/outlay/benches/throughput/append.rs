//! What the disk allows: the same bytes appended to a file, each batch synced before the next.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::load::histogram;
use crate::report::Row;
use crate::requests::OPERATION_BYTES;

pub(crate) fn measure(folder: &Path, batch: usize, measured: Duration) -> Row {
    let path = folder.join("append");
    let mut file = OpenOptions::new().create_new(true).append(true).open(&path).unwrap();
    let bytes = vec![b'x'; batch * OPERATION_BYTES];
    let (mut latency, mut batches) = (histogram(), 0);
    let began = Instant::now();
    while began.elapsed() < measured {
        let one = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        latency.saturating_record(u64::try_from(one.elapsed().as_micros()).unwrap_or(u64::MAX));
        batches += 1;
    }
    let row = Row::in_process("raw append + fdatasync", batch, batches, began.elapsed(), &latency);
    std::fs::remove_file(path).unwrap();
    row
}
