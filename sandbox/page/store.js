// What the page knows: the guild, its people and commands, who we are, and the messages of the open channel.
// It draws nothing. Views listen: "state", "identity", "channel", "messages", "message", "removed", "unread",
// "violations", "interaction", "typing", "connection".

import { api, listen } from "./api.js";
import { mayUse } from "./commands.js";

/** Order of snowflakes (decimal strings, longer = later). */
export function bySnowflake(one, other) {
  return one.length - other.length || (one < other ? -1 : one > other ? 1 : 0);
}

export class Store extends EventTarget {
  guild = { name: "" };
  guildChannels = [];
  directChannels = [];
  users = [];
  bot = { id: "", username: "", online: false };
  registered = [];
  violations = [];
  spec = true;
  user = null;
  channel = null;
  messages = new Map();
  unread = new Set();
  dismissed = new Set();
  connected = false;
  #touched = new Set();
  #loads = 0;

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  on(name, listener) {
    this.addEventListener(name, (event) => listener(event.detail));
  }

  start() {
    listen({
      onOpen: () => this.#opened(),
      onEvent: (event) => this.#received(event),
      onLost: () => this.#connection(false),
    });
  }

  /** The commands that we may use. */
  get commands() {
    return this.registered.filter((command) => mayUse(command, this.user));
  }

  /** The channels that we see: the guild's, then our direct ones. */
  get channels() {
    const direct = this.directChannels.filter(({ user }) => user === this.user?.id);
    return [...this.guildChannels, ...direct.map(({ id }) => ({ id, name: this.bot.username, direct: true }))];
  }

  person(id) {
    return this.users.find((user) => user.id === id);
  }

  /** "#general", or "@Limner" for a direct channel. */
  get here() {
    return `${this.channel.direct ? "@" : "#"}${this.channel.name}`;
  }

  channelName(id) {
    return this.channels.find((channel) => channel.id === id)?.name ?? "unknown-channel";
  }

  userName(id) {
    return id === this.bot.id ? this.bot.username : (this.person(id)?.username ?? "unknown-user");
  }

  names = { user: (id) => this.userName(id), channel: (id) => this.channelName(id) };

  /** The colour, bot mark and name to draw beside a message's author. */
  author(author) {
    const known = this.person(author.id);
    const name = known?.username ?? author.global_name ?? author.username;
    return {
      id: author.id,
      username: name,
      avatar_color: known?.avatar_color,
      bot: Boolean(author.bot),
      admin: known?.admin,
    };
  }

  visible(message) {
    const mine = !message.ephemeral_to || message.ephemeral_to === this.user.id;
    return mine && !message.deleted && !this.dismissed.has(message.id);
  }

  become(userId) {
    if (this.user?.id === userId) return;
    this.user = this.person(userId);
    localStorage.setItem("limner.user", userId);
    this.emit("identity");
    if (this.channels.some(({ id }) => id === this.channel.id)) this.reload();
    else this.open(this.channels[0].id);
  }

  open(channelId) {
    if (this.channel?.id === channelId) return;
    this.channel = this.channels.find((channel) => channel.id === channelId);
    localStorage.setItem("limner.channel", channelId);
    this.unread.delete(channelId);
    this.messages.clear();
    this.emit("channel");
    this.reload();
  }

  dismiss(messageId) {
    this.dismissed.add(messageId);
    this.#remove(messageId);
  }

  async forgetViolations() {
    await api.forgetViolations();
    this.violations = [];
    this.emit("violations");
  }

  /** Fetch the open channel again and reconcile: events that arrive meanwhile win over the older answer. */
  async reload() {
    const load = (this.#loads += 1);
    this.#touched.clear();
    const { messages } = await api.messages(this.channel.id, this.user.id);
    if (load !== this.#loads) return;
    const fresh = new Map(messages.filter((message) => this.visible(message)).map((message) => [message.id, message]));
    for (const id of this.#touched) {
      if (this.messages.has(id)) fresh.set(id, this.messages.get(id));
      else fresh.delete(id);
    }
    this.messages = new Map([...fresh].sort(([one], [other]) => bySnowflake(one, other)));
    this.emit("messages");
  }

  async #opened() {
    try {
      const state = await api.state();
      Object.assign(this, {
        guild: state.guild,
        guildChannels: state.channels,
        directChannels: state.direct_channels ?? [],
        users: state.users,
        bot: { ...state.bot, bot: true },
        registered: state.commands,
        violations: state.violations,
        spec: state.spec,
      });
      const user = this.person(this.user?.id ?? localStorage.getItem("limner.user")) ?? this.users[0];
      const wanted = this.channel?.id ?? localStorage.getItem("limner.channel");
      const first = !this.user;
      this.user = user;
      this.channel = this.channels.find((channel) => channel.id === wanted) ?? this.channels[0];
      this.#connection(true);
      this.emit("state");
      this.emit("violations");
      if (first) this.emit("channel");
      await this.reload();
    } catch (error) {
      this.emit("trouble", error);
    }
  }

  #connection(connected) {
    this.connected = connected;
    this.emit("connection");
  }

  #received(event) {
    if (!this.user) return;
    switch (event.type) {
      case "message_create":
      case "message_update":
      case "reaction":
        if (event.message) this.#upsert(event.message, event.type);
        break;
      case "message_delete":
        this.#remove(event.message_id);
        break;
      case "commands":
        this.registered = event.commands;
        this.emit("state");
        break;
      case "bot":
        this.bot = { ...this.bot, online: event.online };
        this.emit("state");
        break;
      case "violation":
        this.violations = [...this.violations, event.violation];
        this.emit("violations");
        break;
      case "interaction":
        this.emit("interaction", event.interaction);
        break;
      case "typing":
        this.emit("typing", event);
        break;
    }
  }

  #upsert(message, type) {
    if (message.channel_id !== this.channel.id) {
      if (type === "message_create" && this.visible(message)) this.#elsewhere(message.channel_id);
      return;
    }
    if (!this.visible(message)) return;
    this.#touched.add(message.id);
    const isNew = !this.messages.has(message.id);
    this.messages.set(message.id, message);
    this.emit("message", { message, isNew });
  }

  /** A message in another channel; the first one in a direct channel is how that channel becomes known. */
  async #elsewhere(channelId) {
    this.unread.add(channelId);
    if (![...this.guildChannels, ...this.directChannels].some(({ id }) => id === channelId)) {
      this.directChannels = (await api.state()).direct_channels ?? [];
    }
    this.emit("unread");
  }

  #remove(messageId) {
    this.#touched.add(messageId);
    if (this.messages.delete(messageId)) this.emit("removed", messageId);
  }
}
