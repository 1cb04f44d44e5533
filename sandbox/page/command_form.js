// A chosen slash command and its option fields: fill in, move on, leave out, read off.

import { el, fill } from "./dom.js";
import { mainOption } from "./commands.js";
import { makeField } from "./fields.js";

const NAMED_AT_END = /^([\s\S]*)\s([\p{L}\p{N}_-]{1,32}):$/u;

/** `host` = {store, suggest(), offerOptions(options), backToText(text), toast(text)}. */
export class CommandForm {
  leaf = null;
  fields = [];
  active = null;

  constructor(host) {
    this.host = host;
    this.node = el("div", { class: "command-fields", role: "group", hidden: true });
    this.fieldHost = {
      store: host.store,
      changed: (field) => this.#changed(field),
      entered: (field) => this.#focused(field),
    };
  }

  /** Show the fields of `leaf` with the raw `values` that were typed already, and go to where typing goes on. */
  open(leaf, values = {}) {
    this.leaf = leaf;
    this.node.hidden = false;
    this.node.setAttribute("aria-label", `/${leaf.path}`);
    const wanted = leaf.options.filter((option) => option.required || option.name in values);
    const main = mainOption(leaf);
    if (!wanted.length && main) wanted.push(main);
    this.fields = wanted.map((option) => makeField(option, this.fieldHost));
    for (const field of this.fields) if (values[field.option.name]) field.set(values[field.option.name]);
    this.#draw();
    const typedLast = Object.keys(values).at(-1);
    const typed = this.fields.find(({ option }) => option.name === typedLast);
    const next = typed ?? this.fields.find(({ empty }) => empty) ?? this.fields[0];
    if (next) this.goTo(next);
    else this.node.querySelector(".command-chip").focus();
  }

  close() {
    this.leaf = null;
    this.active = null;
    this.fields = [];
    this.node.hidden = true;
    this.node.replaceChildren();
  }

  /** The command as one line of text, without its files. */
  text() {
    const named = this.fields.filter(({ raw }) => raw).map(({ option, raw }) => `${option.name}: ${raw}`);
    return [`/${this.leaf.path}`, ...named].join(" ");
  }

  back() {
    this.host.backToText(this.text());
  }

  goTo(field) {
    field.focus();
    field.control.setSelectionRange?.(field.raw.length, field.raw.length);
    this.#focused(field);
  }

  /** Take an offered value and go on to the next empty field; false when there is none. */
  pick(field, choice) {
    field.pick(choice);
    const next = this.fields.slice(this.fields.indexOf(field) + 1).find(({ empty }) => empty);
    if (next) this.goTo(next);
    else field.focus();
    return Boolean(next);
  }

  add(option) {
    const field = makeField(option, this.fieldHost);
    this.fields.push(field);
    this.#draw();
    this.goTo(field);
  }

  /** Leave out an optional field; a required or first one leads back to text. */
  remove(field) {
    const at = this.fields.indexOf(field);
    if (field.option.required || at <= 0) {
      this.back();
      return;
    }
    this.fields.splice(at, 1);
    this.#draw();
    this.goTo(this.fields[at - 1]);
  }

  takeFile(file) {
    const slots = this.fields.filter((field) => "file" in field);
    const slot = slots.find(({ empty }) => empty) ?? slots.find((field) => field === this.active);
    if (slot) slot.take(file);
    else this.host.toast(`/${this.leaf.path} takes no further file.`);
  }

  /** {options, files} to send; null after marking the first field that can't be sent. */
  read() {
    const options = {};
    const files = [];
    for (const field of this.fields) {
      const { value, file, error } = field.resolve();
      if (error) {
        this.goTo(field);
        field.mark(error);
        this.host.suggest();
        return null;
      }
      if (file) files.push([field.option.name, file]);
      else if (value !== undefined) options[field.option.name] = value;
    }
    return { options, files };
  }

  /** What is filled in so far, for autocompletion of `focused`. */
  soFar(focused) {
    const filled = this.fields.filter((field) => !field.empty && !("file" in field));
    const values = filled.map((field) => [field.option.name, field.resolve().value ?? field.raw]);
    return { ...Object.fromEntries(values), [focused.option.name]: focused.raw };
  }

  #draw() {
    const left = this.leaf.options.filter((option) => !this.fields.some((field) => field.option === option));
    const offer = () => {
      this.active = null;
      this.host.offerOptions(left);
    };
    const chip = el(
      "button",
      { type: "button", class: "command-chip", title: "Back to plain text", onclick: () => this.back() },
      `/${this.leaf.path}`,
    );
    const more =
      left.length > 0 &&
      el(
        "button",
        { type: "button", class: "more-options", onclick: offer, onfocus: offer },
        `+${left.length} optional`,
      );
    if (!this.fields.length) chip.addEventListener("focus", () => this.host.suggest());
    fill(
      this.node,
      chip,
      this.fields.map(({ node }) => node),
      more,
    );
  }

  /** Typing `name:` in a field moves on to that option, so the text form works in the fields as well. */
  #changed(field) {
    const own = `${field.option.name}:`;
    if (field.raw.startsWith(own)) field.set(field.raw.slice(own.length).trimStart());
    const named = NAMED_AT_END.exec(field.raw);
    const next = named && this.leaf.options.find(({ name }) => name === named[2]);
    const taken = next && this.fields.find(({ option }) => option === next);
    if (next && next !== field.option && (!taken || taken.empty)) {
      field.set(named[1].trimEnd());
      if (taken) this.goTo(taken);
      else this.add(next);
      return;
    }
    this.host.suggest();
  }

  #focused(field) {
    this.active = field;
    this.host.suggest();
  }
}
