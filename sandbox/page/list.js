// The list of messages: keyed views in order, day lines, grouping, and staying at the bottom.

import { el } from "./dom.js";
import { MessageView } from "./message.js";
import { bySnowflake } from "./store.js";
import { day } from "./time.js";

const NEAR_BOTTOM_PX = 120;

export class MessageList {
  #views = new Map();
  #pinned = true;

  constructor(store, actions, { list, scroller, toLatest, announcer }) {
    Object.assign(this, { store, list, scroller, toLatest, announcer });
    this.actions = { ...actions, jump: (id) => this.jump(id), lookup: (id) => store.messages.get(id) };
    store.on("channel", () => this.#clear());
    store.on("messages", () => this.#reconcile());
    store.on("message", ({ message, isNew }) => this.#show(message, isNew));
    store.on("removed", (id) => this.#drop(id));
    for (const name of ["state", "identity"]) store.on(name, () => this.#views.forEach((view) => view.refresh()));
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    toLatest.addEventListener("click", () => this.toBottom());
    // Pictures, previews and the composer change heights at any time: whoever reads the end stays at the end.
    const resized = new ResizeObserver(() => this.#pinned && this.toBottom());
    resized.observe(list);
    resized.observe(scroller);
  }

  toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#pinned = true;
    this.toLatest.hidden = true;
  }

  jump(id) {
    const view = this.#views.get(id);
    if (!view) return;
    view.node.scrollIntoView({ block: "center", behavior: "smooth" });
    view.node.classList.remove("flash");
    requestAnimationFrame(() => view.node.classList.add("flash"));
    view.node.focus({ preventScroll: true });
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.#pinned = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
    if (this.#pinned) this.toLatest.hidden = true;
  }

  #clear() {
    this.#views.clear();
    this.list.replaceChildren();
    this.#pinned = true;
  }

  #reconcile() {
    for (const id of [...this.#views.keys()]) if (!this.store.messages.has(id)) this.#forget(id);
    for (const message of this.store.messages.values()) this.#place(message);
    this.#arrange();
    if (this.#pinned) this.toBottom();
  }

  #show(message, isNew) {
    const pinned = this.#pinned || message.author.id === this.store.user.id;
    this.#place(message);
    if (isNew) this.#arrange();
    if (pinned) this.toBottom();
    else if (isNew) this.toLatest.hidden = false;
    if (isNew) this.#announce(message);
  }

  #drop(id) {
    this.#forget(id);
    this.#arrange();
  }

  #forget(id) {
    this.#views.get(id)?.node.remove();
    this.#views.delete(id);
  }

  #place(message) {
    const known = this.#views.get(message.id);
    if (known) {
      known.update(message);
      return;
    }
    const view = new MessageView(message, this.store, this.actions);
    const later = [...this.#views.keys()].filter((id) => bySnowflake(id, message.id) > 0).sort(bySnowflake)[0];
    this.list.insertBefore(view.node, later ? this.#views.get(later).node : null);
    this.#views.set(message.id, view);
  }

  /** Day lines and grouping depend on neighbours, so they are set for the whole list. */
  #arrange() {
    for (const line of this.list.querySelectorAll(".day-line")) line.remove();
    let previous = null;
    for (const id of [...this.#views.keys()].sort(bySnowflake)) {
      const view = this.#views.get(id);
      const newDay = !previous || day(previous.created) !== day(view.created);
      if (newDay)
        view.node.before(el("div", { class: "day-line", role: "separator" }, el("span", {}, day(view.created))));
      view.node.classList.toggle("grouped", !newDay && view.continues(previous));
      previous = view;
    }
  }

  #announce(message) {
    const text = message.thinking ? "is thinking" : message.content || message.embeds?.[0]?.title || "sent a picture";
    this.announcer.textContent = `${this.store.author(message.author).username}: ${text.slice(0, 200)}`;
  }
}
