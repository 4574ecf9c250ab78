//! What became of tries, noted together: a write for each lane by itself would queue up before those who record.

use parking_lot::Mutex;

/// What waits to be noted while the write before it is on its way.
#[derive(Debug)]
pub(super) struct Notes<T> {
    waiting: Mutex<Waiting<T>>,
    /// Up to which number it is noted. Whoever holds it writes.
    noted: tokio::sync::Mutex<u64>,
}

#[derive(Debug)]
struct Waiting<T> {
    notes: Vec<T>,
    /// The number of the last who put anything here.
    last: u64,
}

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Waiting { notes: Vec::new(), last: 0 }), noted: tokio::sync::Mutex::default() }
    }
}

impl<T> Notes<T> {
    /// Waits until these are noted: by `write` here, with all that others have brought meanwhile, or by somebody else's.
    pub(super) async fn note<W: Future<Output = ()>>(&self, notes: Vec<T>, write: impl FnOnce(Vec<T>) -> W) {
        let number = {
            let mut waiting = self.waiting.lock();
            waiting.notes.extend(notes);
            waiting.last += 1;
            waiting.last
        };
        let mut noted = self.noted.lock().await;
        if *noted >= number {
            return;
        }
        let (notes, last) = {
            let mut waiting = self.waiting.lock();
            (std::mem::take(&mut waiting.notes), waiting.last)
        };
        write(notes).await;
        *noted = last;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_comes_while_a_write_is_on_its_way_is_written_together_and_once() {
        let notes = Notes::default();
        let written = Mutex::new(Vec::new());
        let all = (0..50).map(|lane| {
            notes.note(vec![2 * lane, 2 * lane + 1], |notes: Vec<u32>| async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                written.lock().push(notes);
            })
        });
        join_all(all).await;
        let written = written.into_inner();
        assert_eq!(written.len(), 2, "the first, and all the others: {written:?}");
        let mut each = written.concat();
        each.sort_unstable();
        assert_eq!(each, (0..100).collect::<Vec<_>>());
    }
}
