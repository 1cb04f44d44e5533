// Follows what a person started (a command, a press, a menu entry, a modal) until the bot answers or 3 seconds are over.

import { api } from "./api.js";

const GIVE_UP_MS = 3500;

export class Interactions {
  #waiting = new Map();
  #early = new Map();
  #modals = new Set();

  constructor(store, onModal) {
    this.onModal = onModal;
    store.on("interaction", (interaction) => this.#heard(interaction));
  }

  /** Resolves to true when the bot answered or deferred in time, else to false. */
  answered(id) {
    return new Promise((resolve) => {
      const entry = { resolve, timer: setTimeout(() => this.#ask(id), GIVE_UP_MS) };
      this.#waiting.set(id, entry);
      const early = this.#early.get(id);
      if (early) this.#heard(early);
    });
  }

  async #ask(id) {
    try {
      const interaction = await api.interaction(id);
      this.#heard({ ...interaction, state: interaction.state === "pending" ? "timed_out" : interaction.state });
    } catch {
      this.#settle(id, false);
    }
  }

  #heard(interaction) {
    if (interaction.state === "pending") return;
    if (!this.#waiting.has(interaction.id)) {
      // The event may overtake the answer to our own POST; it is kept for a moment.
      this.#early.set(interaction.id, interaction);
      if (this.#early.size > 50) this.#early.delete(this.#early.keys().next().value);
      return;
    }
    this.#early.delete(interaction.id);
    this.#settle(interaction.id, interaction.state !== "timed_out");
    if (interaction.modal && !this.#modals.has(interaction.id)) {
      this.#modals.add(interaction.id);
      this.onModal(interaction);
    }
  }

  #settle(id, ok) {
    const entry = this.#waiting.get(id);
    if (!entry) return;
    clearTimeout(entry.timer);
    this.#waiting.delete(id);
    entry.resolve(ok);
  }
}
