// @ts-check
/**
 * `<outlay-budget-card>`: what a user has used of this month's budget, live from an Outlay server. One plain module, served
 * at `/card.js`; where there is no DOM, importing it does nothing. `clients/card/README.md` documents it.
 *
 * Figures and states are the server's, nothing is decided here: `used` is the figure, `used + held` the colour.
 * No markup is parsed and no style attribute is written, so a host page's strict policies (CSP, Trusted Types) hold.
 * The server serves `card.min.js`, which `npm run served` in `clients/card` makes of this file.
 */

/**
 * @typedef {"ok" | "warning" | "critical" | "reached"} State
 * @typedef {object} Meter
 * @property {string} label
 * @property {string} unit `USD` or `runs`
 * @property {number} used
 * @property {number} held
 * @property {number | null} limit null is unlimited, 0 allows nothing
 * @property {number | null} remaining
 * @property {State} state
 * @property {string | null} message
 */
/**
 * @typedef {object} Budget as `GET /v1/users/{userId}/budget` answers it
 * @property {string} userId
 * @property {string} plan
 * @property {string | null} [nextPlan]
 * @property {string | null} [upgradeUrl]
 * @property {string} month like `2025-10`
 * @property {string} resetsAt
 * @property {State} state
 * @property {Record<string, Meter>} meters
 */
/** @typedef {Record<string, string | Record<string, string>>} Strings */

/** Texts by language; a meter's label as the server sends it leads to its name and its plural forms. @type {Record<string, Strings>} */
const LANGUAGES = {
  en: {
    busy: "Loading budget",
    plan: "{0} plan",
    live: "Live",
    lost: "Reconnecting, figures from {0}",
    used: "{0} of {1} used, {2} left",
    remaining: "{0} of {1} left",
    held: "{0} in progress",
    unlimited: "{0} · Unlimited",
    none: "Not in your plan",
    left: "{0} left",
    few: "Only {0} left",
    reached: "Limit reached. Resets {0}",
    resets: "Resets {0}, {1}",
    month: "New month. Resets {0}",
    forecast: "Limit around {0} at this pace",
    upgrade: "Upgrade to {0}",
    signIn: "Sign in again",
    failed: "Budget cannot be shown",
    retry: "Try again",
    "AI Operations": { one: "{0} AI operation", other: "{0} AI operations" },
    "API Operations": { one: "{0} API operation", other: "{0} API operations" },
  },
  de: {
    busy: "Budget wird geladen",
    plan: "Tarif {0}",
    lost: "Getrennt, Stand {0}",
    used: "{0} von {1} verbraucht, {2} übrig",
    remaining: "{0} von {1} übrig",
    held: "{0} in Arbeit",
    unlimited: "{0} · Unbegrenzt",
    none: "Nicht im Tarif",
    left: "Noch {0}",
    few: "Nur noch {0}",
    reached: "Limit erreicht. Neu ab {0}",
    resets: "Neu ab {0}, {1}",
    month: "Neuer Monat. Neu ab {0}",
    forecast: "Bei diesem Tempo Limit um den {0}",
    upgrade: "Zu {0} wechseln",
    signIn: "Neu anmelden",
    failed: "Budget kann nicht gezeigt werden",
    retry: "Erneut versuchen",
    "Cost Budget": { label: "Kostenbudget" },
    "AI Operations": { label: "KI-Vorgänge", one: "{0} KI-Vorgang", other: "{0} KI-Vorgänge" },
    "API Operations": { label: "API-Vorgänge", one: "{0} API-Vorgang", other: "{0} API-Vorgänge" },
  },
};

