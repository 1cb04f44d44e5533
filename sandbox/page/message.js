// One message: its parts are redrawn only when their own data changed, so that live edits don't flicker.

import { avatar, el, emoji, fill, icon } from "./dom.js";
import { Attachments } from "./attachments.js";
import { Components } from "./components.js";
import { embedCard } from "./embeds.js";
import { inline, markdown } from "./markdown.js";
import { clock, stamp } from "./time.js";

const QUICK_REACTIONS = ["❌", "✉️"];
const COMMAND_INTERACTION = 2;
const SLASH_COMMAND = 1;
// What Discord itself says in somebody's name, as markdown.
const SYSTEM = {
  1: ({ mentions: [user] }) => `added <@${user.id}> to the thread.`,
  2: ({ mentions: [user] }) => `removed <@${user.id}> from the thread.`,
  4: ({ content }) => `changed the thread's name to ${content}`,
  18: ({ message_reference: thread }) => `started a thread: <#${thread.channel_id}>`,
};

/** An embed without the signatures of its addresses, which change although the picture stays the same. */
function unsigned(embed) {
  return JSON.parse(JSON.stringify(embed, (key, value) => (/url$/.test(key) ? String(value).split("?")[0] : value)));
}

/** A file that an embed refers to is shown there only. */
function shownInEmbed(attachment, message) {
  const path = attachment.url.split("?")[0];
  const shown = (message.embeds ?? []).flatMap(({ image, thumbnail }) => [image?.url, thumbnail?.url]);
  return shown.some((url) => url?.split("?")[0] === path);
}

/** What one message looks like. `actions` = {press, react, menu, dismiss, jump, lookup}. */
export class MessageView {
  #drawn = new Map();

