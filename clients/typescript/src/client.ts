import { newId } from "./crypto.js";
import { ConnectionError, OutlayError, RateLimited, Unauthorized, Unavailable } from "./errors.js";
import { type Call, Http, type OutlayOptions } from "./http.js";
import type {
  Answer, Budget, CallOptions, Denial, Forecast, History, NewDenial, NewOperation, NewSession, NewUser, OpenedSession, Operation, Plan, Question, Recorded, Result,
  SentOperation, Session, Token, User,
} from "./types.js";
import { BudgetedSession, type WithBudget } from "./with-budget.js";

/** All items of a list, page after page, as they are asked for: `for await (const item of list)`. */
export interface List<T> extends AsyncIterable<T> {
  pages(): AsyncGenerator<T[]>;
}

export interface RecordOptions extends CallOptions {
  /**
   * Called with the operation if it could not be recorded in time, or the key is not taken: it has cost money, so keep it, in an outbox, and send it
   * later by `outlay import`, as often as you like. Without it, the error is thrown.
   */
  onUnrecorded?: (operation: SentOperation, error: OutlayError) => void | Promise<void>;
  /** Leaves the budget out of the answer. */
  minimal?: boolean;
}

const id = encodeURIComponent;

/** A client of one Outlay server. */
export class Outlay {
  readonly #http: Http;

  constructor(options: OutlayOptions) {
    this.#http = new Http(options);
  }

  readonly usage = {
    /** Records one operation, exactly once. It is tried for a minute; ids and time are made before the first try. */
    record: async (operation: NewOperation, { onUnrecorded, minimal, ...call }: RecordOptions = {}): Promise<Recorded | null> => {
      const sent = await this.complete(operation);
      try {
        return await this.#record<Recorded>(sent, { ...call, headers: minimal ? { Prefer: "return=minimal" } : {} });
      } catch (thrown) {
        // The cost exists also where the key is not taken any more; what is wrong in itself is thrown.
        if (!onUnrecorded || !(isOutage(thrown) || thrown instanceof Unauthorized)) throw thrown;
        await onUnrecorded(sent, thrown);
        return null;
      }
    },
    /** Records up to 1000 operations; each succeeds or fails alone. */
    recordAll: async (operations: NewOperation[], call: CallOptions = {}): Promise<Result[]> => {
      const sent = await Promise.all(operations.map((operation) => this.complete(operation)));
      return (await this.#record<{ results: Result[] }>(sent, call)).results;
    },
    /** Takes an operation back, once, in its own month. */
    reverse: (userId: string, operationId: string, body: { operationId?: string; reason?: string } = {}, call: CallOptions = {}) =>
      this.#http.call<Recorded>("POST", `/v1/users/${id(userId)}/usage/${id(operationId)}/reverse`, { ...call, body, forMs: this.#recordForMs }),
    list: (userId: string, query: { month?: string; feature?: string; usageType?: string; sessionId?: string; limit?: number } = {}, call: CallOptions = {}): List<Operation> =>
      this.#list(`/v1/users/${id(userId)}/usage`, query, call),
  };

  readonly sessions = {
    /** Opens a session and holds what it may use. @throws BudgetExceeded if it does not fit */
    open: async (userId: string, session: NewSession, call: CallOptions = {}) => {
      const body = { ...session, sessionId: session.sessionId ?? (await newId("session")) };
      return this.#http.call<OpenedSession>("POST", `/v1/users/${id(userId)}/sessions`, { ...call, body });
    },
    /** Gives back what was held and not used. */
    finish: (userId: string, sessionId: string, body: { status: "completed" | "failed"; error?: string }, call: CallOptions = {}) =>
      this.#http.call<Session>("POST", `${path(userId, sessionId)}/finish`, { ...call, body }),
    extend: (userId: string, sessionId: string, body: { holdSeconds: number; estimate?: NewSession["estimate"] }, call: CallOptions = {}) =>
      this.#http.call<Session>("POST", `${path(userId, sessionId)}/extend`, { ...call, body }),
    get: (userId: string, sessionId: string, query: { steps?: boolean; stepsCursor?: string } = {}, call: CallOptions = {}) =>
      this.#http.call<Session>("GET", path(userId, sessionId), { ...call, query }),
    list: (userId: string, query: { status?: string; feature?: string; from?: string; to?: string; limit?: number } = {}, call: CallOptions = {}): List<Session> =>
      this.#list(`/v1/users/${id(userId)}/sessions`, query, call),
  };

  readonly users = {
    get: (userId: string, query: { month?: string } = {}, call: CallOptions = {}) => this.#http.call<User>("GET", `/v1/users/${id(userId)}`, { ...call, query }),
    /** Replaces the whole user. */
    put: (userId: string, body: NewUser, call: CallOptions = {}) => this.#http.call<User>("PUT", `/v1/users/${id(userId)}`, { ...call, body }),
    budget: (userId: string, query: { month?: string } = {}, call: CallOptions = {}) => this.#http.call<Budget>("GET", `/v1/users/${id(userId)}/budget`, { ...call, query }),
    history: (userId: string, query: { months?: number } = {}, call: CallOptions = {}) => this.#http.call<History>("GET", `/v1/users/${id(userId)}/history`, { ...call, query }),
    /** Where each meter will stand at the month's end, and when its limit will be met. */
    forecast: (userId: string, call: CallOptions = {}) => this.#http.call<Forecast>("GET", `/v1/users/${id(userId)}/forecast`, call),
    /** Whether it fits. It promises nothing: open a session for that. */
    afford: (userId: string, body: Question, call: CallOptions = {}) =>
      this.#http.call<Answer>("POST", `/v1/users/${id(userId)}/afford`, { ...call, body, once: body.audit ?? false }),
    /** A token for this user's browser. */
    createToken: (userId: string, body: { ttlSeconds?: number; reads?: ("sessions" | "usage")[] } = {}, call: CallOptions = {}) =>
      this.#http.call<Token>("POST", `/v1/users/${id(userId)}/tokens`, { ...call, body }),
    /** Ends every token of this user that was made until now, as when a device was lost or somebody signed out everywhere. Needs an admin key. */
    endTokens: (userId: string, call: CallOptions = {}) => this.#http.call<void>("DELETE", `/v1/users/${id(userId)}/tokens`, call),
    /** Keeps a refusal that the application made by itself. It has no id, so it is sent once and not tried again. */
    deny: (userId: string, body: NewDenial, call: CallOptions = {}) => this.#http.call<Denial>("POST", `/v1/users/${id(userId)}/denials`, { ...call, body, once: true }),
    denials: (userId: string, query: { month?: string; limit?: number } = {}, call: CallOptions = {}): List<Denial> => this.#list(`/v1/users/${id(userId)}/denials`, query, call),
    /** Forgets the person; the sums stay, anonymous. Needs an admin key. */
    erase: (userId: string, call: CallOptions = {}) => this.#http.call<void>("DELETE", `/v1/users/${id(userId)}`, call),
  };

  readonly plans = {
    list: async (call: CallOptions = {}) => (await this.#http.call<{ items: Plan[] }>("GET", "/v1/plans", call)).items,
  };

  /**
   * Runs `work` in a session: opens it with a hold, finishes it, also if `work` throws. Report each call that cost money by
   * `session.step`. The server being down is not left to chance: say whether `work` then runs, and who keeps its costs.
   * @throws BudgetExceeded if it does not fit; `work` has not run
   */
  async withBudget<T>(options: WithBudget, work: (session: BudgetedSession) => T | Promise<T>): Promise<T> {
    const { userId, onUnavailable, onUnrecorded, signal, timeoutMs, ...wanted } = options, call = { signal, timeoutMs };
    const sessionId = wanted.sessionId ?? (await newId("session"));
    let opened: OpenedSession | null = null;
    try {
      opened = await this.sessions.open(userId, { ...wanted, sessionId }, call);
    } catch (thrown) {
      if (onUnavailable !== "allow" || !isOutage(thrown)) throw thrown;
    }
    const session = new BudgetedSession(this, { userId, sessionId, feature: wanted.feature, opened, onUnrecorded, timeoutMs });
    try {
      const result = await work(session);
      await this.#finish(session, { status: "completed" }, timeoutMs);
      return result;
    } catch (thrown) {
      await this.#finish(session, { status: "failed", error: oneLine(thrown) }, timeoutMs);
      throw thrown;
    }
  }

  /** An operation with the id and time by which it is known again. */
  async complete(operation: NewOperation): Promise<SentOperation> {
    return { ...operation, operationId: operation.operationId ?? (await newId("op")), timestamp: operation.timestamp ?? new Date().toISOString() };
  }

  /** What was held is given back by the server itself when the hold expires, so nobody need hear that this failed. */
  async #finish({ userId, sessionId }: BudgetedSession, how: { status: "completed" | "failed"; error?: string }, timeoutMs?: number) {
    try {
      await this.sessions.finish(userId, sessionId, how, { timeoutMs });
    } catch (thrown) {
      if (!(thrown instanceof OutlayError)) throw thrown;
    }
  }

  get #recordForMs() {
    return this.#http.options.recordForMs ?? 60_000;
  }

