// The client against the real program: the scenario every release must show, and what each call answers.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { BudgetExceeded, Conflict, Invalid, NotFound, Outlay, Unauthorized, verifyWebhook, WebhookRefused } from "@outlay/client";
import { outlay } from "../../support/outlay.mjs";

const KEY = randomBytes(24).toString("hex");
let server, client;
before(async () => {
  server = await outlay({ key: KEY });
  client = new Outlay({ url: `${server.url}/`, key: KEY });
});
after(() => server.stop());

const never = () => assert.fail("nothing is unrecorded here");

test("a scan in a session of two steps gives the exact figures everywhere", async () => {
  await client.users.put("bgtfrdsZ", { plan: "premium" });
  const result = await client.withBudget(
    { userId: "bgtfrdsZ", sessionId: "session_scan_1", feature: "business_card_scan", estimate: { cost: 0.002, aiRuns: 1 }, onUnavailable: "deny", onUnrecorded: never },
    async (session) => {
      assert.deepEqual(session.opened.held, { cost: "0.002", aiRuns: 1, apiRuns: 0 });
      await session.step({ usageType: "ApiUsage", feature: "business_card_scan_ocr", provider: "google_vision_ocr", cost: 0.0015 });
      const step = await session.step({ provider: "gemini", cost: "0.00010785", isBillableRun: true });
      assert.equal(step.cost, "0.00010785");
      return "card";
    },
  );
  assert.equal(result, "card");
  const session = await client.sessions.get("bgtfrdsZ", "session_scan_1");
  assert.deepEqual([session.status, session.totalCost, session.totalRuns, session.steps.length], ["completed", "0.00160785", 1, 2]);
  assert.deepEqual(session.steps.map(({ feature }) => feature), ["business_card_scan_ocr", "business_card_scan"]);
  const budget = await client.users.budget("bgtfrdsZ");
  assert.deepEqual([budget.meters.cost.used, budget.meters.cost.held, budget.meters.aiRuns.used, budget.meters.aiRuns.limit], ["0.00160785", "0", 1, 30]);
  const user = await client.users.get("bgtfrdsZ");
  assert.deepEqual([user.monthlyTotalCost, user.monthlyBillableRuns], ["0.00160785", 1]);
});

test("a forecast is of the days that were recorded", async () => {
  const userId = "forecaster", day = (back) => new Date(Date.now() - back * 86_400_000).toISOString();
  await client.users.put(userId, { plan: "enterprise" });
  assert.equal((await client.users.forecast(userId)).meters.aiRuns.projected, null);
  await client.usage.recordAll(Array.from({ length: 40 }, (_, n) => ({ userId, feature: "chat", cost: "0.01", isBillableRun: true, timestamp: day(n + 1) })));
  const { meters } = await client.users.forecast(userId);
  assert.ok(meters.aiRuns.low <= meters.aiRuns.projected && meters.aiRuns.projected <= meters.aiRuns.high && meters.aiRuns.high > 0, JSON.stringify(meters));
  assert.match(meters.cost.message, /will end near \$0\./);
});

