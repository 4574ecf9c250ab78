// Behind nginx as Debian has it, which buffers answers, and under a path: pages, streams and the card work as they do without.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ask, launch, open, outlay, seed } from "../support/dashboard.mjs";

/** A port that nobody listens at now. */
async function freePort() {
  const listener = createServer();
  await new Promise((done) => listener.listen(0, "127.0.0.1", done));
  const { port } = listener.address();
  await new Promise((done) => listener.close(done));
  return port;
}

async function nginx(port, target) {
  const home = mkdtempSync(join(tmpdir(), "outlay-nginx-"));
  writeFileSync(join(home, "nginx.conf"), `
    daemon off; pid ${home}/pid; error_log stderr warn;
    events {}
    http {
      access_log off;
      client_body_temp_path ${home}/body; proxy_temp_path ${home}/proxy; fastcgi_temp_path ${home}/f; uwsgi_temp_path ${home}/u; scgi_temp_path ${home}/s;
      server {
        listen 127.0.0.1:${port};
        location /budgets/ { proxy_pass ${target}/; proxy_http_version 1.1; proxy_buffering on; proxy_buffers 8 64k; gzip on; gzip_types *; }
      }
    }`);
  const child = spawn("/usr/sbin/nginx", ["-e", "stderr", "-p", home, "-c", join(home, "nginx.conf")], { stdio: ["ignore", "inherit", "inherit"] });
  for (let tries = 0; tries < 100; tries++) {
    if (await fetch(`http://127.0.0.1:${port}/budgets/healthz`).then((answer) => answer.ok, () => false)) break;
    await new Promise((done) => setTimeout(done, 50));
  }
  return async () => {
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    await ended;
    rmSync(home, { recursive: true, force: true });
  };
}

let browser, server, url, stop, views;
before(async () => {
  const port = await freePort();
  url = `http://127.0.0.1:${port}/budgets`;
  [browser, server] = await Promise.all([launch(), outlay({ arguments: ["--public-url", url] })]);
  stop = await nginx(port, server.url);
  views = await seed(server);
});
after(async () => {
  await browser.close();
  await stop();
  await server.stop();
});

test("every view is whole below a path, and asks for nothing beside it", async () => {
  for (const [view, path] of Object.entries(views)) {
    const { errors, requests, status, close } = await open(browser, url + path);
    assert.equal(status, view === "missing" ? 404 : 200, path);
    assert.deepEqual(errors.filter((text) => !/404/.test(text)), [], view);
    assert.ok(requests.every((asked) => asked.startsWith(`${url}/`) || asked.startsWith("data:")), `${view}: ${requests}`);
    await close();
  }
});

test("an open page moves, though the proxy buffers", async () => {
  const { page, close } = await open(browser, `${url}/users?q=dan`);
  await page.locator("#live:not([hidden])").waitFor();
  await ask(server, "POST", "/v1/usage", { userId: "dan", operationId: "proxied-1", feature: "chat", cost: 7 });
  await page.getByText("$7.00").first().waitFor({ timeout: 5000 });
  await close();
});

test("the snippet of the settings page works as it is copied, and the card moves", async () => {
  const settings = await open(browser, `${url}/settings?card=eve`);
  const snippet = await settings.page.locator("pre", { hasText: "outlay-budget-card" }).innerText();
  assert.ok(snippet.includes(`src="${url}/card.js"`), snippet);
  await settings.close();
  const { token } = await ask(server, "POST", "/v1/users/eve/tokens", {});
  // A page of the application, from an origin of its own, without any policy.
  const application = createHttpServer((request, response) =>
    request.url === "/your/token/route" ? response.end(JSON.stringify({ token })) : response.writeHead(200, { "Content-Type": "text/html" }).end(`<!doctype html><html lang="en">${snippet}`));
  await new Promise((done) => application.listen(0, "127.0.0.1", done));
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`http://localhost:${application.address().port}/`);
  await page.getByText("Live", { exact: true }).waitFor();
  await ask(server, "PUT", "/v1/users/eve", { plan: "premium" });
  await ask(server, "POST", "/v1/usage", { userId: "eve", operationId: "proxied-2", feature: "chat", cost: 1, isBillableRun: true });
  await page.locator("outlay-budget-card .value", { hasText: "1 / 30" }).waitFor({ timeout: 5000 });
  await context.close();
  application.closeAllConnections();
  await new Promise((done) => application.close(done));
});
