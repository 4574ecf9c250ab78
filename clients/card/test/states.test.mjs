// Every state of the card, in both themes, 320 px wide, on a page of another origin that forbids every style of its own.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { axe, contrasts, flaws, texts } from "./support/look.mjs";
import { launch, pageServer } from "./support/pages.mjs";
import { budget, eventServer } from "./support/server.mjs";

const PICTURES = fileURLToPath(new URL("../pictures/", import.meta.url));
const NOW = new Date("2025-10-13T14:03:00Z");
const STATES = {
  ok: budget(),
  held: budget({ aiRuns: [12, 2, 30], apiRuns: [34, 3, 100], cost: [1.2345, 0.037, 3] }),
  warning: budget({ aiRuns: [24, 0, 30], cost: [2.41, 0, 3] }),
  critical: budget({ aiRuns: [29, 0, 30], apiRuns: [95, 0, 100], cost: [1, 0, 3] }),
  reached: budget({ aiRuns: [31, 0, 30], apiRuns: [40, 0, 100], cost: [2.1, 0, 3] }),
  none: budget({ plan: "base", nextPlan: "pro", aiRuns: [0, 0, 0], apiRuns: [0, 0, 0], cost: [0, 0, 0] }),
  some: budget({ plan: "pro", nextPlan: "premium", aiRuns: [0, 0, 0], apiRuns: [12, 0, 50], cost: [0.5, 0, 1.5] }),
  unlimited: budget({ plan: "enterprise", nextPlan: null, aiRuns: [12, 1, null], apiRuns: [1234, 0, null], cost: [12.3456, 0, null] }),
};

let browser, host, server;
before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  [browser, host, server] = await Promise.all([launch(), pageServer(), eventServer()]);
  host.pages.set("/", `<body><main><h1>Host</h1><outlay-budget-card upgrade-href="/plans"></outlay-budget-card></main><script type="module" src="/card.js"></script>`);
});
after(() => Promise.all([browser.close(), host.stop(), server.stop()]));

async function open({ scheme = "light", width = 320, attributes = {}, given, dir, lang, strings, forced } = {}) {
  const context = await browser.newContext({ viewport: { width, height: 700 }, colorScheme: scheme, forcedColors: forced ? "active" : "none", reducedMotion: "reduce", deviceScaleFactor: 2, timezoneId: "UTC" });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => /Content Security|Trusted/.test(message.text()) && errors.push(message.text()));
  await page.clock.install({ time: NOW });
  await page.goto(`${host.url}/`);
  await page.evaluate(([attributes, given, dir, lang, strings]) => {
    Object.assign(document.documentElement, { ...(dir && { dir }), ...(lang && { lang }) });
    const card = document.querySelector("outlay-budget-card");
    if (strings) card.strings = strings;
    if (given) card.budget = given;
    for (const [name, value] of Object.entries(attributes)) card.setAttribute(name, value);
  }, [attributes, given, dir, lang, strings]);
  return { page, errors, close: () => context.close() };
}

/** Nothing overlaps, nothing is cut off, bars are seen, axe finds nothing; a picture is kept to look at. */
async function inspect({ page, errors }, name) {
  await page.clock.runFor(1000);
  await page.locator("outlay-budget-card").screenshot({ path: `${PICTURES}${name}.png` });
  assert.deepEqual(await flaws(page), [], name);
  assert.deepEqual(await axe(page), [], name);
  for (const [ratio, part] of await contrasts(page)) assert.ok(ratio >= 3, `${name}: ${part} has a contrast of ${ratio}`);
  assert.deepEqual(errors, [], name);
}

for (const scheme of ["light", "dark"])
  for (const [state, given] of Object.entries(STATES))
    test(`the state ${state} is whole in ${scheme}, 320 px wide`, async () => {
      const opened = await open({ scheme, given });
      await inspect(opened, `${state}-${scheme}`);
      await opened.close();
    });

