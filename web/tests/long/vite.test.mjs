// A stranger's page: React and Vite from npm, the packages as they are packed, the steps of `clients/README.md`. Built for
// production and in development, it shows the card of a server that wants keys, and the card moves with each scan.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ask, launch, outlay } from "../support/dashboard.mjs";

const CLIENTS = fileURLToPath(new URL("../../../clients", import.meta.url));
const KEY = "the-admin-key-of-a-stranger-0123456789abcdef";
const PACKAGES = ["client", "card", "react"];

const FILES = {
  "index.html": `<!doctype html><title>Scans</title><div id="root"></div><script type="module" src="/src/main.tsx"></script>`,
  "src/main.tsx": `
    import { StrictMode, useState } from "react";
    import { createRoot } from "react-dom/client";
    import { BudgetCard } from "@outlay/react";
    function App() {
      const [error, setError] = useState("");
      return <main>
        <BudgetCard userId="bgtfrdsZ" src={import.meta.env.VITE_OUTLAY_URL} tokenUrl="/api/outlay-token" onError={({ message }) => setError(message)} />
        <button onClick={() => fetch("/api/scan", { method: "POST" })}>Scan</button>
        <output>{error}</output>
      </main>;
    }
    createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>);`,
  "vite.config.ts": `
    import { defineConfig } from "vite";
    import react from "@vitejs/plugin-react";
    const proxy = { "/api": process.env.API! };
    export default defineConfig({ plugins: [react()], server: { proxy }, preview: { proxy } });`,
  "server.mjs": `
    import { createServer } from "node:http";
    import { Outlay } from "@outlay/client";
    const outlay = new Outlay({ url: process.env.VITE_OUTLAY_URL, key: process.env.OUTLAY_KEY });
    const routes = {
      "GET /api/outlay-token": () => outlay.users.createToken("bgtfrdsZ", { ttlSeconds: 3600 }),
      "POST /api/scan": async () => (await outlay.usage.record({ userId: "bgtfrdsZ", feature: "business_card_scan", cost: 0.0016, isBillableRun: true })).budget,
    };
    createServer(async (request, response) => {
      const answer = await routes[request.method + " " + request.url]();
      response.setHeader("Content-Type", "application/json").end(JSON.stringify(answer));
    }).listen(0, "127.0.0.1", function () { console.log("at http://127.0.0.1:" + this.address().port); });`,
};

let home, browser, server, environment;
const children = [];
const run = (program, ...of) => execFileSync(program, of, { cwd: home, env: environment, stdio: ["ignore", "inherit", "inherit"] });

/** Starts a program of the page's folder; gives the address that it says. */
function start(...command) {
  const child = spawn(process.execPath, command, { cwd: home, env: environment, stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return new Promise((done, fail) => {
    let said = "";
    child.stdout.on("data", (text) => {
      const address = /http:\/\/[\w.]+:\d+/.exec((said += text).replace(/\u001b\[\d*m/g, ""));
      if (address) done(address[0]);
    });
    child.once("exit", (code) => fail(new Error(`${command.join(" ")} ended with ${code}: ${said}`)));
  });
}

before(async () => {
  home = mkdtempSync(join(tmpdir(), "outlay-vite-"));
  [browser, server] = await Promise.all([launch(), outlay({ key: KEY })]);
  await ask(server, "PUT", "/v1/users/bgtfrdsZ", { plan: "premium" });
  environment = { ...process.env, VITE_OUTLAY_URL: server.url, OUTLAY_KEY: KEY, NO_COLOR: "1" };
  mkdirSync(join(home, "src"));
  for (const [path, text] of Object.entries(FILES)) writeFileSync(join(home, path), text);
  writeFileSync(join(home, "package.json"), JSON.stringify({
    name: "a-strangers-page", private: true, type: "module",
    dependencies: { react: "19.3.1", "react-dom": "19.3.1" }, devDependencies: { vite: "8.3.8", "@vitejs/plugin-react": "6.3.0" },
  }));
  execFileSync("npm", ["pack", "--pack-destination", home, ...PACKAGES.flatMap((name) => ["-w", `@outlay/${name}`])], { cwd: CLIENTS, stdio: ["ignore", "ignore", "inherit"] });
  run("npm", "install", "--no-audit", "--no-fund", ...PACKAGES.map((name) => `./outlay-${name}-0.1.0.tgz`));
  environment.API = await start("server.mjs");
});
after(async () => {
  for (const child of children) child.removeAllListeners("exit").kill();
  await Promise.all([browser.close(), server.stop()]);
  rmSync(home, { recursive: true, force: true });
});

async function scans(address, from) {
  const page = await browser.newPage();
  await page.goto(address);
  await page.evaluate(() => (window.marked = true));
  const shows = (runs) => page.locator(".value", { hasText: new RegExp(`^${runs} / 30$`) }).waitFor();
  await shows(from);
  await page.getByRole("button", { name: "Scan" }).click();
  await shows(from + 1);
  assert.equal(await page.evaluate(() => window.marked), true, "it was loaded anew");
  assert.equal(await page.locator("output").textContent(), "");
  await page.close();
}

const VITE = "node_modules/vite/bin/vite.js";

test("in development the card moves with a scan", async () => {
  await scans(await start(VITE, "--host", "127.0.0.1", "--port", "0"), 0);
});

test("built for production it does too", async () => {
  run(process.execPath, VITE, "build");
  await scans(await start(VITE, "preview", "--host", "127.0.0.1", "--port", "0"), 1);
});
