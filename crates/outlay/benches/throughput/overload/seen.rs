//! What callers saw in one phase.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::load::histogram;

/// What one request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Opening a session with a hold.
    Intent,
    /// Recording an operation.
    Fact,
    /// Finishing a session that was opened before.
    Finish,
}

impl What {
    pub(super) const ALL: [Self; 3] = [Self::Intent, Self::Fact, Self::Finish];
}

/// Of one thing that is asked.
pub(super) struct Answers {
    /// From when they were due, in microseconds.
    pub(super) accepted: Histogram<u64>,
    pub(super) refused: Histogram<u64>,
}

/// How long a piece of a phase is, of which the latency is told alone.
const PIECE: Duration = Duration::from_millis(500);

pub(super) struct Seen {
    began: Instant,
    pub(super) measured: Duration,
    pub(super) due: u64,
    /// Due while every connection waited for an answer, and not sent.
    pub(super) unsent: u64,
    by_what: [Answers; 3],
    /// Answers that were neither a success nor said that too many come.
    pub(super) failures: u64,
    pub(super) failure: Option<String>,
    /// Successes that came within the time.
    pub(super) in_time: u64,
    /// Of those accepted, by when they were due.
    pieces: Vec<Histogram<u64>>,
}

impl Seen {
    pub(super) fn new(measured: Duration) -> Self {
        let by_what = What::ALL.map(|_| Answers { accepted: histogram(), refused: histogram() });
        Self {
            began: Instant::now(),
            measured,
            due: 0,
            unsent: 0,
            by_what,
            failures: 0,
            failure: None,
            in_time: 0,
            pieces: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, what: What, due: Instant, status: u16, body: &[u8]) {
        let now = Instant::now();
        let took = u64::try_from((now - due).as_micros()).unwrap_or(u64::MAX);
        let answers = &mut self.by_what[what as usize];
        match status {
            200 | 201 => {
                answers.accepted.saturating_record(took);
                self.in_time += u64::from(now < self.began + self.measured);
                let piece = (due.saturating_duration_since(self.began).as_millis() / PIECE.as_millis()) as usize;
                while self.pieces.len() <= piece {
                    self.pieces.push(histogram());
                }
                self.pieces[piece].saturating_record(took);
            }
            429 => answers.refused.saturating_record(took),
            _ => {
                self.failures += 1;
                self.failure.get_or_insert_with(|| {
                    format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]))
                });
            }
        }
    }

    pub(super) fn of(&self, what: What) -> &Answers {
        &self.by_what[what as usize]
    }

    /// Of all that was asked together.
    pub(super) fn accepted(&self) -> Histogram<u64> {
        sum(self.by_what.iter().map(|answers| &answers.accepted))
    }

    pub(super) fn refused(&self) -> Histogram<u64> {
        sum(self.by_what.iter().map(|answers| &answers.refused))
    }

    pub(super) fn accepted_per_second(&self) -> f64 {
        crate::report::rate(self.in_time, self.measured.as_secs_f64())
    }

    /// When answers were again as soon as this, in microseconds of the 99th percentile, for two pieces in a row; `None` if
    /// they never were.
    pub(super) fn normal_after(&self, p99_micros: u64) -> Option<Duration> {
        let is_normal: Vec<bool> =
            self.pieces.iter().map(|piece| piece.value_at_quantile(0.99) <= p99_micros).collect();
        let first = is_normal.windows(2).position(|two| two == [true, true])?;
        Some(PIECE * u32::try_from(first).unwrap_or(u32::MAX))
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    all.fold(histogram(), |mut sum, one| {
        sum.add(one).unwrap();
        sum
    })
}
