// A small pop-up menu with keyboard control, used for a message's "Apps".

import { el } from "./dom.js";

let open = null;

/** Show `entries` ({label, run, danger} or {heading}) at a point; focus returns to where it was. */
export function popupMenu(entries, { x, y }) {
  open?.();
  const before = document.activeElement;
  const items = entries.map((entry) => (entry.heading ? heading(entry) : item(entry)));
  const node = el("div", { class: "menu", role: "menu", "aria-label": "Message" }, items);
  document.body.append(node);
  const { width, height } = node.getBoundingClientRect();
  node.style.left = `${Math.max(8, Math.min(x, innerWidth - width - 8))}px`;
  node.style.top = `${Math.max(8, Math.min(y, innerHeight - height - 8))}px`;
  const choices = [...node.querySelectorAll("[role=menuitem]")];
  choices[0]?.focus();

  open = () => {
    open = null;
    removeEventListener("pointerdown", outside, true);
    node.remove();
    before?.focus?.();
  };
  const outside = (event) => !node.contains(event.target) && open?.();
  addEventListener("pointerdown", outside, true);
  node.addEventListener("click", () => open?.());
  node.addEventListener("keydown", (event) => {
    const at = choices.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) choices[(at + step + choices.length) % choices.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") open?.();
    else return;
    event.preventDefault();
  });
}

function heading(entry) {
  return el("p", { class: "menu-heading" }, entry.heading);
}

function item(entry) {
  return el(
    "button",
    { type: "button", role: "menuitem", tabindex: "-1", class: entry.danger ? "danger" : "", onclick: entry.run },
    entry.label,
  );
}
