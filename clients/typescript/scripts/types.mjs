// Makes src/schema.ts of what a server says about itself:  node scripts/types.mjs [openapi.json or http address]
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import openapiTS, { astToString } from "openapi-typescript";

/** The types of a description, as TypeScript. Money is text here, so that no digit is lost. */
export async function typesOf(description) {
  const { components } = structuredClone(description);
  components.schemas.Usd = { type: "string", description: "USD, an exact decimal text like `0.00010785`" };
  components.schemas.Amount = { oneOf: [{ $ref: "#/components/schemas/Usd" }, { type: "integer" }], description: "USD as exact decimal text, or whole runs, as the meter has it" };
  for (const name of ["Cost", "CostLimit"]) components.schemas[name] = { oneOf: [{ $ref: "#/components/schemas/Usd" }, { type: "number" }] };
  // Rules between fields are no types.
  for (const schema of Object.values(components.schemas)) if (schema.properties) delete schema.allOf;
  const ast = await openapiTS({ openapi: description.openapi, info: description.info, paths: {}, components }, { alphabetize: true, emptyObjectsUnknown: true });
  return `// Made of the server's /openapi.json by \`npm run types\`.\n\n${astToString(ast)}`;
}

export const FILE = fileURLToPath(new URL("../src/schema.ts", import.meta.url));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const from = process.argv[2] ?? "http://127.0.0.1:4780/openapi.json";
  const text = from.startsWith("http") ? await (await fetch(from)).text() : readFileSync(from, "utf8");
  writeFileSync(FILE, await typesOf(JSON.parse(text)));
}
