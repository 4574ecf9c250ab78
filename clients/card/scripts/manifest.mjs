// The custom-elements manifest of the card: what editors show of it. Names are compared with the source, so that neither
// gets ahead of the other.

const ATTRIBUTES = {
  src: "The server's address, which may have a path; where the module came from if absent",
  "user-id": "Whose budget it is",
  token: "A user token; without one and without `token-url` none is sent",
  "token-url": "An address of the application that answers with a token, as text or as `{\"token\": ...}`; asked at first, after a 401 and before a token expires",
  meters: "Which meters, in which order: `aiRuns apiRuns cost` if absent",
  variant: "`full` (default), `compact` or `inline`",
  show: "`used` (default) or `remaining`",
  "upgrade-href": "Where a larger plan is had; the server's `upgradeUrl` if absent",
  locale: "A language tag; that of the nearest `lang` if absent",
  theme: "`light` or `dark`; that of the system if absent",
  forecast: "Shows, if present, when a limit will first be met",
};
const PROPERTIES = {
  getToken: ["(() => string | Promise<string>) | null", "Gives a token, in place of `token-url`"],
  strings: ["Strings", "Texts in place of the card's own, by key"],
  budget: ["Budget | null", "What is shown; once the page gives one, the card asks nobody"],
};
const EVENTS = {
  budget: "New figures are shown; `detail` is the budget",
  state: "A meter came into another state; `detail` is `{ meter, from, to }`",
  upgrade: "The link to a larger plan was followed; cancelable; `detail` is the budget",
  error: "The budget cannot be had; `detail` is `{ status, message }`",
};
const PARTS = {
  card: "The frame", meter: "One meter", label: "Its name", value: "Its figures", track: "Its bar", fill: "What was used", held: "What is held",
  tick: "The mark at 80 percent", message: "What is left, when it is little", action: "The link to a larger plan",
};
const VARIABLES = "fg bg muted track ok warning critical reached held radius gap font".split(" ");
const SLOTS = { header: "In place of plan and live mark", upgrade: "In place of the link to a larger plan, shown when that would help", footer: "In place of the line below" };

/** @param {string} source of the card @param {string} version of the package */
export function manifest(source, version) {
  const list = (pattern) => new Set([...source.matchAll(pattern)].map(([, name]) => name));
  const observed = new Set(/observedAttributes = "([^"]+)"/.exec(source)[1].split(" "));
  same("attributes", Object.keys(ATTRIBUTES), observed);
  same("events", Object.keys(EVENTS), list(/#tell\("(\w+)"/g));
  same("variables", VARIABLES, list(/var\(--outlay-(\w+)/g));
  same("properties", Object.keys(PROPERTIES), list(/^ {2}set (\w+)\(/gm));
  const made = [...source.matchAll(/parts\("([^"]+)"\)/g)].flatMap(([, names]) => names.split(" ").map((name) => name.split(":")));
  same("slots", Object.keys(SLOTS), new Set(made.filter(([, tag]) => tag === "slot").map(([name]) => name)));
  for (const part of Object.keys(PARTS)) if (!made.some(([name]) => name === part)) throw new Error(`no part ${part} in the card`);

  const described = (names) => Object.entries(names).map(([name, description]) => ({ name, description }));
  const declaration = {
    kind: "class", name: "BudgetCard", tagName: "outlay-budget-card", customElement: true, superclass: { name: "HTMLElement" },
    description: "What a user has used of this month's budget, live",
    attributes: described(ATTRIBUTES).map((attribute) => ({ ...attribute, type: { text: "string" } })),
    members: [
      ...Object.entries(PROPERTIES).map(([name, [text, description]]) => ({ kind: "field", name, type: { text }, description })),
      { kind: "method", name: "refresh", description: "Asks anew for the whole budget" },
    ],
    events: Object.entries(EVENTS).map(([name, description]) => ({ name: `outlay-${name}`, type: { text: "CustomEvent" }, description })),
    cssParts: described(PARTS),
    cssProperties: VARIABLES.map((name) => ({ name: `--outlay-${name}` })),
    slots: described(SLOTS),
  };
  const reference = { name: "BudgetCard", module: "card.js" };
  return {
    schemaVersion: "2.1.0",
    readme: "README.md",
    package: { name: "@outlay/card", version },
    modules: [{
      kind: "javascript-module", path: "card.js", declarations: [declaration],
      exports: [
        { kind: "js", name: "BudgetCard", declaration: reference },
        { kind: "custom-element-definition", name: declaration.tagName, declaration: reference },
      ],
    }],
  };
}

/** @param {string} what @param {string[]} documented @param {Set<string>} there */
function same(what, documented, there) {
  const wrong = [...documented.filter((name) => !there.has(name)), ...[...there].filter((name) => !documented.includes(name))];
  if (wrong.length) throw new Error(`${what} of the card and of its manifest differ: ${wrong.join(", ")}`);
}
