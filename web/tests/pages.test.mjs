// The dashboard in a real browser: every view in both themes and 320 px wide, without a script, by keyboard, and its weight.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { HOSTILE, MAIL, ask, axe, hooks, launch, open, outlay, seed, until } from "./support/dashboard.mjs";

const PICTURES = fileURLToPath(new URL("./pictures/", import.meta.url));
const KEY = "the-admin-key-of-a-test-0123456789abcdef";
let browser, receiver, server, views;
before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  receiver = await hooks();
  [browser, server] = await Promise.all([launch(), outlay({ variables: { ...receiver.variables, ...MAIL } })]);
  views = await seed(server, receiver);
});
after(() => Promise.all([browser.close(), server.stop(), receiver.stop()]));

for (const [name, options] of Object.entries({ light: { scheme: "light" }, dark: { scheme: "dark" }, narrow: { width: 320 } }))
  test(`every view is sound: ${name}`, async () => {
    for (const [view, path] of Object.entries(views)) {
      const whole = await open(browser, server.url + path, options);
      assert.equal(whole.status, view.startsWith("missing") ? 404 : 200, path);
      await whole.page.screenshot({ path: `${PICTURES}${view}-${name}.png`, fullPage: true });
      const sideways = await whole.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(sideways <= 0, `${view} scrolls sideways by ${sideways}`);
      assert.deepEqual(whole.errors.filter((text) => !/404/.test(text)), [], view);
      assert.ok(whole.requests.every((url) => url.startsWith(server.url) || url.startsWith("data:")), `${view} asks elsewhere: ${whole.requests}`);
      await whole.close();
      // axe itself is a script that the pages' policy would not let in.
      const looked = await open(browser, server.url + path, { ...options, bypassCSP: true });
      assert.deepEqual(await axe(looked.page), [], view);
      // What is folded away is looked at too.
      if (await looked.page.evaluate(() => [...document.querySelectorAll("details:not([open])")].map((folded) => (folded.open = true)).length)) {
        assert.deepEqual(await axe(looked.page), [], `${view}, unfolded`);
        const wide = await looked.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${view}, unfolded, scrolls sideways by ${wide}`);
      }
      await looked.close();
    }
  });

test("before anything is recorded each view says so, also 320 px wide", async () => {
  const fresh = await outlay();
  for (const [path, text] of [["/", /Waiting for the first operation/], ["/?in=typescript", /npm install @outlay\/client/], ["/?in=python", /urllib/], ["/users", /No user yet/], ["/sessions", /No session yet/], ["/alerts", /No alert yet/], ["/denials", /No denial yet/], ["/users/nobody", /Not seen yet[^]*Nothing was recorded in these months/]]) {
    const { page, close } = await open(browser, fresh.url + path, { width: 320 });
    assert.match(await page.locator("main").innerText(), text, path);
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(sideways <= 0, `${path} scrolls sideways by ${sideways}`);
    await page.screenshot({ path: `${PICTURES}empty${path.replace(/\W+/g, "-")}-narrow.png`, fullPage: true });
    await close();
  }
  await fresh.stop();
});

test("lists are narrowed to what a figure sums", async () => {
  const { page, close } = await open(browser, `${server.url}/users/bob`);
  await page.locator("#live-where").getByRole("link", { name: "chat" }).click();
  await page.waitForURL(/feature=chat/);
  assert.equal(await page.locator("#live-operations tbody tr").count(), 12);
  assert.ok(!/business_card_scan/.test(await page.locator("#live-operations").innerText()));
  assert.match(await page.locator("#operations header a[href*=csv]").getAttribute("href"), /feature=chat/);
  const metadata = page.locator("#live-operations details").first();
  assert.ok(!(await metadata.locator("pre").isVisible()));
  await metadata.locator("summary").click();
  assert.match(await metadata.locator("pre").innerText(), /"note"/);
  await page.goto(`${server.url}/alerts?state=critical`);
  const thresholds = await page.locator("#list tbody td:nth-child(3) .badge").allInnerTexts();
  assert.ok(thresholds.length > 0 && thresholds.every((text) => text === "95%"), String(thresholds));
  const csv = await (await fetch(`${server.url}/alerts.csv?state=critical`)).text();
  assert.ok(csv.trim().split("\r\n").slice(1).every((line) => line.includes(",95,")), csv);
  assert.equal((await fetch(`${server.url}/alerts?state=ok`)).status, 400);
  await page.goto(`${server.url}/alerts?state=reached&meter=cost`);
  await page.getByRole("link", { name: "Show all" }).click();
  assert.ok((await page.locator("#list tbody tr").count()) > thresholds.length);
  await close();
});

test("the head of the list of users stays in sight, and does not hide what has the focus", async () => {
  const { page, close } = await open(browser, `${server.url}/users`);
  await page.setViewportSize({ width: 1280, height: 200 });
  await page.locator("tbody tr").last().getByRole("link").focus();
  await page.evaluate(() => scrollTo(0, document.querySelector("#list").getBoundingClientRect().top + scrollY + 60));
  const top = await page.locator("thead th").first().evaluate((head) => head.getBoundingClientRect().top);
  assert.ok(Math.abs(top) < 1, `the head is at ${top}`);
  await page.locator("tbody tr").first().getByRole("link").focus();
  const hidden = await page.evaluate(() => document.activeElement.getBoundingClientRect().top - document.querySelector("thead th").getBoundingClientRect().bottom);
  assert.ok(hidden >= 0, `the focus is ${-hidden} below the head`);
  assert.ok(await page.evaluate(() => document.querySelector("#list table").getBoundingClientRect().right <= document.querySelector("#list").getBoundingClientRect().right));
  await close();
});

test("a hold counts down, and its end stands there without a script", async () => {
  const { page, close } = await open(browser, `${server.url}/sessions`);
  await page.locator("#live-open time", { hasText: /^in \d+ min \d+ s$/ }).first().waitFor();
  await close();
  const plain = await open(browser, `${server.url}/sessions`, { script: false });
  assert.match(await plain.page.locator("#live-open time[data-until]").first().innerText(), /^until \d\d:\d\d:\d\d$/);
  await plain.close();
});

test("keys lead to the search and to the help, unless they are turned off", async () => {
  const { page, close, context } = await open(browser, `${server.url}/users/bob`);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.reload();
  await page.getByRole("button", { name: "Copy the id" }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "bob");
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "search");
  await page.keyboard.type("scan-1");
  await page.keyboard.press("Enter");
  await page.waitForURL(/users\/bob\/sessions\/scan-1$/);
  await page.keyboard.press("?");
  await page.waitForURL(/help$/);
  await page.getByRole("button", { name: "Turn single keys off" }).click();
  await page.getByText("They are off in this browser").waitFor();
  await page.keyboard.press("/");
  assert.notEqual(await page.evaluate(() => document.activeElement?.id), "search");
  await page.getByRole("button", { name: "Turn single keys on" }).click();
  await page.getByRole("button", { name: "Turn single keys off" }).waitFor();
  await page.keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "search");
  await close();
});

test("a session shows its steps in order, what came late, and how long each took", async () => {
  const user = "/v1/users/ann";
  await ask(server, "POST", "/v1/usage", { userId: "ann", operationId: "late-1", sessionId: "scan-1", stepLabel: "afterthought", feature: "chat", cost: 0, durationMs: 40 });
  const { page, close } = await open(browser, `${server.url}/users/ann/sessions/scan-1`);
  const steps = await page.locator("ol.flow > li").allInnerTexts();
  assert.deepEqual(steps.map((text) => /\blate\b/.test(text)), [false, false, false, true], user);
  assert.ok(steps.slice(1).every((text) => /\d ms later|\d s later|min/.test(text)) && !/later/.test(steps[0]), steps.join("\n"));
  assert.equal(await page.locator("ul.waterfall rect").count(), 4);
  const { sessionId } = await ask(server, "POST", `${user}/sessions`, { feature: "chat", choices: [{ name: "full", estimate: { cost: 100 } }, { name: "small", estimate: { cost: 0.01 } }] });
  await page.goto(`${server.url}/users/ann/sessions/${sessionId}`);
  assert.match(await page.locator("#about").innerText(), /small\s+fallback/);
  await page.goto(`${server.url}/settings`);
  assert.match(await page.locator("#live-system").innerText(), /Free disk space\s+\d+\.\d .B/);
  await close();
});

test("without a script every view, sort, filter and step works", async () => {
  const { page, close } = await open(browser, `${server.url}/`, { script: false });
  await page.getByRole("link", { name: /All 5 active users/ }).click();
  assert.equal(await page.locator("tbody tr").count(), 5);
  await page.getByRole("link", { name: "AI runs" }).click();
  assert.match(await page.locator("tbody tr").first().innerText(), /30 \/ 30/);
  assert.equal(await page.locator("th[aria-sort]").getAttribute("aria-sort"), "descending");
  await page.getByLabel("Begins with").fill("b");
  await page.getByRole("button", { name: "Filter" }).click();
  assert.equal(await page.locator("tbody tr").count(), 1);
  await page.getByRole("link", { name: "bob" }).click();
  assert.match(await page.locator("outlay-budget-card").innerText(), /24 \/ 30/);
  await page.getByRole("link", { name: "The month before" }).click();
  assert.match(await page.locator("#live-operations").innerText(), /No operation in this month/);
  await page.getByRole("button", { name: "Colours: Dark" }).click();
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  assert.match(page.url(), /users\/bob\?month=/);
  await close();
});

test("by keyboard alone a user is found and changed", async () => {
  const { page, close } = await open(browser, `${server.url}/sessions`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to the content");
  await page.keyboard.press("/");
  await page.keyboard.type("ann");
  await page.keyboard.press("Enter");
  await page.waitForURL(/users\/ann$/);
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.textContent === "Plan and limits")) break;
  }
  await page.keyboard.press("Enter");
  await page.waitForURL(/settings$/);
  await page.getByLabel("AI runs").focus();
  await page.keyboard.type("3");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Save" }).waitFor();
  assert.match(await page.locator("form.stacked").innerText(), /raises an alert: AI runs at 80%, AI runs at 95%, AI runs at 100%/);
  await page.getByRole("button", { name: "Save" }).press("Enter");
  await page.waitForURL(/users\/ann$/);
  assert.equal((await ask(server, "GET", "/v1/users/ann/budget")).meters.aiRuns.limit, 3);
  await close();
});

test("without a script a webhook is made, tested and taken away, and every list of it is there as CSV and JSON", async () => {
  const { page, close } = await open(browser, `${server.url}/settings`, { script: false, width: 320 });
  await page.getByText("Make a webhook").click();
  await page.getByLabel("Address").fill("http://10.0.0.1/hooks/200");
  await page.getByRole("button", { name: "Make it" }).first().click();
  assert.match(await page.getByRole("alert").innerText(), /address/);
  assert.equal(await page.getByLabel("Address").inputValue(), "http://10.0.0.1/hooks/200");
  await page.getByLabel("Address").fill(`${receiver.url}/hooks/of-a-test/200`);
  await page.locator("#told").getByLabel("For").fill(HOSTILE);
  await page.getByLabel("changed limits").check();
  await page.getByRole("button", { name: "Make it" }).first().click();
  assert.match(await page.locator("#told").innerText(), /shown this once:\s+whsec_/);
  await page.screenshot({ path: `${PICTURES}made-webhook-narrow.png`, fullPage: true });
  // Two have these words, so their addresses tell them apart.
  await page.getByRole("link", { name: /of-a-test|…\/200/ }).last().click();
  const address = new URL(page.url()).pathname;
  assert.match(address, /\/settings\/webhooks\/webhook_/);
  await page.getByRole("button", { name: "Send a test" }).click();
  // A page that is still on its way to another cannot be loaded again.
  await page.locator("#list tbody tr").first().waitFor();
  await page.waitForLoadState();
  await until("the test arrives", async () => {
    await page.reload();
    return /Delivered \d\d:\d\d:\d\d/.test(await page.locator("#list").innerText());
  });
  const csv = await (await fetch(server.url + address + "/deliveries.csv")).text();
  assert.match(csv, /^deliveryId,event,eventId,userId,createdAt,state,[^]*\r\n\S+,webhook.test,\S+delivered,/);
  const twin = await page.getByRole("link", { name: "JSON" }).last().evaluate((link) => link.href);
  assert.equal((await (await fetch(twin)).json()).items[0].event, "webhook.test");
  await page.getByRole("link", { name: "Failed" }).click();
  assert.match(await page.locator("#list").innerText(), /No delivery matches/);
  await page.getByRole("button", { name: "Replace its secret" }).click();
  assert.match(await page.locator("#told").innerText(), /whsec_[^]*two signatures/);
  await page.goto(server.url + address);
  await page.getByRole("button", { name: "Take it away" }).click();
  await page.waitForURL(/settings$/);
  assert.equal((await fetch(server.url + address)).status, 404);
  await page.goto(`${server.url}/audit`);
  const whats = await page.locator("#list tbody th").allInnerTexts();
  assert.deepEqual(whats.slice(0, 4), ["Webhook removed", "Webhook changed", "Test sent", "Webhook added"]);
  await close();
});

test("by keyboard alone an alert is told again, and the list stays as it was asked for", async () => {
  const asked = `/alerts?user=${"w".repeat(128)}&state=reached`, { page, close } = await open(browser, server.url + asked);
  const delivery = page.locator("#list tbody tr").first().locator("td").nth(-2);
  assert.match(await delivery.innerText(), /Mail to the operator: Failed: no connection[^]*The web shop: Delivered[^]*Failed: 500/);
  const took = () => receiver.seen.filter(({ url }) => url.endsWith("/200")).length, before = took();
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.textContent === "Send again")) break;
  }
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
  assert.equal(page.url(), server.url + asked);
  await until("it is told again", () => took() > before);
  const [{ action, subject, userId, after }] = (await ask(server, "GET", "/v1/audit?limit=1")).items;
  assert.deepEqual([action, userId, after], ["alert.redelivered", "w".repeat(128), { deliveries: 3 }]);
  assert.match(subject, /^alert_/);
  await delivery.getByRole("link", { name: "The web shop" }).click();
  assert.equal(new URL(page.url()).pathname, views.webhook);
  await close();
});

test("the audit log says what is another than before, and who did it is a link to all that they did", async () => {
  const { page, close } = await open(browser, `${server.url}/audit?user=ann`);
  const said = await page.locator("#list tbody tr").evaluateAll((rows) => rows.map((row) => row.cells[4].innerText.replace(/\s+/g, " ").trim()));
  for (const text of [
    "Plan pro → to premium Cost limit $0.50 → to as the plan AI runs limit unlimited → to as the plan E-mail address one → to another",
    "Plan premium → to pro Cost limit as the plan → to $0.50 AI runs limit as the plan → to unlimited E-mail address none → to known",
  ])
    assert.ok(said.includes(text), said.join("\n"));
  assert.ok(!(await page.locator("main").innerText()).includes("{"));
  await page.locator("#list").getByRole("link", { name: "open" }).first().click();
  assert.match(page.url(), /audit\?who=open$/);
  assert.ok((await page.locator("#list tbody tr").count()) > 10);
  const json = await page.getByRole("link", { name: "JSON" }).evaluate((link) => link.href);
  assert.deepEqual(Object.keys((await (await fetch(json)).json()).items.find(({ action }) => action === "plan.set").after), ["tier", "limits"]);
  await close();
});

test("what only an admin may see or do is not drawn for a viewer", async () => {
  const keyed = await outlay({ key: KEY, variables: receiver.variables });
  await ask(keyed, "POST", "/v1/webhooks", { url: `${receiver.url}/hooks/secret/200` });
  await ask(keyed, "PUT", "/v1/users/ann", { plan: "premium", limits: { cost: null, aiRuns: 1, apiRuns: null } });
  await ask(keyed, "POST", "/v1/usage", { userId: "ann", operationId: "o", feature: "chat", cost: 0, isBillableRun: true });
  const { key } = await ask(keyed, "POST", "/v1/keys", { role: "viewer" });
  const { page, close } = await open(browser, `${keyed.url}/alerts`);
  await page.getByLabel("Key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("#list").getByText(/Webhook …\w{4}: /).first().waitFor();
  for (const path of ["/alerts", "/settings", "/users/ann"]) {
    await page.goto(keyed.url + path);
    const text = await page.locator("body").innerText();
    assert.ok(!/hooks|secret|Send again|Who is told|Audit log|Erase|Plan and limits/.test(text), `${path}: ${text}`);
    assert.equal(await page.getByRole("link", { name: "Tokens" }).count(), 0, path);
  }
  for (const path of ["/audit", "/users/ann/erase", "/users/ann/token"]) assert.equal((await page.goto(keyed.url + path)).status(), 403, path);
  await close();
  await keyed.stop();
});

test("all tokens of a user are ended by a button", async () => {
  const keyed = await outlay({ key: KEY });
  const { token } = await ask(keyed, "POST", "/v1/users/cem/tokens", {});
  const reads = () => fetch(`${keyed.url}/v1/users/cem/budget`, { headers: { Authorization: `Bearer ${token}` } }).then(({ status }) => status);
  assert.equal(await reads(), 200);
  const { page, close } = await open(browser, `${keyed.url}/users/cem`);
  await page.getByLabel("Key").fill(KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("link", { name: "Tokens" }).click();
  await page.getByRole("button", { name: "End them" }).click();
  assert.match(await page.getByText(/^All tokens/).innerText(), /are ended/);
  assert.equal(await reads(), 401);
  await close();
  await keyed.stop();
});

test("a person is exported and erased, once their id is typed", async () => {
  await ask(server, "PUT", "/v1/users/gone%2Ftoo", { plan: "pro" });
  const { page, close } = await open(browser, `${server.url}/users/gone%2Ftoo`);
  await page.getByRole("link", { name: "Erase" }).click();
  const exported = await page.getByRole("link", { name: "Export everything first" }).evaluate((link) => link.href);
  assert.equal(JSON.parse((await (await fetch(exported)).text()).split("\n")[0]).userId, "gone/too");
  await page.getByLabel("Type the id").fill("gone");
  await page.getByRole("button", { name: "Erase" }).click();
  assert.match(await page.getByRole("alert").innerText(), /Nothing was erased/);
  await page.getByLabel("Type the id").fill("gone/too");
  await page.getByRole("button", { name: "Erase" }).click();
  await page.waitForURL(/users$/);
  assert.equal((await ask(server, "GET", "/v1/users/gone%2Ftoo")).known, false);
  await page.goto(`${server.url}/audit?action=user.erased`);
  await page.getByRole("link", { name: /erased user \d/ }).first().click();
  assert.deepEqual(await page.locator("#list tbody th").allInnerTexts(), ["User erased", "User exported", "User set"]);
  await close();
});

test("a token that was made is seen whole, and copied by a button", async () => {
  const { page, close, context } = await open(browser, `${server.url}/users/bob/token`, { width: 320 });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Make a token" }).click();
  const [token, address] = await page.locator("pre").allInnerTexts();
  assert.match(token, /^v4\.public\./);
  assert.equal(address, `${server.url}/my#t=${token}`);
  assert.ok((await page.locator("pre").evaluateAll((all) => all.map((pre) => pre.scrollWidth - pre.clientWidth))).every((hidden) => hidden <= 0));
  await page.getByRole("button", { name: "Copy it" }).first().click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), token);
  await close();
});

