// The real program, on a folder of its own, and a proxy before it that fails as a test says.
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, request as ask } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The program: `OUTLAY_BIN`, else the release build. */
export function program() {
  const path = process.env.OUTLAY_BIN || fileURLToPath(new URL("../../target/release/outlay", import.meta.url));
  if (!existsSync(path)) throw new Error(`no program at ${path}: build it (cargo build --release), or name one in OUTLAY_BIN`);
  return path;
}

/** Starts a server; with `key` it wants that admin key, else it is open. */
export async function outlay({ key, arguments: more = [], variables = {} } = {}) {
  const data = mkdtempSync(join(tmpdir(), "outlay-clients-"));
  const environment = { ...process.env, ...(key && { OUTLAY_ADMIN_KEY: key }), ...variables };
  let child;
  /** Starts it on an address; answers the one that it listens on. */
  const start = (address) => {
    child = spawn(program(), ["serve", ...(key ? [] : ["--open"]), "--data", data, "--listen", address, "--log", "error", ...more], { env: environment, stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface({ input: child.stdout });
    return new Promise((done, fail) => {
      lines.on("line", (line) => /^listening on (\S+)/.test(line) && done(/^listening on (\S+)/.exec(line)[1]));
      child.once("exit", (code) => fail(new Error(`the server ended with ${code}`)));
    });
  };
  const end = async (signal) => {
    child.removeAllListeners("exit");
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    await ended;
  };
  const url = await start("127.0.0.1:0");
  return {
    url, data, key,
    pid: child.pid,
    /** Ends it without a word. */
    kill: () => end("SIGKILL"),
    /** Starts it again on the same folder and address. */
    again: () => start(new URL(url).host),
    /** Runs a command of the program on the same server; answers its exit code and output. */
    command: (...line) =>
      new Promise((done) => execFile(program(), [...line, "--url", url], { env: environment }, (error, stdout, stderr) => done({ code: error?.code ?? 0, stdout, stderr }))),
    async stop() {
      await end("SIGTERM");
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/**
 * A receiver of webhooks: the answer's status is the last part of the address, as in `/hooks/500`. With these variables a
 * server may reach it.
 */
export async function hooks() {
  const seen = [];
  const listener = createServer(async (incoming, outgoing) => {
    const parts = [];
    for await (const part of incoming) parts.push(part);
    seen.push({ url: incoming.url, headers: incoming.headers, body: Buffer.concat(parts).toString() });
    outgoing.writeHead(Number(incoming.url.split("/").at(-1))).end();
  });
  await new Promise((done) => listener.listen(0, "127.0.0.1", done));
  return {
    seen, url: `http://127.0.0.1:${listener.address().port}`, variables: { OUTLAY_WEBHOOK_ALLOW: "127.0.0.1" },
    async stop() {
      listener.closeAllConnections();
      await new Promise((done) => listener.close(done));
    },
  };
}

/**
 * A proxy that does the next thing of `plan` to each request: `pass`, `hang`, `reset` (never reaches the server), `lose` (the
 * server commits, the answer is cut), or a status, like `{ status: 429, retryAfter: 1 }`. After the plan: `otherwise`.
 */
export async function faults(target) {
  const proxy = { plan: [], otherwise: "pass", seen: [] };
  const listener = createServer(async (incoming, outgoing) => {
    const parts = [];
    for await (const part of incoming) parts.push(part);
    const body = Buffer.concat(parts), what = proxy.plan.shift() ?? proxy.otherwise;
    proxy.seen.push({ at: Date.now(), method: incoming.method, url: incoming.url, body: body.length ? JSON.parse(body) : undefined, what });
    if (what === "hang") return;
    if (what === "reset") return incoming.socket.destroy();
    if (what.status) {
      const headers = { "Content-Type": "application/problem+json", ...(what.retryAfter && { "Retry-After": String(what.retryAfter) }) };
      return outgoing.writeHead(what.status, headers).end(what.body ?? JSON.stringify({ type: "/problems/queue-full", title: "Scripted", status: what.status, detail: "scripted", requestId: "r-1" }));
    }
    const forward = ask(new URL(incoming.url, target), { method: incoming.method, headers: { ...incoming.headers, host: new URL(target).host } }, (answer) => {
      if (what === "lose") return answer.resume().on("end", () => incoming.socket.destroy());
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    forward.on("error", () => incoming.socket.destroy());
    forward.end(body);
  });
  await new Promise((done) => listener.listen(0, "127.0.0.1", done));
  proxy.url = `http://127.0.0.1:${listener.address().port}`;
  proxy.stop = async () => {
    listener.closeAllConnections();
    await new Promise((done) => listener.close(done));
  };
  return proxy;
}