  #record<T>(body: SentOperation | SentOperation[], call: Call) {
    return this.#http.call<T>("POST", "/v1/usage", { ...call, body, forMs: this.#recordForMs });
  }

  #list<T>(where: string, query: Record<string, unknown>, call: CallOptions): List<T> {
    const http = this.#http;
    async function* pages() {
      let cursor: string | null = null;
      do {
        const page: { items: T[]; nextCursor: string | null } = await http.call("GET", where, { ...call, query: { ...query, cursor } });
        yield page.items;
        cursor = page.nextCursor;
      } while (cursor);
    }
    return {
      pages,
      async *[Symbol.asyncIterator]() {
        for await (const page of pages()) yield* page;
      },
    };
  }
}

const path = (userId: string, sessionId: string) => `/v1/users/${id(userId)}/sessions/${id(sessionId)}`;

/** What was thrown as a session's `error` takes it: one line of 256 characters at most; none if it says nothing. */
function oneLine(thrown: unknown): string | undefined {
  const text = String(thrown).replace(/\p{Cc}+/gu, " ").replace(/\p{Cs}/gu, "\ufffd").trim();
  return Array.from(text).slice(0, 256).join("") || undefined;
}

/** Whether the server could not be asked, as against having said no. */
function isOutage(thrown: unknown): thrown is OutlayError {
  return thrown instanceof Unavailable || thrown instanceof RateLimited || thrown instanceof ConnectionError;
}
