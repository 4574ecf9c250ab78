//! Figures of the pages: each is what the list behind it adds up to, and the API says the same.

use serde_json::json;

use crate::support::{Asks, Server, With, ai, ai_run, of};

/// The text of each element that begins like this, without its tags.
fn texts(html: &str, begins: &str, ends: &str) -> Vec<String> {
    let plain = |html: &str| {
        let parts = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
        parts.collect::<Vec<_>>().concat()
    };
    html.split(begins).skip(1).map(|rest| plain(&format!("<{}", rest.split(ends).next().unwrap()))).collect()
}

/// Where each link leads whose text has this in it, as a path from the root.
fn links(html: &str, text: &str) -> Vec<String> {
    let anchors = html.split("<a ").skip(1).map(|rest| rest.split("</a>").next().unwrap());
    let found = anchors.filter(|anchor| anchor.contains(text));
    let href = |anchor: &str| anchor.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    found.map(|anchor| format!("/{}", href(anchor).trim_start_matches("./").trim_start_matches("../"))).collect()
}

fn rows(server: &Server, path: &str) -> usize {
    let page = server.get(path).is_text(200);
    page.matches("<tr data-key=").count()
}

#[test]
fn a_count_of_users_is_as_long_as_the_list_that_it_leads_to() {
    let server = Server::open();
    for (user, plan, runs) in [("calm", "premium", 1), ("warned", "premium", 25), ("full", "premium", 30)] {
        server.user(user, plan);
        for _ in 0..runs {
            server.record(ai_run(user, 0.01));
        }
    }
    // Nobody of these is of the month: one has no limits left to reach, one is known only, one is gone.
    server.user("unused", "base");
    server.user("known", "premium");
    server.record(ai_run("gone", 0.25));
    server.delete(&of("gone", "")).is_text(204);

    let overview = server.get("/v1/overview").is(200);
    overview.shows("/activeUsers", "3").shows("/erasedUsers", "1").shows("/totals/all/cost", "0.81");
    overview.shows("/averages/costPerUser", "0.2025");
    assert_eq!(server.all("/v1/users").len(), 5);
    assert_eq!(server.all("/v1/users?active=true").len(), 3);
    server.get("/v1/users?active=yes").refuses("/active");
    let page = server.get("/").is_text(200);
    for (state, count) in [("ok", 1), ("warning", 1), ("critical", 0), ("reached", 1)] {
        overview.shows(&format!("/states/{state}"), &count.to_string());
        assert_eq!(server.all(&format!("/v1/users?active=true&state={state}")).len(), count, "{state}");
        if state != "ok" {
            let to = links(&page, &format!("<span>{state}</span>"));
            assert_eq!(rows(&server, &to[0]), count, "{to:?}");
        }
    }
    let all = links(&page, "All 3 active users");
    assert_eq!((all.len(), rows(&server, &all[0])), (1, 3), "{all:?}");
    for csv in ["/users.csv?active=true", "/users.csv"] {
        let expected = if csv.contains('?') { 3 } else { 5 };
        assert_eq!(server.get(csv).text().lines().count() - 1, expected, "{csv}");
    }
}

#[test]
#[cfg(feature = "test-clock")]
fn a_month_is_compared_with_the_same_days_on_every_page_and_in_the_api() {
    let at = |day: &str, cost: f64| ai("u", cost).with("feature", "scan").with("timestamp", format!("{day}T06:00:00Z"));
    let compares = |now: &str, month: &str, through: &str, cost: &str, words: &str, change: &str| {
        let server = Server::at(now);
        let days = [
            at("2025-08-31", 50.0),
            at("2025-09-26", 1.0),
            at("2025-09-27", 10.0),
            at("2025-10-01", 0.5),
            at("2025-10-26", 2.0),
            at("2025-10-27", 3.0),
        ];
        server.record(json!(days));
        if now.starts_with("2025-11") {
            server.record(json!([at("2025-10-31", 5.5), at("2025-11-30", 11.0)]));
        }
        let overview = server.get(&format!("/v1/overview?month={month}")).is(200);
        overview.shows("/before/throughDay", through).shows("/before/totals/all/cost", cost);
        let page = server.get(&format!("/?month={month}")).is_text(200);
        let tile = texts(&page, "<a class=\"tile\"", "<svg");
        assert!(tile[0].contains(&format!("{change} against {words}, ")), "{tile:?}");
        for path in [format!("/?month={month}"), format!("/users/u?month={month}")] {
            let page = server.get(&path).is_text(200);
            let table = texts(&page, "id=\"live-where\"", "</section>");
            assert!(table[0].contains(&format!("Change is against {words}.")), "{path}: {table:?}");
            assert!(table[0].contains(change), "{path}: {table:?}");
        }
    };
    let (october, november) = ("2025-10-26T12:00:00Z", "2025-11-30T12:00:00Z");
    compares(october, "2025-10", "2025-09-26", "1", "1 to 26 Sep", "+450%");
    compares(october, "2025-09", "2025-08-31", "50", "all of August", "−78%");
    compares("2025-10-31T12:00:00Z", "2025-10", "2025-09-30", "11", "1 to 30 Sep", "−50%");
    compares(november, "2025-11", "2025-10-30", "5.5", "1 to 30 Oct", "+100%");
    compares(november, "2025-10", "2025-09-30", "11", "all of September", "±0%");
}

