import { ConnectionError, errorFor, OutlayError, type Problem, TimeoutError } from "./errors.js";
import { parse } from "./json.js";
import type { CallOptions } from "./types.js";

export interface OutlayOptions {
  /** The server's address; may have a path. */
  url: string;
  /** A key of the role `app`. Keep it on servers: a browser gets a user token. */
  key?: string;
  /** How long one try may take; 5,000 if absent. */
  timeoutMs?: number;
  /** How often a call is tried again; 2 if absent. A recording goes on for `recordForMs` instead. */
  retries?: number;
  /** How long a recording is tried; 60,000 if absent. */
  recordForMs?: number;
  fetch?: typeof fetch;
}

export interface Call extends CallOptions {
  body?: unknown;
  query?: Record<string, unknown> | undefined;
  headers?: Record<string, string>;
  /** Tries again until this long after the first try, in place of a number of times. */
  forMs?: number;
  /** Not to be sent twice: it has no id by which the server could know it again. */
  once?: boolean;
}

/** What may have been done or not, or may be done soon. A 402 is an answer, and a 409 means that the id is in use. */
const AGAIN = new Set([408, 429, 500, 502, 503, 504, 507]);
const FIRST_PAUSE_MS = 250, LONGEST_PAUSE_MS = 8_000;

/** Sends requests: with time limits, and again when that is safe and may help. */
export class Http {
  constructor(readonly options: OutlayOptions) {}

  async call<T>(method: string, path: string, call: Call = {}): Promise<T> {
    const { retries = 2 } = this.options, begun = Date.now();
    for (let tried = 0; ; tried += 1) {
      let failure: OutlayError, hint = 0;
      try {
        const answer = await this.#once(method, path, call);
        if (answer.ok) return answer.body as T;
        failure = answer.failure;
        hint = answer.retryAfterMs;
        if (!AGAIN.has(failure.status)) throw failure;
      } catch (thrown) {
        if (!(thrown instanceof ConnectionError)) throw thrown;
        failure = thrown;
      }
      const pause = Math.max(hint, Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tried) * (0.5 + Math.random() / 2));
      const more = call.forMs === undefined ? tried < retries : Date.now() + pause < begun + call.forMs;
      if (call.once || !more) throw failure;
      await sleep(pause, call.signal);
    }
  }

  async #once(method: string, path: string, { body, query = {}, headers, signal, timeoutMs }: Call) {
    const { url, key } = this.options;
    const address = new URL(url.replace(/\/*$/, "") + path);
    for (const [name, value] of Object.entries(query)) if (value != null) address.searchParams.set(name, String(value));

    const limit = new AbortController();
    const cut = () => limit.abort(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", cut);
    let late = false;
    const timer = setTimeout(() => limit.abort((late = true)), timeoutMs ?? this.options.timeoutMs ?? 5_000);
    try {
      const response = await (this.options.fetch ?? fetch)(address, {
        method,
        headers: { ...(body !== undefined && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }), ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal: limit.signal,
      });
      const text = await response.text();
      if (response.ok) return { ok: true as const, body: text ? parse(text) : undefined };
      const retryAfter = Number(response.headers.get("Retry-After"));
      const problem = problemOf(text, response);
      return { ok: false as const, failure: errorFor(response.status, problem), retryAfterMs: retryAfter > 0 ? retryAfter * 1000 : 0 };
    } catch (thrown) {
      if (signal?.aborted) throw signal.reason;
      if (late) throw new TimeoutError({ type: "timeout", detail: `no answer from ${address.host} in time` }, thrown);
      throw new ConnectionError({ type: "connection", detail: `no answer from ${address.host}` }, thrown);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cut);
    }
  }
}

/** The problem in a body; what stands in between may answer anything. */
function problemOf(text: string, response: Response): Problem {
  const requestId = response.headers.get("X-Request-Id") ?? undefined;
  try {
    return { requestId, ...(parse(text) as Problem) };
  } catch {
    return { requestId, title: response.statusText || `HTTP ${response.status}` };
  }
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((done, fail) => {
    const stop = () => {
      clearTimeout(timer);
      fail(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      done();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