const CSS = `:host { display: block; max-width: 420px }
:host([variant=inline]) { display: inline-block; max-width: none }
[hidden], :host([hidden]), :empty:not(i) { display: none !important }
.card { --bg: var(--outlay-bg, light-dark(#fff, #15181d)); --fg: var(--outlay-fg, light-dark(#14171c, #eef0f4));
--muted: var(--outlay-muted, light-dark(#585f6c, #a3abba)); --line: var(--outlay-track, light-dark(#e7e9ee, #2b3039));
--ok: var(--outlay-ok, light-dark(#0b7a5c, #3ecf9a)); --tone: var(--ok); --gap: var(--outlay-gap, 14px);
padding: 16px; color: var(--fg); background: var(--bg); border: 1px solid var(--line); border-radius: var(--outlay-radius, 12px);
font: .875rem/1.43 var(--outlay-font, system-ui, sans-serif); font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
.warning { --tone: var(--outlay-warning, light-dark(#a15c00, #f5b83d)) }
.critical { --tone: var(--outlay-critical, light-dark(#c2410c, #fb8b4b)) }
.reached { --tone: var(--outlay-reached, light-dark(#b3192e, #ff7a85)) }
.card, .meters { display: grid; gap: var(--gap) }
.head, .row { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; gap: 0 12px }
.plan, .value { font-weight: 600 }
.plan { font-size: 1rem }
.live, .foot, .pending, .none bdi { font-size: .8125rem; font-weight: 400; color: var(--muted) }
.live::before { content: "● " / ""; color: var(--ok) }
.figures { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 6px; margin-inline-start: auto }
.track { position: relative; display: flex; height: 8px; margin-top: 6px; border-radius: 4px; background: var(--line) }
.fill, .held { background: var(--tone); border-radius: 4px }
.held { --tone: var(--outlay-held, inherit); background: repeating-linear-gradient(135deg, var(--tone) 0 2px, #0000 0 5px); box-shadow: inset 0 0 0 1px var(--tone) }
.tick { position: absolute; inset-block: -3px; inset-inline-start: 80%; width: 2px; background: var(--muted); box-shadow: 0 0 0 1px var(--bg) }
.message { margin-top: 6px; padding-inline-start: 20px; color: var(--tone) }
.message::before { content: ""; display: inline-block; width: 14px; height: 14px; margin-inline: -20px 6px; vertical-align: -2px; background: var(--tone) }
.message.warning::before { clip-path: path(evenodd, "M7 0 14 13H0zm0 3L2.5 11.6h9zM6.2 6v2.5h1.6V6zm0 3.2v1.5h1.6v-1.5z") }
.message.critical::before { clip-path: path(evenodd, "M7 0 14 13H0zM6 5v4h2V5zm0 5v2h2v-2z") }
.message.reached::before { clip-path: path(evenodd, "M4 0h6l4 4v6l-4 4H4l-4-4V4zM2.5 6v2h9V6z") }
.action { padding: 8px 12px; border: 1px solid var(--fg); border-radius: 8px; font: 600 1em var(--outlay-font, system-ui, sans-serif); text-align: center; text-decoration: none; color: var(--bg); background: var(--fg) }
:is(.lost, .signIn) .meters { opacity: .6; & * { --tone: var(--fg); --muted: var(--fg) } }
.busy .meters { animation: show .2s .15s backwards }
.busy :is(.label, .value) { color: #0000; background: var(--line); border-radius: 4px }
.busy .tick { opacity: 0 }
@keyframes show { 0% { opacity: 0 } }
.compact { --gap: 8px; padding: 10px 12px }
.compact .head, .inline .head, :is(.compact, .inline):not(.lost) .foot { display: none }
.inline, .inline :is(.meters, .meter) { display: flex; flex-wrap: wrap; align-items: center; gap: 0 12px; padding: 0; border: 0; background: none }
.inline .track { width: 64px }
.inline :is(.track, .message) { margin: 0 }
.inline .action { padding: 2px 8px }
@media (prefers-reduced-motion: no-preference) { i { transition: width .4s } }
@media (forced-colors: active) { .track, .held { border: 1px solid }
.fill, .tick, .message::before { forced-color-adjust: none; background: CanvasText } }`;

const NAME = "outlay-budget-card";
const NOTHING = "\u00a0";

/** @type {CSSStyleSheet} */
let sheet;
/** Where screen readers are told something: one place and one pace for all cards of a page. @type {HTMLElement} */
let speaker;
let spokeAt = 0, toSay = "";

/** Says the latest of what there is to say, once in ten seconds at most. @param {string | null} text */
function say(text) {
  if (!toSay)
    setTimeout(() => {
      speaker.textContent = toSay;
      spokeAt = Date.now();
      toSay = "";
    }, spokeAt + 10_000 - Date.now());
  toSay = text ?? "";
}

/**
 * Elements by the names of their parts; `tag:name` is no div.
 * @param {string} names @returns {Record<string, HTMLElement>}
 */
function parts(names) {
  return Object.fromEntries(names.split(" ").map((text) => {
    const [name, tag = "div"] = text.split(":"), made = document.createElement(tag);
    made.className = name;
    made.part.add(name);
    return [name, made];
  }));
}

/** Writes only what changed, so that nothing moves or is read again for nothing. @param {Element} node @param {string} text */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {string} text @param {...unknown} values */
const fillIn = (text, ...values) => text.replace(/{(\d)}/g, (_, at) => `${values[at]}`);

