"use client";

import { useState } from "react";

export function Scan() {
  const [said, setSaid] = useState("");
  const scan = async () => {
    const answer = await (await fetch("/api/scan", { method: "POST" })).json();
    setSaid(answer.scanned ? `Scanned (${answer.choice})` : `Not scanned: ${answer.reason}; the plan ${answer.nextPlan} would do`);
  };
  return (
    <p>
      <button onClick={scan}>Scan</button> <output>{said}</output>
    </p>
  );
}
