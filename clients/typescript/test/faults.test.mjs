// What goes wrong between a client and its server, and that each operation is counted exactly once all the same.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, before, test } from "node:test";
import { BudgetExceeded, Conflict, ConnectionError, Outlay, RateLimited, TimeoutError, Unavailable } from "@outlay/client";
import { faults, outlay } from "../../support/outlay.mjs";

let server, proxy, client, direct;
before(async () => {
  server = await outlay();
  proxy = await faults(server.url);
  direct = new Outlay({ url: server.url });
});
beforeEach(() => {
  Object.assign(proxy, { plan: [], otherwise: "pass", seen: [] });
  client = new Outlay({ url: proxy.url, timeoutMs: 300, recordForMs: 10_000 });
});
after(async () => {
  await proxy.stop();
  await server.stop();
});

const used = async (userId) => (await direct.users.budget(userId)).meters.cost.used;

for (const [name, plan] of Object.entries({
  "an answer that is lost after the commit": ["lose"],
  "answers lost twice, a reset, and a server that hangs": ["lose", "lose", "reset", "hang"],
  "a server that is full, then down": [{ status: 429, retryAfter: 1 }, { status: 503 }],
  "a gateway's page": [{ status: 502, body: "<html>Bad gateway" }, { status: 504, body: "" }],
}))
  test(`counted once through ${name}`, async () => {
    const userId = name.replaceAll(" ", "-").slice(0, 60);
    proxy.plan = plan.slice();
    const recorded = await client.usage.record({ userId, feature: "scan", cost: 0.0015 });
    assert.equal(recorded.cost, "0.0015");
    assert.equal(proxy.seen.length, plan.length + 1);
    assert.equal(new Set(proxy.seen.map(({ body }) => JSON.stringify(body))).size, 1, "every try sends the same");
    assert.equal(await used(userId), "0.0015");
    assert.equal(recorded.duplicate, plan.includes("lose"));
  });

test("Retry-After is kept to", async () => {
  proxy.plan = [{ status: 429, retryAfter: 1 }];
  await client.usage.record({ userId: "patient", feature: "scan", cost: 0.0015 });
  assert.ok(proxy.seen[1].at - proxy.seen[0].at >= 1000, "not before it said");
});

test("a session that was opened and not heard of holds once", async () => {
  await direct.users.put("holder", { plan: "premium" });
  proxy.plan = ["lose", "lose"];
  await client.withBudget({ userId: "holder", feature: "scan", estimate: { cost: 1 }, onUnavailable: "deny", onUnrecorded: assert.fail }, async (session) => {
    assert.equal((await direct.users.budget("holder")).meters.cost.held, "1");
    proxy.plan = ["lose"];
    await session.step({ cost: 0.25 });
    proxy.plan = ["lose"];
  });
  const { cost } = (await direct.users.budget("holder")).meters;
  assert.deepEqual([cost.used, cost.held], ["0.25", "0"]);
});

test("other calls are tried three times in all, and the last failure is told", async () => {
  proxy.otherwise = { status: 503 };
  await assert.rejects(client.users.get("u"), (error) => error instanceof Unavailable && error.requestId === "r-1");
  assert.equal(proxy.seen.length, 3);
  proxy.otherwise = "hang";
  await assert.rejects(client.users.get("u"), TimeoutError);
  proxy.otherwise = "reset";
  await assert.rejects(client.users.get("u"), (error) => error instanceof ConnectionError && !(error instanceof TimeoutError) && error.cause !== undefined);
  proxy.otherwise = { status: 429 };
  await assert.rejects(client.users.get("u"), RateLimited);
});

test("a 402 and a 409 are answers, and are not asked again", async () => {
  await direct.users.put("base", { plan: "base" });
  await assert.rejects(client.sessions.open("base", { feature: "scan", estimate: { cost: 1 } }), BudgetExceeded);
  assert.equal(proxy.seen.length, 1);
  await direct.usage.record({ userId: "u", operationId: "taken", feature: "scan", cost: 1 });
  await assert.rejects(client.usage.record({ userId: "u", operationId: "taken", feature: "scan", cost: 2 }), Conflict);
  assert.equal(proxy.seen.length, 2);
});

