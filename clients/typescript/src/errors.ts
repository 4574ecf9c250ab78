import type { Budget, Meter, Way } from "./types.js";

/** What a problem of the server says; see RFC 9457. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  requestId?: string;
  errors?: { pointer: string; detail: string }[] | null;
  [more: string]: unknown;
}

/** Everything that this client throws, but an abort of the caller's own. */
export class OutlayError extends Error {
  /** The slug of the problem, like `does-not-fit`, or `connection`, `timeout`. */
  readonly type: string;
  /** The HTTP status; 0 if there was no answer. */
  readonly status: number;
  /** What to name when asking about it; null if there was no answer. */
  readonly requestId: string | null;
  readonly problem: Problem;

  constructor(problem: Problem, cause?: unknown) {
    super(problem.detail ?? problem.title ?? "no answer", cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.type = (problem.type ?? "unknown").replace(/^.*\//, "");
    this.status = problem.status ?? 0;
    this.requestId = problem.requestId ?? null;
    this.problem = problem;
  }
}

/** 402: it does not fit the budget. Nothing was held. */
export class BudgetExceeded extends OutlayError {
  declare readonly problem: Problem & {
    reason: "budget_exceeded" | "runs_exceeded"; failed: Meter[]; choices: Way[]; budget: Budget; nextPlan: string | null;
    upgradeRequired: boolean; resetsAt: string;
  };
  get reason() { return this.problem.reason; }
  get failed() { return this.problem.failed; }
  get choices() { return this.problem.choices; }
  get budget() { return this.problem.budget; }
  /** The first later plan in which it would fit; null if there is none. */
  get nextPlan() { return this.problem.nextPlan; }
  get upgradeRequired() { return this.problem.upgradeRequired; }
  get resetsAt() { return this.problem.resetsAt; }
}

/** 400, 413, 415, 422: the request is wrong; nothing was done. */
export class Invalid extends OutlayError {
  /** Each wrong field, by its JSON pointer. */
  get errors() { return this.problem.errors ?? []; }
}
/** 401 and 403: no key, or one that may not. */
export class Unauthorized extends OutlayError {}
/** 404. */
export class NotFound extends OutlayError {}
/** 409: the same id stands for something else already; nothing was done. */
export class Conflict extends OutlayError {}
/** 429: too much is waiting; nothing was done. */
export class RateLimited extends OutlayError {}
/** 5xx: what became of it is not known; the same ids again do it exactly once. */
export class Unavailable extends OutlayError {}
/** No answer came: what became of it is not known. */
export class ConnectionError extends Unavailable {}
/** No answer came in time: what became of it is not known. */
export class TimeoutError extends ConnectionError {}

/** The error for an answer that is no success. */
export function errorFor(status: number, problem: Problem): OutlayError {
  const kind =
    status === 402 ? BudgetExceeded
    : status === 401 || status === 403 ? Unauthorized
    : status === 404 ? NotFound
    : status === 409 ? Conflict
    : status === 429 ? RateLimited
    : status >= 500 || status === 408 ? Unavailable
    : status >= 400 ? Invalid
    : OutlayError;
  return new kind({ ...problem, status });
}
