// What a person would see: whether anything is cut off, lies over something else, or is too faint.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Violations of WCAG 2.2 AA and of axe's best practices, as text. */
export async function axe(page, selector = "outlay-budget-card") {
  await page.evaluate(AXE);
  const found = await page.evaluate((context) => globalThis.axe.run(context, { resultTypes: ["violations"] }), selector);
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
}

/** Texts that are clipped, leave the card, or lie over one another; bars that leave their track. */
export function flaws(page, selector = "outlay-budget-card") {
  return page.evaluate((chosen) => {
    const found = [];
    for (const host of document.querySelectorAll(chosen)) {
      const root = host.shadowRoot, card = root.querySelector(".card"), frame = card.getBoundingClientRect();
      if (document.documentElement.scrollWidth > innerWidth) found.push("the page scrolls sideways");
      const seen = [...root.querySelectorAll("*")].filter((one) => one.checkVisibility() && one.getClientRects().length && one.localName !== "slot");
      const name = (one) => `${one.className} "${one.textContent}"`;
      for (const one of seen) {
        const { left, right, top, bottom } = one.getBoundingClientRect();
        if (left < frame.left - 0.5 || right > frame.right + 0.5 || top < frame.top - 0.5 || bottom > frame.bottom + 0.5) found.push(`${name(one)} leaves the card`);
        if (one.scrollWidth > one.clientWidth + 1 && one.clientWidth) found.push(`${name(one)} is clipped`);
      }
      const boxes = [];
      for (const one of seen)
        for (const node of one.childNodes)
          if (node.nodeType === Node.TEXT_NODE && node.data.trim()) {
            const range = document.createRange();
            range.selectNodeContents(node);
            for (const box of range.getClientRects()) boxes.push([name(one), box]);
          }
      for (const track of root.querySelectorAll(".track")) if (track.checkVisibility()) boxes.push(["track", track.getBoundingClientRect()]);
      boxes.forEach(([a, first], at) => {
        for (const [b, second] of boxes.slice(at + 1)) {
          const wide = Math.min(first.right, second.right) - Math.max(first.left, second.left);
          const high = Math.min(first.bottom, second.bottom) - Math.max(first.top, second.top);
          if (wide > 1 && high > 1) found.push(`${a} lies over ${b}`);
        }
      });
    }
    return found;
  }, selector);
}

/** The contrast of each bar and tick with the track it lies on, the smallest first. */
export function contrasts(page) {
  return page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const luminance = (colour) => {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const host of document.querySelectorAll("outlay-budget-card"))
      for (const track of host.shadowRoot.querySelectorAll(".track"))
        if (track.checkVisibility())
          for (const part of track.querySelectorAll(".fill, .tick")) {
            const [high, low] = [part, track].map((one) => luminance(getComputedStyle(one).backgroundColor)).sort((a, b) => b - a);
            found.push([Math.round((100 * (high + 0.05)) / (low + 0.05)) / 100, part.className]);
          }
    return found.sort(([a], [b]) => a - b);
  });
}

/** The card's texts, by part. */
export function texts(page, selector = "outlay-budget-card") {
  return page.evaluate((chosen) => {
    const root = document.querySelector(chosen).shadowRoot;
    const all = (part) => [...root.querySelectorAll(`.${part}`)].filter((one) => one.checkVisibility()).map((one) => one.textContent);
    return Object.fromEntries(["plan", "live", "label", "value", "pending", "message", "alert", "retry", "action", "foot"].map((part) => [part, all(part)]));
  }, selector);
}
