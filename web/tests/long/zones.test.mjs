// Days and months are UTC wherever the reader sits: the same totals and the same days from the first zone to the last.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, launch, outlay } from "../support/dashboard.mjs";

const ZONES = ["Pacific/Kiritimati", "America/Los_Angeles", "UTC"];
let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launch(), outlay()]);
  await ask(server, "PUT", "/v1/users/u", { plan: "premium" });
  const instants = ["2025-10-31T23:59:59Z", "2025-11-01T00:00:00Z", "2025-11-01T11:30:00Z"];
  for (const [n, timestamp] of instants.entries())
    await ask(server, "POST", "/v1/usage", { userId: "u", operationId: `z-${n}`, feature: "chat", cost: `0.${n + 1}`, isBillableRun: true, timestamp });
});
after(() => Promise.all([browser.close(), server.stop()]));

test("every zone sees the same figures, days and months", async () => {
  const seen = [];
  for (const timezoneId of ZONES) {
    const context = await browser.newContext({ timezoneId });
    const page = await context.newPage();
    const texts = [];
    for (const path of ["/users/u?month=2025-10", "/users/u?month=2025-11", "/?month=2025-11", "/?month=2025-10"]) {
      await page.goto(server.url + path);
      // The hour of the page itself is another one each time.
      texts.push((await page.locator("main").innerText()).replace(/Figures as of [\d:]+ UTC/, "").replace(/\d\d:\d\d:\d\d/g, ""));
    }
    seen.push(texts);
    await context.close();
  }
  assert.match(seen[0][0], /\$0\.10/);
  assert.match(seen[0][1], /\$0\.50/);
  for (const [n, texts] of seen.entries()) assert.deepEqual(texts, seen[0], ZONES[n]);
});

test("the card's month begins anew on the first of the next, in every zone", async () => {
  const budget = await ask(server, "GET", "/v1/users/u/budget");
  const first = new Date(budget.resetsAt).toLocaleDateString("en", { day: "numeric", month: "long", timeZone: "UTC" });
  for (const timezoneId of ZONES) {
    const context = await browser.newContext({ timezoneId });
    const page = await context.newPage();
    await page.goto(`${server.url}/users/u`);
    await page.locator("outlay-budget-card .foot", { hasText: `Resets ${first}` }).waitFor();
    await context.close();
  }
});
