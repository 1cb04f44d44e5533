// What is offered above the message box: commands to choose, options to add, values to pick.

import { api } from "./api.js";
import { avatar, el } from "./dom.js";
import { leaves, search } from "./commands.js";

const COMPLETION_PAUSE_MS = 150;

/** Fills `suggestions` for the `form` of the chosen command, or for the "/" typed so far. */
export class Offers {
  #turn = 0;

  constructor(store, form, suggestions) {
    Object.assign(this, { store, form, suggestions });
  }

  hide() {
    this.#turn += 1;
    this.suggestions.hide();
  }

  commands(typed, choose) {
    const { bot, commands } = this.store;
    const query = typed.slice(1).trim();
    const found = search(query, leaves(commands), ({ path }) => path);
    const nobody = `${bot.username || "The bot"} is not here yet: no commands are registered.`;
    const note = commands.length ? `No command matches “/${query}”.` : nobody;
    const entries = found.map((leaf) => ({
      label: `/${leaf.path}: ${leaf.description}`,
      face: [avatar(bot, "small"), commandFace(leaf), el("span", { class: "whose" }, bot.username)],
      choose: () => choose(leaf),
    }));
    this.#show({ title: "Commands", note: found.length ? "" : note, entries, preselect: true });
  }

  options(left) {
    const entries = left.map((option) => ({
      label: `${option.name}: ${option.description ?? ""}`,
      face: [face(option.name, option.description ?? "")],
      choose: () => this.form.add(option),
    }));
    this.#show({ title: `/${this.form.leaf.path} · optional`, entries, preselect: true });
  }

  /** What the active field of the form takes: its description or error, and its values. */
  values() {
    const { leaf, active: field } = this.form;
    const title = [el("b", {}, `/${leaf.path}`), ` ${leaf.description}`];
    if (!field) {
      this.#show({ title, note: "Press Enter to run it.", entries: [] });
      return;
    }
    const { option } = field;
    const note = field.error ?? `${option.name}${option.required ? " (required)" : ""}: ${option.description ?? ""}`;
    const offered = field.offers();
    const base = { title, note, wrong: Boolean(field.error) };
    // Once what is written stands for a value, Enter sends the command instead of taking the first offer.
    const settled = !field.empty && !field.resolve().error;
    const preselect = Boolean(offered) && !settled;
    this.#show({ ...base, entries: this.#entries(field, offered ?? []), preselect });
    if (option.autocomplete && !field.picked) this.#complete(field, base);
  }

  #show(what) {
    this.#turn += 1;
    this.suggestions.show(what);
  }

  #entries(field, choices) {
    return choices.map((choice) => ({
      label: choice.name,
      face: [choice.user && avatar(choice.user, "small"), el("span", {}, choice.name)].filter(Boolean),
      choose: () => this.form.pick(field, choice) || this.hide(),
    }));
  }

  /** Ask the bot for values after a pause in typing; an answer that comes too late is dropped. */
  async #complete(field, base) {
    const turn = this.#turn;
    await new Promise((resolve) => setTimeout(resolve, COMPLETION_PAUSE_MS));
    if (turn !== this.#turn) return;
    const place = { user: this.store.user.id, channel: this.store.channel.id };
    const asked = { command: this.form.leaf.path, options: this.form.soFar(field), focused: field.option.name };
    try {
      const { choices } = await api.autocomplete({ ...place, ...asked });
      if (turn === this.#turn) this.#show({ ...base, entries: this.#entries(field, choices) });
    } catch (error) {
      const note = `Options could not be loaded: ${error.message}`;
      if (turn === this.#turn) this.#show({ ...base, note, wrong: true, entries: [] });
    }
  }
}

function commandFace(leaf) {
  const required = leaf.options.filter((option) => option.required);
  return face(
    `/${leaf.path}`,
    leaf.description,
    required.map(({ name }) => el("span", { class: "ghost-option" }, name)),
  );
}

function face(name, description, extra = []) {
  const line = el("span", { class: "command-line" }, el("b", {}, name), extra);
  return el("span", { class: "command-face" }, line, el("small", {}, description));
}
