// Left: the guild, its channels, and who we are right now.

import { avatar, el, fill, icon } from "./dom.js";
import { placeIcon } from "./places.js";

export class Sidebar {
  constructor(root, store) {
    this.root = root;
    this.store = store;
    this.name = el("span", {});
    this.direct = el("div", { class: "channel-list", role: "group", "aria-label": "Direct messages" });
    this.directHeading = el("h2", {}, "Direct messages");
    this.channels = el("div", { class: "channel-list", role: "group", "aria-label": "Text channels" });
    this.identities = el("div", { class: "identities", role: "radiogroup", "aria-label": "You are" });
    const close = el(
      "button",
      {
        type: "button",
        class: "icon-button only-narrow",
        "aria-label": "Close the channel list",
        onclick: () => this.toggle(false),
      },
      icon("close"),
    );
    root.append(
      el(
        "header",
        { class: "guild-header" },
        el("img", { src: "/page/icon.svg", alt: "", class: "guild-icon" }),
        this.name,
        close,
      ),
      el(
        "div",
        { class: "sidebar-scroll" },
        el("h2", {}, "Text channels"),
        this.channels,
        this.directHeading,
        this.direct,
      ),
      el("section", { class: "you" }, el("h2", {}, "You are"), this.identities),
    );
    for (const name of ["state", "channel", "unread", "identity"]) store.on(name, () => this.#draw());
    this.identities.addEventListener("keydown", (event) => this.#arrows(event));
  }

  toggle(shown = !document.body.classList.contains("show-sidebar")) {
    document.body.classList.toggle("show-sidebar", shown);
  }

  #draw() {
    const { guild, channels, users } = this.store;
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.name.textContent = guild.name;
    document.title = `${this.store.here} · ${guild.name}`;
    const drawn = (direct) => channels.filter((one) => Boolean(one.direct) === direct).map((one) => this.#channel(one));
    fill(this.channels, drawn(false));
    fill(this.direct, drawn(true));
    this.directHeading.hidden = this.direct.children.length === 0;
    fill(
      this.identities,
      users.map((user) => this.#identity(user)),
    );
    if (focused) this.root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #channel(channel) {
    const here = channel.id === this.store.channel.id;
    const unread = this.store.unread.has(channel.id);
    const props = {
      type: "button",
      class: `channel${channel.thread ? " thread" : ""}${here ? " here" : ""}${unread ? " unread" : ""}`,
      "aria-current": here ? "page" : null,
      dataset: { key: channel.id },
    };
    const open = () => {
      this.store.open(channel.id);
      this.toggle(false);
    };
    return el(
      "button",
      { ...props, onclick: open },
      channel.direct ? avatar(this.store.bot, "mini") : icon(placeIcon(channel)),
      el("span", { class: "channel-name" }, channel.name),
      channel.thread && el("span", { class: "visually-hidden" }, channel.private ? "(private thread)" : "(thread)"),
      unread && el("span", { class: "visually-hidden" }, "(new messages)"),
    );
  }

  #identity(user) {
    const me = user.id === this.store.user.id;
    const props = {
      type: "button",
      role: "radio",
      class: "identity",
      "aria-checked": String(me),
      tabindex: me ? "0" : "-1",
      dataset: { key: user.id },
    };
    const name = el("span", { class: "identity-name" }, user.username);
    return el(
      "button",
      { ...props, onclick: () => this.store.become(user.id) },
      avatar(user, "small"),
      name,
      user.admin && el("span", { class: "role" }, "admin"),
    );
  }

  #arrows(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const { users, user } = this.store;
    const next = users[(users.indexOf(user) + step + users.length) % users.length];
    this.store.become(next.id);
    this.identities.querySelector(`[data-key="${CSS.escape(next.id)}"]`).focus();
  }
}
