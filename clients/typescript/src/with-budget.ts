import type { Outlay, RecordOptions } from "./client.js";
import type { CallOptions, NewOperation, NewSession, OpenedSession, Recorded } from "./types.js";

export type WithBudget = NewSession & CallOptions & {
  userId: string;
  /**
   * Whether the work runs while Outlay cannot be asked. `deny`: it does not, nothing is overspent, and users wait for your
   * operations people. `allow`: it does, without a hold, and limits may be passed until Outlay is back.
   */
  onUnavailable: "deny" | "allow";
  /** Who keeps an operation that could not be recorded within a minute: it has cost money all the same. */
  onUnrecorded: NonNullable<RecordOptions["onUnrecorded"]>;
};

interface Frame {
  userId: string;
  sessionId: string;
  feature: string;
  opened: OpenedSession | null;
  onUnrecorded: NonNullable<RecordOptions["onUnrecorded"]>;
  timeoutMs?: number | undefined;
}

/** A session that `withBudget` opened. */
export class BudgetedSession {
  readonly userId: string;
  readonly sessionId: string;
  /** The name of the choice that won; null where there was one estimate only, or no hold. */
  readonly choice: string | null;
  /** What the server answered; null if it could not be asked and the work was allowed all the same. */
  readonly opened: OpenedSession | null;
  readonly #outlay: Outlay;
  readonly #frame: Frame;

  constructor(outlay: Outlay, frame: Frame) {
    this.#outlay = outlay;
    this.#frame = frame;
    this.userId = frame.userId;
    this.sessionId = frame.sessionId;
    this.opened = frame.opened;
    this.choice = frame.opened?.choice ?? null;
  }

  /**
   * Records a call that was made. It is counted also over the limit: its cost exists. Resolves to null if `onUnrecorded` has
   * it. No signal cuts it short: what was spent must be written down.
   */
  step(operation: Omit<NewOperation, "userId" | "sessionId" | "feature"> & { feature?: string }): Promise<Recorded | null> {
    const { userId, sessionId, feature, onUnrecorded, timeoutMs } = this.#frame;
    return this.#outlay.usage.record({ feature, ...operation, userId, sessionId }, { onUnrecorded, timeoutMs, minimal: true });
  }
}
