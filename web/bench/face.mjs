// Measures what a person waits for: from a recording's 2xx to changed pixels, first paint, the operator's pages over many
// users, a thousand open streams; and weighs what is sent. Run by `cargo xtask bench-face`, on a machine that does nothing
// else; figures are printed beside what is wanted, and kept in target/face.json. Nothing here fails for being slow.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { launch, pageServer } from "../../clients/card/test/support/pages.mjs";
import { outlay, program } from "../../clients/support/outlay.mjs";

const { values: flags } = parseArgs({
  options: { users: { type: "string", default: "100000" }, operations: { type: "string", default: "1000000" }, rounds: { type: "string", default: "200" }, streams: { type: "string", default: "1000" } },
});
const [USERS, OPERATIONS, ROUNDS, STREAMS] = [flags.users, flags.operations, flags.rounds, flags.streams].map(Number);
/** How often a page is opened anew: so often that a 95th percentile is not the one slowest. */
const OPENINGS = 100;
const KEY = "the-admin-key-of-a-benchmark-0123456789";
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const results = [];

const now = () => performance.timeOrigin + performance.now();
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const percentile = (values, share) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];
const ms = (value) => `${value.toFixed(1)} ms`;
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;

function tell(what, wanted, found, more = {}) {
  results.push({ what, wanted, found, ...more });
  console.error(`${what}: ${found} (wanted ${wanted})`);
}

/** p50, p95 and p99 of times. */
function tellTimes(what, wanted, times) {
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => percentile(times, share));
  tell(what, wanted, `p50 ${ms(p50)}, p95 ${ms(p95)}, p99 ${ms(p99)}`, { p50, p95, p99, count: times.length });
}