test("choices fall back, and a refusal says what would help", async () => {
  const userId = "choosy";
  await client.users.put(userId, { plan: "premium", limits: { cost: 0.0031, aiRuns: 1 } });
  const choices = [{ name: "enhanced", estimate: { cost: 0.0016, aiRuns: 1 } }, { name: "basic", estimate: { cost: 0.0015 } }];
  const scan = () => client.withBudget({ userId, feature: "scan", choices, onUnavailable: "deny", onUnrecorded: never }, async (session) => {
    await session.step(session.choice === "enhanced" ? { cost: 0.0016, isBillableRun: true } : { cost: 0.0015 });
    return session.choice;
  });
  assert.equal(await scan(), "enhanced");
  assert.equal(await scan(), "basic");
  const refused = await scan().then(() => assert.fail("it does not fit"), (error) => error);
  assert.ok(refused instanceof BudgetExceeded);
  assert.deepEqual([refused.type, refused.status, refused.reason, refused.upgradeRequired], ["does-not-fit", 402, "budget_exceeded", false]);
  assert.ok(refused.failed.includes("cost"));
  assert.equal(refused.budget.meters.cost.used, "0.0031");
  assert.deepEqual(refused.choices.map(({ name, allowed }) => [name, allowed]), [["enhanced", false], ["basic", false]]);
  assert.match(refused.resetsAt, /T00:00:00Z$/);
  await client.users.put("upgrader", { plan: "pro" });
  const upgrade = await client.sessions.open("upgrader", { feature: "scan", estimate: { cost: 2 } }).catch((error) => error);
  assert.deepEqual([upgrade.failed, upgrade.nextPlan, upgrade.upgradeRequired], [["cost"], "premium", true]);
  const denials = [];
  for await (const denial of client.users.denials(userId)) denials.push(denial);
  assert.equal(denials.length, 1);
});

test("work that throws finishes its session as failed, and the error comes through", async () => {
  const failure = new Error("the provider is down");
  const ran = client.withBudget({ userId: "thrower", sessionId: "s", feature: "scan", estimate: {}, onUnavailable: "deny", onUnrecorded: never }, async (session) => {
    await session.step({ cost: 0.001 });
    throw failure;
  });
  await assert.rejects(ran, (error) => error === failure);
  const session = await client.sessions.get("thrower", "s");
  assert.deepEqual([session.status, session.error, session.totalCost, session.held.cost], ["failed", "Error: the provider is down", "0.001", "0"]);
});

test("whatever is thrown, the session is finished and its hold given back", async () => {
  await client.users.put("thrower", { plan: "premium" });
  const cases = [["line 1\nline 2", "line 1 line 2"], ["x".repeat(255) + "😀😀", "x".repeat(255) + "😀"], ["", null], ["half \ud800", "half \ufffd"]];
  for (const [at, [thrown, error]] of cases.entries()) {
    const ran = client.withBudget({ userId: "thrower", sessionId: `odd-${at}`, feature: "scan", estimate: { cost: 0.5 }, onUnavailable: "deny", onUnrecorded: never }, () => Promise.reject(thrown));
    await assert.rejects(ran, (caught) => caught === thrown);
    const session = await client.sessions.get("thrower", `odd-${at}`);
    assert.deepEqual([session.status, session.error, session.held.cost], ["failed", error, "0"]);
  }
});

test("an operation is recorded once, and taken back once", async () => {
  const operation = { userId: "once", operationId: "op", feature: "scan", cost: 0.5, timestamp: new Date().toISOString(), metadata: { cost: 1.5, note: '"}' } };
  assert.equal((await client.usage.record(operation)).duplicate, false);
  assert.equal((await client.usage.record(operation)).duplicate, true);
  const conflict = await client.usage.record({ ...operation, cost: 0.6 }).catch((error) => error);
  assert.ok(conflict instanceof Conflict);
  assert.equal(conflict.type, "operation-conflict");
  assert.equal((await client.usage.reverse("once", "op")).duplicate, false);
  assert.equal((await client.usage.reverse("once", "op")).duplicate, true);
  assert.equal((await client.users.budget("once")).meters.cost.used, "0");
  const [reversal, original] = await collect(client.usage.list("once"));
  assert.deepEqual([reversal.cost, original.cost, original.metadata], ["-0.5", "0.5", { cost: 1.5, note: '"}' }]);
});

test("no digit of an amount is lost on the way", async () => {
  const costs = ["0.000000000001", "0.1", "999999.999999999999", "0.00010785"];
  for (const [at, cost] of costs.entries()) await client.usage.record({ userId: "exact", operationId: `op${at}`, feature: "f", cost });
  assert.equal((await client.users.get("exact")).monthlyTotalCost, "1000000.100107850000".replace(/0+$/, ""));
  assert.deepEqual((await collect(client.usage.list("exact"))).map(({ cost }) => cost).reverse(), costs);
});

