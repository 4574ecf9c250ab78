//! Measures how often the forecast's ranges hold: `cargo xtask backtest`.
//!
//! The past of a series is cut off at some moment, the rest of its month is foretold, and what came is compared. The series
//! are the people of `outlay demo` and others made likewise, as a server started here answers for them, and made-up ones of
//! several kinds that the method was not told of. The method's figures were chosen on other seeds than those that are judged
//! here. It ends with an error when what is promised does not hold of a meter or a kind.

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

/// The seeds by which the method's figures were chosen: of made-up series, and of people. They are judged on others.
const CHOSEN_ON: std::ops::RangeInclusive<u64> = 5_001..=5_003;
const CHOSEN_ON_PEOPLE: std::ops::RangeInclusive<u64> = 101..=106;
/// People that nothing was chosen on.
const OTHER_PEOPLE: std::ops::RangeInclusive<u64> = 941..=944;

#[derive(Parser)]
#[command(name = "cargo xtask backtest", about = "Measure how often the forecast's ranges hold")]
struct Arguments {
    /// Made-up series of each kind
    #[arg(long, default_value_t = 1_000)]
    series: usize,
    /// The seed of all that is made up; the method's figures were chosen on 5001 to 5003
    #[arg(long, default_value_t = 9_005)]
    seed: u64,
    /// Leave the people of the demo out
    #[arg(long)]
    no_people: bool,
    /// Judge on the people and series on which the figures were chosen, to choose them anew
    #[arg(long)]
    chosen_on: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Of a range that holds four times out of five, so many percent at least and at most: of each meter over people and the kinds
/// of series for which it is promised, each kind counting alike; and of each kind alone, but for what chance explains.
const PROMISED: std::ops::RangeInclusive<f64> = 76.0..=84.0;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = if arguments.chosen_on { *CHOSEN_ON.start() } else { arguments.seed };
    let (mut parts, mut scores) = (Vec::new(), Vec::new());
    if !arguments.no_people {
        let others = if arguments.chosen_on { CHOSEN_ON_PEOPLE } else { OTHER_PEOPLE };
        let others: Vec<Score> = others.map(|people| sample::score("", Some(people), seed)).collect();
        parts.push(Score::sum("of these, others than the demo's own", &others));
        if !arguments.chosen_on {
            parts.push(sample::score("of these, the demo's own", None, seed));
        }
        scores.push(Score::sum("people as of `outlay demo`", &parts));
    }
    scores.extend(made_up(seed, arguments.series));
    println!("{}", Score::heading());
    // Of the people of one demo there are too few to judge by: those who meet a limit are some twenty.
    for score in scores.iter().chain(&parts) {
        println!("{}", score.row());
    }
    let is_promised = |score: &&Score| Kind::ALL.iter().all(|kind| kind.is_promised() || kind.name() != score.name());
    let promised: Vec<&Score> = scores.iter().filter(is_promised).collect();
    let (row, mut off) = score::of_meters(&promised, &PROMISED);
    println!("{row}");
    off.extend(promised.iter().flat_map(|score| score.outside(&PROMISED)));
    if off.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("outside of {PROMISED:?} percent: {}", off.join(", "));
    ExitCode::FAILURE
}

fn made_up(seed: u64, count: usize) -> impl Iterator<Item = Score> {
    Kind::ALL.into_iter().enumerate().map(move |(place, kind)| {
        let mut score = Score::new(kind.name());
        for number in 0..count {
            let stream = (place * 1_000_000 + number) as u128;
            let mut random = Pcg64::new(u128::from(seed), stream);
            let series = series::make(kind, &mut random);
            let months = series.months();
            // One month of each series, so that no two figures are of the same days.
            let month = &months[kind.months_before() + number % (months.len() - kind.months_before())];
            score.add_made_up(&series, month, &mut random);
        }
        score
    })
}

/// A random stream of its own for each thing that is drawn.
fn stream(seed: u64) -> Pcg64 {
    Pcg64::seed_from_u64(seed)
}
