// A server with just what the card reads, which does what a test tells it: the events of the API's contract, in CORS as the
// real one, and every failure that a card may meet.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

const MINUTE = 60_000;

/** A token as the real server makes them, but unsigned: the card reads its `exp`, the server here compares texts. */
export function tokenFor(userId, lifeMs = 60 * MINUTE, now = new Date()) {
  const claims = { sub: userId, iat: now.toISOString(), exp: new Date(now.getTime() + lifeMs).toISOString(), jti: Math.random() };
  return `v4.public.${Buffer.concat([Buffer.from(JSON.stringify(claims)), Buffer.alloc(64, 7)]).toString("base64url")}.Zm9v`;
}

export async function eventServer({ port = 0, heartbeatMs = 500, retryMs = 200 } = {}) {
  const streams = new Set();
  const server = {
    /** Tokens that are let in; null lets in everybody. */
    tokens: null,
    /** What is answered in place of a stream, like `{ status: 503, after: 1 }`. */
    fault: null,
    /** Answers of `/forecast`. */
    forecast: null,
    budget: null,
    /** Everything that was asked: method, path, `Last-Event-ID`. */
    asked: [],
    /** An id is never used again, also by a server that was started anew. */
    epoch: randomUUID().slice(0, 8),
    sequence: 0,
    get open() {
      return streams.size;
    },
    /** Sends the budget as it now is to all streams. */
    push(budget) {
      server.budget = budget;
      server.sequence += 1;
      for (const stream of streams) stream.write(frame());
    },
    raw(text) {
      for (const stream of streams) stream.write(text);
    },
    drop() {
      for (const stream of streams) stream.destroy();
    },
    async stop() {
      server.drop();
      listener.closeAllConnections();
      await new Promise((done) => listener.close(done));
    },
  };
  const frame = () => `id: ${server.epoch}.${server.sequence}\nevent: budget\ndata: ${JSON.stringify(server.budget)}\n\n`;

  const listener = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    const allow = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After, X-Request-Id" };
    if (request.method === "OPTIONS")
      return response.writeHead(204, { ...allow, "Access-Control-Allow-Headers": "Authorization, Last-Event-ID", "Access-Control-Max-Age": "7200" }).end();
    server.asked.push({ method: request.method, path: pathname, lastEventId: request.headers["last-event-id"], url: request.url });
    const problem = (status, headers = {}) => response.writeHead(status, { ...allow, "Content-Type": "application/problem+json", ...headers }).end("{}");
    const token = /^Bearer (.*)/.exec(request.headers.authorization ?? "")?.[1];
    if (server.fault?.hang) return;
    if (server.fault?.cut && pathname.endsWith(server.fault.cut)) return request.socket.destroy();
    if (server.fault?.status && !(server.fault.only && !pathname.endsWith(server.fault.only)))
      return problem(server.fault.status, server.fault.after ? { "Retry-After": String(server.fault.after) } : {});
    if (server.tokens && !server.tokens.has(token)) return problem(401);
    if (pathname.endsWith("/budget")) return response.writeHead(200, { ...allow, "Content-Type": "application/json" }).end(JSON.stringify(server.budget));
    if (pathname.endsWith("/forecast") && server.forecast)
      return response.writeHead(200, { ...allow, "Content-Type": "application/json" }).end(JSON.stringify(server.forecast));
    if (!pathname.endsWith("/events")) return problem(404);
    response.writeHead(200, { ...allow, "Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform" });
    response.write(`retry: ${retryMs}\n\n`);
    if (request.headers["last-event-id"] !== `${server.epoch}.${server.sequence}`) response.write(frame());
    const beat = setInterval(() => response.write(": still here\n\n"), heartbeatMs);
    streams.add(response);
    response.on("close", () => {
      clearInterval(beat);
      streams.delete(response);
    });
  });
  await new Promise((done) => listener.listen(port, "127.0.0.1", done));
  server.port = listener.address().port;
  server.url = `http://127.0.0.1:${server.port}`;
  return server;
}

/** A budget as the API answers it; each meter is `[used, held, limit]`. */
export function budget({ aiRuns = [1, 0, 30], apiRuns = [0, 0, 100], cost = [0.00160785, 0, 3], ...rest } = {}) {
  const few = { aiRuns: 3, apiRuns: 10 };
  const make = (meter, label, unit, [used, held, limit]) => {
    const share = limit == null ? 0 : limit === 0 ? 1 : (used + held) / limit;
    const remaining = limit == null ? null : Math.max(0, limit - used - held);
    const state = share >= 1 ? "reached" : share >= 0.95 ? "critical" : share >= 0.8 ? "warning" : "ok";
    const message = limit === 0 ? "Not in your plan" : remaining != null && remaining > 0 && remaining <= few[meter] ? `Only ${remaining} ${label} left` : null;
    return { label, unit, used, held, limit, remaining, percent: limit == null ? null : Math.round(share * 10_000) / 100, state, message };
  };
  const meters = {
    cost: make("cost", "Cost Budget", "USD", cost),
    aiRuns: make("aiRuns", "AI Operations", "runs", aiRuns),
    apiRuns: make("apiRuns", "API Operations", "runs", apiRuns),
  };
  const order = ["ok", "warning", "critical", "reached"];
  const state = Object.values(meters).map((meter) => meter.state).sort((a, b) => order.indexOf(b) - order.indexOf(a))[0];
  return {
    userId: "bgtfrdsZ", plan: "premium", nextPlan: "business", upgradeUrl: null, unlimited: false,
    month: "2025-10", resetsAt: "2025-11-01T00:00:00Z", state, meters, ...rest,
  };
}