for (const scheme of ["light", "dark"])
  test(`loading, live, lost and errors are whole in ${scheme}`, async () => {
    Object.assign(server, { fault: { hang: true }, budget: STATES.held });
    const attributes = { src: server.url, "user-id": "bgtfrdsZ" };
    const opened = await open({ scheme, attributes }), { page } = opened;
    await inspect(opened, `loading-${scheme}`);
    assert.equal(await page.locator("outlay-budget-card .card").getAttribute("aria-busy"), "true");
    const height = (await page.locator("outlay-budget-card").boundingBox()).height;

    server.fault = null;
    await page.evaluate(() => document.querySelector("outlay-budget-card").refresh());
    await page.getByText("Live", { exact: true }).waitFor();
    assert.ok(Math.abs((await page.locator("outlay-budget-card").boundingBox()).height - height) <= 2, "the skeleton has the final height");
    await inspect(opened, `live-${scheme}`);

    server.fault = { status: 503 };
    server.drop();
    await page.waitForTimeout(300);
    await page.clock.runFor(6000);
    await page.locator("outlay-budget-card .foot", { hasText: "Reconnecting, figures from 14:03" }).waitFor();
    await inspect(opened, `lost-${scheme}`);

    server.fault = { status: 401 };
    await page.evaluate(() => document.querySelector("outlay-budget-card").refresh());
    await page.getByText("Sign in again").waitFor();
    await inspect(opened, `sign-in-${scheme}`);
    await opened.close();

    server.fault = { status: 500 };
    const broken = await open({ scheme, attributes });
    await broken.page.getByText("Budget cannot be shown").waitFor();
    await inspect(broken, `error-${scheme}`);
    await broken.close();
    server.fault = null;
  });

test("each state says in words what its colour says", async () => {
  const said = {};
  for (const [state, given] of Object.entries(STATES)) {
    const { page, close } = await open({ given });
    said[state] = await texts(page);
    await close();
  }
  assert.deepEqual(said.ok.label, ["AI Operations", "API Operations", "Cost Budget"]);
  assert.deepEqual(said.ok.value, ["1 / 30", "0 / 100", "$0.00 / $3.00"]);
  assert.deepEqual(said.ok.foot, ["Resets 1 November, in 19 days"]);
  assert.deepEqual(said.ok.action, []);
  assert.deepEqual(said.held.pending, ["2 in progress", "3 in progress", "+$0.037"]);
  const little = await open({ given: budget({ cost: [1, 0.00015, 3] }) });
  assert.deepEqual((await texts(little.page)).pending, ["+$0.00015"], "less than a cent is not nothing");
  await little.close();
  assert.deepEqual(said.warning.message, ["6 AI operations left", "$0.59 left"]);
  assert.deepEqual(said.critical.message, ["Only 1 AI operation left", "Only 5 API operations left"]);
  assert.deepEqual(said.critical.action, ["Upgrade to Business"]);
  assert.deepEqual(said.reached.value, ["31 / 30", "40 / 100", "$2.10 / $3.00"]);
  assert.deepEqual(said.reached.message, ["Limit reached. Resets 1 November"]);
  assert.deepEqual(said.none.value, ["Not in your plan", "Not in your plan", "Not in your plan"]);
  assert.deepEqual(said.none.message, []);
  assert.deepEqual(said.none.action, ["Upgrade to Pro"]);
  assert.deepEqual(said.unlimited.value, ["12 · Unlimited", "1,234 · Unlimited", "$12.35 · Unlimited"]);
  assert.deepEqual(said.unlimited.action, []);
});

test("bars are meters, with the exact figure in words, and only where there is a limit", async () => {
  const { page, close } = await open({ given: budget({ aiRuns: [31, 0, 30], apiRuns: [4, 1, 100] }) });
  const meters = await page.getByRole("meter").evaluateAll((all) => all.map((one) => [one.ariaValueNow, one.ariaValueMax, one.ariaValueText, one.querySelector(".fill").getBoundingClientRect().width]));
  assert.deepEqual(meters.map(([now, max, text]) => [now, max, text]), [
    ["30", "30", "31 of 30 used, 0 left"],
    ["4", "100", "4 of 100 used, 95 left, 1 in progress"],
    ["0.00160785", "3", "$0.00160785 of $3.00 used, $2.99839215 left"],
  ]);
  assert.ok(meters[2][3] >= 5, "less than a cent is seen");
  await page.getByRole("meter", { name: "AI Operations", exact: true }).waitFor();
  assert.equal(await page.locator("outlay-budget-card .value").nth(2).getAttribute("title"), "$0.00160785");
  await close();
  const unlimited = await open({ given: STATES.unlimited });
  assert.equal(await unlimited.page.getByRole("meter").count(), 0);
  await unlimited.close();
});

