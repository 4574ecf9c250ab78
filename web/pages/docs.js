// @ts-check
/**
 * The page of the API: its examples that only read can be tried where they stand, with what the reader may do. Without a
 * script the forms are not shown, and the page is whole.
 */

for (const form of /** @type {NodeListOf<HTMLFormElement>} */ (document.querySelectorAll("form[data-try]"))) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [output] = form.getElementsByTagName("output"), pre = document.createElement("pre");
    const path = /** @type {HTMLInputElement} */ (form.elements.namedItem("path")).value.replace(/^\/+/, "");
    pre.tabIndex = 0;
    pre.textContent = await ask(new URL(path, document.baseURI));
    output.replaceChildren(pre);
  });
}

/** Status and body as a reader wants them; what went wrong in words. @param {URL} address */
async function ask(address) {
  if (address.origin !== location.origin) return "Only this server is asked from here.";
  try {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    const text = await answer.text();
    const hint = answer.status === 401 ? "\n\nSign in at the dashboard first: this page then asks with your rights." : "";
    return `${answer.status} ${answer.statusText}\n${laidOut(text)}${hint}`;
  } catch (error) {
    return `No answer came: ${error}`;
  }
}

/** JSON with a member on each line. Its figures stay as they were written: no number is read. @param {string} text */
function laidOut(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  let depth = 0;
  return text.replace(/"(?:[^"\\]|\\.)*"|[{[](?=\s*[}\]])\s*[}\]]|[{}[\],:]/g, (token) => {
    const line = () => `\n${"  ".repeat(depth)}`;
    if (token === "{" || token === "[") return depth++, token + line();
    if (token === "}" || token === "]") return depth--, line() + token;
    return token === "," ? token + line() : token === ":" ? ": " : token;
  });
}