#[test]
#[cfg(feature = "test-clock")]
fn an_alert_of_a_month_that_is_not_running_says_why_it_is_not_sent() {
    let server = Server::at("2025-10-31T12:00:00Z");
    let at = |user: &str, day: &str| ai(user, 2.5).with("timestamp", format!("{day}T06:00:00Z"));
    for (user, day) in [("early", "2025-11-01"), ("late", "2025-09-30"), ("now", "2025-10-31")] {
        server.user(user, "premium");
        server.record(at(user, day));
    }
    for (user, says) in [
        ("early", "Not sent: the month had not begun"),
        ("late", "Not sent: past month"),
        ("now", "Not sent: nobody was to be told"),
    ] {
        let page = server.get(&format!("/alerts?user={user}")).is_text(200);
        let rows = texts(&page, "<tr data-key=", "</tr>");
        assert!(rows.len() == 1 && rows[0].ends_with(says), "{user}: {rows:?}");
    }
}

#[test]
fn a_step_that_was_taken_back_is_marked_wherever_steps_are_shown() {
    let server = Server::open();
    server.record(json!([
        ai("u", 1.0).with("operationId", "kept").with("sessionId", "s"),
        ai("u", 2.0).with("operationId", "wrong").with("sessionId", "s"),
    ]));
    server.post(&of("u", "/usage/wrong/reverse"), json!({"operationId": "back"})).is(200);
    let session = server.session("u", "s");
    session.shows("/totalCost", "1").shows("/steps/0/reversedBy", "null").shows("/steps/1/reversedBy", "\"back\"");
    let csv = server.get("/users/u/sessions/s/steps.csv").is_text(200);
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].ends_with(",reversedBy,trimmed") && lines[1].ends_with(",,false"), "{csv}");
    assert!(lines[2].contains(",wrong,") && lines[2].ends_with(",back,false"), "{csv}");
    let page = server.get("/users/u/sessions/s").is_text(200);
    assert_eq!(page.matches("reversed</span>").count(), 1, "{page}");
    let described = server.get("/openapi.json").is(200);
    assert!(
        described
            .at("/components/schemas/Step/properties/reversedBy")
            .text("/description")
            .contains("took this step back")
    );
}

#[test]
fn there_is_no_month_before_the_first() {
    let server = Server::open();
    server.record(ai("u", 1.0).with("timestamp", "0001-01-05T00:00:00Z").with("provider", "gemini"));
    for month in ["0001-01", "0001-02", "0001-07"] {
        for path in ["/?month=", "/users/u?month="] {
            let path = format!("{path}{month}");
            let page = server.get(&path).is_text(200);
            assert!(!page.contains("month=0000"), "{path} leads before the first month");
            let shown = page.matches("class=\"hit\"").count();
            let months: usize = month[5..].parse().unwrap();
            assert_eq!(shown, months.min(6) * usize::from(page.contains("class=\"hit\"")), "{path}");
        }
    }
    let first = server.get("/v1/overview?month=0001-01").is(200);
    first.shows("/before", "null").shows("/totals/all/cost", "1");
    let page = server.get("/?month=0001-01").is_text(200);
    assert!(page.contains("January cost $1.00 in all.") && !page.contains("December"), "{page}");
    let second = server.get("/v1/overview?month=0001-02").is(200);
    second.shows("/before/month", "\"0001-01\"").shows("/before/activeUsers", "1").shows("/activeUsers", "0");
    server.get("/v1/overview?month=0000-12").refuses("/month");
}

#[test]
fn a_search_takes_an_id_as_it_is_before_it_looks_without_spaces() {
    let server = Server::open();
    for user in [" lead", "end ", "plain"] {
        server.record(ai(user, 1.0).with("operationId", " op").with("sessionId", "s "));
    }
    let leads = |query: &str| server.get(&format!("/search?{query}")).header("location").unwrap_or_default().to_owned();
    assert_eq!(leads("q=%20lead"), "./users/%20lead");
    assert_eq!(leads("q=end%20"), "./users/end%20");
    assert_eq!(leads("q=%20plain%20"), "./users/plain");
    assert_eq!(leads("user=plain&q=%20op"), "./users/plain/operations/%20op");
    assert_eq!(leads("user=plain&q=s%20"), "./users/plain/sessions/s%20");
    assert_eq!(leads("q=%20le"), "./users?q=%20le&sort=userId");
    assert_eq!(leads("q=%20pl"), "./users?q=pl&sort=userId");
}

#[test]
fn a_model_of_any_name_is_kept_apart_from_operations_without_one() {
    let server = Server::open();
    for name in ["(none)", "No model"] {
        server.record(ai("u", 1.0).with("model", name));
    }
    server.record(ai("u", 2.0));
    for path in ["/?by=model", "/users/u?by=model"] {
        let page = server.get(path).is_text(200);
        let table = page.split("id=\"live-where\"").nth(1).unwrap().split("</section>").next().unwrap();
        let names = texts(table, "<th scope=\"row\"", "</th>");
        assert_eq!(names[0], "No model", "{path}: the most expensive is none");
        assert_eq!(names.len(), 3, "{path}: {names:?}");
        assert_eq!(table.matches("<span class=\"muted\">No model</span>").count(), 1, "{path}");
        assert_eq!(table.matches("<bdi>No model</bdi>").count(), 1, "{path}");
        let months = page.split("id=\"live-months\"").nth(1).unwrap().split("</section>").next().unwrap();
        let legend = texts(months, "<ul class=\"legend\"", "</ul>").concat();
        assert!(legend.contains("(none)") && legend.matches("No model").count() == 2, "{path}: {legend}");
    }
}
