// The scenario that everything stands for, as a person sees it: the card on a page of another origin, under a policy that
// forbids every style and inline script, moves with each scan, without a reload.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, pageServer } from "../../clients/card/test/support/pages.mjs";
import { ask, outlay } from "./support/dashboard.mjs";

const KEY = "the-admin-key-of-a-test-0123456789abcdef", USER = "bgtfrdsZ";
let browser, server, host, page;
before(async () => {
  [browser, server, host] = await Promise.all([launch(), outlay({ key: KEY }), pageServer()]);
  await ask(server, "PUT", `/v1/users/${USER}`, { plan: "premium" });
  const { token } = await ask(server, "POST", `/v1/users/${USER}/tokens`, {});
  host.pages.set("/", `<main><outlay-budget-card src="${server.url}" user-id="${USER}" token="${token}" upgrade-href="/plans"></outlay-budget-card></main><script type="module" src="/card.js"></script>`);
  page = await browser.newPage();
  await page.goto(`${host.url}/`);
  await page.evaluate(() => Object.assign(window, { stayed: true }));
});
after(() => Promise.all([browser.close(), server.stop(), host.stop()]));

const meter = (label) => page.locator("outlay-budget-card .meter", { has: page.locator(".label", { hasText: label }) });
const shows = (label, figures) => meter(label).locator(".value", { hasText: new RegExp(`^${figures.replace(/[$.]/g, "\\$&")}$`) }).waitFor();
const width = (label) => meter(label).locator(".fill").evaluate((fill) => fill.getBoundingClientRect().width);

/** Open, read the card, extract the fields, finish: as the application does it. */
async function scan(n) {
  const session = `scan_${n}`;
  await ask(server, "POST", `/v1/users/${USER}/sessions`, { sessionId: session, feature: "business_card_scan", estimate: { cost: 0.002, aiRuns: 1 } });
  const step = { userId: USER, sessionId: session };
  await ask(server, "POST", "/v1/usage", { ...step, operationId: `${session}_ocr`, usageType: "ApiUsage", feature: "business_card_scan_ocr", provider: "google_vision_ocr", cost: 0.0015 });
  await ask(server, "POST", "/v1/usage", { ...step, operationId: `${session}_ai`, usageType: "AIUsage", feature: "business_card_scan", provider: "gemini", cost: 0.00010785, isBillableRun: true, finishSession: "completed" });
}

test("one scan reads 1 / 30 and $0.00 / $3.00, a second one 2 / 30, and the bars have grown", async () => {
  await shows("AI Operations", "0 / 30");
  assert.equal(await width("AI Operations"), 0);
  await scan(1);
  await shows("AI Operations", "1 / 30");
  await shows("Cost Budget", "$0.00 / $3.00");
  assert.equal(await meter("Cost Budget").locator(".value").getAttribute("title"), "$0.00160785", "the exact figure is on hover");
  await page.waitForFunction(() => document.querySelector("outlay-budget-card").shadowRoot.querySelector(".fill").getBoundingClientRect().width > 5);
  const one = await width("AI Operations");
  await scan(2);
  await shows("AI Operations", "2 / 30");
  await page.waitForFunction((one) => document.querySelector("outlay-budget-card").shadowRoot.querySelector(".fill").getBoundingClientRect().width > one, one);
});

test("a hold shows as being in progress, until it is given back", async () => {
  await ask(server, "POST", `/v1/users/${USER}/sessions`, { sessionId: "held", feature: "business_card_scan", estimate: { aiRuns: 1 } });
  await meter("AI Operations").getByText("1 in progress").waitFor();
  await ask(server, "POST", `/v1/users/${USER}/sessions/held/finish`, { status: "failed" });
  await page.waitForFunction(() => !document.querySelector("outlay-budget-card").shadowRoot.textContent.includes("in progress"));
});

test("400 operations at once from eight clients end at the exact sums", async () => {
  const numbers = Array.from({ length: 400 }, (_, n) => n);
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let n; (n = numbers.pop()) !== undefined; )
      await ask(server, "POST", "/v1/usage", { userId: USER, operationId: `many_${n}`, usageType: "ApiUsage", feature: "geocoding", cost: 0.005, isBillableRun: n % 4 === 0 });
  }));
  await shows("API Operations", "100 / 100");
  await shows("Cost Budget", "$2.00 / $3.00");
  assert.equal(await meter("Cost Budget").locator(".value").getAttribute("title"), "$2.0032157");
});

test("after the thirtieth run the next scan is refused as enhanced and offered as basic", async () => {
  for (let n = 3; n <= 30; n++) await scan(n);
  await shows("AI Operations", "30 / 30");
  await meter("AI Operations").getByText("Limit reached").waitFor();
  await page.locator("outlay-budget-card").getByText("Upgrade to Business").waitFor();
  const choices = [{ name: "enhanced", estimate: { cost: 0.0016, aiRuns: 1 } }, { name: "basic", estimate: { cost: 0.0015 } }];
  const opened = await ask(server, "POST", `/v1/users/${USER}/sessions`, { feature: "business_card_scan", choices });
  assert.deepEqual([opened.choice, opened.reason], ["basic", "fallback"]);
  assert.equal(await page.evaluate(() => window.stayed), true, "the page was never loaded again");
});
