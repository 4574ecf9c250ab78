// A server with a little of everything, and what a person would see of its pages.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { launch } from "../../../clients/card/test/support/pages.mjs";
import { hooks, outlay } from "../../../clients/support/outlay.mjs";

const AXE = readFileSync(createRequire(new URL("../../../clients/card/test/support/look.mjs", import.meta.url)).resolve("axe-core/axe.min.js"), "utf8");

export { hooks, launch, outlay };

/** Mail goes to a port on which nobody listens, so it fails and is tried again. */
export const MAIL = { OUTLAY_SMTP_URL: "smtp://127.0.0.1:1", OUTLAY_MAIL_FROM: "Outlay <outlay@example.org>", OUTLAY_MAIL_OPERATOR: "operator@example.org" };

/** Asks the server; the answer's JSON. */
export async function ask(server, method, path, body) {
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(server.key && { Authorization: `Bearer ${server.key}` }) };
  const answer = await fetch(server.url + path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok && answer.status !== 402) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.status === 204 ? null : answer.json();
}

export const HOSTILE = "<img src=x onerror=alert(1)>\u202e";

/** Waits until it is so. */
export async function until(what, holds) {
  for (let tries = 0; tries < 200; tries++) {
    if (await holds()) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`${what}: it has not come to that`);
}

/**
 * Users in each state, sessions in each status, a denial, alerts, one whose ids are as bad as can be; where there is a receiver, webhooks of which
 * one takes what it is told, one fails and one wants no more; and what was done in the audit log.
 */
export async function seed(server, receiver) {
  const webhook = async (path, description, events) => (await ask(server, "POST", "/v1/webhooks", { url: `${receiver.url}${path}`, description, events })).id;
  const alerts = ["budget.threshold_crossed"], all = [...alerts, "denial.recorded", "session.abandoned", "limit.changed"];
  const told = receiver && {
    takes: await webhook("/hooks/billing/of-all-that-the-shop-wants-to-know-of-its-users/200", "The web shop", all), fails: await webhook("/hooks/500", HOSTILE, alerts), gone: await webhook(`/hooks/${"w".repeat(200)}/410`, "", all),
  };
  const users = ["ann", "bob", "cem", HOSTILE, "w".repeat(128)];
  for (const [at, userId] of users.entries()) {
    const user = `/v1/users/${encodeURIComponent(userId)}`;
    await ask(server, "PUT", user, { plan: at === 2 ? "enterprise" : "premium", email: at === 3 ? "ann@example.org" : undefined });
    const operations = Array.from({ length: [3, 24, 12, 29, 30][at] }, (_, n) => ({
      userId, operationId: `op-${n}`, usageType: "AIUsage", feature: at === 3 ? HOSTILE : ["business_card_scan", "chat"][n % 2], provider: "gemini", model: "gemini-2.5-flash-lite",
      cost: "0.0123", isBillableRun: true, sessionId: n < 4 ? "scan-1" : undefined, stepLabel: n < 4 ? `step ${n}` : undefined, durationMs: 120 + n, tokens: { input: 650, output: 51 }, metadata: { note: HOSTILE },
    }));
    await ask(server, "POST", "/v1/usage", operations);
    if (at !== 1) await ask(server, "POST", `${user}/sessions/scan-1/finish`, { status: at === 2 ? "failed" : "completed" });
    await ask(server, "POST", `${user}/sessions`, { feature: "chat", estimate: { cost: 0.01 } });
    await ask(server, "POST", `${user}/sessions`, { feature: "chat", choices: [{ name: "full", estimate: { cost: 100 } }, { name: "small", estimate: { cost: 50 } }] });
  }
  const bad = encodeURIComponent(HOSTILE);
  await acts(server, bad);
  if (receiver) {
    await ask(server, "POST", `/v1/webhooks/${told.takes}/test`);
    const ends = async (id) => (await ask(server, "GET", `/v1/webhooks/${id}/deliveries?limit=1000`)).items.every(({ state, tries }) => state !== "pending" || tries.length > 0);
    await until("every webhook is told", async () => (await Promise.all(Object.values(told).map(ends))).every(Boolean));
  }
  return {
    ...(told && { webhook: `/settings/webhooks/${told.takes}`, failing: `/settings/webhooks/${told.fails}`, gone: `/settings/webhooks/${told.gone}` }),
    audit: "/audit", audited: "/audit?action=plan.set&who=open", unaudited: "/audit?action=store.restored", auditOf: `/audit?user=${bad}`, missingWebhook: "/settings/webhooks/none",
    overview: "/", models: "/?by=model", users: "/users", filtered: "/users?state=warning&plan=premium&q=b", user: "/users/bob", feature: "/users/bob?feature=chat", unseen: "/users/nobody", hostile: `/users/${bad}`,
    operation: `/users/${bad}/operations/op-0`, sessions: "/sessions", session: `/users/${bad}/sessions/scan-1`, alerts: "/alerts", critical: "/alerts?state=critical", denials: "/denials", plans: "/plans?edit=premium",
    settings: "/settings?card=bob", change: "/users/bob/settings", token: "/users/bob/token", erase: "/users/bob/erase", help: "/help", my: "/my", signIn: "/sign-in", missing: "/users/bob/operations/none",
  };
}

/** One of nearly each thing that the audit log keeps. */
async function acts(server, bad) {
  const limits = { cost: 2.5, aiRuns: 3, apiRuns: null };
  await ask(server, "PUT", "/v1/users/ann", { plan: "pro", email: "ann@example.org", limits: { cost: 0.5, aiRuns: null } });
  await ask(server, "PUT", "/v1/users/ann", { plan: "premium", email: "ann@example.com" });
  await ask(server, "PUT", "/v1/plans/pro", { limits });
  await ask(server, "PUT", "/v1/plans/trial-of-a-month", { limits });
  const { id } = await ask(server, "POST", "/v1/keys", { role: "app", description: HOSTILE });
  await ask(server, "POST", "/v1/keys", { role: "viewer", description: "The office screen" });
  await ask(server, "DELETE", `/v1/keys/${id}`);
  await ask(server, "DELETE", `/v1/users/${bad}/tokens`);
  await fetch(`${server.url}/v1/users/${bad}/export`, { headers: server.key && { Authorization: `Bearer ${server.key}` } }).then((answer) => answer.text());
  await ask(server, "PUT", "/v1/users/gone", { plan: "base" });
  await ask(server, "DELETE", "/v1/users/gone");
}

/** Violations of WCAG 2.2 AA and of axe's best practices, as text. */
export async function axe(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary}`).join("; ")}`);
}

/** Opens a page; `errors` gathers what the console says, `requests` what is asked for. */
export async function open(browser, url, { scheme = "light", width = 1280, script = true, bypassCSP = false, context: more } = {}) {
  const context = more ?? (await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, javaScriptEnabled: script, reducedMotion: "reduce", bypassCSP }));
  const page = await context.newPage();
  const errors = [], requests = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("request", (request) => requests.push(request.url()));
  // What the console says of a refused resource names neither its address nor the reason.
  page.on("response", async (answer) => {
    if (answer.status() >= 400) errors.push(`${answer.status()} ${answer.request().method()} ${answer.url()} ${JSON.stringify(answer.headers())} ${await answer.text().catch(String)}`);
  });
  const answer = await page.goto(url);
  return { page, errors, requests, status: answer.status(), context, close: () => context.close() };
}
