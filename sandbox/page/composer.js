// The message box: plain messages, and slash commands from the first "/" until they are sent.

import { ApiError, api } from "./api.js";
import { CommandForm } from "./command_form.js";
import { findLeaf, leaves, parseOptions } from "./commands.js";
import { el, fill, icon } from "./dom.js";
import { Offers } from "./offers.js";
import { Suggestions } from "./suggestions.js";

export class Composer {
  #files = [];
  #last = "";
  #sending = false;

  constructor(root, store, { sent, toast }) {
    Object.assign(this, { root, store, sent, toast });
    this.suggestions = new Suggestions();
    this.form = new CommandForm({
      store,
      toast,
      suggest: () => this.#suggest(),
      offerOptions: (left) => this.offers.options(left),
      backToText: (text) => this.#plain(text),
    });
    this.offers = new Offers(store, this.form, this.suggestions);
    this.#build();
    this.#wire();
  }

  #build() {
    const combobox = {
      role: "combobox",
      "aria-autocomplete": "list",
      "aria-controls": "suggestions",
      "aria-expanded": "false",
    };
    this.input = el("textarea", { id: "composer-input", rows: 1, autocomplete: "off", ...combobox });
    this.grow = el("span", { class: "grow" }, this.input);
    this.fileBox = el("div", { class: "pending-files", hidden: true });
    this.picker = el("input", {
      type: "file",
      multiple: true,
      class: "visually-hidden",
      tabindex: "-1",
      "aria-hidden": "true",
    });
    const button = (name, label, onclick) =>
      el("button", { type: "button", class: `icon-button ${name}`, "aria-label": label, onclick }, icon(name));
    const attach = button("upload", "Attach a file", () => this.picker.click());
    const send = button("send", "Send", () => this.submit());
    const middle = el("div", { class: "composer-middle" }, this.fileBox, this.grow, this.form.node);
    this.typing = el("p", { class: "typing", role: "status" });
    this.root.append(
      this.suggestions.node,
      el("div", { class: "composer-box" }, attach, middle, send),
      this.typing,
      this.picker,
    );
  }

  #wire() {
    this.input.addEventListener("input", () => this.#typed());
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.root.addEventListener("focusout", (event) => this.root.contains(event.relatedTarget) || this.offers.hide());
    this.input.addEventListener("focus", () => this.#suggest());
    this.picker.addEventListener("change", () => this.#takeFiles([...this.picker.files]));
    addEventListener("paste", (event) => {
      if (!event.clipboardData?.files.length) return;
      event.preventDefault();
      this.#takeFiles([...event.clipboardData.files]);
    });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      this.#takeFiles([...(event.dataTransfer?.files ?? [])]);
    });
    for (const name of ["state", "channel"]) this.store.on(name, () => this.#invite());
  }

  #invite() {
    const text = `Message ${this.store.here}, or type / for commands`;
    this.input.placeholder = text;
    this.input.setAttribute("aria-label", text);
  }

  /** Put `text` into the box as if it had been typed. */
  write(text) {
    this.#plain(text);
    this.#typed();
  }

  /** Show `text` as plain text, with no command chosen. */
  #plain(text) {
    this.form.close();
    this.grow.hidden = false;
    this.input.value = text;
    this.grow.dataset.value = text;
    this.offers.hide();
    this.input.focus();
  }

  #choose(leaf, values) {
    this.grow.hidden = true;
    this.form.open(leaf, values);
  }

  /** A whole command name and a space are enough: what follows goes into fields. */
  #typed() {
    this.grow.dataset.value = this.input.value;
    const found = findLeaf(this.input.value, leaves(this.store.commands));
    if (found && this.input.value.length > found.leaf.path.length + 1)
      this.#choose(found.leaf, parseOptions(found.rest, found.leaf));
    else this.#suggest();
  }

  #suggest() {
    if (this.form.leaf) this.offers.values();
    else if (/^\/[^\n]*$/.test(this.input.value)) this.offers.commands(this.input.value, (leaf) => this.#choose(leaf));
    else this.offers.hide();
    this.#describe();
  }

  #describe() {
    const control = this.form.active?.control ?? this.input;
    this.input.setAttribute("aria-expanded", String(this.suggestions.open));
    if (this.suggestions.activeId) control.setAttribute("aria-activedescendant", this.suggestions.activeId);
    else control.removeAttribute("aria-activedescendant");
  }

  #key(event) {
    if (event.isComposing || event.altKey || event.ctrlKey || event.metaKey) return;
    if (!this.#handled(event)) return;
    event.preventDefault();
    this.#describe();
  }

  /** Act on a key; false leaves it to the browser. */
  #handled(event) {
    const { suggestions, form } = this;
    const current = suggestions.open && suggestions.current;
    switch (event.key) {
      case "ArrowUp":
      case "ArrowDown":
        if (suggestions.open && suggestions.size) suggestions.move(event.key === "ArrowDown" ? 1 : -1);
        else if (event.key === "ArrowUp" && !form.leaf && !this.input.value && this.#last) this.write(this.#last);
        else return false;
        return true;
      case "Tab":
        if (event.shiftKey || !current) return false;
        current.choose();
        return true;
      case "Enter":
        if (event.shiftKey || event.target.closest(".icon-button, .file-button")) return false;
        if (current) current.choose();
        else this.submit();
        return true;
      case "Escape":
        if (suggestions.open) this.offers.hide();
        else if (form.leaf) form.back();
        else return false;
        return true;
      case "Backspace":
        if (!form.active || event.target !== form.active.control || form.active.raw) return false;
        form.remove(form.active);
        return true;
      default:
        return false;
    }
  }

  #takeFiles(files) {
    this.picker.value = "";
    for (const file of files) {
      if (this.form.leaf) this.form.takeFile(file);
      else this.#files.push(file);
    }
    this.#drawFiles();
  }

  #drawFiles() {
    this.fileBox.hidden = this.#files.length === 0;
    const remove = (file) => () => {
      this.#files = this.#files.filter((other) => other !== file);
      this.#drawFiles();
    };
    const chip = (file) => {
      const button = {
        type: "button",
        class: "icon-button",
        "aria-label": `Remove ${file.name}`,
        onclick: remove(file),
      };
      return el("span", { class: "pending-file" }, icon("file"), file.name, el("button", button, icon("close")));
    };
    fill(this.fileBox, this.#files.map(chip));
  }

  /** Send what is in the box; on a refusal everything stays as it was, and the reason is shown. */
  async submit() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      if (this.form.leaf) await this.#run();
      else await this.#say();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.toast(error.message);
    } finally {
      this.#sending = false;
    }
  }

  async #run() {
    const read = this.form.read();
    if (!read) return;
    const { path } = this.form.leaf;
    const text = this.form.text();
    const { interaction_id: id } = await api.command(
      { ...this.#place(), command: path, options: read.options },
      read.files,
    );
    this.#last = text;
    this.#plain("");
    this.sent({ id, path });
  }

  async #say() {
    const content = this.input.value.trim();
    const found = findLeaf(content, leaves(this.store.commands));
    if (found) {
      this.#choose(found.leaf, parseOptions(found.rest, found.leaf));
      await this.#run();
      return;
    }
    if (/^\/\S/.test(content))
      throw new ApiError(404, `There is no command “${content}”. Type / to see what there is.`);
    if (!content && !this.#files.length) return;
    const files = this.#files.map((file, index) => [`files[${index}]`, file]);
    await api.say({ ...this.#place(), content }, files);
    this.#files = [];
    this.#drawFiles();
    this.#plain("");
  }

  #place() {
    return { user: this.store.user.id, channel: this.store.channel.id };
  }
}