test("lists are walked page by page, as far as they are asked for", async () => {
  const operations = Array.from({ length: 25 }, (_, at) => ({ userId: "lister", operationId: `op${at}`, feature: "f", cost: 0.001 }));
  const results = await client.usage.recordAll(operations);
  assert.deepEqual(results.map(({ status }) => status), operations.map(() => 200));
  assert.deepEqual((await collect(client.usage.list("lister", { limit: 10 }))).map(({ operationId }) => operationId), operations.map(({ operationId }) => operationId).reverse());
  const sizes = [];
  for await (const page of client.usage.list("lister", { limit: 10 }).pages()) sizes.push(page.length);
  assert.deepEqual(sizes, [10, 10, 5]);
});

test("a mistake names its fields, and each kind of no is its own error", async () => {
  const invalid = await client.usage.record({ userId: "u", feature: "", cost: -1 }).catch((error) => error);
  assert.ok(invalid instanceof Invalid);
  assert.deepEqual(invalid.errors.map(({ pointer }) => pointer).sort(), ["/cost", "/feature"]);
  assert.match(invalid.requestId, /^[0-9a-f-]{36}$/);
  await assert.rejects(client.sessions.get("u", "nobody's"), NotFound);
  await assert.rejects(new Outlay({ url: server.url, key: "wrong" }).users.get("u"), Unauthorized);
  const { token } = await client.users.createToken("u");
  const reader = new Outlay({ url: server.url, key: token });
  assert.equal((await reader.users.budget("u")).userId, "u");
  await assert.rejects(reader.users.get("u"), Unauthorized);
});

test("all tokens of a user are ended at once, and later ones are good", async () => {
  const budget = async () => {
    const { token } = await client.users.createToken("leaver");
    const reader = new Outlay({ url: server.url, key: token });
    return () => reader.users.budget("leaver");
  };
  const [one, other] = [await budget(), await budget()];
  await Promise.all([one(), other()]);
  assert.equal(await client.users.endTokens("leaver"), undefined);
  await assert.rejects(one(), Unauthorized);
  await assert.rejects(other(), Unauthorized);
  assert.equal((await (await budget())()).userId, "leaver");
  await assert.rejects(new Outlay({ url: server.url, key: "wrong" }).users.endTokens("leaver"), Unauthorized);
});

test("a refusal that the application made is kept, with every digit", async () => {
  const denial = await client.users.deny("refused", { feature: "scan", estimate: { cost: "0.000000000001", aiRuns: 1 }, reason: "too many at once", metadata: { queue: 3 } });
  assert.deepEqual([denial.userId, denial.estimate.cost, denial.reason, denial.source], ["refused", "0.000000000001", "too many at once", "application"]);
  assert.deepEqual((await collect(client.users.denials("refused"))).map(({ denialId }) => denialId), [denial.denialId]);
  await assert.rejects(client.users.deny("refused", { feature: "", estimate: {}, reason: "x" }), Invalid);
});

/** What the server offers and no backend of an application needs: streams for browsers, what the operator reads and sets up. */
const OF_OTHERS = [
  "GET /v1/users/{userId}/events", "GET /v1/users/{userId}/export",
  "GET /v1/overview", "GET /v1/users", "GET /v1/sessions", "GET /v1/sessions/stats", "GET /v1/alerts", "GET /v1/denials", "GET /v1/events", "GET /v1/audit",
  "PUT /v1/plans/{name}", "POST /v1/verify", "GET /v1/backup", "GET /v1/keys", "POST /v1/keys", "DELETE /v1/keys/{keyId}", "POST /v1/token-keys",
  "GET /v1/webhooks", "POST /v1/webhooks", "DELETE /v1/webhooks/{webhookId}", "POST /v1/webhooks/{webhookId}/rotate", "POST /v1/webhooks/{webhookId}/test",
  "GET /v1/webhooks/{webhookId}/deliveries", "POST /v1/webhooks/{webhookId}/redeliver", "POST /v1/alerts/{alertId}/redeliver",
];

