// The list above the message box: commands, options or values to choose from. Keyboard control comes from the composer.

import { el } from "./dom.js";

export class Suggestions {
  #rows = [];
  #at = -1;

  constructor() {
    this.title = el("p", { class: "suggestions-title" });
    this.note = el("p", { class: "suggestions-note", role: "status" });
    this.listbox = el("div", { role: "listbox", id: "suggestions", "aria-label": "Suggestions" });
    this.node = el("div", { class: "suggestions", hidden: true }, this.title, this.note, this.listbox);
    // Pointing must not take the focus out of the field that is being filled.
    this.node.addEventListener("mousedown", (event) => event.preventDefault());
  }

  get open() {
    return !this.node.hidden;
  }

  get current() {
    return this.#rows[this.#at]?.entry ?? null;
  }

  get size() {
    return this.#rows.length;
  }

  /**
   * Show `entries` = [{face: nodes, label, choose}]; `title` above them, `note` for the field's description or
   * error. `preselect` marks the first entry, so that Enter and Tab take it.
   */
  show({ title, note = "", wrong = false, entries, preselect }) {
    this.title.replaceChildren(...[title].flat());
    this.note.textContent = note;
    this.note.hidden = !note;
    this.note.classList.toggle("wrong", wrong);
    this.#rows = entries.map((entry, index) => ({ entry, node: this.#row(entry, index) }));
    this.listbox.replaceChildren(...this.#rows.map(({ node }) => node));
    this.listbox.hidden = entries.length === 0;
    this.node.hidden = false;
    this.#select(preselect && entries.length ? 0 : -1);
  }

  hide() {
    this.node.hidden = true;
    this.#rows = [];
    this.#at = -1;
  }

  move(step) {
    if (this.#rows.length) this.#select((this.#at + step + this.#rows.length) % this.#rows.length);
  }

  /** The id for `aria-activedescendant`, or "" when nothing is marked. */
  get activeId() {
    return this.#rows[this.#at]?.node.id ?? "";
  }

  #row(entry, index) {
    const node = el(
      "div",
      {
        role: "option",
        id: `suggestion-${index}`,
        class: "suggestion",
        "aria-label": entry.label,
        "aria-selected": "false",
      },
      entry.face,
    );
    node.addEventListener("mousemove", () => this.#at !== index && this.#select(index));
    node.addEventListener("click", () => entry.choose());
    return node;
  }

  #select(index) {
    this.#at = index;
    this.#rows.forEach(({ node }, position) => node.setAttribute("aria-selected", String(position === index)));
    this.#rows[index]?.node.scrollIntoView({ block: "nearest" });
  }
}
