//! Measures how often the forecast's ranges hold: `cargo xtask backtest`.
//!
//! The past of a series is cut off at some moment, the rest of its month is foretold, and what came is compared. The series
//! are the people of `outlay demo`, as a server started here answers for them, and made-up ones of several kinds that the
//! method was not told of. It ends with an error when a total is outside of what is promised.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement that cannot go on ends here")]
#![expect(clippy::disallowed_methods, reason = "it starts a program")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up numbers are small, and shares need not be exact"
)]

mod sample;
mod score;
mod series;

use std::process::ExitCode;

use clap::Parser;
use rand::SeedableRng as _;
use rand_pcg::Pcg64;

use crate::score::Score;
use crate::series::Kind;

#[derive(Parser)]
#[command(name = "cargo xtask backtest", about = "Measure how often the forecast's ranges hold")]
struct Arguments {
    /// Made-up series of each kind
    #[arg(long, default_value_t = 300)]
    series: usize,
    /// The seed of all that is made up; the method's figures were chosen on others than these
    #[arg(long, default_value_t = 1_000)]
    seed: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Of a range that holds four times out of five, so many percent at least and at most.
const PROMISED: std::ops::RangeInclusive<f64> = 76.0..=84.0;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut scores = vec![sample::score(arguments.seed)];
    for (place, kind) in Kind::ALL.into_iter().enumerate() {
        let mut score = Score::new(kind.name());
        for number in 0..arguments.series {
            let stream = (place * 1_000_000 + number) as u128;
            let mut random = Pcg64::new(u128::from(arguments.seed), stream);
            let series = series::make(kind, &mut random);
            let months = series.months();
            // One month of each series, so that no two figures are of the same days.
            let month = &months[kind.months_before() + number % (months.len() - kind.months_before())];
            score.add_made_up(&series, month, &mut random);
        }
        scores.push(score);
    }
    let totals = [Score::sum("all made-up", &scores[1..]), Score::sum("all", &scores)];
    scores.extend(totals);
    println!("{}", Score::heading());
    for score in &scores {
        println!("{}", score.row());
    }
    let (sample, made_up) = (&scores[0], &scores[scores.len() - 2]);
    let mut off: Vec<String> = [sample, made_up].into_iter().flat_map(|score| score.ends_outside(&PROMISED)).collect();
    // The sample's limits are mostly met within days, and no range of whole days is as narrow as four out of five then.
    off.extend(made_up.dates_outside(&PROMISED));
    if off.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("outside of {PROMISED:?} percent: {}", off.join(", "));
    ExitCode::FAILURE
}

/// A random stream of its own for each thing that is drawn.
fn stream(seed: u64) -> Pcg64 {
    Pcg64::seed_from_u64(seed)
}
