// The option fields of a slash command: what is typed into each, what may be suggested, and the value it stands for.

import { el, icon } from "./dom.js";
import { fileSize } from "./attachments.js";
import { OPTION, search } from "./commands.js";

const TRUE_FALSE = [
  { name: "True", value: true },
  { name: "False", value: false },
];

/** Make the field for one option of `leaf`; `host` = {changed(field), entered(field), store}. */
export function makeField(option, host) {
  return option.type === OPTION.ATTACHMENT ? new FileField(option, host) : new TextField(option, host);
}

class Field {
  constructor(option, host) {
    this.option = option;
    this.host = host;
    this.error = null;
  }

  mark(error) {
    this.error = error;
    this.node.classList.toggle("wrong", Boolean(error));
    this.control.setAttribute("aria-invalid", String(Boolean(error)));
  }

  focus() {
    this.control.focus();
  }
}

/** Any option that is written: text, numbers, members, channels, choices. */
class TextField extends Field {
  constructor(option, host) {
    super(option, host);
    const label = `${option.name}${option.required ? ", required" : ""}: ${option.description ?? ""}`;
    this.control = el("textarea", {
      rows: 1,
      cols: 1,
      spellcheck: "false",
      autocomplete: "off",
      "aria-label": label,
      dataset: { option: option.name },
    });
    this.grow = el("span", { class: "grow" }, this.control);
    this.node = el("label", { class: "option-field" }, el("span", { class: "option-name" }, option.name), this.grow);
    this.control.addEventListener("input", () => this.#typed());
    this.control.addEventListener("focus", () => host.entered(this));
    this.picked = null;
  }

  get raw() {
    return this.control.value;
  }

  get empty() {
    return this.raw.trim() === "";
  }

  set(raw, picked = null) {
    this.control.value = raw;
    this.picked = picked;
    this.grow.dataset.value = raw;
    this.mark(null);
  }

  #typed() {
    this.grow.dataset.value = this.raw;
    if (this.picked && this.picked.name !== this.raw) this.picked = null;
    this.mark(null);
    this.host.changed(this);
  }

  /** Offers that need no server: [{name, value, user?}]; null when the option is free text or completed by the bot. */
  offers() {
    const { type, choices } = this.option;
    const typed = this.raw.trim().replace(/^[@#]/, "");
    const all = choices?.length ? choices : type === OPTION.BOOLEAN ? TRUE_FALSE : this.#entities();
    if (!all) return null;
    return this.picked ? all : search(typed, all, ({ name }) => name.replace(/^[@#]/, "")).slice(0, 25);
  }

  #entities() {
    const { users, bot, channels } = this.host.store;
    if (this.option.type === OPTION.USER)
      return [...users, bot].map((user) => ({ name: `@${user.username}`, value: user.id, user }));
    if (this.option.type === OPTION.CHANNEL)
      return channels.map((channel) => ({ name: `#${channel.name}`, value: channel.id }));
    return null;
  }

  pick(choice) {
    this.set(choice.name, choice);
  }

  /** {value} to send, {error} to show, or {} when left out. */
  resolve() {
    const { option } = this;
    const raw = this.raw.trim();
    if (raw === "") return option.required ? { error: `${option.name} is required.` } : {};
    if (this.picked) return { value: this.picked.value };
    if (option.choices?.length || option.type === OPTION.BOOLEAN)
      return this.#oneOf(raw, option.choices?.length ? option.choices : TRUE_FALSE);
    if (option.type === OPTION.USER || option.type === OPTION.CHANNEL) return this.#entity(raw);
    if (option.type === OPTION.INTEGER || option.type === OPTION.NUMBER) return number(raw, option);
    if (option.max_length && raw.length > option.max_length)
      return { error: `${option.name} takes at most ${option.max_length} characters.` };
    if (option.min_length && raw.length < option.min_length)
      return { error: `${option.name} takes at least ${option.min_length} characters.` };
    return { value: raw };
  }

  #oneOf(raw, choices) {
    const hit = choices.find(({ name, value }) =>
      [name, String(value)].some((text) => text.toLowerCase() === raw.toLowerCase()),
    );
    return hit ? { value: hit.value } : { error: `${this.option.name} must be one of the offered values.` };
  }

  #entity(raw) {
    const wanted = raw
      .replace(/^<[@#]!?(\d+)>$/, "$1")
      .replace(/^[@#]/, "")
      .toLowerCase();
    const hit = this.#entities().find(({ name, value }) => value === wanted || name.slice(1).toLowerCase() === wanted);
    const kind = this.option.type === OPTION.USER ? "a member" : "a channel";
    return hit ? { value: hit.value } : { error: `${this.option.name} must be ${kind} of this server.` };
  }
}

function number(raw, option) {
  const whole = option.type === OPTION.INTEGER;
  const fits = whole ? /^[-+]?\d+$/.test(raw) : /^[-+]?(\d+\.?\d*|\.\d+)$/.test(raw);
  if (!fits) return { error: `${option.name} must be ${whole ? "a whole number" : "a number"}.` };
  const value = Number(raw);
  if (option.min_value !== undefined && value < option.min_value)
    return { error: `${option.name} must be at least ${option.min_value}.` };
  if (option.max_value !== undefined && value > option.max_value)
    return { error: `${option.name} must be at most ${option.max_value}.` };
  return { value };
}

/** An attachment: picked, dropped or pasted. */
class FileField extends Field {
  constructor(option, host) {
    super(option, host);
    this.file = null;
    this.input = el("input", {
      type: "file",
      class: "visually-hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      dataset: { option: option.name },
    });
    const label = `${option.name}${option.required ? ", required" : ""}: choose a file. ${option.description ?? ""}`;
    this.control = el("button", { type: "button", class: "file-button", "aria-label": label });
    this.node = el(
      "div",
      { class: "option-field" },
      el("span", { class: "option-name" }, option.name),
      this.control,
      this.input,
    );
    this.control.addEventListener("click", () => this.input.click());
    this.control.addEventListener("focus", () => host.entered(this));
    this.input.addEventListener("change", () => this.take(this.input.files[0] ?? null));
    this.#draw();
  }

  get empty() {
    return this.file === null;
  }

  get raw() {
    return "";
  }

  set() {}

  offers() {
    return null;
  }

  take(file) {
    this.file = file;
    this.mark(null);
    this.#draw();
    this.host.changed(this);
  }

  #draw() {
    if (!this.file) this.control.replaceChildren(icon("upload"), "choose, drop or paste a file");
    else {
      const preview =
        this.file.type.startsWith("image/") && el("img", { src: URL.createObjectURL(this.file), alt: "" });
      this.control.replaceChildren(...[preview, `${this.file.name} · ${fileSize(this.file.size)}`].filter(Boolean));
      if (preview) preview.addEventListener("load", () => URL.revokeObjectURL(preview.src));
    }
  }

  resolve() {
    if (this.file) return { file: this.file };
    return this.option.required ? { error: `${this.option.name} is required: choose a file.` } : {};
  }
}
