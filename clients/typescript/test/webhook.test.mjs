// A webhook as the real program sends it, read by the client: what one signs the other believes.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { Outlay, verifyWebhook, WebhookRefused } from "@outlay/client";
import { outlay } from "../../support/outlay.mjs";

const KEY = randomBytes(24).toString("hex");
let server, receiver;
const came = [];
/** Answers the n-th message, once it has come. */
const message = async (number) => {
  while (came.length <= number) await new Promise((done) => setTimeout(done, 20));
  return came[number];
};

before(async () => {
  receiver = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    came.push({ headers: request.headers, body: Buffer.concat(parts) });
    // The first try is refused, so that there is a second one of the same message.
    response.writeHead(came.length === 1 ? 500 : 204).end();
  });
  await new Promise((done) => receiver.listen(0, "127.0.0.1", done));
  process.env.OUTLAY_WEBHOOK_ALLOW = "127.0.0.1";
  server = await outlay({ key: KEY });
  delete process.env.OUTLAY_WEBHOOK_ALLOW;
});
after(async () => {
  await server.stop();
  receiver.closeAllConnections();
  await new Promise((done) => receiver.close(done));
});

test("a crossed threshold comes signed, and a second try is the same message", { timeout: 60_000 }, async () => {
  const made = await fetch(`${server.url}/v1/webhooks`, {
    method: "POST",
    headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify({ url: `http://127.0.0.1:${receiver.address().port}/hooks` }),
  });
  assert.equal(made.status, 201);
  const { secret } = await made.json();
  const client = new Outlay({ url: server.url, key: KEY });
  await client.users.put("u", { plan: "premium", limits: { cost: 0.3 } });
  await client.usage.record({ userId: "u", feature: "scan", cost: "0.240000000001" });

  const first = await message(0);
  const event = await verifyWebhook(first.body, first.headers, secret);
  assert.equal(event.type, "budget.threshold_crossed");
  const { userId, meter, threshold, used, limit, alertId } = event.data;
  assert.deepEqual([userId, meter, threshold, used, limit, alertId], ["u", "cost", 80, "0.240000000001", "0.3", event.id]);
  const again = await verifyWebhook((await message(1)).body, (await message(1)).headers, secret);
  assert.deepEqual(again, event);

  await assert.rejects(verifyWebhook(first.body, first.headers, `whsec_${randomBytes(24).toString("base64")}`), WebhookRefused);
  await assert.rejects(verifyWebhook(Buffer.concat([first.body, Buffer.from(" ")]), first.headers, secret), WebhookRefused);
});
