// What a page does while it is looked at: figures move without a reload, and what the reader does is left alone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, launch, open, outlay, seed } from "./support/dashboard.mjs";

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launch(), outlay()]);
  await seed(server);
});
after(() => Promise.all([browser.close(), server.stop()]));

let number = 0;
const record = (userId, cost = 1) => ask(server, "POST", "/v1/usage", { userId, operationId: `live-${++number}`, feature: "chat", cost });

test("a recording moves the figures of an open page without a reload", async () => {
  const { page, close, errors } = await open(browser, `${server.url}/users?q=cem`);
  await page.evaluate(() => Object.assign(window, { marker: 1 }));
  await page.locator("#live:not([hidden])").waitFor();
  await record("cem", 41);
  await page.getByText("$41.15").waitFor();
  assert.equal(await page.evaluate(() => window.marker), 1);
  assert.deepEqual(errors, []);
  await close();
});

test("the quickstart becomes the overview with the first operation", async () => {
  const fresh = await outlay();
  const { page, close } = await open(browser, `${fresh.url}/`);
  await page.getByText("Waiting for the first operation").waitFor();
  await page.locator("#live:not([hidden])").waitFor();
  await ask(fresh, "POST", "/v1/usage", { userId: "a", operationId: "1", feature: "chat", cost: 0.5 });
  await page.getByText("Spend this month").waitFor();
  await close();
  await fresh.stop();
});

test("what is typed, opened, selected and scrolled to survives a hundred changes", async () => {
  const { page, close } = await open(browser, `${server.url}/?by=feature`);
  await page.locator("#live:not([hidden])").waitFor();
  await page.locator("#days-table summary").click();
  await page.locator("#search").fill("half a w");
  await page.evaluate(() => {
    scrollTo(0, 500);
    const text = document.querySelector("#live-where th[scope=row] bdi").firstChild;
    getSelection().setBaseAndExtent(text, 0, text, 4);
  });
  const [scroll, chosen] = await page.evaluate(() => [scrollY, getSelection().toString()]);
  for (let n = 0; n < 100; n++) await record("cem", 0.01);
  await page.locator("#tiles").getByText("43.").first().waitFor();
  assert.deepEqual(await page.evaluate(() => [scrollY, getSelection().toString()]), [scroll, chosen]);
  assert.equal(await page.locator("#search").inputValue(), "half a w");
  assert.ok(await page.evaluate(() => document.querySelector("#days-table").open));
  await close();
});

test("twelve tabs are all live by one stream, also after the one that listened is closed", async () => {
  const context = await browser.newContext();
  const tabs = [];
  // Of different pages: what they share is the server.
  for (let n = 0; n < 12; n++) tabs.push(await open(browser, `${server.url}${n % 2 ? "/users/dan" : "/users?q=dan"}`, { context }));
  const streams = () => tabs.reduce((sum, tab) => sum + tab.requests.filter((url) => url.includes("/v1/events")).length, 0);
  await tabs[11].page.locator("#live:not([hidden])").waitFor();
  assert.equal(streams(), 1);
  await record("dan", 7);
  for (const { page } of tabs) await page.getByText("$7.00").first().waitFor();
  await tabs[0].page.close();
  await new Promise((done) => setTimeout(done, 500));
  await record("dan", 1);
  for (const { page } of tabs.slice(1)) await page.getByText("$8.00").first().waitFor();
  await context.close();
});

test("a hidden tab asks nothing, and is true again when it is looked at", async () => {
  const { page, close, requests } = await open(browser, `${server.url}/users?q=fay`);
  await page.locator("#live:not([hidden])").waitFor();
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    Object.defineProperty(document, "visibilityState", { configurable: true, get: () => (hidden ? "hidden" : "visible") });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  const before = requests.length;
  for (let n = 0; n < 10; n++) await record("fay", 1);
  // Longer than the pause between two drawings.
  await new Promise((done) => setTimeout(done, 1000));
  assert.deepEqual(requests.slice(before), []);
  await hide(false);
  await page.getByText("$10.00").first().waitFor();
  await close();
});

test("while the server is away the page says of when its figures are, and is true when it is back", async () => {
  const own = await outlay();
  await ask(own, "POST", "/v1/usage", { userId: "gil", operationId: "1", feature: "chat", cost: 1 });
  const { page, close } = await open(browser, `${own.url}/users?q=gil`);
  await page.locator("#live:not([hidden])").waitFor();
  await own.kill();
  await page.getByText(/Reconnecting, figures from \d\d:\d\d/).first().waitFor();
  await own.again();
  await ask(own, "POST", "/v1/usage", { userId: "gil", operationId: "2", feature: "chat", cost: 2 });
  await page.getByText("$3.00").first().waitFor();
  await page.locator("#live:not(.lost)").waitFor();
  await close();
  await own.stop();
});