async function ask(server, method, path, body, headers = {}) {
  const answer = await fetch(server.url + path, {
    method, headers: { Authorization: `Bearer ${KEY}`, ...(body && { "Content-Type": "application/json" }), ...headers }, body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text;
}

const operation = (userId, n) => ({ userId, operationId: `op-${n}`, feature: ["scan", "chat", "search"][n % 3], provider: "gemini", model: "flash", cost: 0.0001 + (n % 97) / 1e6, isBillableRun: n % 2 === 0 });

/** Everybody's operations, from several connections at once. */
async function fill(server) {
  const from = now();
  let next = 0;
  await Promise.all(Array.from({ length: 4 }, async () => {
    while (next < OPERATIONS) {
      const start = next;
      next += 1000;
      // Each user is there at least once, then at random but the same each time.
      const userOf = (n) => (n < USERS ? n : (n * 2654435761) % USERS);
      await ask(server, "POST", "/v1/usage", Array.from({ length: 1000 }, (_, n) => operation(`user-${userOf(start + n)}`, start + n)));
    }
  }));
  console.error(`filled: ${OPERATIONS} operations of ${USERS} users in ${((now() - from) / 1000).toFixed(1)} s`);
}

async function times(rounds, work) {
  const all = [];
  for (let round = 0; round < rounds; round++) {
    const from = now();
    await work(round);
    all.push(now() - from);
  }
  return all;
}

async function operatorsPages(server) {
  const size = `${USERS.toLocaleString("en")} users, ${OPERATIONS.toLocaleString("en")} operations`;
  tellTimes(`overview as HTML, ${size}`, "p95 20 ms", await times(ROUNDS, () => ask(server, "GET", "/")));
  tellTimes(`overview as JSON, ${size}`, "p95 20 ms", await times(ROUNDS, () => ask(server, "GET", "/v1/overview")));
  for (const sort of ["cost", "percent", "aiRuns", "apiRuns", "lastSeen", "userId"])
    tellTimes(`users by ${sort}, ${size}`, "p95 30 ms", await times(ROUNDS / 4, (round) => ask(server, "GET", `/users?sort=${sort}&order=${round % 2 ? "asc" : "desc"}`)));
  // What changed since is sorted in: a recording before each.
  tellTimes(`users by cost, each after a recording, ${size}`, "p95 30 ms", await times(ROUNDS / 4, async (round) => {
    await ask(server, "POST", "/v1/usage", { ...operation(`user-${round}`, round), operationId: `late-${round}` });
    await ask(server, "GET", "/users?sort=cost");
  }));
  const csv = await times(5, async () => {
    const answer = await fetch(`${server.url}/users.csv`, { headers: { Authorization: `Bearer ${KEY}` } });
    const reader = answer.body.getReader();
    await reader.read();
    await reader.cancel();
  });
  tellTimes("first bytes of the CSV of all users", "200 ms", csv);
}

/** A page of another origin with one card, which notes when each figure stood on the screen. */
async function cardPage(server, browser, host, userId) {
  const { token } = JSON.parse(await ask(server, "POST", `/v1/users/${userId}/tokens`, {}));
  host.scripts.set("/watch.js", `
    window.shown = {};
    const card = document.querySelector("outlay-budget-card");
    addEventListener("outlay-budget", ({ detail }) => {
      const used = detail.meters.aiRuns.used;
      // A message that is posted in a frame arrives after its pixels.
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => { window.shown[used] ??= performance.timeOrigin + performance.now(); window.last = used; };
        port2.postMessage(0);
      });
    });`);
  host.pages.set("/", `<body><main><outlay-budget-card src="${server.url}" user-id="${userId}" token="${token}"></outlay-budget-card></main><script src="/watch.js"></script><script type="module" src="/card.js"></script>`);
  const page = await browser.newPage();
  await page.goto(`${host.url}/`);
  await page.waitForFunction(() => "last" in window);
  const first = await page.evaluate(() => {
    const [script] = performance.getEntriesByName(new URL("/card.js", location.href).href);
    return Object.values(window.shown)[0] - performance.timeOrigin - script.responseEnd;
  });
  return { page, first };
}

async function toPixels(server, browser, host, userId, rounds) {
  const { page } = await cardPage(server, browser, host, userId);
  const found = [];
  for (let round = 1; round <= rounds; round++) {
    const { budget } = JSON.parse(await ask(server, "POST", "/v1/usage", { userId, feature: "scan", cost: 0.0001, isBillableRun: true }));
    const at = now(), used = budget.meters.aiRuns.used;
    await page.waitForFunction((used) => window.last >= used, used, { polling: "raf" });
    const shown = await page.evaluate((used) => Math.min(...Object.entries(window.shown).filter(([key]) => Number(key) >= used).map(([, time]) => time)), used);
    found.push(Math.max(0, shown - at));
    await pause(20 + Math.random() * 60);
  }
  await page.close();
  return found;
}

async function card(server, browser) {
  const host = await pageServer();
  for (const userId of ["card-1", "card-2"]) await ask(server, "PUT", `/v1/users/${userId}`, { limits: { aiRuns: 1_000_000, cost: 1000 } });
  const firsts = [];
  for (let round = 0; round < OPENINGS; round++) {
    const { page, first } = await cardPage(server, browser, host, "card-1");
    firsts.push(first);
    await page.close();
  }
  tellTimes("card: from having its script to first figures on the screen", "p95 100 ms", firsts);
  tellTimes("card: from 2xx to changed pixels", "p95 150 ms, p99 250 ms", await toPixels(server, browser, host, "card-1", ROUNDS));
  const load = spawn(process.execPath, [fileURLToPath(new URL("./load.mjs", import.meta.url)), server.url, KEY, "1000"], { stdio: ["ignore", "pipe", "inherit"] });
  let recorded = 0;
  load.stdout.on("data", (text) => (recorded = Number(String(text).trim().split("\n").at(-1))));
  await pause(1000);
  const [from, before] = [now(), recorded];
  const loaded = await toPixels(server, browser, host, "card-2", ROUNDS);
  const rate = Math.round(((recorded - before) * 1000) / (now() - from));
  load.kill();
  tellTimes(`card: from 2xx to changed pixels, while ${rate} operations/s are recorded`, "p95 300 ms", loaded);
  await host.stop();
}

async function overviewPaint(browser) {
  const open = await outlay();
  for (let n = 0; n < 10; n++) await fetch(`${open.url}/v1/usage`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(Array.from({ length: 30 }, (_, at) => operation(`user-${n}`, n * 30 + at))) });
  const paints = [];
  let shift = 0;
  for (let round = 0; round < OPENINGS; round++) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.addInitScript(() => {
      window.shift = 0;
      new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.shift += entry.value))).observe({ type: "layout-shift", buffered: true });
    });
    await page.goto(open.url, { waitUntil: "load" });
    paints.push(await page.evaluate(() => new Promise((done) => new PerformanceObserver((list) => list.getEntriesByName("first-contentful-paint").forEach((entry) => done(entry.startTime))).observe({ type: "paint", buffered: true }))));
    await pause(300);
    shift = Math.max(shift, await page.evaluate(() => window.shift));
    await context.close();
  }
  tellTimes("overview: first contentful paint, nothing cached", "p95 300 ms", paints);
  tell("overview: cumulative layout shift", "0", String(shift));
  const weigh = async (path) => gzipSync(Buffer.from(await (await fetch(open.url + path)).arrayBuffer())).length;
  const pages = readdirSync(join(ROOT, "web/pages"));
  const scripts = await Promise.all(pages.filter((name) => name.endsWith(".js")).map((name) => weigh(`/assets/${name}`)));
  tell("card, compressed", "6 KiB", kib(await weigh("/card.js")));
  tell("scripts of all views, compressed", "12 KiB", kib(scripts.reduce((sum, size) => sum + size, 0)));
  tell("style, compressed", "10 KiB", kib(await weigh("/assets/app.css")));
  tell("overview with 10 users as HTML, compressed", "12 KiB", kib(await weigh("/")));
  const assets = [...pages.map((name) => `web/pages/${name}`), "web/card.min.js", "crates/outlay/src/http/pages.css"];
  tell("files in the program", "150 KiB", kib(assets.reduce((sum, path) => sum + statSync(join(ROOT, path)).size, 0)));
  await open.stop();
}

