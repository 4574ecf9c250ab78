export { Outlay, type List, type RecordOptions } from "./client.js";
export {
  BudgetExceeded, Conflict, ConnectionError, Invalid, NotFound, OutlayError, type Problem, RateLimited, TimeoutError, Unauthorized, Unavailable,
} from "./errors.js";
export type { OutlayOptions } from "./http.js";
export type * from "./types.js";
export { type ThresholdCrossed, verifyWebhook, type WebhookEvent, WebhookRefused } from "./webhook.js";
export { BudgetedSession, type WithBudget } from "./with-budget.js";
