/** JSON both ways with money as exact text: `JSON.parse` would make floats of it, before anybody could look at the digits. */

const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const MONEY = /^(?:cost(?:Per\w+)?|totalCost|monthlyTotalCost)$/;
const OF_A_METER = /^(?:used|held|limit|remaining)$/;

/** Reads what a server answered: USD become decimal strings, all other numbers numbers. */
export function parse(text: string): unknown {
  // Each number is marked as a string that no text of the answer can be.
  let mark = "\u0000";
  while (text.includes(JSON.stringify(mark).slice(1, -1))) mark += "\u0000";
  const marked = JSON.stringify(mark).slice(0, -1);
  const tree: unknown = JSON.parse(text.replace(TOKENS, (token) => (token[0] === '"' ? token : `${marked}${token}"`)));

  const settle = (value: unknown, money: boolean, plain = false, ofCost = false): unknown => {
    if (typeof value === "string") {
      if (!value.startsWith(mark)) return value;
      const digits = value.slice(mark.length);
      return money ? digits : Number(digits);
    }
    if (Array.isArray(value)) return value.map((item) => settle(item, money, plain));
    if (typeof value !== "object" || value === null) return value;
    const object = value as Record<string, unknown>, inUsd = ofCost || object["unit"] === "USD" || object["meter"] === "cost";
    for (const [name, member] of Object.entries(object)) {
      // Metadata and units are the application's own.
      const within = plain || name === "metadata" || name === "units";
      object[name] = settle(member, !within && (MONEY.test(name) || (inUsd && OF_A_METER.test(name))), within, name === "cost");
    }
    return value;
  };
  return settle(tree, false);
}