test("every route that an application's backend needs has a method", async () => {
  const { paths } = await (await fetch(`${server.url}/openapi.json`)).json();
  const offered = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`)).filter((route) => route.includes(" /v1/"));
  const asked = [];
  const noting = (url, init) => {
    asked.push([init.method, new URL(url).pathname]);
    return fetch(url, init);
  };
  const { usage, sessions, users, plans } = new Outlay({ url: server.url, key: KEY, fetch: noting });
  await usage.record({ userId: "all", operationId: "o", feature: "f", cost: 0 });
  await usage.reverse("all", "o");
  await sessions.open("all", { sessionId: "s", feature: "f", estimate: {} });
  await sessions.extend("all", "s", { holdSeconds: 60 });
  await sessions.get("all", "s");
  await sessions.finish("all", "s", { status: "completed" });
  await users.put("all", { plan: "pro" });
  await users.deny("all", { feature: "f", estimate: {}, reason: "r" });
  await users.afford("all", { estimate: {} });
  for (const list of [usage.list("all"), sessions.list("all"), users.denials("all")]) await collect(list);
  for (const read of [users.get, users.budget, users.history, users.forecast, users.createToken, users.endTokens, users.erase]) await read("all");
  await plans.list();
  const shape = (route) => new RegExp(`^${route.replace(/\{\w+\}/g, "[^/]+")}$`);
  const unasked = offered.filter((route) => !asked.some(([method, path]) => shape(route).test(`${method} ${path}`)));
  assert.deepEqual(unasked.sort(), [...OF_OTHERS].sort());
});

test("what fits is asked without holding anything", async () => {
  await client.users.put("asker", { plan: "pro" });
  assert.equal((await client.users.afford("asker", { estimate: { cost: 1.5 } })).allowed, true);
  const { allowed, failed, after: then } = await client.users.afford("asker", { estimate: { cost: "1.500000000001" } });
  assert.deepEqual([allowed, failed, then.cost.used], [false, ["cost"], "1.500000000001"]);
});

test("a webhook is believed if its signature is right, and only then", async () => {
  const secret = `whsec_${randomBytes(24).toString("base64")}`, now = Date.now(), sent = String(Math.floor(now / 1000));
  const body = JSON.stringify({ type: "budget.threshold_crossed", timestamp: "2025-10-13T00:00:00Z", data: { userId: "u", meter: "cost", threshold: 80, used: 2.4, held: 0, limit: 3.1 } }).replace("2.4", "2.400000000001");
  const sign = (id, at, text) => `v1,${createHmac("sha256", Buffer.from(secret.slice(6), "base64")).update(`${id}.${at}.${text}`).digest("base64")}`;
  const headers = { "Webhook-Id": "alert_1", "webhook-timestamp": sent, "webhook-signature": `v1,AAAA v2,x ${sign("alert_1", sent, body)}` };
  const event = await verifyWebhook(body, headers, secret);
  assert.deepEqual([event.id, event.data.used, event.data.limit, event.data.threshold], ["alert_1", "2.400000000001", "3.1", 80]);
  await verifyWebhook(new TextEncoder().encode(body), new Headers(headers), secret);
  for (const [wrongBody, wrongHeaders, options] of [
    [`${body} `, headers], [body, { ...headers, "Webhook-Id": "alert_2" }], [body, headers, { now: now + 301_000 }], [body, headers, { now: now - 301_000 }],
    [body, { ...headers, "webhook-signature": "v1,%%%" }], [body, { "webhook-timestamp": sent }], [body, { ...headers, "webhook-timestamp": "soon" }],
  ])
    await assert.rejects(verifyWebhook(wrongBody, wrongHeaders, secret, options), WebhookRefused);
  await assert.rejects(verifyWebhook(body, headers, `whsec_${randomBytes(24).toString("base64")}`), WebhookRefused);
});

async function collect(list) {
  const items = [];
  for await (const item of list) items.push(item);
  return items;
}
