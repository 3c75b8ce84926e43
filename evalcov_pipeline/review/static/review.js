"use strict";
// Keyboard shortcuts: an element with data-key answers to that key, except while somebody types.
const help = document.getElementById("help");
const form = document.getElementById("label");
let leaving = false;

document.documentElement.classList.add("scripted");
document.getElementById("keys")?.removeAttribute("hidden");
document.getElementById("keys")?.addEventListener("click", () => help.showModal());

function typing(element) {
  return element.matches("textarea, select, input:not([type=radio])");
}

function press(element) {
  if (element.type === "radio") {
    element.checked = true;
    element.focus();
  } else if (typing(element)) {
    element.focus();
  } else {
    element.click();
  }
}

addEventListener("keydown", (event) => {
  if (event.isComposing || event.altKey || event.metaKey) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    if (event.key === "Enter" && event.ctrlKey) form?.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.repeat || help?.open) return;
  const element = document.querySelector(`[data-key="${CSS.escape(event.key)}"]:not(:disabled)`);
  if (!element) return;
  event.preventDefault();
  press(element);
});

addEventListener("submit", (event) => {
  if (event.target.method === "dialog") return;
  if (leaving) event.preventDefault(); // a form that was sent twice
  leaving = true;
});
addEventListener("pageshow", () => { leaving = false; });
