// Host pages, from an origin of their own and under a policy that forbids every style and every inline script.
import { createServer } from "node:http";
import { existsSync, readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const CARD = new URL("../../../../web/", import.meta.url);
const POLICY = "default-src 'none'; style-src 'none'; script-src 'self'; connect-src *; img-src 'self'; base-uri 'none'; require-trusted-types-for 'script'";

/** Serves pages by path: `pages.set("/a", "<outlay-budget-card ...>")`; other paths may be handlers. */
export async function pageServer() {
  const pages = new Map(), handlers = new Map(), scripts = new Map();
  const listener = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    if (handlers.has(pathname)) return handlers.get(pathname)(request, response);
    const script = { "/card.js": "card.js", "/copy/card.js": "card.min.js" }[pathname];
    if (script || scripts.has(pathname))
      return response.writeHead(200, { "Content-Type": "text/javascript" }).end(scripts.get(pathname) ?? readFileSync(new URL(script, CARD)));
    if (pathname === "/page.css") return response.writeHead(200, { "Content-Type": "text/css" }).end("");
    const page = pages.get(pathname);
    response.writeHead(page ? 200 : 404, { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY });
    response.end(page && `<!doctype html>${page.startsWith("<html") ? "" : '<html lang="en-GB">'}<title>Host</title><meta name="viewport" content="width=device-width">${page}`);
  });
  await new Promise((done) => listener.listen(0, "127.0.0.1", done));
  return {
    pages, handlers, scripts,
    url: `http://localhost:${listener.address().port}`,
    async stop() {
      listener.closeAllConnections();
      await new Promise((done) => listener.close(done));
    },
  };
}

/** Debian's Chromium; without one the tests fail, they do not skip. */
export function launch() {
  const executablePath = [process.env.CHROMIUM_BIN, "/usr/bin/chromium", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("no Chromium: install Debian's package `chromium`, or name one in CHROMIUM_BIN");
  const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"];
  return chromium.launch({ executablePath, args });
}
