// @ts-check
// The end user's own page: a token from the address, which it leaves at once, and what that token reads.
const root = document.documentElement.dataset.root ?? "";
const address = (/** @type {string} */ path) => new URL(root + path, location.href).href;
const token = new URLSearchParams(location.hash.slice(1)).get("t") ?? "";
if (token) history.replaceState(null, "", location.pathname + location.search);

/** @param {string} id @returns {HTMLElement} */
const find = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** An element with its children; texts are texts. @param {string} name @param {string} className @param {...(string | Node)} children */
function make(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** @param {string} text */
function isolated(text) {
  return make("bdi", "", text);
}

/** Who the token is for, and what it reads: its claims are readable, only the server can tell whether they are true. */
function claims() {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[2].replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
    const text = new TextDecoder().decode(bytes.slice(0, -64));
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const usd = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol" });
const fine = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", minimumFractionDigits: 5, maximumFractionDigits: 5 });
const whole = new Intl.NumberFormat();
/** @type {Record<string, string>} */
const STATUS = { "in-progress": "In progress", completed: "Completed", failed: "Failed", abandoned: "Abandoned" };
/** From the UTC key: no browser's zone moves a month. @param {string} month */
const monthName = (month) => new Intl.DateTimeFormat(undefined, { month: "long", year: "numeric", timeZone: "UTC" }).format(new Date(`${month}-15T00:00:00Z`));
/** @param {string} at */
const dayName = (at) => new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "UTC" }).format(new Date(at));

/** @param {string} path @returns {Promise<any>} null where the token does not read it */
async function ask(path) {
  const answer = await fetch(address(path), { headers: { Authorization: `Bearer ${token}` } });
  return answer.ok ? answer.json() : null;
}

/** @param {string} id @param {string[]} head @param {(string | Node)[][]} rows */
function table(id, head, rows) {
  const cells = (/** @type {(string | Node)[]} */ row, /** @type {string} */ name) => row.map((cell, at) => make(at ? name : "th", at ? "n" : "", cell));
  const made = make("table", "rows", make("thead", "", make("tr", "", ...cells(head, "th"))), make("tbody", "", ...rows.map((row) => make("tr", "", ...cells(row, "td")))));
  for (const one of made.querySelectorAll("thead th")) one.setAttribute("scope", "col");
  for (const one of made.querySelectorAll("tbody th")) one.setAttribute("scope", "row");
  find(id).replaceChildren(made);
  find(`${id}-panel`).hidden = false;
}

async function begin() {
  const who = token && claims();
  if (!who?.sub) {
    find("my-note").textContent = "Open this page from the application that you use: the address must bring a token.";
    return;
  }
  find("my-note").hidden = true;
  const card = make("outlay-budget-card", "");
  for (const [name, value] of Object.entries({ src: address("./").replace(/\/$/, ""), "user-id": who.sub, token, forecast: "" })) card.setAttribute(name, value);
  find("my-card").replaceChildren(card);
  import(address("card.js")).catch(() => (find("my-note").hidden = false));

  const user = `v1/users/${encodeURIComponent(who.sub)}`, reads = who.reads ?? [];
  const [history, forecast, sessions] = await Promise.all([
    ask(`${user}/history?months=6`),
    ask(`${user}/forecast`),
    reads.includes("sessions") ? ask(`${user}/sessions?limit=10`) : null,
  ]);
  const messages = forecast ? Object.values(forecast.meters ?? forecast).map((meter) => meter?.message).filter(Boolean) : [];
  find("my-forecast").replaceChildren(...[...new Set(messages)].map((message) => make("p", "", message)));
  if (history) {
    const months = [...history.months].reverse();
    table("my-months", ["Month", "Cost", "AI runs", "API runs"], months.map(({ month, cost, aiRuns, apiRuns }) => [monthName(month), usd.format(cost), whole.format(aiRuns), whole.format(apiRuns)]));
    const features = months[0]?.byFeature ?? [];
    if (features.length)
      table("my-features", ["Feature", "Cost", "Operations"], features.map((/** @type {any} */ one) => [isolated(one.name), fine.format(one.cost), whole.format(one.operations)]));
  }
  if (sessions?.items.length)
    table("my-sessions", ["Session", "Status", "Cost", "Started"], sessions.items.map((/** @type {any} */ one) => [isolated(one.feature), STATUS[one.status] ?? one.status, fine.format(one.totalCost), dayName(one.createdAt)]));
}

begin();
