// Buttons and select menus under a message: press, wait, and say so when the bot does not answer.

import { el, emoji, icon } from "./dom.js";

const ROW = 1;
const BUTTON = 2;
const STRING_SELECT = 3;
const STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "link", 6: "secondary" };

/** The component rows of one message. `press(customId, values)` resolves to true when the bot answered in time. */
export class Components {
  constructor(press) {
    this.press = press;
    this.rows = el("div", { class: "component-rows" });
    this.failure = el("p", { class: "failed", role: "alert", hidden: true }, icon("alert"), "This interaction failed");
    this.node = el("div", { class: "components" }, this.rows, this.failure);
  }

  update(components) {
    const focused = this.rows.contains(document.activeElement) && document.activeElement.dataset.customId;
    this.rows.replaceChildren(...components.map((component) => this.#draw(component)));
    if (focused) this.rows.querySelector(`[data-custom-id="${CSS.escape(focused)}"]`)?.focus();
  }

  #draw(component) {
    if (component.type === ROW)
      return el(
        "div",
        { class: "component-row" },
        component.components.map((child) => this.#draw(child)),
      );
    if (component.type === BUTTON) return this.#button(component);
    if (component.type === STRING_SELECT) return this.#select(component);
    return el("span", { class: "unsupported" }, `Component type ${component.type} is not shown here`);
  }

  #button(button) {
    const face = [
      button.emoji?.name && emoji(button.emoji.name),
      button.label && el("span", { class: "label" }, button.label),
    ];
    const look = `button ${STYLES[button.style] || "secondary"}`;
    if (button.style === 5) {
      const href = /^https?:\/\//i.test(button.url) ? button.url : null;
      return el("a", { class: look, href, target: "_blank", rel: "noopener noreferrer" }, face, icon("external"));
    }
    const name = button.label || button.emoji?.name || "button";
    const props = {
      type: "button",
      class: look,
      disabled: button.disabled,
      "aria-label": name,
      dataset: { customId: button.custom_id || "" },
    };
    const node = el(
      "button",
      props,
      face,
      el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")),
    );
    node.addEventListener("click", () => this.#send(node, button.custom_id));
    return node;
  }

  #select(select) {
    const options = select.options.map((option) =>
      el("option", { value: option.value, selected: option.default }, option.label),
    );
    const props = {
      class: "select",
      "aria-label": select.placeholder || "Choose",
      disabled: select.disabled,
      dataset: { customId: select.custom_id },
    };
    const empty = el(
      "option",
      { value: "", disabled: true, hidden: true, selected: !select.options.some((option) => option.default) },
      select.placeholder || "Make a selection",
    );
    const node = el("select", props, empty, options);
    node.addEventListener("change", () => this.#send(node, select.custom_id, [node.value]));
    return node;
  }

  async #send(node, customId, values) {
    if (node.getAttribute("aria-busy") === "true") return;
    this.failure.hidden = true;
    node.setAttribute("aria-busy", "true");
    const answered = await this.press(customId, values);
    node.removeAttribute("aria-busy");
    this.failure.hidden = answered;
  }
}
