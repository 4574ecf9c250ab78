// What the card does while it is looked at: streams, tokens, failures, and what a page does with it.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { axe, texts } from "./support/look.mjs";
import { launch, pageServer } from "./support/pages.mjs";
import { budget, eventServer, tokenFor } from "./support/server.mjs";

const NOW = new Date("2025-10-13T14:03:00Z");

let browser, host, server;
before(async () => {
  [browser, host, server] = await Promise.all([launch(), pageServer(), eventServer()]);
  host.scripts.set("/early.js", `const card = document.querySelector("outlay-budget-card");
    card.getToken = () => { window.asked = (window.asked ?? 0) + 1; return "early"; };
    card.strings = { live: "Now" };`);
  host.scripts.set("/told.js", `window.told = 0; addEventListener("outlay-error", () => window.told++);`);
});
const contexts = [];
afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close()));
  Object.assign(server, { fault: null, tokens: null, forecast: null, asked: [], budget: budget() });
});
after(() => Promise.all([browser.close(), host.stop(), server.stop()]));

const SCRIPT = `<script type="module" src="/card.js"></script>`;

/** A page with one card; its clock is the test's. */
async function open(attributes = "", { before = "", behind = SCRIPT, fallback = "" } = {}) {
  host.pages.set("/", `<body>${before}<main><outlay-budget-card src="${server.url}" user-id="bgtfrdsZ" ${attributes}>${fallback}</outlay-budget-card></main>${behind}`);
  const context = await browser.newContext({ viewport: { width: 320, height: 700 }, timezoneId: "UTC" });
  contexts.push(context);
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  await page.clock.install({ time: NOW });
  await page.goto(`${host.url}/`);
  page.card = page.locator("outlay-budget-card");
  page.value = (text) => page.locator("outlay-budget-card .value", { hasText: text }).waitFor();
  page.live = () => page.getByText("Live", { exact: true }).waitFor();
  return page;
}
/**
 * Waits in the test's own time, for what happens outside the page. Long enough for a stream to be closed: Chromium tries for five seconds
 * to read to the end what a page gave up between two reads, so that it may use the connection again (`HttpResponseBodyDrainer`). A bare
 * `fetch` that is aborted as its answer begins shows the same in two of a hundred tries.
 */
async function until(what, condition) {
  for (const end = Date.now() + 20_000; Date.now() < end; await new Promise((done) => setTimeout(done, 20))) if (await condition()) return;
  assert.fail(`never: ${what}`);
}

