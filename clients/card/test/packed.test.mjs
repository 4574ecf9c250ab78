// What is served and what is packed of the card.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { served } from "../scripts/build.mjs";
import { manifest } from "../scripts/manifest.mjs";

const file = (name) => readFileSync(new URL(`../../../web/${name}`, import.meta.url), "utf8");

test("what is served is made of the source as it is", async () => {
  assert.equal(file("card.min.js"), await served(), "run `npm run served` in clients/card");
});

test("what is served is 6 KB at most, compressed", (context) => {
  const bytes = gzipSync(file("card.min.js"), { level: 9 }).length;
  context.diagnostic(`card.min.js: ${bytes} bytes`);
  assert.ok(bytes <= 6144, `${bytes} bytes`);
});

test("editors are told of every attribute, event, slot and variable, and of nothing else", () => {
  const { modules } = manifest(file("card.js"), "0.0.0");
  assert.equal(modules[0].declarations[0].attributes.length, 11);
  assert.throws(() => manifest(file("card.js").replace("src user-id", "src owner user-id"), "0"), /attributes.*owner/);
  assert.throws(() => manifest(file("card.js").replace('#tell("error"', '#tell("fault"'), "0"), /events.*error, fault/);
});
