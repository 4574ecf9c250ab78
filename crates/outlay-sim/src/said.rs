//! What the store says of its own work in its log, counted: what a simulation has met can be asserted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// Whose log is heard.
const SPEAKER: &str = "outlay::store::embedded";

/// How often each event was heard, by its name.
pub type Said = BTreeMap<&'static str, u64>;

thread_local! {
    static SAID: RefCell<Said> = const { RefCell::new(Said::new()) };
}

/// Runs some work, and gives what the store said meanwhile in this thread.
pub fn listen<T>(work: impl FnOnce() -> T) -> (T, Said) {
    static EAR: OnceLock<Dispatch> = OnceLock::new();
    SAID.take();
    let result = tracing::dispatcher::with_default(EAR.get_or_init(|| Dispatch::new(Ear)), work);
    (result, SAID.take())
}

/// How often an event was heard so far in the work that runs.
pub fn so_far(event: &str) -> u64 {
    SAID.with_borrow(|said| said.get(event).copied().unwrap_or(0))
}

struct Ear;

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::DEBUG && metadata.target().starts_with(SPEAKER)
    }

    fn event(&self, event: &Event<'_>) {
        // What has no name of its own is called after its place in the source.
        if event.metadata().name().starts_with("event ") {
            return;
        }
        SAID.with_borrow_mut(|said| *said.entry(event.metadata().name()).or_default() += 1);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
