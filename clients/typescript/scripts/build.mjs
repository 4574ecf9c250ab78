// Two runs of tsc: ESM for `import`, CommonJS for `require`, each with a package.json that says which.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
rmSync(here("../dist"), { recursive: true, force: true });
for (const [form, project, type] of [["esm", "tsconfig.json", "module"], ["cjs", "tsconfig.cjs.json", "commonjs"]]) {
  execFileSync(process.execPath, [tsc, "--project", here(`../${project}`)], { stdio: "inherit" });
  mkdirSync(here(`../dist/${form}`), { recursive: true });
  writeFileSync(here(`../dist/${form}/package.json`), `{ "type": "${type}" }\n`);
}
