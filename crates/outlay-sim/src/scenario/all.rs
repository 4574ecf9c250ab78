//! The scenarios, with the contract's exact figures.

use serde_json::{Value, json};

use super::client::USER;
use super::{Scenario, Step};
use crate::wire::Ask;

/// All of them, in order.
pub fn all() -> Vec<Scenario> {
    let mut scenarios = first();
    scenarios.extend(second());
    scenarios.extend(third());
    scenarios
}

/// Builds a scenario; ids are made as it grows.
struct Script {
    name: &'static str,
    steps: Vec<Step>,
    made: u32,
}

fn of(rest: &str) -> String {
    format!("/v1/users/{USER}{rest}")
}

impl Script {
    fn on(name: &'static str, plan: &str) -> Self {
        let ask = Ask { method: "PUT", path: of(""), body: Some(json!({"plan": plan})) };
        Self { name, steps: vec![Step::Ask(vec![ask], &[200, 201], 1)], made: 0 }
    }

    fn end(self) -> Scenario {
        Scenario { name: self.name, steps: self.steps }
    }

    fn operation(&mut self, usage_type: &str, cost: f64, run: bool, more: &Value) -> Value {
        self.made += 1;
        let mut operation = json!({
            "operationId": format!("operation{}", self.made), "userId": USER, "usageType": usage_type,
            "feature": "test", "cost": cost, "isBillableRun": run,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            operation[key] = value.clone();
        }
        operation
    }

    /// Records one: `ai`, `ai run`, `api` or `api run`.
    fn record(mut self, kind: &str, cost: f64, more: Value) -> Self {
        let usage_type = if kind.starts_with("ai") { "AIUsage" } else { "ApiUsage" };
        let operation = self.operation(usage_type, cost, kind.ends_with("run"), &more);
        self.post("/v1/usage".to_owned(), operation, &[200], 1)
    }

    /// Records many in one request.
    fn record_all(mut self, count: usize, usage_type: &str, cost: f64, run: bool, more: Value) -> Self {
        let operations = (0..count).map(|_| self.operation(usage_type, cost, run, &more)).collect();
        self.post("/v1/usage".to_owned(), Value::Array(operations), &[200], 1)
    }

    fn post(mut self, path: String, body: Value, statuses: &'static [u16], granted: usize) -> Self {
        self.steps.push(Step::Ask(vec![Ask { method: "POST", path, body: Some(body) }], statuses, granted));
        self
    }

    fn open(self, session: &str, estimate: Value, more: Value) -> Self {
        self.post(of("/sessions"), opening(session, estimate, &more), &[201], 1)
    }

    fn refused(self, session: &str, estimate: Value) -> Self {
        self.post(of("/sessions"), opening(session, estimate, &Value::Null), &[402], 0)
    }

    fn finish(self, session: &str) -> Self {
        self.post(of(&format!("/sessions/{session}/finish")), json!({"status": "completed"}), &[200], 1)
    }

    fn at_once(mut self, asks: Vec<Ask>, statuses: &'static [u16], granted: usize) -> Self {
        self.steps.push(Step::Ask(asks, statuses, granted));
        self
    }

    fn at(mut self, instant: &'static str) -> Self {
        self.steps.push(Step::At(instant));
        self
    }

    fn sweep(mut self) -> Self {
        self.steps.push(Step::Sweep);
        self
    }

    fn shows(mut self, path: String, places: Vec<(&'static str, Value)>) -> Self {
        self.steps.push(Step::Shows(path, places));
        self
    }

    fn counts(mut self, path: String, items: usize) -> Self {
        self.steps.push(Step::Counts(path, items));
        self
    }

    /// Used of cost, AI runs and API runs in a month, and what is held of each.
    fn budget(self, month: &str, used: [f64; 3], held: [f64; 3]) -> Self {
        let places = [
            ("/meters/cost/used", used[0]),
            ("/meters/aiRuns/used", used[1]),
            ("/meters/apiRuns/used", used[2]),
            ("/meters/cost/held", held[0]),
            ("/meters/aiRuns/held", held[1]),
            ("/meters/apiRuns/held", held[2]),
        ];
        let places = places.into_iter().map(|(place, value)| (place, json!(value))).collect();
        self.shows(of(&format!("/budget?month={month}")), places)
    }

    fn used(self, used: [f64; 3]) -> Self {
        self.budget("2025-10", used, [0.0; 3])
    }

    fn session(self, session: &str, places: Vec<(&'static str, Value)>) -> Self {
        self.shows(of(&format!("/sessions/{session}")), places)
    }

    /// A card scan with a hold.
    fn scan(self, session: &str) -> Self {
        self.open(session, json!({"cost": 0.002, "aiRuns": 1}), Value::Null)
            .record("api", 0.0015, json!({"sessionId": session, "stepLabel": "ocr"}))
            .record("ai run", 0.000_107_85, json!({"sessionId": session, "stepLabel": "extraction"}))
            .finish(session)
    }
}

fn opening(session: &str, estimate: Value, more: &Value) -> Value {
    let mut opening = json!({"sessionId": session, "feature": "test", "estimate": estimate});
    for (key, value) in more.as_object().into_iter().flatten() {
        opening[key] = value.clone();
    }
    opening
}

fn first() -> Vec<Scenario> {
    let s1 = Script::on("S1", "premium").scan("scan");
    let s1 = s1.session(
        "scan",
        vec![
            ("/status", json!("completed")),
            ("/totalCost", json!(0.001_607_85)),
            ("/totalRuns", json!(1)),
            ("/stepCount", json!(2)),
        ],
    );
    let s1 = s1.used([0.001_607_85, 1.0, 0.0]).shows(
        of("?month=2025-10"),
        vec![("/monthlyTotalCost", json!(0.001_607_85)), ("/monthlyBillableRunsAI", json!(1))],
    );

    let s2 = Script::on("S2", "premium").scan("scan1").scan("scan2").used([0.003_215_7, 2.0, 0.0]);

    let mut s3 = Script::on("S3", "premium");
    for number in 1..=30 {
        s3 = s3.scan(&format!("scan{number}"));
    }
    let choices = json!([
        {"name": "ai", "estimate": {"cost": 0.001_607_85, "aiRuns": 1}},
        {"name": "basic", "estimate": {"cost": 0.0015, "apiRuns": 1}},
    ]);
    let opening = json!({"sessionId": "scan31", "feature": "test", "choices": choices});
    let s3 = s3
        .used([0.048_235_5, 30.0, 0.0])
        .refused("scan32", json!({"aiRuns": 1}))
        .post(of("/sessions"), opening, &[201], 1)
        .session("scan31", vec![("/choice", json!("basic"))])
        .budget("2025-10", [0.048_235_5, 30.0, 0.0], [0.0015, 0.0, 1.0]);

    let mut s4 = Script::on("S4", "premium");
    let steps = |script: &mut Script, usage_type: &str, cost, run, finish: Value| -> Vec<Ask> {
        let asks = (1..=400).map(|number| {
            let more = json!({"sessionId": format!("scan{number}"), "finishSession": finish});
            let body = Some(script.operation(usage_type, cost, run, &more));
            Ask { method: "POST", path: "/v1/usage".to_owned(), body }
        });
        asks.collect()
    };
    let ocr = steps(&mut s4, "ApiUsage", 0.0015, false, Value::Null);
    let extraction = steps(&mut s4, "AIUsage", 0.000_107_85, true, json!("completed"));
    let s4 = s4.at_once(ocr, &[200], 400).at_once(extraction, &[200], 400);
    let s4 =
        s4.used([0.643_14, 400.0, 0.0]).counts(of("/usage?limit=1000"), 800).counts(of("/sessions?limit=500"), 400);

    let s5 = Script::on("S5", "premium")
        .record("api", 0.0015, json!({"sessionId": "s"}))
        .record("api", 0.0015, json!({"sessionId": "s"}))
        .record("ai run", 0.000_135, json!({"sessionId": "s", "finishSession": "completed"}))
        .used([0.003_135, 1.0, 0.0]);
    let s6 = Script::on("S6", "pro")
        .record("api run", 0.0015, json!({"sessionId": "s"}))
        .record("api", 0.0015, json!({"sessionId": "s", "finishSession": "completed"}))
        .used([0.003, 0.0, 1.0]);
    let s7 = Script::on("S7", "premium")
        .record_all(3, "ApiUsage", 0.002_83, false, json!({"sessionId": "s"}))
        .record("api run", 0.017, json!({"sessionId": "s", "finishSession": "completed"}))
        .used([0.025_49, 0.0, 1.0])
        .session("s", vec![("/stepCount", json!(4)), ("/totalCost", json!(0.025_49))]);
    [s1, s2, s3, s4, s5, s6, s7].map(Script::end).into()
}

fn second() -> Vec<Scenario> {
    let s8 = Script::on("S8", "premium")
        .open("s", json!({"cost": 0.0371, "aiRuns": 1, "apiRuns": 2}), Value::Null)
        .record("api run", 0.005, json!({"sessionId": "s"}))
        .record("api run", 0.032, json!({"sessionId": "s"}))
        .record("ai run", 0.000_000_2, json!({"sessionId": "s"}))
        .record("ai", 0.000_01, json!({"sessionId": "s"}))
        .budget("2025-10", [0.037_010_2, 1.0, 2.0], [0.000_089_8, 0.0, 0.0])
        .finish("s")
        .used([0.037_010_2, 1.0, 2.0]);
    let s9 = Script::on("S9", "premium")
        .record("api run", 0.005, json!({"sessionId": "s"}))
        .record("api", 0.0, json!({"sessionId": "s"}))
        .record("ai", 0.0, json!({"sessionId": "s"}))
        .record("ai", 0.000_01, json!({"sessionId": "s"}))
        .used([0.005_01, 0.0, 1.0]);
    let mut s10 = Script::on("S10", "premium").open("s", json!({"cost": 0.037, "apiRuns": 1}), Value::Null).record(
        "api run",
        0.005,
        json!({"sessionId": "s"}),
    );
    for _ in 0..10 {
        s10 = s10.record("api run", 0.032, json!({"sessionId": "s"}));
    }
    let s10 = s10.finish("s").used([0.325, 0.0, 11.0]).session(
        "s",
        vec![
            ("/totalCost", json!(0.325)),
            ("/overdraft/cost", json!(0.288)),
            ("/overdraft/apiRuns", json!(10)),
            ("/status", json!("completed")),
        ],
    );
    let s11 = Script::on("S11", "premium")
        .record("api", 2.97, Value::Null)
        .refused("s", json!({"cost": 0.037}))
        .used([2.97, 0.0, 0.0])
        .counts(of("/denials"), 1);
    let asks = |number: u32| Ask {
        method: "POST",
        path: of("/sessions"),
        body: Some(opening(&format!("s{number}"), json!({"aiRuns": 1}), &Value::Null)),
    };
    let s12 = Script::on("S12", "premium")
        .record_all(29, "AIUsage", 0.0, true, Value::Null)
        .at_once((1..=50).map(asks).collect(), &[201, 402], 1)
        .budget("2025-10", [0.0, 29.0, 0.0], [0.0, 1.0, 0.0])
        .counts(of("/denials?limit=100"), 49);
    let s13 = Script::on("S13", "pro")
        .record_all(999, "ApiUsage", 0.0015, false, Value::Null)
        .open("s", json!({"cost": 0.0015}), Value::Null)
        .record("api", 0.0015, json!({"sessionId": "s"}))
        .used([1.5, 0.0, 0.0])
        .refused("next", json!({"cost": 0.0015}));
    let mut s14 = Script::on("S14", "premium");
    for (index, cost) in [0.0, 0.0003, 0.0002, 0.000_003_8, 0.0, 0.0, 0.0, 0.002, 0.0].into_iter().enumerate() {
        s14 = s14.record(if index == 2 { "ai run" } else { "ai" }, cost, json!({"sessionId": "s"}));
    }
    let s14 = s14.finish("s").used([0.002_503_8, 1.0, 0.0]).counts(of("/usage"), 9).session(
        "s",
        vec![("/stepCount", json!(9)), ("/totalCost", json!(0.002_503_8)), ("/steps/8/stepNumber", json!(9))],
    );
    let s15 = Script::on("S15", "premium")
        .record("api", 2.398_392_15, Value::Null)
        .counts("/v1/alerts".to_owned(), 0)
        .record("api", 0.001_607_85, Value::Null)
        .used([2.4, 0.0, 0.0])
        .record("api", 0.001, Value::Null)
        .shows("/v1/alerts".to_owned(), vec![("/items/0/threshold", json!(80)), ("/items/0/used", json!(2.4))])
        .counts("/v1/alerts".to_owned(), 1);
    [s8, s9, s10, s11, s12, s13, s14, s15].map(Script::end).into()
}

fn third() -> Vec<Scenario> {
    let s16 = Script::on("S16", "premium")
        .at("2025-11-02T00:00:00Z")
        .record("ai run", 0.25, json!({"sessionId": "s", "timestamp": "2025-10-31T23:59:59.999Z"}))
        .record("ai run", 0.5, json!({"sessionId": "s", "timestamp": "2025-11-01T00:00:00Z"}))
        .budget("2025-10", [0.25, 1.0, 0.0], [0.0; 3])
        .budget("2025-11", [0.5, 1.0, 0.0], [0.0; 3])
        .session("s", vec![("/totalCost", json!(0.75))]);
    let s17 = Script::on("S17", "premium")
        .scan("s")
        .record("ai", 0.1, json!({"sessionId": "s"}))
        .used([0.101_607_85, 1.0, 0.0])
        .session("s", vec![("/status", json!("completed")), ("/overdraft/cost", json!(0.1))]);
    let s18 = Script::on("S18", "base").refused("s", json!({"cost": 0.0001})).used([0.0; 3]);
    let mut s19 = Script::on("S19", "enterprise");
    for number in 1..=10 {
        s19 = s19.scan(&format!("scan{number}"));
    }
    let s19 = s19.used([0.016_078_5, 10.0, 0.0]);
    let mut s20 = Script::on("S20", "premium");
    let body = Some(s20.operation("AIUsage", 0.125, true, &json!({"operationId": "the-one"})));
    let asks = vec![Ask { method: "POST", path: "/v1/usage".to_owned(), body }; 20];
    let s20 = s20.at_once(asks, &[200], 20).used([0.125, 1.0, 0.0]).counts(of("/usage"), 1);
    let s21 = Script::on("S21", "premium")
        .at("2025-10-31T12:00:00Z")
        .record_all(29, "AIUsage", 0.0, true, Value::Null)
        .record_all(29, "AIUsage", 0.0, true, json!({"timestamp": "2025-11-01T00:00:00Z"}))
        .at("2025-10-31T23:59:50Z")
        .open("s1", json!({"aiRuns": 1}), json!({"holdSeconds": 900}))
        .budget("2025-10", [0.0, 29.0, 0.0], [0.0, 1.0, 0.0])
        .budget("2025-11", [0.0, 29.0, 0.0], [0.0, 1.0, 0.0])
        .at("2025-11-01T00:00:10Z")
        .refused("s2", json!({"aiRuns": 1}))
        .record("ai run", 0.0, json!({"sessionId": "s1"}))
        .finish("s1")
        .budget("2025-10", [0.0, 29.0, 0.0], [0.0; 3])
        .budget("2025-11", [0.0, 30.0, 0.0], [0.0; 3]);
    let s22 = Script::on("S22", "premium")
        .open("s", json!({"cost": 1}), json!({"holdSeconds": 1}))
        .at("2025-10-13T18:32:58Z")
        .sweep()
        .used([0.0; 3])
        .record("ai", 0.5, json!({"sessionId": "s"}))
        .session("s", vec![("/status", json!("abandoned")), ("/overdraft/cost", json!(0.5))])
        .finish("s")
        .session("s", vec![("/status", json!("completed"))])
        .used([0.5, 0.0, 0.0]);
    let reverse = json!({"operationId": "reversal"});
    let s23 = Script::on("S23", "premium")
        .record("ai run", 0.5, json!({"operationId": "mistake"}))
        .post(of("/usage/mistake/reverse"), reverse.clone(), &[200], 1)
        .used([0.0; 3])
        .post(of("/usage/mistake/reverse"), reverse, &[200], 1)
        .record("ai run", 0.5, json!({"operationId": "mistake"}))
        .used([0.0; 3])
        .counts(of("/usage"), 2);
    [s16, s17, s18, s19, s20, s21, s22, s23].map(Script::end).into()
}