test("figures and bars move the moment they change, without a reload", async () => {
  server.budget = budget({ aiRuns: [0, 0, 30], cost: [0, 0, 3] });
  const page = await open();
  await page.live();
  await page.value(/^0 \/ 30$/);
  await page.evaluate(() => (window.stayed = true));
  const width = () => page.evaluate(() => document.querySelector("outlay-budget-card").shadowRoot.querySelector(".fill").style.width);
  assert.equal(await width(), "0px");
  server.push(budget());
  await page.value(/^1 \/ 30$/);
  assert.match(await width(), /^max\(5px, 3\.33/);
  server.push(budget({ aiRuns: [2, 0, 30] }));
  await page.value(/^2 \/ 30$/);
  assert.equal(await page.evaluate(() => window.stayed), true);
  assert.equal(server.asked.filter(({ path }) => path.endsWith("/events")).length, 1);
});

test("a server without events is asked for the budget instead, and again later", async () => {
  server.fault = { status: 404, only: "/events" };
  server.budget = budget({ aiRuns: [7, 0, 30] });
  const page = await open();
  await page.value(/^7 \/ 30$/);
  assert.deepEqual((await texts(page)).live, [], "nothing claims to be live");
  server.budget = budget({ aiRuns: [8, 0, 30] });
  await page.clock.fastForward(31_000);
  await page.value(/^8 \/ 30$/);
});

test("where streams do not get through, the budget is asked for, and the stream tried again", async () => {
  server.fault = { cut: "/events" };
  server.budget = budget({ aiRuns: [7, 0, 30] });
  const page = await open();
  await page.value(/^7 \/ 30$/);
  assert.deepEqual((await texts(page)).alert, []);
  server.fault = null;
  await until("it is live", () => page.clock.runFor(1000).then(async () => (await texts(page)).live[0] === "Live"));
});

test("a killed server is told after five seconds, and true figures come when it is back", async () => {
  let own = await eventServer();
  own.budget = budget({ aiRuns: [3, 0, 30] });
  const page = await open(`src="" data-x`, { behind: "" });
  await page.evaluate((url) => document.querySelector("outlay-budget-card").setAttribute("src", url), own.url);
  await page.addScriptTag({ url: "/card.js", type: "module" }).catch(() => {});
  await page.evaluate(() => import("/card.js"));
  await page.live();
  const { port } = own;
  await own.stop();
  await until("the stream is noticed to be gone", () => page.clock.runFor(2000).then(async () => (await texts(page)).foot[0]?.startsWith("Reconnecting, figures from ")));
  const lost = await texts(page);
  assert.deepEqual(lost.value[0], "3 / 30");
  assert.deepEqual(lost.live, []);
  assert.deepEqual(await axe(page), []);
  own = await eventServer({ port });
  own.budget = budget({ aiRuns: [5, 0, 30] });
  await until("true figures again", () => page.clock.runFor(1000).then(async () => (await texts(page)).value[0] === "5 / 30"));
  await page.live();
  await own.stop();
});

test("a resumed stream says where it was, and a hint to wait is kept to", async () => {
  const page = await open();
  await page.live();
  server.push(budget({ aiRuns: [4, 0, 30] }));
  await page.value(/^4 \/ 30$/);
  const before = server.asked.length;
  server.fault = { status: 503, after: 20 };
  server.drop();
  await until("it tries again", () => page.clock.runFor(500).then(() => server.asked.length > before));
  const tried = server.asked.length;
  assert.equal(server.asked.at(-1).lastEventId, `${server.epoch}.${server.sequence}`);
  server.fault = null;
  await page.clock.runFor(15_000);
  assert.equal(server.asked.length, tried, "nothing is asked before the server said");
  await until("it is asked after that", () => page.clock.runFor(2000).then(() => server.asked.length > tried));
  await page.live();
  await page.value(/^4 \/ 30$/);
});

test("an expired token is asked for again, once; then a person must sign in", async () => {
  let good = tokenFor("bgtfrdsZ"), handed = [];
  server.tokens = new Set([good]);
  host.handlers.set("/token", (request, response) => {
    handed.push(request.method);
    response.end(JSON.stringify({ token: handed.length < 4 ? good : "none" }));
  });
  const page = await open(`token="${tokenFor("bgtfrdsZ", 1, NOW)}" token-url="/token"`);
  await page.live();
  assert.equal(handed.length, 1, "the token in the page had expired");
  await page.evaluate(() => {
    window.wrong = [];
    document.addEventListener("outlay-error", ({ detail }) => window.wrong.push(detail.status));
  });
  server.tokens = new Set([(good = tokenFor("bgtfrdsZ"))]);
  server.drop();
  await until("the new token is used", () => page.clock.runFor(500).then(() => server.open === 1));
  assert.equal(handed.length, 2);
  server.tokens = new Set();
  server.drop();
  await until("it gives up", () => page.clock.runFor(500).then(async () => (await texts(page)).alert[0] === "Sign in again"));
  const { value } = await texts(page);
  assert.equal(value[0], "1 / 30", "the last figures stay");
  assert.deepEqual(await page.evaluate(() => window.wrong), [401]);
  const asked = server.asked.length;
  await page.clock.runFor(60_000);
  assert.equal(server.asked.length, asked, "it does not ask again by itself");
  assert.ok(server.asked.every(({ url }) => !url.includes("v4.public")), "no token is in an address");
});

test("a token is renewed before it expires", async () => {
  const handed = [];
  server.tokens = { has: (token) => handed.at(-1) === token };
  host.handlers.set("/token", (request, response) => {
    handed.push(tokenFor("bgtfrdsZ", 40_000 + 60_000 * handed.length, NOW));
    response.end(JSON.stringify({ token: handed.at(-1) }));
  });
  const page = await open(`token-url="/token"`);
  await page.live();
  await page.clock.runFor(25_000);
  assert.equal(handed.length, 1);
  await until("a second token", () => page.clock.runFor(2000).then(() => handed.length === 2));
  await until("a stream with it", () => server.open === 1 && server.asked.length >= 2);
  assert.deepEqual((await texts(page)).alert, []);
});

for (const [what, answer] of Object.entries({
  "answers 500": (response) => response.writeHead(500).end("{}"),
  "answers a page": (response) => response.end("<!doctype html>"),
  "answers without a token": (response) => response.end(JSON.stringify({ jwt: "x" })),
}))
  test(`a token route that ${what} is asked with pauses, which grow, and is told of`, async () => {
    let asked = 0;
    host.handlers.set("/token", (request, response) => (++asked, answer(response)));
    const page = await open(`token-url="/token"`, { before: `<script src="/told.js"></script>` });
    await page.getByRole("alert").getByText("Budget cannot be shown").waitFor();
    await until("three tries", () => page.clock.runFor(500).then(() => asked >= 3));
    await page.clock.runFor(10_000);
    assert.ok(asked <= 8, `${asked} requests`);
    assert.ok((await page.evaluate(() => window.told)) >= 1);
    assert.equal(server.asked.length, 0, "without a token nothing is asked of the server");
    host.handlers.set("/token", (request, response) => response.end(JSON.stringify({ token: tokenFor("bgtfrdsZ", 3_600_000, NOW) })));
    // A try that was on its way may have found it already: then the button is gone.
    await Promise.race([page.live(), page.getByRole("button", { name: "Try again" }).click().catch(() => {})]);
    await page.live();
  });

test("what cannot be had is said, and can be tried again", async () => {
  server.fault = { status: 500 };
  const page = await open();
  await page.getByRole("alert").getByText("Budget cannot be shown").waitFor();
  server.fault = null;
  await page.getByRole("button", { name: "Try again" }).click();
  await page.live();
  assert.deepEqual((await texts(page)).alert, []);
});

test("a page that is hidden holds no stream and asks nothing", async () => {
  const page = await open();
  await page.live();
  const see = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { get: () => value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await see(true);
  await until("the stream is closed", () => server.open === 0);
  const asked = server.asked.length;
  await page.clock.runFor(60_000);
  assert.equal(server.asked.length, asked);
  server.push(budget({ aiRuns: [9, 0, 30] }));
  await see(false);
  await page.value(/^9 \/ 30$/);
  assert.deepEqual((await texts(page)).alert, []);
});

test("taken out and put back, it leaks no stream", async () => {
  const page = await open();
  await page.live();
  for (let round = 0; round < 5; round += 1) {
    await page.evaluate(() => {
      window.card = document.querySelector("outlay-budget-card");
      window.card.remove();
    });
    await until("no stream is left", () => server.open === 0);
    await page.evaluate(() => document.querySelector("main").append(window.card));
    await until("one stream", () => server.open === 1);
  }
  await page.evaluate(() => {
    for (let move = 0; move < 10; move += 1) document.querySelector("main").append(window.card);
  });
  await until("one stream after ten moves", () => server.open === 1);
  await page.live();
});

test("two copies of the script do no harm", async () => {
  const page = await open("", { behind: `${SCRIPT}<script type="module" src="/copy/card.js"></script>` });
  await page.live();
  assert.equal(server.open, 1);
  assert.deepEqual(page.problems, []);
});

test("400 changes are at most three messages for a screen reader", async () => {
  server.budget = budget({ aiRuns: [0, 0, 400] });
  const page = await open();
  await page.live();
  await page.evaluate(() => {
    window.spoken = [];
    const region = document.querySelector("[aria-live=polite]");
    new MutationObserver(() => window.spoken.push(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
  });
  for (let used = 1; used <= 400; used += 1) {
    // Holds come and go, so that the state goes to and fro all the time.
    server.push(budget({ aiRuns: [used, used % 2 && used < 400 ? 330 : 0, 400] }));
    if (used % 20 === 0) await page.clock.runFor(50);
  }
  await page.value(/^400 \/ 400$/);
  await page.clock.runFor(30_000);
  const spoken = await page.evaluate(() => window.spoken);
  assert.ok(spoken.length >= 1 && spoken.length <= 3, JSON.stringify(spoken));
  assert.match(spoken.at(-1), /^AI Operations: Limit reached\. Resets /);
  assert.equal(await page.evaluate(() => document.querySelectorAll("[aria-live=polite]").length + document.querySelector("outlay-budget-card").shadowRoot.querySelectorAll("[aria-live]").length), 1, "one region on the page");
});

test("a new month begins without a reload, and is said", async () => {
  server.budget = budget({ aiRuns: [29, 1, 30] });
  const page = await open();
  await page.live();
  server.push(budget({ aiRuns: [0, 1, 30], cost: [0, 0.037, 3], month: "2025-11", resetsAt: "2099-12-01T00:00:00Z" }));
  await page.value(/^0 \/ 30$/);
  assert.deepEqual((await texts(page)).pending, ["1 in progress", "+$0.037"]);
  await page.clock.runFor(11_000);
  assert.match(await page.locator("[aria-live=polite]").textContent(), /^New month\. Resets 1 December/);
});

test("the page is told of figures, states and upgrades, and may upgrade in its own way", async () => {
  const page = await open(`upgrade-href="/plans"`);
  await page.live();
  await page.evaluate(() => {
    window.told = [];
    for (const name of ["budget", "state", "upgrade"])
      document.addEventListener(`outlay-${name}`, (event) => {
        window.told.push([name, name === "state" ? event.detail : event.detail.meters.aiRuns.used]);
        if (name === "upgrade") event.preventDefault();
      });
  });
  server.push(budget({ aiRuns: [30, 0, 30] }));
  await page.getByRole("link", { name: "Upgrade to Business" }).click();
  assert.deepEqual(await page.evaluate(() => window.told), [["budget", 30], ["state", { meter: "aiRuns", from: "ok", to: "reached" }], ["upgrade", 30]]);
  assert.equal(new URL(page.url()).pathname, "/");
});

test("while no user is named and no budget is given, nobody is asked", async () => {
  const page = await open("", { behind: "" });
  await page.evaluate(() => document.querySelector("outlay-budget-card").removeAttribute("user-id"));
  await page.evaluate(() => import("/card.js"));
  for (let turn = 0; turn < 5; turn++) await page.evaluate((url) => fetch(url), `${host.url}/card.js`);
  assert.deepEqual(server.asked, []);
  await page.evaluate(() => document.querySelector("outlay-budget-card").setAttribute("user-id", "bgtfrdsZ"));
  await page.live();
  assert.ok(server.asked.every(({ path }) => path.includes("/users/bgtfrdsZ/")), JSON.stringify(server.asked));
});

test("what the page set before the script was there counts", async () => {
  const page = await open("", { behind: `<script src="/early.js"></script>${SCRIPT}` });
  await page.getByText("Now", { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => window.asked), 1);
});

test("children show before the script is there; slots replace header, footer and the way up", async () => {
  const page = await open("", { behind: "", fallback: `<p>See your budget under Settings</p><b slot="footer">Our footer</b>` });
  assert.ok(await page.getByText("See your budget under Settings").isVisible());
  await page.evaluate(() => import("/card.js"));
  await page.live();
  assert.equal(await page.getByText("See your budget under Settings").isVisible(), false);
  assert.ok(await page.getByText("Our footer").isVisible());
  assert.deepEqual((await texts(page)).foot, []);
});

test("meters are chosen and ordered, a budget is given by hand, a theme is fixed", async () => {
  const page = await open(`meters="cost aiRuns" theme="dark" locale="de"`);
  await page.getByText("Live", { exact: true }).waitFor();
  assert.deepEqual((await texts(page)).label, ["Kostenbudget", "KI-Vorgänge"]);
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("outlay-budget-card").shadowRoot.querySelector(".card")).backgroundColor), "rgb(21, 24, 29)");
  await page.evaluate((given) => (document.querySelector("outlay-budget-card").budget = given), budget({ aiRuns: [11, 0, 30] }));
  await page.value("11 / 30");
  await until("no stream beside a given budget", () => server.open === 0);
  await page.evaluate(() => (document.querySelector("outlay-budget-card").budget = null));
  await page.value(/^1 \/ 30$/);
});

test("the forecast is shown if it is wanted", async () => {
  server.forecast = { meters: { cost: { hitsLimitOn: null }, aiRuns: { hitsLimitOn: "2025-10-24" } } };
  const page = await open("forecast");
  await page.getByText("Limit around 24 October at this pace").waitFor();
});

test("events are read in every form that the standard allows", async () => {
  const page = await open();
  await page.live();
  const [a, b] = [11, 12].map((used) => JSON.stringify(budget({ aiRuns: [used, 0, 30] })));
  server.raw(`: comment\r\nevent: other\r\ndata: {"not": "a budget"}\r\n\r\nid:x\r\nevent:budget\r\ndata:${a}\r\n\r`);
  server.raw("\n");
  await page.value("11 / 30");
  const half = b.indexOf(',"meters"') + 1;
  server.raw(`event: budget\ndata: ${b.slice(0, half)}\n`);
  server.raw(`data: ${b.slice(half, half + 40)}`);
  await new Promise((done) => setTimeout(done, 50));
  server.raw(`${b.slice(half + 40)}\n\n`);
  await page.value("12 / 30");
  assert.deepEqual(page.problems, []);
});

test("imported where there is no DOM, it does nothing", async () => {
  const { BudgetCard } = await import("../../../web/card.js");
  assert.equal(typeof BudgetCard, "function");
});
