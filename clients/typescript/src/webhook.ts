import { webCrypto } from "./crypto.js";
import { parse } from "./json.js";
import type { Decimal, Meter } from "./types.js";

/** A threshold was crossed, once per user, month, meter, threshold and limit. */
export interface ThresholdCrossed {
  type: "budget.threshold_crossed";
  timestamp: string;
  data: {
    alertId: string; userId: string; month: string; meter: Meter; threshold: number;
    /** USD as text for the meter `cost`, a number for runs. */
    used: Decimal | number; held: Decimal | number; limit: Decimal | number;
    percent: number; plan: string; nextPlan: string | null; resetsAt: string;
  };
}
export type WebhookEvent = ThresholdCrossed | { type: "denial.recorded" | "session.abandoned" | "limit.changed"; timestamp: string; data: Record<string, unknown> };

/** The webhook is not the server's, or too old. */
export class WebhookRefused extends Error {
  override name = "WebhookRefused";
}

/**
 * Reads a webhook, after its signature was found right (Standard Webhooks, `v1`). Give the body as it came, not parsed.
 * Tries of one message share their `webhook-id`: keep it to act once.
 * @throws WebhookRefused
 */
export async function verifyWebhook(
  body: string | Uint8Array,
  headers: Headers | Record<string, string | string[] | undefined>,
  secret: string,
  { toleranceSeconds = 300, now = Date.now() }: { toleranceSeconds?: number; now?: number } = {},
): Promise<WebhookEvent & { id: string }> {
  const header = (name: string) => {
    const value = headers instanceof Headers ? headers.get(name) : Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
    if (typeof value !== "string") throw new WebhookRefused(`no header ${name}`);
    return value;
  };
  const id = header("webhook-id"), sent = header("webhook-timestamp");
  if (!(Math.abs(now / 1000 - Number(sent)) <= toleranceSeconds)) throw new WebhookRefused("its timestamp is too far from now");

  const text = typeof body === "string" ? body : new TextDecoder().decode(body);
  const { subtle } = await webCrypto();
  const key = await subtle.importKey("raw", bytes(secret.replace(/^whsec_/, "")), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  const signed = new TextEncoder().encode(`${id}.${sent}.${text}`);
  for (const signature of header("webhook-signature").split(" ")) {
    const [version, value = ""] = signature.split(",");
    // Compared in constant time by the platform.
    if (version === "v1" && (await subtle.verify("HMAC", key, bytes(value), signed))) return { id, ...(parse(text) as WebhookEvent) };
  }
  throw new WebhookRefused("no signature is right");
}

function bytes(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}
