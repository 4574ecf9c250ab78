// Makes of `web/card.js` what is served and what is packed:
//   node scripts/build.mjs           ../../web/card.min.js, which the server embeds
//   node scripts/build.mjs --pack    card.js, card.d.ts and custom-elements.json, beside package.json
import { execFileSync } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import { minify } from "terser";
import { manifest } from "./manifest.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const SOURCE = here("../../../web/card.js"), SERVED = here("../../../web/card.min.js");

/** The text that the server serves: esbuild shortens private names and the style, terser the rest a little better. */
export async function served() {
  const source = readFileSync(SOURCE, "utf8");
  const style = /const CSS = `([^`]*)`/.exec(source)[1];
  const small = transformSync(style, { loader: "css", minify: true, charset: "utf8" }).code.trim();
  const { code } = transformSync(source.replace(style, () => small), { minify: true, format: "esm", target: "es2022", charset: "utf8" });
  return (await minify(code, { module: true, ecma: 2020 })).code;
}

function pack() {
  copyFileSync(SOURCE, here("../card.js"));
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--project", here("../tsconfig.pack.json")], { stdio: "inherit" });
  const { version } = JSON.parse(readFileSync(here("../package.json"), "utf8"));
  writeFileSync(here("../custom-elements.json"), `${JSON.stringify(manifest(readFileSync(SOURCE, "utf8"), version), null, 2)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes("--pack")) pack();
  else writeFileSync(SERVED, await served());
}
