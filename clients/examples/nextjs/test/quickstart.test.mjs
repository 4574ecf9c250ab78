// The quickstart, built and run against the real program, and used in a browser.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { after, before, test } from "node:test";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { Outlay } from "@outlay/client";
import { launch } from "../../../card/test/support/pages.mjs";
import { outlay } from "../../../support/outlay.mjs";

const APP = fileURLToPath(new URL("../", import.meta.url)), KEY = randomBytes(24).toString("hex");
const next = createRequire(import.meta.url).resolve("next/dist/bin/next");
const freePort = () => new Promise((done) => { const one = createServer().listen(0, "127.0.0.1", () => { const { port } = one.address(); one.close(() => done(port)); }); });

let server, app, browser, url, client;
before(async () => {
  server = await outlay({ key: KEY });
  client = new Outlay({ url: server.url, key: KEY });
  await client.users.put("bgtfrdsZ", { plan: "premium", limits: { aiRuns: 2, apiRuns: 1 } });
  const port = await freePort();
  const env = { ...process.env, OUTLAY_URL: server.url, OUTLAY_KEY: KEY, OUTLAY_PUBLIC_URL: server.url, NEXT_TELEMETRY_DISABLED: "1" };
  execFileSync(process.execPath, [next, "build"], { cwd: APP, env, stdio: ["ignore", "inherit", "inherit"] });
  app = spawn(process.execPath, [next, "start", "-p", String(port), "-H", "127.0.0.1"], { cwd: APP, env, stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((done, fail) => {
    app.stdout.on("data", (text) => /Ready/.test(text) && done());
    app.once("exit", (code) => fail(new Error(`next ended with ${code}`)));
  });
  url = `http://127.0.0.1:${port}`;
  browser = await launch();
});
after(async () => {
  await browser?.close();
  app?.removeAllListeners("exit");
  app?.kill();
  await server?.stop();
});

test("scans until nothing fits: enhanced, enhanced, basic, then a 402 that says what would help", async () => {
  const page = await browser.newPage();
  await page.goto(url);
  await page.locator(".value", { hasText: /^0 \/ 2$/ }).waitFor();
  for (const choice of ["enhanced", "enhanced", "basic"]) {
    const answer = page.waitForResponse(`${url}/api/scan`);
    await page.getByRole("button", { name: "Scan", exact: true }).click();
    assert.deepEqual(await (await answer).json(), { scanned: true, choice });
    await page.getByText(`Scanned (${choice})`).waitFor();
  }
  const refused = await fetch(`${url}/api/scan`, { method: "POST" });
  assert.equal(refused.status, 402);
  const { scanned, reason } = await refused.json();
  assert.deepEqual([scanned, reason], [false, "runs_exceeded"]);
  const { cost, aiRuns, apiRuns } = (await client.users.budget("bgtfrdsZ")).meters;
  assert.deepEqual([cost.used, aiRuns.used, apiRuns.used, cost.held], ["0.0047157", 2, 1, "0"]);
  await page.reload();
  await page.locator(".value", { hasText: /^2 \/ 2$/ }).waitFor();
});

test("the token of the page reads this user's budget and nothing else", async () => {
  const { token } = await (await fetch(`${url}/api/outlay-token`)).json();
  const reader = new Outlay({ url: server.url, key: token });
  assert.equal((await reader.users.budget("bgtfrdsZ")).userId, "bgtfrdsZ");
  await assert.rejects(reader.users.budget("somebody-else"));
});
