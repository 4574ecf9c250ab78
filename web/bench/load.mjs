// Records so many operations a second, of many users, until it is killed; tells how many it has recorded.
import { Agent, request } from "node:http";

const [url, key, rate] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 8 });
const BATCH = 10, started = performance.now(), run = Math.random().toString(36).slice(2);
let sent = 0, recorded = 0;

/** Sends a batch whenever one is due, and does not wait for the answer of the one before. */
setInterval(() => {
  while (sent < ((performance.now() - started) / 1000) * Number(rate)) {
    const items = Array.from({ length: BATCH }, (_, n) => ({ userId: `loaded-${(sent + n) % 500}`, operationId: `${run}-${sent + n}`, feature: "load", cost: 0.0001, isBillableRun: true }));
    sent += BATCH;
    const post = request(`${url}/v1/usage`, { method: "POST", agent, headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" } }, (answer) => {
      answer.resume();
      if (answer.statusCode === 200) recorded += BATCH;
    });
    post.on("error", () => process.exit());
    post.end(JSON.stringify(items));
  }
}, 5);
setInterval(() => console.log(recorded), 100);