test("signing in keeps no key in the browser", async () => {
  const keyed = await outlay({ key: KEY });
  const { page, close, context } = await open(browser, `${keyed.url}/users?sort=userId`);
  await page.getByLabel("Key").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  assert.match(await page.getByRole("alert").innerText(), /not known/);
  await page.getByLabel("Key").fill(KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/users\?sort=userId$/);
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
  assert.ok(!kept.includes(KEY), kept);
  const [cookie] = await context.cookies();
  assert.ok(cookie.httpOnly && cookie.sameSite === "Strict" && !cookie.value.includes(KEY), JSON.stringify(cookie));
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Key").waitFor();
  await close();
  await keyed.stop();
});

test("a user's own page takes the token out of its address, and asks with it for what it reads", async () => {
  const { token } = await ask(server, "POST", "/v1/users/bob/tokens", { reads: ["sessions", "usage"] });
  const { page, close, requests } = await open(browser, `${server.url}/my#t=${token}`);
  await page.locator("#my-months tbody tr").first().waitFor();
  assert.equal(await page.locator("#my-months tbody tr").count(), 6);
  assert.match(await page.locator("#my-features").innerText(), /chat/);
  assert.match(await page.locator("#my-sessions").innerText(), /In progress/);
  await page.locator("outlay-budget-card").getByText("24 / 30").waitFor();
  assert.ok(!page.url().includes(token) && requests.every((url) => !url.includes(token) || url.includes("#t=")), requests.join("\n"));
  await close();
});

test("pages and files keep to their weight", async () => {
  const weigh = async (path) => gzipSync(Buffer.from(await (await fetch(server.url + path)).arrayBuffer())).length;
  const html = await (await fetch(`${server.url}/`)).text();
  const assets = [...html.matchAll(/assets\/[^"]+/g)].map(([path]) => `/${path}`);
  assert.ok((await weigh("/")) <= 12 * 1024, `the overview weighs ${await weigh("/")}`);
  const [style, script, live] = [".css", "page.js", "live.js"].map((name) => assets.find((path) => path.includes(name)));
  assert.ok((await weigh(style)) <= 10 * 1024, `the style weighs ${await weigh(style)}`);
  assert.ok((await weigh(live)) <= 3 * 1024, `live.js weighs ${await weigh(live)}`);
  assert.ok((await weigh(live)) + (await weigh(script)) + (await weigh("/assets/my.js")) <= 12 * 1024);
  const { requests, close } = await open(browser, `${server.url}/`);
  assert.ok(requests.filter((url) => !url.includes("/v1/events") && !url.startsWith("data:")).length <= 4, requests.join("\n"));
  await close();
});
