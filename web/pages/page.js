// @ts-check
// What a page does beyond its HTML, which is whole without it: it feeds the card, goes where a key says, copies ids, and
// counts down to the end of a hold.
const root = document.documentElement.dataset.root ?? "";
/** @param {string} id */
const find = (id) => document.getElementById(id);

/** Gives the card the figures that the page was made of: it shows the same snapshot, and opens no stream. */
function feedCards() {
  for (const card of document.querySelectorAll("outlay-budget-card[data-budget]")) {
    const { dataset } = /** @type {HTMLElement} */ (card);
    /** @type {any} */ (card).budget = JSON.parse(dataset.budget ?? "null");
  }
}

if (document.querySelector("outlay-budget-card"))
  import(new URL(`${root}card.js`, location.href).href).then(feedCards, () => {
    // Without it the same figures stand there as they came.
  });

addEventListener("keydown", (event) => {
  const { target, key, ctrlKey, metaKey, altKey } = event;
  if (ctrlKey || metaKey || altKey || (target instanceof Element && target.closest("input, select, textarea"))) return;
  if (document.querySelector("[data-shortcuts=off]")) return;
  if (key === "/") find("search")?.focus();
  else if (key === "?") find("help")?.click();
  else return;
  event.preventDefault();
});

for (const button of document.querySelectorAll("[data-copy]"))
  // Browsers have it over https and on this machine only.
  if (navigator.clipboard) {
    const { dataset } = /** @type {HTMLElement} */ (button);
    /** @type {HTMLElement} */ (button).hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(dataset.copy ?? "");
      const said = find("said");
      if (said) said.textContent = "Copied";
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1500);
    });
  }

/** How long it is until a hold ends; the hour of its end is in the tooltip. */
function countDown() {
  for (const time of document.querySelectorAll("[data-until]")) {
    const seconds = Math.max(0, Math.round((Number(/** @type {HTMLElement} */ (time).dataset.until) - Date.now()) / 1000));
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
    const text = hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
    time.textContent = seconds ? `in ${text}` : "now";
  }
}

document.addEventListener("outlay-changed", () => {
  feedCards();
  countDown();
});
countDown();
setInterval(countDown, 1000);
