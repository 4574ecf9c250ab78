// @ts-check
// What a page does beyond its HTML, which is whole without it: the card, the shortcut of the search, and staying live.
const root = document.documentElement.dataset.root ?? "";

/** Feeds the card with the figures that the page was made of: it shows the same snapshot, and opens no stream. */
function feedCards() {
  for (const card of document.querySelectorAll("outlay-budget-card[data-budget]")) {
    /** @type {any} */ (card).budget = JSON.parse(/** @type {HTMLElement} */ (card).dataset.budget ?? "null");
  }
}

if (document.querySelector("outlay-budget-card"))
  import(new URL(`${root}card.js`, location.href).href).then(feedCards, () => {
    // Without it the same figures stand there as they came.
  });

addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLElement && event.target.closest("input, select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById("search")?.focus();
  }
});
