//! The page of the API: what it shows can be run.

use serde_json::Value;

use crate::support::{Asks, Server};

/// What the others build on, in this order; the user is erased last.
const FIRST: [&str; 5] = ["putUser", "recordUsage", "openSession", "extendSession", "finishSession"];

/// What a command on the machine asks, and no address.
const ONLY_BY_THE_SOCKET: &str = "rotateTokenKey";

#[test]
fn every_example_of_the_description_does_what_it_says() {
    let server = Server::open();
    let description: Value = serde_json::from_str(&server.get("/openapi.json").text()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, route) in item.as_object().unwrap() {
            routes.push((route["operationId"].as_str().unwrap(), method.to_uppercase(), path, route));
        }
    }
    // What takes its subject away comes last.
    let last = |id: &str| FIRST.len() + usize::from(id == "deleteWebhook");
    routes.sort_by_key(|(id, ..)| FIRST.iter().position(|first| first == id).unwrap_or_else(|| last(id)));
    let key = server.post("/v1/keys", serde_json::json!({"role": "app"})).is(201).text("/id").to_owned();
    let made = server.post("/v1/webhooks", serde_json::json!({"url": "https://app.example.org/hook"})).is(201);
    let webhook = made.text("/id").to_owned();
    // One run of one is an alert that somebody is told of.
    let limits = serde_json::json!({"limits": {"cost": null, "aiRuns": 1, "apiRuns": null}});
    server.put("/v1/users/crossing", limits).is(201);
    server.record(crate::support::ai_run("crossing", 0.001));
    let alert = server.get("/v1/alerts?userId=crossing").is(200).text("/items/0/alertId").to_owned();
    for (id, method, path, route) in routes {
        let mut path = path.clone();
        for parameter in route["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path") {
            let name = parameter["name"].as_str().unwrap();
            let example = parameter["example"].as_str().unwrap_or_else(|| panic!("{id}: no example of {name}"));
            let example = match name {
                "keyId" => &key,
                "webhookId" => &webhook,
                "alertId" => &alert,
                _ => example,
            };
            path = path.replace(&format!("{{{name}}}"), example);
        }
        let answers = route["responses"].as_object().unwrap();
        if answers.values().any(|answer| answer["content"].get("text/event-stream").is_some()) {
            continue;
        }
        let body = route["requestBody"]["content"]["application/json"]["example"].clone();
        let needs_body = route["requestBody"]["required"] == true;
        assert!(!needs_body || body.is_object(), "{id}: no example of its body");
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let reply = server.send(&method, &path, &[("content-type", "application/json")], &bytes);
        if id == ONLY_BY_THE_SOCKET {
            reply.is(403);
            continue;
        }
        assert!((200..300).contains(&reply.status), "{id}: {} {}", reply.status, reply.text());
        assert!(answers.contains_key(&reply.status.to_string()), "{id}: {} is not described", reply.status);
    }
}

#[test]
fn the_description_is_there_for_people_and_for_machines() {
    let server = Server::open();
    let page = server.get("/docs");
    assert_eq!(page.status, 200);
    let html = page.text();
    let here = format!("http://{}", server.address());
    assert!(html.contains(&format!("curl -s {here}/v1/usage")), "the address is not filled in");
    assert!(!html.contains("OUTLAY-ADDRESS") && !html.contains("OUTLAY_KEY"), "an open server needs no key");
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self';"));
    let text = server.get("/docs.md").text();
    assert!(
        text.contains("POST /v1/usage")
            && text.contains(&here)
            && text.contains("- `userId` (string of 1 to 128 characters, in the path, required)")
    );
    assert!(server.get("/llms.txt").text().contains(&format!("{here}/docs.md")));
    // Every link within the page leads somewhere.
    for target in html.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(html.contains(&format!("id=\"{target}\"")), "#{target} leads nowhere");
    }
    // What the caller calls the server is not repeated unless it is an address.
    let odd = server.send("GET", "/docs.md", &[("host", "localhost\"><script>")], b"");
    assert!(!odd.text().contains("<script>"), "{}", odd.status);
}

#[test]
fn examples_take_a_key_where_one_is_needed() {
    let server = Server::keyed();
    let page = server.with_key("").get("/docs").text();
    assert!(page.contains("Authorization: Bearer $OUTLAY_KEY"), "{}", &page[..500]);
    assert!(page.contains("This needs a key of the role app or admin."));
}
