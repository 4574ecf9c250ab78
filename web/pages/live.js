// @ts-check
/**
 * How a page stays live; it is whole without it.
 *
 * One tab of a browser listens to the server's events, chosen by a lock; it tells the others. Whoever is looked at then asks
 * for its own page again, and changes what differs. Nothing is added up here.
 */
const root = document.documentElement.dataset.root ?? "";
const address = (/** @type {string} */ path) => new URL(root + path, location.href).href;
/** @param {string} id */
const find = (id) => document.getElementById(id);

/** @param {string} html */
let trusted = (html) => html;
if ("trustedTypes" in globalThis) {
  const policy = /** @type {any} */ (globalThis).trustedTypes.createPolicy("outlay", { createHTML: (/** @type {string} */ html) => html });
  trusted = (html) => policy.createHTML(html);
}

/** @param {Node} node */
const keyOf = (node) => (node instanceof Element ? node.id || node.getAttribute("data-key") : null);

/**
 * Makes `old` like `fresh`, touching only what differs, so that focus, selection, scroll and what was opened stay.
 * @param {Element} old @param {Element} fresh
 */
function morph(old, fresh) {
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    // Whether it is open is the reader's affair.
    if (!fresh.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
  if (old === document.activeElement && old.matches("input, select, textarea")) return;
  /** @type {Map<string | null, Node>} */
  const known = new Map();
  for (const child of old.childNodes) if (keyOf(child)) known.set(keyOf(child), child);
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    const match = key ? known.get(key) : at && !keyOf(at) && at.nodeName === child.nodeName ? at : null;
    if (!match || match.nodeName !== child.nodeName) {
      old.insertBefore(child, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    if (match instanceof Element) morph(match, /** @type {Element} */ (child));
    else if (match.nodeValue !== child.nodeValue) match.nodeValue = child.nodeValue;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

let tag = "", busy = false, dirty = false, askedAt = 0, ended = false;

/** Asks for this page again, four times a second at most, one at a time, and only while it is looked at. */
async function refresh() {
  dirty = true;
  if (busy || ended || document.hidden) return;
  busy = true;
  while (dirty && !document.hidden && !ended) {
    await new Promise((done) => setTimeout(done, askedAt + 250 - Date.now()));
    // It may have been hidden meanwhile; it is asked for when it is looked at again.
    if (document.hidden) break;
    dirty = false;
    askedAt = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "Outlay-Fragment": "1", ...(tag && { "If-None-Match": tag }) } });
      // Signed out: the page says so itself. What was made by a form cannot be asked for again.
      if (answer.status === 401) location.reload();
      if (answer.status >= 400) ended = answer.status < 500;
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") ?? "";
        show(new DOMParser().parseFromString(trusted(await answer.text()), "text/html"));
      }
      if (answer.status < 400) moment(answer.headers.get("Outlay-As-Of") ?? "");
    } catch {
      // The stream notices too, and says when to ask again.
    }
  }
  busy = false;
}

/** @param {Document} fresh */
function show(fresh) {
  const regions = [...document.querySelectorAll("[data-live]")];
  // It has become another page: the first operation came.
  if (!regions.some((old) => fresh.getElementById(old.id))) return location.reload();
  for (const old of regions) {
    const region = fresh.getElementById(old.id);
    if (region) morph(old, region);
  }
  document.dispatchEvent(new Event("outlay-changed"));
}

/** @param {string} asOf */
function moment(asOf) {
  const time = find("as-of");
  if (!time || !asOf) return;
  time.textContent = asOf.slice(11, 19);
  time.setAttribute("datetime", asOf);
  time.title = asOf;
}

let lost = false, saidAt = 0;

/** Says how it stands, beside the figures, and to screen readers only when it changes. @param {boolean} now */
function stands(now) {
  const sign = find("live"), said = find("said");
  if (!sign || !said) return;
  const text = now ? `Reconnecting, figures from ${find("as-of")?.textContent?.slice(0, 5)}` : "Live";
  sign.hidden = false;
  sign.textContent = text;
  sign.classList.toggle("lost", now);
  if (now !== lost && Date.now() > saidAt + 10_000) {
    said.textContent = text;
    saidAt = Date.now();
  }
  lost = now;
}

/** All pages of this server share one stream, whichever they are. */
const shared = `outlay ${address("./")}`;
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(shared) : null;

/** Whether this tab is the one that listens, and is heard. */
let listens = false;

/** @param {string} what */
function hear(what) {
  // A tab that is new asks how it stands.
  if (what === "?") return void (listens && channel?.postMessage(lost ? "lost" : "here"));
  stands(what === "lost");
  if (what !== "lost" && what !== "here") refresh();
}

/** @param {string} what */
function tell(what) {
  channel?.postMessage(what);
  hear(what);
}

/** Listens until `signal` ends it; what the browser gives up is begun again, later each time. @param {AbortSignal} [signal] */
function listen(signal) {
  let tries = 0;
  const begin = () => {
    if (signal?.aborted) return;
    const stream = new EventSource(address("v1/events"));
    signal?.addEventListener("abort", () => stream.close());
    for (const name of ["overview", "alert", "denial"])
      stream.addEventListener(name, () => {
        tries = 0;
        tell("changed");
      });
    stream.onopen = () => {
      listens = true;
      tell("open");
    };
    stream.onerror = () => {
      tell("lost");
      if (stream.readyState === EventSource.CLOSED) setTimeout(begin, Math.min(30_000, 1000 * 2 ** tries++) * (0.5 + Math.random() / 2));
    };
  };
  begin();
}

if (document.querySelector("[data-live]")) {
  document.addEventListener("visibilitychange", () => dirty && refresh());
  if (channel && "locks" in navigator) {
    channel.onmessage = ({ data }) => hear(data);
    channel.postMessage("?");
    // Held for as long as the tab lives; the next one gets it then.
    navigator.locks.request(shared, () => new Promise(() => listen()));
  } else {
    /** @type {AbortController | null} */
    let stop = null;
    const look = () => {
      if (document.hidden) {
        stop?.abort();
        stop = null;
      } else if (!stop) listen((stop = new AbortController()).signal);
    };
    document.addEventListener("visibilitychange", look);
    look();
  }
}
