import { appendFile } from "node:fs/promises";
import { Outlay, type SentOperation } from "@outlay/client";

export const outlay = new Outlay({ url: process.env.OUTLAY_URL ?? "http://127.0.0.1:4780", key: process.env.OUTLAY_KEY });

/** Who is signed in: your own session goes here. */
export const currentUser = () => process.env.DEMO_USER ?? "bgtfrdsZ";

/** An outbox for what could not be recorded; `outlay import FILE` sends it later, as often as you like. */
export const keep = (operation: SentOperation) => appendFile(process.env.OUTBOX ?? "outbox.jsonl", `${JSON.stringify(operation)}\n`);