/** @param {string | null | undefined} plan */
const nameOf = (plan) => (plan ? plan[0].toUpperCase() + plan.slice(1) : "");

/** The parts of a meter, not yet filled in. @param {string} key */
function makeRow(key) {
  const made = parts("meter row label figures pending:bdi value:bdi track fill:i held:i tick:i message text:bdi");
  const { meter, row, label, figures, pending, value, track, fill, held, tick, message, text } = made;
  meter.append(row, track, message);
  row.append(label, figures);
  figures.append(pending, value);
  track.append(fill, held, tick);
  message.append(text);
  message.hidden = true;
  label.id = key;
  track.setAttribute("aria-labelledby", key);
  return made;
}

/** @param {Response} answer throws what is no success, with its status and the ms to wait */
function checked(answer) {
  const { ok, status, headers } = answer;
  if (!ok) throw Object.assign(Error(`HTTP ${status}`), { status, after: Number(headers.get("Retry-After")) * 1000 });
  return answer;
}

/**
 * The server-sent events of a body, as the HTML standard reads them.
 * @param {any} body @param {() => void} heard called for whatever arrives
 */
async function* eventsOf(body, heard) {
  let text = "";
  /** @type {Record<string, string>} */
  let event = {};
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part; !(part = await reader.read()).done; ) {
    heard();
    // A CR at the end may be half of a line's end.
    const lines = (text + part.value).split(/\r\n|\n|\r(?!$)/);
    text = lines.pop() ?? "";
    for (const line of lines) {
      const [, name, value] = /** @type {any} */ (/^([^:]*):? ?(.*)/.exec(line));
      if (name) event[name] = name === "data" && event.data ? `${event.data}\n${value}` : value;
      else if (!line) {
        yield event;
        event = {};
      }
    }
  }
}

/** @type {typeof HTMLElement} */
const Base = globalThis.HTMLElement ?? Object;

export class BudgetCard extends Base {
  static observedAttributes = "src user-id token token-url meters variant show upgrade-href locale theme forecast".split(" ");

  /** @type {Budget | null} */
  #budget = null;
  /** Whether the page gives the budget itself. */
  #given = false;
  /** @type {Strings} */
  #strings = {};
  /** @type {null | undefined | (() => string | Promise<string>)} */
  #getToken;
  /** `busy`, `on`, `idle` (no stream), `lost`, or what is wrong: `signIn`, `failed`. */
  #phase = "busy";
  #token = "";
  #renewAt = 0;
  #lastId = "";
  /** When the server was last heard. */
  #heard = 0;
  /** The day on which a limit will first be met. */
  #hit = "";
  /** @type {AbortController | undefined} */
  #stop;
  /** @type {any} */
  #late;
  #locale = "en";
  /** @type {any} */
  #texts;
  /** @type {Record<string, Record<string, HTMLElement>>} */
  #rows = {};
  #parts;

  constructor() {
    super();
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(CSS);
      speaker = document.createElement("div");
      speaker.ariaLive = "polite";
      speaker.style.cssText = "position: fixed; clip-path: inset(50%)";
    }
    const made = (this.#parts = parts("card head plan live meters alert retry:button action:a foot header:slot upgrade:slot footer:slot"));
    const { card, head, plan, live, meters, alert, retry, action, foot, header, upgrade, footer } = made;
    for (const slot of [header, upgrade, footer]) slot.setAttribute("name", slot.className);
    card.append(header, meters, alert, retry, upgrade, footer);
    header.append(head);
    head.append(plan, live);
    upgrade.append(action);
    footer.append(foot);
    card.role = "group";
    alert.role = "alert";
    retry.classList.add("action");
    retry.onclick = this.#begin;
    action.onclick = () => this.#tell("upgrade", this.#budget);
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    root.append(card);
  }

