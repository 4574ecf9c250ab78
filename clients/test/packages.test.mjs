// The packages as they would be published: packed, looked at by publint and attw, loaded by `import` and `require`.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { typesOf } from "../typescript/scripts/types.mjs";
import { outlay } from "../support/outlay.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const run = (command, line, options) => execFileSync(command, line, { cwd: ROOT, encoding: "utf8", ...options });
const PACKAGES = { card: "@outlay/card", typescript: "@outlay/client", react: "@outlay/react" };

let folder;
const packed = {};
before(() => {
  folder = mkdtempSync(join(tmpdir(), "outlay-packed-"));
  for (const [where, name] of Object.entries(PACKAGES)) {
    const [{ filename, files }] = JSON.parse(run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder, "--workspace", name]));
    packed[where] = { file: join(folder, filename), files: files.map(({ path }) => path) };
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

for (const [where, name] of Object.entries(PACKAGES)) {
  test(`${name} is packed as it should be`, async () => {
    const tarball = readFileSync(packed[where].file);
    const { messages, pkg } = await publint({ pack: { tarball: tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.byteLength) }, strict: true });
    assert.deepEqual(messages.map((message) => formatMessage(message, pkg, { color: false })), []);
    assert.ok(!packed[where].files.some((path) => /test|scripts|tsconfig|\.map$/.test(path)), packed[where].files.join());
  });
  test(`the types of ${name} resolve for everybody who can load it`, () => {
    // The card and its React wrapper are ES modules only: they are for browsers.
    const profile = where === "typescript" ? "node16" : "esm-only";
    run("npx", ["--no-install", "attw", packed[where].file, "--profile", profile, "--no-color"]);
  });
}

test("the client has no dependency and is 6 KB at most, compressed", async (context) => {
  const manifest = JSON.parse(readFileSync(join(ROOT, "typescript/package.json"), "utf8"));
  assert.equal(manifest.dependencies, undefined);
  const { outputFiles } = await build({ entryPoints: [join(ROOT, "typescript/dist/esm/index.js")], bundle: true, minify: true, format: "esm", write: false, target: "es2022" });
  const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  context.diagnostic(`@outlay/client: ${bytes} bytes`);
  assert.ok(bytes <= 6144, `${bytes} bytes`);
});

test("the client is loaded by import and by require", () => {
  const host = join(folder, "host");
  mkdirSync(join(host, "node_modules/@outlay/client"), { recursive: true });
  run("tar", ["-xzf", packed.typescript.file, "--strip-components=1", "-C", join(host, "node_modules/@outlay/client")]);
  writeFileSync(join(host, "a.mjs"), `import { Outlay, verifyWebhook } from "@outlay/client"; console.log(typeof Outlay, typeof verifyWebhook);`);
  writeFileSync(join(host, "b.cjs"), `const { Outlay, verifyWebhook } = require("@outlay/client"); console.log(typeof Outlay, typeof verifyWebhook);`);
  for (const file of ["a.mjs", "b.cjs"]) assert.equal(run(process.execPath, [join(host, file)]).trim(), "function function");
});

test("the types are those of the server as it is", async () => {
  const server = await outlay();
  try {
    const types = await typesOf(await (await fetch(`${server.url}/openapi.json`)).json());
    assert.equal(readFileSync(join(ROOT, "typescript/src/schema.ts"), "utf8"), types, "run `npm run types -w @outlay/client ADDRESS`");
  } finally {
    await server.stop();
  }
});

test("no address of a registry is in the lock file", () => {
  const addresses = readFileSync(join(ROOT, "package-lock.json"), "utf8").match(/https?:\/\/[^"]+\.tgz/g) ?? [];
  assert.deepEqual(addresses, []);
});

test("every package has a licence and a page that says how it is used", () => {
  for (const where of Object.keys(PACKAGES)) {
    assert.ok(readdirSync(join(ROOT, where)).includes("README.md"), where);
    assert.equal(JSON.parse(readFileSync(join(ROOT, where, "package.json"), "utf8")).license, "MIT OR Apache-2.0");
  }
});
