// The forecast where people see it: what the pages and the card say is what the server foretells, of a real past.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, launch, open, outlay } from "./support/dashboard.mjs";

let browser, server, forecast;
const DAYS = 45, A_DAY = 9;
before(async () => {
  [browser, server] = await Promise.all([launch(), outlay()]);
  const now = Date.now();
  // Nine AI runs on each of the days before today, so that a limit a little above what is used is near.
  const operations = Array.from({ length: DAYS * A_DAY }, (_, n) => ({
    userId: "steady", operationId: `op-${n}`, usageType: "AIUsage", feature: "chat", provider: "gemini", cost: "0.25", isBillableRun: true,
    timestamp: new Date(now - (1 + Math.floor(n / A_DAY)) * 86_400_000).toISOString(),
  }));
  await ask(server, "POST", "/v1/usage", operations);
  await ask(server, "POST", "/v1/usage", { userId: "new", operationId: "op", usageType: "AIUsage", feature: "chat", cost: "0.01", isBillableRun: true });
  await ask(server, "PUT", "/v1/users/new", { plan: "premium" });
  const { used } = (await ask(server, "GET", "/v1/users/steady/budget")).meters.aiRuns;
  await ask(server, "PUT", "/v1/users/steady", { plan: "premium", limits: { cost: null, aiRuns: used + 4, apiRuns: 0 } });
  forecast = await ask(server, "GET", "/v1/users/steady/forecast");
});
after(() => Promise.all([browser.close(), server.stop()]));

/** Looks until it is there: who is listed for the first time may come a moment later. */
async function seen(path, wanted) {
  for (let tries = 0; ; tries++) {
    const { page, close } = await open(browser, server.url + path);
    const text = await page.locator("main").innerText();
    await close();
    if (wanted.test(text) || tries === 20) return text;
    await new Promise((done) => setTimeout(done, 200));
  }
}

const dollars = (amount) => (amount >= 100 ? `$${Math.round(amount).toLocaleString("en-US")}` : `$${amount.toFixed(2)}`);

test("the forecast is of what was recorded", () => {
  const { cost, aiRuns, apiRuns } = forecast.meters;
  // A quarter of a dollar for each run, and as much on each day.
  assert.ok(cost.projected >= cost.low && cost.projected <= cost.high && cost.low > 0, JSON.stringify(cost));
  assert.equal(apiRuns.message, "Your plan includes no API operations");
  const lastHours = new Date().getUTCDate() === new Date(Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth() + 1, 0)).getUTCDate();
  if (!lastHours) assert.ok(aiRuns.hitsLimitOn && aiRuns.daysLeft <= 2, JSON.stringify(aiRuns));
});

test("the overview says where the month will end, and who is near a limit", async () => {
  const text = await seen("/", forecast.meters.aiRuns.hitsLimitOn ? /limit (today|in ~\d+ days?)/ : /will end near/);
  const said = /(\w+) will end near (\$[\d.,]+), between (\$[\d.,]+) and (\$[\d.,]+)\./.exec(text);
  assert.ok(said, text);
  const figures = said.slice(2).map((figure) => Number(figure.replace(/[$,]/g, "")));
  const { low, high } = forecast.meters.cost;
  // Nearly all of it is the one user's, whose forecast is another one of nearly the same days.
  assert.ok(figures[1] <= figures[0] && figures[0] <= figures[2], said[0]);
  assert.ok(figures[2] >= low * 0.9 && figures[1] <= high * 1.1, `${said[0]} ${dollars(low)} to ${dollars(high)}`);
  const { page, close } = await open(browser, `${server.url}/`);
  const isLastDay = (await page.locator("#live-burn polygon.band").count()) === 0;
  assert.ok(!isLastDay || new Date(Date.now() + 86_400_000).getUTCDate() === 1);
  await close();
});

test("the list of users says in how many days a limit is met", async () => {
  if (!forecast.meters.aiRuns.hitsLimitOn) return;
  const text = await seen("/users", /steady[^]*(today|~\d+ days?)/);
  assert.match(text, /Limit in/);
  assert.match(text, /steady[^]*(today|~\d+ days?)/);
});

test("a user's page says each meter's sentence, and that of a past month none", async () => {
  const text = await seen("/users/steady", /will/);
  for (const { message } of Object.values(forecast.meters)) assert.ok(text.includes(message), `${message}: ${text.slice(0, 2_000)}`);
  assert.match(await seen("/users/new", /too little/), /There is too little use so far for a forecast/);
  const before = new Date(Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth() - 1, 15)).toISOString().slice(0, 7);
  assert.doesNotMatch(await seen(`/users/steady?month=${before}`, /./), /will end near|You will reach/);
});

test("the card and a user's own page ask the server and say the same", async () => {
  const { token } = await ask(server, "POST", "/v1/users/steady/tokens", {});
  const { page, close, errors } = await open(browser, `${server.url}/my#t=${token}`);
  await page.locator("#my-forecast p").first().waitFor();
  const said = await page.locator("#my-forecast p").allInnerTexts();
  assert.deepEqual(said, Object.values(forecast.meters).map(({ message }) => message));
  const { hitsLimitOn } = forecast.meters.aiRuns;
  if (hitsLimitOn) {
    const day = await page.evaluate((on) => new Date(on).toLocaleDateString(navigator.language, { day: "numeric", month: "long", timeZone: "UTC" }), hitsLimitOn);
    await page.locator("outlay-budget-card").getByText(`Limit around ${day} at this pace`).waitFor();
  }
  assert.deepEqual(errors, []);
  await close();
});
