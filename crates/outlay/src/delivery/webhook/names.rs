//! What names stand for, as the operating system says.
//!
//! It can only be asked by a thread that waits, and goes on waiting when nobody wants to know any more. The threads are few,
//! and reads of the store need them: so one name is asked for by one thread at a time, however many messages go there.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// What is asked what a name stands for.
pub(super) trait Resolve: Send + Sync + fmt::Debug {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// The addresses that a name stands for, once they are known.
pub(super) type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// The operating system.
#[derive(Debug)]
pub(super) struct System {
    ask: fn(&str) -> io::Result<Vec<IpAddr>>,
    asked: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Default for System {
    fn default() -> Self {
        Self::asking(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }
}

impl System {
    fn asking(ask: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self { ask, asked: Mutex::default() }
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let turn = {
                let mut asked = self.asked.lock();
                asked.retain(|_, turn| Arc::strong_count(turn) > 1);
                Arc::clone(asked.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
            };
            let turn = turn.acquire_owned().await.map_err(io::Error::other)?;
            let (ask, name) = (self.ask, name.to_owned());
            let found = tokio::task::spawn_blocking(move || {
                let found = ask(&name);
                // Not before: who gave up waiting does not end the question.
                drop(turn);
                found
            });
            found.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    static ASKING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);

    #[expect(clippy::unnecessary_wraps, reason = "it stands for the system, which may fail")]
    fn slow(_: &str) -> io::Result<Vec<IpAddr>> {
        MOST.fetch_max(ASKING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        ASKING.fetch_sub(1, Ordering::SeqCst);
        Ok(Vec::new())
    }

    #[tokio::test]
    async fn who_gives_up_on_a_name_leaves_one_thread_behind_and_not_many() {
        let system = System::asking(slow);
        for _ in 0..20 {
            let given_up = tokio::time::timeout(Duration::from_millis(5), system.resolve("slow.example.org")).await;
            assert!(given_up.is_err());
        }
        let other = tokio::time::timeout(Duration::from_secs(5), system.resolve("other.example.org")).await;
        assert_eq!(other.unwrap().unwrap(), Vec::<IpAddr>::new());
        assert_eq!(MOST.load(Ordering::SeqCst), 2, "one for each name");
        system.resolve("slow.example.org").await.unwrap();
        assert_eq!(system.asked.lock().len(), 1);
    }

    #[tokio::test]
    async fn this_machine_is_known() {
        let found = System::default().resolve("localhost").await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }
}
