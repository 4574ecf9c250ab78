//! Outlay's writer and store in this process, without HTTP and JSON: tells what those cost.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outlay::clock::SystemClock;
use outlay::store::postgres::{Settings, open};
use outlay::writer::Writer;
use tokio::task::LocalSet;

use crate::load::{Measured, Window};
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

/// A closed loop of tasks that submit commands.
pub(crate) fn run(
    url: &str,
    clients: usize,
    batch: usize,
    lanes: Option<usize>,
    warm_up: Duration,
    measured: Duration,
    source: &mut Source,
) -> Measured {
    let (store, _reads) = open(settings(url, lanes)).unwrap();
    let (writer, task) = Writer::new(store);
    let run = move || super::block_on(task.run());
    let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(run).unwrap();
    let shared = Rc::new(RefCell::new((std::mem::replace(source, Source::new(0, 1)), Measured::new())));
    let window = Rc::new(Window::new(warm_up, measured));
    let local = LocalSet::new();
    let writer = Arc::new(writer);
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (writer, shared, window) = (Arc::clone(&writer), Rc::clone(&shared), Rc::clone(&window));
            local.spawn_local(async move {
                loop {
                    let began = Instant::now();
                    if window.is_over(began) {
                        return;
                    }
                    let commands = {
                        let source = &mut shared.borrow_mut().0;
                        (0..batch).map(|_| record(source.values())).collect()
                    };
                    for reply in writer.submit_all(commands).await.unwrap() {
                        reply.unwrap();
                    }
                    window.note(began, &mut shared.borrow_mut().1);
                }
            })
        })
        .collect();
    super::block_on(local.run_until(async {
        for task in tasks {
            task.await.unwrap();
        }
        writer.close().await;
    }));
    thread.join().unwrap();
    let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
    let (used, mut measured) = shared.into_inner();
    *source = used;
    window.close(&mut measured);
    let counts = writer.counts();
    println!("    {} commands in {} batches", counts.commands, counts.batches);
    measured
}