test("an audited check is not sent twice: it has no id", async () => {
  proxy.plan = ["lose"];
  await assert.rejects(client.users.afford("u", { estimate: { cost: 1 }, feature: "scan", audit: true }), ConnectionError);
  assert.equal(proxy.seen.length, 1);
});

test("down for long: the operation is handed over, and its line, imported twice, counts once", async () => {
  const folder = mkdtempSync(join(tmpdir(), "outlay-outbox-")), file = join(folder, "outbox.jsonl"), lines = [];
  await direct.users.put("outage", { plan: "premium" });
  const hasty = new Outlay({ url: proxy.url, timeoutMs: 300, recordForMs: 1000 });
  await hasty.withBudget(
    { userId: "outage", sessionId: "s", feature: "scan", estimate: { cost: 0.01 }, onUnavailable: "deny", onUnrecorded: (operation, error) => lines.push([operation, error]) },
    async (session) => {
      // The first try is committed and its answer lost: the hardest case for whoever sends the line later.
      proxy.plan = ["lose"];
      proxy.otherwise = "reset";
      assert.equal(await session.step({ cost: 0.0015 }), null);
      assert.equal(await session.step({ cost: "0.00010785", isBillableRun: true }), null);
    },
  );
  assert.equal(lines.length, 2);
  assert.ok(lines.every(([, error]) => error instanceof ConnectionError));
  writeFileSync(file, lines.map(([operation]) => `${JSON.stringify(operation)}\n`).join(""));
  for (let round = 0; round < 2; round += 1) {
    const { code, stdout, stderr } = await server.command("import", file, "--json");
    assert.equal(code, 0, stderr);
    const { recorded, duplicates } = JSON.parse(stdout);
    assert.deepEqual([recorded, duplicates], round === 0 ? [1, 1] : [0, 2]);
  }
  const { cost, aiRuns } = (await direct.users.budget("outage")).meters;
  assert.deepEqual([cost.used, aiRuns.used], ["0.00160785", 1]);
  rmSync(folder, { recursive: true });
});

test("a key that is not taken any more loses no cost", async () => {
  const lines = [];
  proxy.plan = [{ status: 401 }];
  assert.equal(await client.usage.record({ userId: "rotated", feature: "scan", cost: 0.5 }, { onUnrecorded: (operation) => lines.push(operation) }), null);
  assert.equal(lines[0].cost, 0.5);
  await direct.usage.record(lines[0]);
  await direct.usage.record(lines[0]);
  assert.equal((await direct.users.budget("rotated")).meters.cost.used, "0.5");
});

test("while it is down, work is denied or allowed as was said", async () => {
  proxy.otherwise = "reset";
  let ran = 0;
  const hasty = new Outlay({ url: proxy.url, recordForMs: 500 }), kept = [], options = { userId: "down", feature: "scan", estimate: { cost: 1 }, onUnrecorded: (operation) => kept.push(operation) };
  await assert.rejects(client.withBudget({ ...options, onUnavailable: "deny" }, () => (ran += 1)), ConnectionError);
  assert.equal(ran, 0);
  const result = await hasty.withBudget({ ...options, onUnavailable: "allow" }, async (session) => {
    assert.deepEqual([session.opened, session.choice], [null, null]);
    await session.step({ cost: 0.5 });
    return "done";
  });
  assert.equal(result, "done");
  assert.deepEqual(kept.map(({ cost, userId, feature }) => [cost, userId, feature]), [[0.5, "down", "scan"]]);
  proxy.otherwise = "pass";
  await direct.users.put("down", { plan: "base" });
  await assert.rejects(client.withBudget({ ...options, onUnavailable: "allow" }, assert.fail), BudgetExceeded, "a no is no outage");
});

test("a signal ends a call at once, and its reason is what is thrown", async () => {
  proxy.otherwise = "hang";
  const reason = new Error("the user left"), stop = new AbortController(), begun = Date.now();
  setTimeout(() => stop.abort(reason), 50);
  await assert.rejects(client.usage.record({ userId: "u", feature: "f", cost: 1 }, { signal: stop.signal, timeoutMs: 5000 }), (error) => error === reason);
  assert.ok(Date.now() - begun < 2000);
  await assert.rejects(client.users.get("u", {}, { signal: stop.signal }), (error) => error === reason);
});
