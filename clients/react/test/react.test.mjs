// The React package in a real page: bundled, rendered on a server as a string, and alive in a browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { build } from "esbuild";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { BudgetCard } from "@outlay/react";
import { launch, pageServer } from "../../card/test/support/pages.mjs";
import { budget, eventServer } from "../../card/test/support/server.mjs";

const PAGE = `
  import { StrictMode, createElement as h, useState } from "react";
  import { createRoot } from "react-dom/client";
  import { BudgetCard, useBudget } from "@outlay/react";
  function Own({ src }) {
    const { budget, error } = useBudget({ userId: "bgtfrdsZ", src });
    return h("output", null, error ? error.message : budget ? budget.meters.aiRuns.used + " used" : "unknown");
  }
  function App({ src }) {
    const [shown, setShown] = useState(true), [state, setState] = useState("none");
    return h("main", null,
      shown && h(BudgetCard, { userId: "bgtfrdsZ", src, upgradeHref: "/plans", onStateChange: ({ to }) => setState(to), onUpgrade: () => { setState("upgrade"); return false; } }, h("b", { slot: "footer" }, "Ours")),
      h(Own, { src }), h("p", { id: "state" }, state), h("button", { onClick: () => setShown(!shown) }, "Toggle"));
  }
  const root = document.getElementById("root");
  createRoot(root).render(h(StrictMode, null, h(App, { src: root.dataset.src })));`;

let browser, host, server, page;
before(async () => {
  [browser, host, server] = await Promise.all([launch(), pageServer(), eventServer()]);
  const { outputFiles } = await build({ stdin: { contents: PAGE, resolveDir: import.meta.dirname }, bundle: true, write: false, format: "esm", define: { "process.env.NODE_ENV": '"development"' } });
  host.scripts.set("/app.js", outputFiles[0].text);
  host.pages.set("/", `<body><div id="root" data-src="${server.url}"></div><script type="module" src="/app.js"></script>`);
  server.budget = budget();
  page = await browser.newPage();
  await page.goto(`${host.url}/`);
});
after(() => Promise.all([browser.close(), host.stop(), server.stop()]));

test("the card and the hook show the same, and change together", async () => {
  await page.locator("main .value", { hasText: /^1 \/ 30$/ }).waitFor();
  await page.getByText("1 used").waitFor();
  server.push(budget({ aiRuns: [30, 0, 30] }));
  await page.locator("main .value", { hasText: /^30 \/ 30$/ }).waitFor();
  await page.getByText("30 used").waitFor();
  await page.locator("#state", { hasText: /^reached$/ }).waitFor();
  assert.ok(await page.getByText("Ours").isVisible());
});

test("a page may upgrade in its own way", async () => {
  await page.getByRole("link", { name: "Upgrade to Business" }).click();
  await page.locator("#state", { hasText: /^upgrade$/ }).waitFor();
  assert.equal(new URL(page.url()).pathname, "/");
});

test("strict mode and unmounting leak no stream", async () => {
  const settled = async (streams) => {
    // Chromium may take five seconds to close what a page gave up, see the card's tests.
    for (const end = Date.now() + 20_000; server.open !== streams && Date.now() < end; ) await new Promise((done) => setTimeout(done, 20));
    assert.equal(server.open, streams);
  };
  await settled(2);
  await page.getByRole("button", { name: "Toggle" }).click();
  await settled(1);
  await page.getByRole("button", { name: "Toggle" }).click();
  await settled(2);
});

test("a server renders it with its attributes and what shows before the script is there", () => {
  const html = renderToString(createElement(BudgetCard, { userId: "u", src: "http://x", tokenUrl: "/token", forecast: true }, "Your budget"));
  assert.equal(html, '<outlay-budget-card user-id="u" src="http://x" token-url="/token" forecast="">Your budget</outlay-budget-card>');
});