  constructor(message, store, actions) {
    this.store = store;
    this.actions = actions;
    this.components = new Components((customId, values) => actions.press(this.message, customId, values));
    this.attachments = new Attachments();
    this.parts = {
      context: el("div", { class: "context" }),
      header: el("div", { class: "message-header" }),
      text: el("div", { class: "message-text" }),
      embeds: el("div", { class: "embeds" }),
      reactions: el("div", { class: "reactions" }),
      private: el("div", { class: "private-note" }),
    };
    this.gutter = el("div", { class: "gutter" });
    const { context, header, text, embeds, reactions } = this.parts;
    const body = el(
      "div",
      { class: "message-body" },
      header,
      text,
      this.attachments.node,
      embeds,
      this.components.node,
      reactions,
      this.parts.private,
    );
    this.toolbar = el("div", { class: "message-tools", role: "toolbar", "aria-label": "Message actions" });
    this.node = el(
      "article",
      { class: "message", role: "listitem", tabindex: "-1", dataset: { id: message.id } },
      context,
      this.gutter,
      body,
      this.toolbar,
    );
    this.node.addEventListener("contextmenu", (event) => this.#openMenu(event, { x: event.clientX, y: event.clientY }));
    this.update(message);
  }

  update(message) {
    this.message = message;
    const author = this.store.author(message.author);
    const created = new Date(message.timestamp);
    this.author = author;
    this.created = created;
    this.node.classList.toggle("ephemeral", Boolean(message.ephemeral_to));
    this.#part("context", [message.message_reference, this.#invocation()], (node) =>
      fill(node, this.#replied(), this.#used()),
    );
    this.#part("header", [author, message.timestamp], (node) => fill(node, this.#byline()));
    this.#part("text", [message.content, message.thinking, message.edited_timestamp, message.type], (node) =>
      fill(node, this.#content()),
    );
    this.#part("embeds", (message.embeds ?? []).map(unsigned), (node) =>
      fill(
        node,
        (message.embeds ?? []).map((embed) => embedCard(embed, this.store.names)),
      ),
    );
    this.#part("reactions", message.reactions ?? [], (node) =>
      fill(
        node,
        (message.reactions ?? []).map((reaction) => this.#reaction(reaction)),
      ),
    );
    this.#part("private", message.ephemeral_to, (node) => fill(node, message.ephemeral_to && this.#onlyYou()));
    this.#once("components", message.components ?? [], () => this.components.update(message.components ?? []));
    this.#once("tools", [message.ephemeral_to, message.thinking], () => fill(this.toolbar, this.#tools()));
    this.#once("gutter", [author, message.timestamp], () =>
      fill(this.gutter, avatar(author), el("time", { class: "gutter-time" }, clock(created))),
    );
    this.attachments.update((message.attachments ?? []).filter((attachment) => !shownInEmbed(attachment, message)));
  }

  /** Draw again what depends on names or on another message (a reply's origin). */
  refresh() {
    this.#drawn.clear();
    this.update(this.message);
  }

  /** Whether this message may stand under `previous` without a header of its own. */
  continues(previous) {
    if (!previous || this.#invocation() || this.message.message_reference?.message_id || this.message.ephemeral_to)
      return false;
    const near = this.created - previous.created < 5 * 60_000;
    return near && previous.author.id === this.author.id && !previous.message.ephemeral_to;
  }

  #part(name, data, draw) {
    this.#once(name, data, () => draw(this.parts[name]));
  }

  #once(name, data, draw) {
    const key = JSON.stringify(data) ?? "";
    if (this.#drawn.get(name) === key) return;
    this.#drawn.set(name, key);
    draw();
  }

  #invocation() {
    const metadata = this.message.interaction_metadata;
    const name = this.message.interaction?.name ?? metadata?.name ?? metadata?.command_name;
    const type = metadata?.type ?? this.message.interaction?.type;
    if (type !== COMMAND_INTERACTION || !name) return null;
    const typed = (metadata?.command_type ?? SLASH_COMMAND) === SLASH_COMMAND;
    return { name: typed ? `/${name}` : name, user: (metadata?.user ?? this.message.interaction?.user)?.id };
  }

  #replied() {
    const id = this.message.message_reference?.message_id;
    if (!id) return null;
    const origin = this.actions.lookup(id) ?? this.message.referenced_message;
    if (!origin) return el("p", { class: "context-line" }, "Original message was deleted");
    const text = origin.content
      ? inline(origin.content.split("\n")[0], { ...this.store.names, open: null })
      : "Click to see the attachment";
    const by = this.store.author(origin.author);
    return el(
      "button",
      { type: "button", class: "context-line", onclick: () => this.actions.jump(id) },
      avatar(by, "tiny"),
      el("b", {}, by.username),
      el("span", {}, text),
    );
  }

  #used() {
    const used = this.#invocation();
    if (!used) return null;
    const by = this.store.person(used.user) ?? { username: this.store.userName(used.user) };
    return el(
      "p",
      { class: "context-line" },
      avatar(by, "tiny"),
      el("b", {}, by.username),
      el("span", {}, " used "),
      el("span", { class: "command-name" }, used.name),
    );
  }

  #byline() {
    return [
      el("b", { class: this.author.bot ? "author bot-author" : "author" }, this.author.username),
      this.author.bot && el("span", { class: "tag" }, "BOT"),
      el("time", { datetime: this.message.timestamp, class: "when" }, stamp(this.created)),
    ];
  }

  #content() {
    if (this.message.thinking) {
      const dots = el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
      return el("p", { class: "thinking" }, dots, `${this.author.username} is thinking…`);
    }
    if (SYSTEM[this.message.type]) return this.#system();
    const nodes = markdown(this.message.content ?? "", this.store.names);
    if (!this.message.edited_timestamp) return nodes;
    const mark = el("span", { class: "edited", title: stamp(new Date(this.message.edited_timestamp)) }, "(edited)");
    const last = nodes[nodes.length - 1];
    if (last?.tagName !== "P") return nodes.length ? [...nodes, mark] : nodes;
    last.append(" ", mark);
    return nodes;
  }

  #system() {
    return el("p", { class: "system" }, inline(SYSTEM[this.message.type](this.message), this.store.names));
  }

  #reaction(reaction) {
    const name = reaction.emoji.name;
    const label = `${name}, ${reaction.count} so far, add yours`;
    return el(
      "button",
      {
        type: "button",
        class: "reaction",
        "aria-label": label,
        onclick: () => this.actions.react(this.message, name),
      },
      emoji(name),
      el("span", {}, String(reaction.count)),
    );
  }

  #onlyYou() {
    const dismiss = el(
      "button",
      { type: "button", class: "text-button", onclick: () => this.actions.dismiss(this.message) },
      "Dismiss message",
    );
    return [icon("eye"), "Only you can see this", el("span", { "aria-hidden": "true" }, "·"), dismiss];
  }

  #tools() {
    if (this.message.thinking) return [];
    const react = (name) =>
      el(
        "button",
        {
          type: "button",
          title: `React with ${name}`,
          "aria-label": `React with ${name}`,
          onclick: () => this.actions.react(this.message, name),
        },
        emoji(name),
      );
    const apps = el(
      "button",
      { type: "button", title: "Apps", "aria-label": "Apps and more", "aria-haspopup": "menu" },
      icon("apps"),
    );
    apps.addEventListener("click", (event) => {
      const box = apps.getBoundingClientRect();
      this.#openMenu(event, { x: box.left - 140, y: box.bottom + 4 });
    });
    return [...(this.message.ephemeral_to ? [] : QUICK_REACTIONS.map(react)), apps];
  }

  #openMenu(event, point) {
    if (event.type === "contextmenu" && event.target.closest("a, img")) return;
    event.preventDefault();
    this.actions.menu(this.message, point);
  }
}
