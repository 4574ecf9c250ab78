//! Outlay's writer and store in this process, without HTTP and JSON: tells what those cost.

use std::sync::Arc;

use outlay::clock::SystemClock;
use outlay::store::postgres::{Settings, open};
use outlay::writer::Writer;

use crate::load::{self, Load, Measured};
use crate::requests::{Source, Values};
use crate::store::record;

fn settings(url: &str, lanes: Option<usize>) -> Settings {
    let settings = Settings::new(url, SystemClock::shared()).unwrap();
    Settings { lanes: lanes.unwrap_or(settings.lanes), ..settings }
}

/// Records these operations.
pub(crate) fn fill(url: &str, values: &[Values]) {
    let (store, _reads) = open(settings(url, None)).unwrap();
    let (writer, task) = Writer::new(store);
    let fill = async {
        for values in values.chunks(4_000) {
            let replies = writer.submit_all(values.iter().map(|values| record(*values)).collect()).await.unwrap();
            assert!(replies.iter().all(Result::is_ok));
        }
        writer.close().await;
    };
    super::block_on(futures_util::future::join(task.run(), fill));
}

/// Clients that submit commands, so many operations at a time.
pub(crate) fn run(url: &str, batch: usize, lanes: Option<usize>, load: &Load, source: &mut Source) -> Measured {
    let (store, _reads) = open(settings(url, lanes)).unwrap();
    let (writer, task) = Writer::new(store);
    let run = move || super::block_on(task.run());
    let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(run).unwrap();
    let writer = Arc::new(writer);
    let measured =
        load.drive(batch, source, async { (0..load.clients).map(|_| Submitter(Arc::clone(&writer))).collect() });
    super::block_on(writer.close());
    thread.join().unwrap();
    let counts = writer.counts();
    println!("    {} commands in {} batches", counts.commands, counts.batches);
    measured
}

struct Submitter(Arc<Writer>);

impl load::Client for Submitter {
    async fn cycle(&mut self, values: &[Values]) -> Result<(), String> {
        let commands = values.iter().map(|values| record(*values)).collect();
        for reply in self.0.submit_all(commands).await.unwrap() {
            reply.unwrap();
        }
        Ok(())
    }
}
