//! People of the sample population, as `outlay demo` records them through the real ledger, and a server answers for them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use outlay_core::month::{Day, Month};
use serde_json::Value;

use crate::score::Score;
use crate::series::Series;

/// Months of the sample data before the running one.
const MONTHS: usize = 6;
/// Months that must lie before one that is foretold.
const MONTHS_BEFORE: usize = 1;

struct Demo {
    child: Child,
    address: String,
}

impl Demo {
    fn start(folder: &std::path::Path, people: Option<u64>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outlay"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OUTLAY_")) {
            command.env_remove(name);
        }
        command.args(["demo", "--fresh", "--listen", "127.0.0.1:0", "--data"]).arg(folder);
        command.args(people.map(|seed| format!("--seed={seed}")));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| Some(line.split_once("listening on ")?.1.trim().to_owned())).unwrap();
        // What it says later is read along, so that it never waits for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Foretells every whole month of everybody that has one before it: of the demo's own people, or of others of a seed.
pub(crate) fn score(name: &'static str, people: Option<u64>, seed: u64) -> Score {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("data"), people);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = reqwest::Client::new();
    let get = |path: String| -> Value {
        let url = format!("{}{path}", demo.address);
        runtime.block_on(async { client.get(url).send().await.unwrap().json().await.unwrap() })
    };
    let mut score = Score::new(name);
    let mut random = crate::stream(seed ^ people.unwrap_or(0));
    for user in get("/v1/users?limit=1000".to_owned())["items"].as_array().unwrap() {
        let id = user["userId"].as_str().unwrap();
        let limits = ["cost", "aiRuns", "apiRuns"].map(|meter| user["meters"][meter]["limit"].as_f64());
        let history = get(format!("/v1/users/{id}/history?months={}", MONTHS + 1));
        let months = history["months"].as_array().unwrap();
        let mut days = Vec::new();
        for month in &months[..MONTHS] {
            let name = Month::parse(month["month"].as_str().unwrap()).unwrap();
            for (number, day) in (1..).zip(month["days"].as_array().unwrap()) {
                let used = ["cost", "aiRuns", "apiRuns"].map(|meter| day[meter].as_f64().unwrap());
                days.push((Day::new(name, number), used));
            }
        }
        // Nobody has a past before they came.
        let begun = days.iter().position(|(_, used)| used.iter().any(|used| *used > 0.0)).unwrap_or(days.len());
        days.drain(..begun);
        let series = Series { days };
        for month in series.months().iter().filter(|month| month.start > 0 || begun == 0).skip(MONTHS_BEFORE) {
            score.add(&series, month, limits, &mut random);
        }
    }
    score
}
