"use strict";
// Shows what a mark of a chart stands for when it is pointed at or tapped.
const tip = document.getElementById("tip");
const REACH = 18; // pixels around a fingertip

function show(mark, x, y) {
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.getAttribute("aria-label");
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, x - width / 2), innerWidth - width - 8);
  const above = y - height - 14;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : y + 20}px`;
}

function nearest(chart, x, y) {
  let best = null, least = REACH;
  for (const mark of chart.querySelectorAll("[aria-label]")) {
    const box = mark.getBoundingClientRect();
    const distance = Math.hypot(x - box.x - box.width / 2, y - box.y - box.height / 2);
    if (distance < least) [best, least] = [mark, distance];
  }
  return best;
}

addEventListener("pointerover", (event) => {
  if (event.pointerType !== "mouse") return;
  show(event.target.closest("svg [aria-label]"), event.clientX, event.clientY);
});
addEventListener("click", (event) => {
  const chart = event.target.closest("svg");
  const mark = event.target.closest("svg [aria-label]");
  show(mark ?? (chart && nearest(chart, event.clientX, event.clientY)), event.clientX, event.clientY);
});
addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
