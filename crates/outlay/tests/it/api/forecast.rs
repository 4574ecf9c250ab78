//! The forecast over the wire: what it says of a steady user, of one at the limit, of one whom nobody knows.

use serde_json::{Value, json};

use crate::support::{Asks, Json, Server, With, ai_run, of};

/// One AI run of 0.01 USD on each of these days.
fn on_days(days: impl Iterator<Item = String>) -> Vec<Value> {
    days.map(|day| ai_run("u", 0.01).with("timestamp", format!("{day}T12:00:00Z"))).collect()
}

fn number(json: &Json, pointer: &str) -> f64 {
    json.at(pointer).to_string().parse().unwrap_or_else(|_| panic!("{pointer} in {json}"))
}

#[test]
fn what_goes_on_every_day_goes_on_and_meets_its_limit() {
    let server = Server::at("2025-10-16T00:00:01Z");
    let limits = json!({"cost": null, "aiRuns": 25, "apiRuns": 0});
    server.put(&of("u", ""), json!({"limits": limits})).is(201);
    let days = (1..=30).map(|day| format!("2025-09-{day:02}")).chain((1..=15).map(|day| format!("2025-10-{day:02}")));
    server.post("/v1/usage", json!(on_days(days))).is(200);

    let forecast = server.get(&of("u", "/forecast")).is(200);
    forecast.shows("/userId", "u").shows("/month", "2025-10").instant("/asOf", "2025-10-16T00:00:01Z");
    let ai = forecast.at("/meters/aiRuns");
    assert!((number(ai, "/projected") - 31.0).abs() <= 1.0, "{ai}");
    assert!(number(ai, "/low") >= 15.0 && number(ai, "/low") <= number(ai, "/projected"), "{ai}");
    assert!(number(ai, "/high") >= number(ai, "/projected") && number(ai, "/high") <= 40.0, "{ai}");
    // Ten more days, from today on.
    let on = ai.text("/hitsLimitOn").to_owned();
    assert!(("2025-10-24"..="2025-10-26").contains(&on.as_str()), "{ai}");
    let day = on[8..].parse::<u32>().unwrap();
    ai.shows("/daysLeft", &(day - 16).to_string());
    let [early, late] = ai.list("/range") else { panic!("{ai}") };
    let (early, late) = (early.text("").to_owned(), late.text("").to_owned());
    assert!(early <= on && on <= late && late.starts_with("2025-10-"), "{ai}");
    let message = ai.text("/message");
    assert!(message.starts_with(&format!("You will reach your AI operations limit around {day} October")), "{message}");

    let cost = forecast.at("/meters/cost");
    assert!((number(cost, "/projected") - 0.31).abs() <= 0.01, "{cost}");
    assert!(cost.text("/message").starts_with("October will end near $0.3"), "{cost}");
    assert_eq!(
        (cost.at("/hitsLimitOn"), cost.at("/daysLeft"), cost.at("/range")),
        (&Json::Null, &Json::Null, &Json::Null)
    );
    forecast
        .shows("/meters/apiRuns/projected", "0")
        .shows("/meters/apiRuns/message", "Your plan includes no API operations");

    // It is the same when it is asked again, and moves with what is used.
    let meters = forecast.at("/meters").to_string();
    assert_eq!(server.get(&of("u", "/forecast")).is(200).at("/meters").to_string(), meters);
    server.post("/v1/usage", json!((0..10).map(|_| ai_run("u", 0.01)).collect::<Vec<_>>())).is(200);
    let reached = server.get(&of("u", "/forecast")).is(200);
    let ai = reached.at("/meters/aiRuns");
    ai.shows("/daysLeft", "0").shows("/message", "You have reached your AI operations limit");
    assert_eq!((ai.at("/hitsLimitOn"), ai.at("/range")), (&Json::Null, &Json::Null));
}

#[test]
fn too_short_a_past_says_so() {
    let server = Server::at("2025-10-16T12:00:00Z");
    let days = (10..=15).map(|day| format!("2025-10-{day}"));
    server.post("/v1/usage", json!(on_days(days))).is(200);
    for user in ["u", "nobody"] {
        let forecast = server.get(&of(user, "/forecast")).is(200);
        for meter in ["cost", "aiRuns", "apiRuns"] {
            for member in ["projected", "low", "high", "hitsLimitOn", "range"] {
                assert_eq!(forecast.at(&format!("/meters/{meter}/{member}")), &Json::Null, "{forecast}");
            }
        }
    }
    server.user("u", "enterprise");
    let forecast = server.get(&of("u", "/forecast")).is(200);
    forecast.shows("/meters/cost/message", "There is too little use so far for a forecast");
    server.record(ai_run("u", 0.01).with("timestamp", "2025-10-09T12:00:00Z"));
    assert!(number(&server.get(&of("u", "/forecast")).is(200), "/meters/cost/projected") > 0.07);
    server.get(&of("u", "/forecast?month=2025-10")).refuses("/month");
}