for (const [name, options] of Object.entries({
  "German": { lang: "de" },
  "right to left": { dir: "rtl", width: 240 },
  "200 px": { width: 216 },
  "a pseudo-locale": { strings: Object.fromEntries(Object.entries({ plan: 1, held: 1, left: 1, few: 1, reached: 1, resets: 2, upgrade: 1, none: 0 }).map(([key, given]) => [key, `[${["{0} ", "{1} "].slice(0, given).join("")}${"ẅöṙḋš ".repeat(7).trim()}]`])) },
  "the compact variant": { attributes: { variant: "compact" } },
  "the inline variant": { attributes: { variant: "inline" }, width: 600 },
  "what remains": { attributes: { show: "remaining" } },
  "forced colours": { forced: true },
}))
  test(`every state is whole in ${name}`, async () => {
    for (const [state, given] of Object.entries(STATES)) {
      const opened = await open({ given, ...options }), label = `${state} in ${name}`;
      await opened.page.clock.runFor(500);
      await opened.page.locator("outlay-budget-card").screenshot({ path: `${PICTURES}${label.replaceAll(" ", "-")}.png` });
      assert.deepEqual(await flaws(opened.page), [], label);
      if (state === "reached" && name === "right to left") {
        const lines = await opened.page.evaluate(() => {
          const text = document.querySelector("outlay-budget-card").shadowRoot.querySelector(".message .text"), range = document.createRange();
          range.selectNodeContents(text);
          return [...range.getClientRects()].map(({ right }) => Math.round(right)).concat(Math.round(text.getBoundingClientRect().right));
        });
        assert.ok(lines.length > 2 && new Set(lines).size === 1, `each line of a message begins at the right: ${lines}`);
      }
      if (state === "ok" && name === "right to left") {
        const [track, tick, value] = await opened.page.evaluate(() => [".track", ".tick", ".value"].map((part) => {
          const { left, right, width } = document.querySelector("outlay-budget-card").shadowRoot.querySelector(part).getBoundingClientRect();
          return { left, right, width };
        }));
        assert.ok(Math.abs(track.right - tick.right - 0.8 * track.width) < 2, "the tick stands at 80 percent from the right");
        assert.equal(Math.round(value.left), Math.round(track.left), "the figure ends where the bar does, at the left");
      }
      if (state === "held" && name === "a pseudo-locale") {
        const heights = await opened.page.evaluate(() => [...document.querySelector("outlay-budget-card").shadowRoot.querySelectorAll(".value")].map((value) => value.getBoundingClientRect().height));
        assert.ok(heights.every((height) => height < 24), `no figure is broken in two: ${heights}`);
      }
      if (state === "ok" && name === "right to left") {
        const [label, fill] = await opened.page.evaluate(() => [".label", ".fill"].map((part) => document.querySelector("outlay-budget-card").shadowRoot.querySelector(part).getBoundingClientRect().right));
        assert.equal(Math.round(label), Math.round(fill), "a bar begins where its label does, at the right");
      }
      if (state === "critical" && name === "German") {
        const { label: labels, message, value, action, foot } = await texts(opened.page);
        assert.deepEqual(labels, ["KI-Vorgänge", "API-Vorgänge", "Kostenbudget"]);
        assert.deepEqual(message, ["Nur noch 1 KI-Vorgang", "Nur noch 5 API-Vorgänge"]);
        assert.equal(value[2].replace(/\s/g, " "), "1,00 $ / 3,00 $");
        assert.deepEqual([action, foot], [["Zu Business wechseln"], ["Neu ab 1. November, in 19 Tagen"]]);
      }
      if (state === "held" && name === "what remains") assert.deepEqual((await texts(opened.page)).value, ["16 of 30 left", "63 of 100 left", "$1.73 of $3.00 left"]);
      await opened.close();
    }
  });
