import { BudgetCard } from "@outlay/react";
import { currentUser } from "../lib/outlay";
import { Scan } from "./scan";

export const dynamic = "force-dynamic";

export default function Page() {
  return (
    <main>
      <h1>Scan a card</h1>
      <Scan />
      <BudgetCard userId={currentUser()} src={process.env.OUTLAY_PUBLIC_URL ?? "http://127.0.0.1:4780"} tokenUrl="/api/outlay-token" upgradeHref="/plans" />
    </main>
  );
}
