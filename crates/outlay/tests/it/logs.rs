//! What the log says, and whom it does not name.

use serde_json::json;

use crate::support::{ADMIN, Asks, Json, Setup, With, ai_run, encoded};

#[test]
fn the_log_is_one_object_a_line_and_names_no_person_and_no_secret() {
    let setup = Setup::keyed().argument("--log").argument("debug").argument("--log-format").argument("json");
    let mut server = setup.start();
    let (user, mail, session) = ("person-7f3a", "ada.lovelace@example.org", "session-5e1d");
    let operation = "operation-91cc";
    let admin = server.with_key(ADMIN);
    admin.put(&format!("/v1/users/{user}"), json!({"plan": "pro", "email": mail, "limits": {"aiRuns": 2}})).is(201);
    let step = ai_run(user, 0.001).with("operationId", operation).with("sessionId", session);
    let step = step.with("metadata", json!({"note": "words-of-a-person"}));
    admin.post("/v1/usage", step.clone()).is(200);
    // Three more cross every threshold, a conflict, and requests that fail in their own ways.
    for _ in 0..3 {
        admin.post("/v1/usage", ai_run(user, 0.001)).is(200);
    }
    admin.post("/v1/usage", step.with("cost", 0.002)).is(409);
    admin.post("/v1/usage", json!({"userId": user, "email": mail, "cost": mail})).is(400);
    admin.post(&format!("/v1/users/{user}/sessions"), json!({"feature": "scan", "estimate": {"aiRuns": 9}})).is(402);
    let minted = admin.post(&format!("/v1/users/{user}/tokens"), json!({})).is(201);
    let token = minted.text("/token").to_owned();
    server.with_key(&token).get(&format!("/v1/users/{user}/budget")).is(200);
    server.with_key(&token).get("/v1/users/somebody-else/budget").is(403);
    server.with_key("outlay_app_wrong-key-of-somebody").get(&format!("/v1/users/{user}?x={}", encoded(mail))).is(401);
    admin.get(&format!("/v1/users/{user}/nothing/{}", encoded(mail))).is(404);
    admin.get(&format!("/v1/users?q={user}")).is(200);
    assert_eq!(admin.get(&format!("/v1/users/{user}/export")).status, 200);
    assert_eq!(admin.delete(&format!("/v1/users/{user}")).status, 204);
    let before = server.log();
    assert!(server.stop().success());

    let lines: Vec<&str> = before.lines().collect();
    assert!(lines.len() > 10, "{before}");
    for line in &lines {
        let object = Json::parse(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert!(!object.text("/message").is_empty() && !object.text("/level").is_empty());
    }
    // The routes are there, by which a request is found again.
    assert!(before.contains("/v1/users/{userId}/tokens"), "{before}");
    let said_nowhere = [
        user,
        mail,
        "lovelace",
        session,
        operation,
        "words-of-a-person",
        ADMIN,
        &token,
        "wrong-key-of-somebody",
        "somebody-else",
    ];
    for word in said_nowhere {
        assert!(!before.contains(word), "{word} is in the log:\n{before}");
    }
}
