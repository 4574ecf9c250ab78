import type { components } from "./schema.js";

type Schemas = components["schemas"];

/** USD as an exact decimal text, like `0.00010785`. `Number(text)` makes a float of it. */
export type Decimal = string;
/** USD to send: exact text, or a number (noise beyond 12 decimals is rounded away). */
export type Money = Decimal | number;
export type Meter = "cost" | "aiRuns" | "apiRuns";
export type State = Schemas["State"];

/** A meter of a month; `T` is `Decimal` for cost and a number for runs. */
export type MeterBudget<T> = T extends Decimal ? Schemas["CostBudget"] : Schemas["RunsBudget"];
export type Meters = Schemas["Meters"];

export type Budget = Schemas["Budget"];
export type Way = Schemas["Way"];
export type Answer = Schemas["Answer"];
export type Recorded = Schemas["Recorded"];
export type Operation = Schemas["Operation"];
export type OpenedSession = Schemas["OpenedSession"];
export type Session = Schemas["Session"];
export type User = Schemas["User"];
export type History = Schemas["History"];
export type Denial = Schemas["Denial"];
export type Plan = Schemas["Plan"];
export type Token = Schemas["Token"];
export type Forecast = Schemas["Forecast"];
export type MeterForecast = Schemas["MeterForecast"];

/** A value per meter; absent is 0. */
export interface Amounts {
  cost?: Money;
  aiRuns?: number;
  apiRuns?: number;
}
/** A limit per meter: absent follows the plan, null is unlimited, 0 allows nothing. */
export interface Limits {
  cost?: Money | null;
  aiRuns?: number | null;
  apiRuns?: number | null;
}
/** One of several ways to do the work, the best first. */
export interface Choice {
  name: string;
  estimate: Amounts;
}
/** What is asked for: one estimate, or choices of which the first that fits wins. */
export type Wanted = { estimate: Amounts; choices?: undefined } | { choices: Choice[]; estimate?: undefined };

/** A call that was made and cost something. */
export type NewOperation = Omit<Schemas["NewOperation"], "cost"> & { cost?: Money };
/** An operation as it is sent: with its id and time, so that it is counted once however often it is sent. */
export type SentOperation = NewOperation & { operationId: string; timestamp: string };
export type NewSession = Wanted & { sessionId?: string; feature: string; holdSeconds?: number; metadata?: Record<string, unknown> };
export type Question = Wanted & { feature?: string; audit?: boolean };
/** A refusal that the application made by itself. */
export interface NewDenial {
  feature: string;
  estimate: Amounts;
  reason: string;
  sessionId?: string;
  metadata?: Record<string, unknown>;
}
export interface NewUser {
  plan?: string | null;
  email?: string | null;
  limits?: Limits;
}

/** What became of one item of a batch: its answer, or its problem. */
export type Result = Schemas["BatchResult"];

/** How a call is made. */
export interface CallOptions {
  signal?: AbortSignal;
  /** How long one try may take; 5,000 if absent. */
  timeoutMs?: number;
}