  /** Asked for a token at first, after a 401, and before it expires. */
  get getToken() { return this.#getToken; }
  set getToken(value) {
    this.#getToken = value;
    this.#begin();
  }

  /** Texts in place of the card's own. */
  get strings() { return this.#strings; }
  set strings(value) {
    this.#strings = value;
    this.#draw();
  }

  /** What is shown. Once the page gives one, the card asks nobody, until it is given null. */
  get budget() { return this.#budget; }
  set budget(value) {
    this.#given = !!value;
    this.#end();
    if (value) this.#show(value, "idle");
    else this.#forget();
  }

  /** Asks anew for the whole budget. */
  refresh() {
    this.#lastId = "";
    this.#begin();
  }

  connectedCallback() {
    /** @type {any} */
    const self = this;
    for (const name of ["getToken", "strings", "budget"])
      if (Object.hasOwn(self, name)) {
        // It was set before the element was defined.
        const value = self[name];
        delete self[name];
        self[name] = value;
      }
    document.body.append(speaker);
    document.addEventListener("visibilitychange", this.#begin);
    this.#begin();
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.#begin);
    this.#end();
  }

  /** @param {string} name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    if (name === "token") this.#keep(after ?? "");
    if (/^(src|user)/.test(name)) this.#forget();
    else if (/^token/.test(name)) this.#begin();
    else this.#draw();
  }

  /** Keeps a token, and notes when three quarters of its time are over. @param {string} token */
  #keep(token) {
    this.#token = token;
    this.#renewAt = Infinity;
    try {
      const claims = atob(token.split(".")[2].replace(/-/g, "+").replace(/_/g, "/")), now = Date.now();
      // A clock that is wrong must not make it ask all the time.
      this.#renewAt = now + Math.max(10_000, (Date.parse(claims.split('"exp":"')[1].split('"')[0]) - now) * 0.75);
    } catch {
      // It does not say when it expires: a 401 will.
    }
  }

  /** @param {string} name @param {unknown} detail @returns {boolean} false: the page does it itself */
  #tell(name, detail) {
    return this.dispatchEvent(new CustomEvent(`outlay-${name}`, { detail, bubbles: true, composed: true, cancelable: true }));
  }

  /** Another budget: what is known of this one goes. */
  #forget() {
    if (this.#given) return;
    this.#budget = null;
    this.#phase = "busy";
    this.refresh();
  }

  #end() {
    this.#stop?.abort();
    clearTimeout(this.#late);
    this.#late = 0;
  }

  /** Starts over, or rests while nobody looks or no user is named yet. */
  #begin = () => {
    if (!this.#given) this.#end();
    this.#draw();
    if (!this.#given && this.isConnected && !document.hidden && this.getAttribute("user-id")) this.#follow((this.#stop = new AbortController()).signal);
  };

  /** Follows the budget until `signal` ends it. @param {AbortSignal} signal */
  async #follow(signal) {
    let tries = 0, pause = 1000, refused = false;
    // Attributes come one by one: what they change is asked for once.
    await null;
    while (!signal.aborted) {
      const attempt = new AbortController(), cut = () => attempt.abort();
      signal.addEventListener("abort", cut);
      let wait = 0, silence = setTimeout(cut, 45_000);
      const url = this.getAttribute("token-url"), renews = this.#getToken ?? url;
      const old = () => renews && (!this.#token || Date.now() > this.#renewAt);
      const heard = () => {
        this.#heard = Date.now();
        clearTimeout(silence);
        silence = setTimeout(cut, old() ? 0 : 45_000);
      };
      this.#doubt();
      try {
        if (old()) this.#keep(this.#getToken ? await this.#getToken() : (await checked(await fetch(url ?? "")).json()).token);
        if (renews && !this.#token) throw Error("token");
        const answer = await this.#ask("/events", attempt.signal).catch(() => null);
        if (!answer || answer.status === 404) {
          // Without events, or behind what lets no stream through, the budget is asked for now and then.
          this.#show(await checked(await this.#ask("/budget", attempt.signal)).json(), "idle");
          wait = answer ? 30_000 : 0;
        } else {
          const { body } = checked(answer);
          refused = false;
          if (this.#budget) this.#show(this.#budget, "on");
          this.#foresee(attempt.signal);
          for await (const { id, event, data, retry } of eventsOf(body, heard)) {
            tries = 0;
            this.#lastId = id ?? this.#lastId;
            pause = +retry || pause;
            if (event === "budget") this.#show(JSON.parse(data), "on");
          }
        }
      } catch (thrown) {
        if (signal.aborted) return;
        // What is refused for good is not asked again; what may pass is, and a 429 says when.
        const { status, after, message } = /** @type {any} */ (thrown), final = status > 399 && status < 500 && !after;
        wait = after;
        if (status === 401 && renews && !refused) {
          refused = true;
          this.#token = "";
        } else if (final || !this.#budget) {
          this.#phase = status === 401 || status === 403 ? "signIn" : "failed";
          this.#draw();
          this.#tell("error", { status, message });
          if (final) return this.#end();
        }
      } finally {
        clearTimeout(silence);
        signal.removeEventListener("abort", cut);
      }
      // What was good is renewed at once; who gives no token is asked again later.
      if (old() && !tries++) continue;
      if (this.#phase !== "idle") this.#doubt();
      wait ||= Math.min(30_000, pause * 2 ** tries++) * (1 + Math.random()) / 2;
      await new Promise((done) => {
        setTimeout((signal.onabort = done), wait);
      });
    }
  }

  /** Unless the server is heard soon, the figures are old. */
  #doubt() {
    this.#late ||= setTimeout(() => {
      if (!this.#budget) return;
      this.#phase = "lost";
      this.#draw();
      say(this.#parts.foot.textContent);
    }, 5_000);
  }

  /** @param {string} path @param {AbortSignal | undefined} signal */
  #ask(path, signal) {
    const server = (this.getAttribute("src") ?? import.meta.url.replace(/[^/]*$/, "")).replace(/\/$/, "");
    /** @type {any} */
    const headers = { ...(this.#token && { Authorization: `Bearer ${this.#token}` }), ...(this.#lastId && { "Last-Event-ID": this.#lastId }) };
    const user = encodeURIComponent(this.getAttribute("user-id") ?? "");
    return fetch(`${server}/v1/users/${user}${path}`, { headers, signal });
  }

  /** @param {Budget} budget @param {string} phase */
  #show(budget, phase) {
    const before = this.#budget;
    clearTimeout(this.#late);
    this.#late = 0;
    this.#heard = Date.now();
    this.#budget = budget;
    this.#phase = phase;
    this.#draw();
    if (before === budget) return;
    this.#tell("budget", budget);
    if (before?.userId !== budget.userId) return;
    /** @param {string} key */
    const from = (key) => before.meters[key]?.state, to = (/** @type {string} */ key) => budget.meters[key].state;
    const changed = Object.keys(this.#rows).filter((key) => from(key) !== to(key));
    for (const key of changed) this.#tell("state", { meter: key, from: from(key), to: to(key) });
    const worst = this.#rows[changed.find((key) => to(key) === budget.state) ?? changed[0]];
    if (before.month !== budget.month) say(fillIn(this.#texts.month, this.#date(budget.resetsAt)));
    else if (worst) say(`${worst.label.textContent}: ${worst.message.textContent || worst.track.ariaValueText}`);
  }

  /** Asks when a limit will first be met, if that is wanted. @param {AbortSignal} signal */
  async #foresee(signal) {
    if (!this.hasAttribute("forecast")) return;
    try {
      const told = await checked(await this.#ask("/forecast", signal)).json();
      this.#hit = Object.values(told.meters ?? told).map((meter) => meter?.hitsLimitOn).filter(Boolean).sort()[0];
      this.#draw();
    } catch {
      // Figures without a forecast are figures still.
    }
  }

  /** A day as UTC has it. @param {string} time */
  #date(time) {
    return new Date(time).toLocaleDateString(this.#locale, { day: "numeric", month: "long", timeZone: "UTC" });
  }

  #draw() {
    const { card, head, plan, live, meters, alert, retry, upgrade, action, foot } = this.#parts;
    /** @type {HTMLElement | null} */
    const near = this.closest("[lang]");
    try {
      [this.#locale] = Intl.getCanonicalLocales(this.getAttribute("locale") || near?.lang || navigator.language);
    } catch {
      // What is no locale is left alone.
    }
    /** @type {any} */
    const texts = (this.#texts = { ...LANGUAGES.en, ...LANGUAGES[this.#locale.slice(0, 2)], ...this.#strings });
    const budget = this.#budget, phase = this.#phase, wrong = phase === "signIn" || phase === "failed", empty = wrong ? "" : NOTHING;
    const title = budget ? fillIn(texts.plan, nameOf(budget.plan)) : (texts[phase] ?? texts.busy);
    card.className = `card ${this.getAttribute("variant")} ${phase}`;
    card.style.colorScheme = this.getAttribute("theme") ?? "light dark";
    card.ariaBusy = `${phase === "busy"}`;
    card.ariaLabel = title;
    put(plan, budget ? title : empty);
    put(live, phase === "on" ? texts.live : "");
    put(alert, wrong ? texts[phase] : "");
    put(retry, phase === "failed" ? texts.retry : "");
    meters.hidden = head.hidden = wrong && !budget;

    const keys = (this.getAttribute("meters") ?? "aiRuns apiRuns cost").split(" ").filter((key) => !budget || budget.meters[key]);
    if (`${Object.keys(this.#rows)}` !== `${keys}`) {
      this.#rows = Object.fromEntries(keys.map((key) => [key, this.#rows[key] ?? makeRow(key)]));
      meters.replaceChildren(...keys.map((key) => this.#rows[key].meter));
    }
    const href = this.getAttribute("upgrade-href") || budget?.upgradeUrl || "";
    const short = keys.filter((key) => this.#drawMeter(this.#rows[key], budget?.meters[key]));
    upgrade.hidden = !budget?.nextPlan || !short.length;
    action.setAttribute("href", href);
    put(action, href && fillIn(texts.upgrade, nameOf(budget?.nextPlan)));
    put(foot, budget ? this.#footer(budget) : empty);
  }

  /** @param {Budget} budget */
  #footer({ resetsAt }) {
    const texts = this.#texts, locale = this.#locale;
    if (this.#phase === "lost") return fillIn(texts.lost, new Date(this.#heard).toLocaleTimeString(locale, { timeStyle: "short" }));
    const days = Math.ceil((Date.parse(resetsAt) - Date.now()) / 86_400_000);
    const resets = fillIn(texts.resets, this.#date(resetsAt), new Intl.RelativeTimeFormat(locale).format(days, "day"));
    return days < 0 ? "" : this.#hit ? `${resets} · ${fillIn(texts.forecast, this.#date(this.#hit))}` : resets;
  }

  /**
   * @param {Record<string, HTMLElement>} parts @param {Meter | undefined} budget undefined: not known yet
   * @returns {boolean} whether a larger plan would help
   */
  #drawMeter({ meter, label, pending, value, track, fill, held, message, text }, budget) {
    if (!budget) {
      for (const part of [label, value]) put(part, NOTHING.repeat(16));
      return false;
    }
    const { limit, used, unit, state } = budget, left = budget.remaining ?? 0, texts = this.#texts, locale = this.#locale;
    const money = unit === "USD", none = limit === 0, bar = limit && limit > 0, few = bar && budget.message;
    const { label: name = budget.label, ...plurals } = texts[budget.label] ?? {}, plural = plurals[new Intl.PluralRules(locale).select(left)];
    /** @param {number} amount @param {number} [digits] */
    const show = (amount, digits) =>
      amount.toLocaleString(locale, money ? { style: "currency", currency: unit, currencyDisplay: "narrowSymbol", maximumFractionDigits: digits } : {});
    const inProgress = budget.held ? fillIn(texts.held, show(budget.held)) : "";

    meter.className = `meter ${none ? "none" : state}`;
    put(label, name);
    // What is held is often less than a cent, and still not nothing.
    put(pending, inProgress && money ? `+${show(budget.held, 5)}` : inProgress);
    put(value, none ? texts.none : !bar ? fillIn(texts.unlimited, show(used))
      : this.getAttribute("show") === "remaining" ? fillIn(texts.remaining, show(left), show(limit)) : `${show(used)} / ${show(limit)}`);
    value.title = money ? show(used, 12) : "";

    track.hidden = !bar;
    if (bar) {
      const filled = Math.min(100, (100 * used) / limit);
      for (const [part, share] of /** @type {[HTMLElement, number][]} */ ([[fill, filled], [held, Math.min(100 - filled, (100 * budget.held) / limit)]]))
        part.style.width = share > 0 ? `max(5px, ${share}%)` : "0";
      const ariaValueText = fillIn(texts.used, show(used, 12), show(limit), show(left, 12)) + (inProgress && `, ${inProgress}`);
      Object.assign(track, { role: "meter", ariaValueMin: 0, ariaValueMax: limit, ariaValueNow: Math.min(used, limit), ariaValueText });
    }
    const kind = bar && state !== "ok" ? state : few ? "warning" : "";
    const amount = plural ? fillIn(plural, show(left)) : money ? show(left) : `${show(left)} ${name}`;
    const said = !kind ? "" : state === "reached" ? fillIn(texts.reached, this.#date(this.#budget?.resetsAt ?? "")) : fillIn(few ? texts.few : texts.left, amount);
    put(text, said);
    message.className = `message ${kind}`;
    message.hidden = !kind;
    return state === "critical" || state === "reached";
  }
}

// A second copy of this script finds the element defined.
if (globalThis.customElements && !customElements.get(NAME)) customElements.define(NAME, BudgetCard);
