// The page of the API in a real browser: sound in both themes and when narrow, and its examples can be tried.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ask, axe, launch, open, outlay } from "./support/dashboard.mjs";

const PICTURES = fileURLToPath(new URL("./pictures/", import.meta.url));
let browser, server;
before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  [browser, server] = await Promise.all([launch(), outlay()]);
  await ask(server, "POST", "/v1/usage", { userId: "bgtfrdsZ", feature: "scan", cost: "0.00010785", isBillableRun: true });
});
after(() => Promise.all([browser.close(), server.stop()]));

for (const [name, options] of Object.entries({ light: { scheme: "light" }, dark: { scheme: "dark" }, narrow: { width: 320 } }))
  test(`the page of the API is sound: ${name}`, async () => {
    const { page, errors, requests, close } = await open(browser, `${server.url}/docs`, options);
    await page.screenshot({ path: `${PICTURES}docs-${name}.png`, clip: { x: 0, y: 0, width: options.width ?? 1280, height: 2600 }, fullPage: true });
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(sideways <= 0, `it scrolls sideways by ${sideways}`);
    assert.deepEqual(errors, []);
    assert.ok(requests.every((url) => url.startsWith(server.url)), requests.join("\n"));
    await close();
    const looked = await open(browser, `${server.url}/docs`, { ...options, bypassCSP: true });
    assert.deepEqual(await axe(looked.page), []);
    await looked.close();
  });

test("an example is tried where it stands, and its figures stay exact", async () => {
  const { page, close, errors } = await open(browser, `${server.url}/docs#getBudget`);
  const section = page.locator("#getBudget");
  await section.getByRole("button", { name: "Try it" }).click();
  const answer = section.locator("output pre");
  await answer.waitFor();
  const text = await answer.innerText();
  assert.match(text, /^200 OK\n\{\n {2}"userId": "bgtfrdsZ",\n/);
  assert.match(text, /\n {6}"used": 0\.00010785,\n/);
  await section.getByLabel("Path").fill("v1/users/bgtfrdsZ/budget?month=never");
  await section.getByLabel("Path").press("Enter");
  await page.waitForFunction(() => document.querySelector("#getBudget output pre").textContent.startsWith("400"));
  await section.getByLabel("Path").fill("//example.com/v1");
  await section.getByLabel("Path").press("Enter");
  await page.waitForFunction(() => /^404/.test(document.querySelector("#getBudget output pre").textContent));
  await section.getByLabel("Path").fill("https://example.com/");
  await section.getByLabel("Path").press("Enter");
  await page.waitForFunction(() => document.querySelector("#getBudget output pre").textContent.startsWith("Only this server"));
  assert.ok(errors.every((text) => /400|404/.test(text)), errors.join("\n"));
  await close();
});

test("without a script the page is whole, and shows no form that would do nothing", async () => {
  const { page, close } = await open(browser, `${server.url}/docs`, { script: false });
  assert.ok(await page.locator("#shapes").isVisible());
  assert.equal(await page.getByRole("button", { name: "Try it" }).count(), 0);
  await close();
});
