import { BudgetExceeded } from "@outlay/client";
import { currentUser, keep, outlay } from "../../../lib/outlay";

const choices = [
  { name: "enhanced", estimate: { cost: 0.002, aiRuns: 1 } },
  { name: "basic", estimate: { cost: 0.0015, apiRuns: 1 } },
];

export async function POST() {
  try {
    return await outlay.withBudget({ userId: currentUser(), feature: "business_card_scan", choices, onUnavailable: "deny", onUnrecorded: keep }, async (session) => {
      const enhanced = session.choice === "enhanced";
      // Your OCR call goes here.
      await session.step({ usageType: "ApiUsage", feature: "business_card_scan_ocr", provider: "google_vision_ocr", cost: 0.0015, isBillableRun: !enhanced });
      // Your model call goes here.
      if (enhanced) await session.step({ provider: "gemini", model: "gemini-2.5-flash-lite", cost: 0.00010785, isBillableRun: true });
      return Response.json({ scanned: true, choice: session.choice });
    });
  } catch (error) {
    if (!(error instanceof BudgetExceeded)) throw error;
    const { reason, nextPlan, resetsAt } = error;
    return Response.json({ scanned: false, reason, nextPlan, resetsAt }, { status: 402 });
  }
}