const memory = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;

async function streams(server) {
  const agent = new Agent({ maxSockets: Infinity });
  const before = memory(server.pid), heard = [];
  let wanted = 0, all = null;
  await Promise.all(Array.from({ length: STREAMS }, () => new Promise((opened, fail) => {
    const stream = request(`${server.url}/v1/users/watched/events`, { agent, headers: { Authorization: `Bearer ${KEY}` } }, (answer) => {
      if (answer.statusCode !== 200) return fail(new Error(`a stream was answered ${answer.statusCode}`));
      answer.on("data", (part) => {
        opened();
        if (wanted && String(part).includes(`"used":${wanted},`) && heard.push(now()) === STREAMS) all();
      });
      answer.on("error", () => {});
    });
    stream.on("error", () => {});
    stream.end();
  })));
  await pause(500);
  const more = memory(server.pid) - before;
  tell(`memory of ${STREAMS} open streams`, "60 MiB more", `${more.toFixed(1)} MiB more`, { mib: more });
  const found = [];
  for (let round = 1; round <= 20; round++) {
    heard.length = 0;
    wanted = round;
    const done = new Promise((resolve) => (all = resolve));
    await ask(server, "POST", "/v1/usage", { userId: "watched", feature: "scan", cost: 0.0001, isBillableRun: true });
    const at = now();
    await done;
    found.push(...heard.map((time) => Math.max(0, time - at)));
    await pause(100);
  }
  tellTimes(`from 2xx to the event on each of ${STREAMS} streams of one user`, "p99 250 ms", found);
  agent.destroy();
}

async function demo() {
  const cache = mkdtempSync(join(tmpdir(), "outlay-face-"));
  const from = now();
  const child = spawn(program(), ["demo", "--listen", "127.0.0.1:0"], { env: { ...process.env, XDG_CACHE_HOME: cache }, stdio: ["ignore", "pipe", "ignore"] });
  const url = await new Promise((done) => child.stdout.on("data", (text) => /listening on (\S+)/.test(text) && done(/listening on (\S+)/.exec(text)[1])));
  await (await fetch(url)).text();
  tell("demo: from its start to the first page", "2 s", `${((now() - from) / 1000).toFixed(2)} s`);
  child.kill("SIGTERM");
  await new Promise((done) => child.once("exit", done));
  rmSync(cache, { recursive: true, force: true });
}

const browser = await launch();
const server = await outlay({ key: KEY });
try {
  await demo();
  await overviewPaint(browser);
  await card(server, browser);
  await streams(server);
  await fill(server);
  await operatorsPages(server);
} finally {
  await browser.close();
  await server.stop();
}
mkdirSync(join(ROOT, "target"), { recursive: true });
writeFileSync(join(ROOT, "target/face.json"), JSON.stringify({ cores: cpus().length, results }, null, 2));
console.log(`| what | wanted | found |\n|---|---|---|`);
for (const { what, wanted, found } of results) console.log(`| ${what} | ${wanted} | ${found} |`);
