// Makes the pictures of the README anew, from the demo: `npm run pictures`. It needs what the browser tests need: the
// program (OUTLAY_BIN, else the release build), Chromium, and curl.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { launch } from "../card/test/support/pages.mjs";
import { program } from "../support/outlay.mjs";

const OUT = fileURLToPath(new URL("../../docs/pictures/", import.meta.url));
const STAGE = readFileSync(new URL("stage.html", import.meta.url));
const BYTES_MAX = 2 * 1024 * 1024;
const SCHEMES = ["light", "dark"];
mkdirSync(OUT, { recursive: true });

/** The demo, on data of its own: the user `bgtfrdsZ` has used nothing yet. */
async function demo() {
  const data = mkdtempSync(join(tmpdir(), "outlay-pictures-"));
  const child = spawn(program(), ["demo", "--fresh", "--data", data, "--listen", "127.0.0.1:0", "--log", "error"], { stdio: ["ignore", "pipe", "inherit"] });
  const url = await new Promise((done, fail) => {
    createInterface({ input: child.stdout }).on("line", (line) => /^listening on (\S+)/.test(line) && done(/^listening on (\S+)/.exec(line)[1]));
    child.once("exit", (code) => fail(new Error(`the demo ended with ${code}`)));
  });
  return {
    url,
    read: async (path) => (await fetch(url + path)).json(),
    async stop() {
      child.removeAllListeners("exit");
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGTERM");
      await ended;
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** A user who is near a limit and was there before, and a session with the most steps. */
async function worthSeeing(server) {
  const { items: users } = await server.read("/v1/users?limit=100");
  const order = ["warning", "critical", "reached", "ok"];
  const near = users.filter(({ plan }) => plan === "premium").sort((a, b) => order.indexOf(a.meters.aiRuns.state) - order.indexOf(b.meters.aiRuns.state));
  const months = await Promise.all(near.map(({ userId }) => server.read(`/v1/users/${userId}/history?months=6`)));
  const { userId } = near[months.findIndex((history) => history.months.filter(({ cost }) => cost > 0).length > 3)];
  const { items: sessions } = await server.read("/v1/sessions?feature=contact_enrichment&status=completed&limit=100");
  const session = sessions.sort((a, b) => b.stepCount - a.stepCount)[0];
  return { overview: "/", user: `/users/${userId}`, session: `/users/${session.userId}/sessions/${session.sessionId}` };
}

async function views(browser, server) {
  const worth = await worthSeeing(server);
  for (const scheme of SCHEMES)
    for (const [name, path] of Object.entries(worth)) {
      const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, colorScheme: scheme, reducedMotion: "reduce" });
      await page.goto(server.url + path);
      await page.locator("#live:not([hidden])").waitFor();
      await page.waitForTimeout(500);
      const whole = await page.evaluate(() => document.documentElement.scrollHeight);
      const png = await page.screenshot({ clip: { x: 0, y: 0, width: 1280, height: Math.min(whole, 860) } });
      await sharp(png).webp({ nearLossless: true, quality: 60, effort: 6 }).toFile(`${OUT}${name}-${scheme}.webp`);
      await page.close();
    }
}

/** Frames with how long each is seen, in milliseconds; what looks the same is one frame. */
class Film {
  frames = [];
  delays = [];
  constructor(page) {
    this.page = page;
  }
  async take(milliseconds) {
    const png = await this.page.screenshot();
    if (this.frames.at(-1)?.equals(png)) this.delays[this.delays.length - 1] += milliseconds;
    else {
      this.frames.push(png);
      this.delays.push(milliseconds);
    }
  }
  async write(name) {
    await sharp(this.frames, { join: { animated: true } }).webp({ delay: this.delays, loop: 0, minSize: true, nearLossless: true, quality: 60, effort: 5 }).toFile(`${OUT}${name}.webp`);
    await sharp(this.frames.at(-1)).webp({ nearLossless: true, quality: 60, effort: 6 }).toFile(`${OUT}${name}-still.webp`);
  }
}

/** Scans cards with curl until the plan has no more runs; every answer shown is the one that came. */
async function film(browser, server, stage, scheme) {
  const page = await browser.newPage({ viewport: { width: 800, height: 330 }, deviceScaleFactor: 2, colorScheme: scheme, reducedMotion: "reduce" });
  await page.goto(stage);
  await page.evaluate((url) => {
    document.querySelector("outlay-budget-card").setAttribute("src", url);
    const script = Object.assign(document.createElement("script"), { type: "module", src: `${url}/card.js` });
    document.head.append(script);
  }, server.url);
  const film = new Film(page), screen = page.locator("#screen");
  const add = (className, text) =>
    screen.evaluate((all, [className, text]) => {
      const line = all.lastElementChild;
      const part = Object.assign(document.createElement("span"), { className, textContent: text });
      (className === "prompt" || !line ? all.appendChild(document.createElement("div")) : line).append(part);
    }, [className, text]);
  const type = async (command, letters = 5) => {
    await add("prompt", "$ ");
    for (let at = 0; at < command.length; at += letters) {
      await add("", command.slice(at, at + letters));
      await film.take(60);
    }
  };
  const curl = (path, body) => {
    const answer = execFileSync("curl", ["-s", server.url + path, "-H", "Prefer: return=minimal", "--json", JSON.stringify(body)]);
    return JSON.parse(answer);
  };
  const shows = (text) => page.locator("outlay-budget-card").getByText(text, { exact: true }).first().waitFor();
  const short = (answer, names) => `\n{${names.map((name) => `"${name}":${JSON.stringify(answer[name])}`).join(", ")}, …}`;

  await shows("0 / 30");
  await film.take(900);
  const open = { feature: "business_card_scan", estimate: { cost: 0.002, aiRuns: 1 } };
  await type(`curl $API/v1/users/bgtfrdsZ/sessions --json '{"feature": "business_card_scan", "estimate": {"cost": 0.002, "aiRuns": 1}}'`);
  const session = curl("/v1/users/bgtfrdsZ/sessions", open);
  await shows("1 in progress");
  await add("answer", short(session, ["status", "held"]));
  await film.take(1600);

  const step = (sessionId, number) => ({
    userId: "bgtfrdsZ", operationId: `scan-${number}`, sessionId, feature: "business_card_scan", provider: "gemini", cost: 0.00160785, isBillableRun: true, finishSession: "completed",
  });
  await type(`curl $API/v1/usage --json '{"userId": "bgtfrdsZ", "operationId": "scan-1", …, "cost": 0.00160785, "isBillableRun": true, "finishSession": "completed"}'`);
  const recorded = curl("/v1/usage", step(session.sessionId, 1));
  await shows("1 / 30");
  await add("answer", short(recorded, ["success", "duplicate", "cost"]));
  await film.take(1800);

  await type("for n in {2..30}; do ./scan.sh $n; done");
  await add("answer", "\n");
  for (let n = 2; n <= 30; n++) {
    const { sessionId } = curl("/v1/users/bgtfrdsZ/sessions", open);
    curl("/v1/usage", step(sessionId, n));
    await add("answer", `${n} `);
    await shows(`${n} / 30`);
    await film.take(n === 24 || n === 29 ? 900 : 110);
  }
  await film.take(1200);

  await type(`curl $API/v1/users/bgtfrdsZ/sessions --json '{"feature": "business_card_scan", "estimate": {"aiRuns": 1}}'`);
  const refused = curl("/v1/users/bgtfrdsZ/sessions", { feature: "business_card_scan", estimate: { aiRuns: 1 } });
  await add("refused", short(refused, ["status", "title", "nextPlan"]));
  await film.take(3200);
  await film.write(`card-${scheme}`);
  await page.close();
}

const browser = await launch();
const stage = createServer((_, answer) => answer.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(STAGE));
await new Promise((done) => stage.listen(0, "127.0.0.1", done));
try {
  for (const scheme of SCHEMES) {
    // Each film begins with a month of which nothing is used.
    const server = await demo();
    try {
      if (scheme === SCHEMES[0]) await views(browser, server);
      await film(browser, server, `http://localhost:${stage.address().port}/`, scheme);
    } finally {
      await server.stop();
    }
  }
} finally {
  await browser.close();
  stage.close();
}
const moving = SCHEMES.reduce((sum, scheme) => sum + readFileSync(`${OUT}card-${scheme}.webp`).length, 0);
console.log(`the moving pictures weigh ${Math.round(moving / 1024)} KB together`);
if (moving > BYTES_MAX) throw new Error("they may weigh 2 MB at most");
