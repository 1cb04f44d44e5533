// What the page knows: the guild, its people and commands, who we are, and the messages of the open channel.
// It draws nothing. Views listen: "state", "identity", "channel", "messages", "message", "removed", "unread",
// "violations", "interaction", "typing", "connection".

import { api, listen } from "./api.js";
import { mayUse } from "./commands.js";
import { placesOf, sees } from "./places.js";

/** Order of snowflakes (decimal strings, longer = later). */
export function bySnowflake(one, other) {
  return one.length - other.length || (one < other ? -1 : one > other ? 1 : 0);
}

export class Store extends EventTarget {
  guild = { name: "" };
  guildChannels = [];
  threads = [];
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

  /** Everywhere we can go: the guild's channels with their threads, then our direct ones. */
  get places() {
    return placesOf(this.user, this);
  }

  /** The places to list. An archived thread is listed only while it is open. */
  get channels() {
    return this.places.filter(({ id, archived }) => !archived || id === this.channel?.id);
  }

  place(id) {
    return this.places.find((place) => place.id === id);
  }

  person(id) {
    return this.users.find((user) => user.id === id);
  }

  /** "#general", "@Limner" for a direct channel, "“Stealth”" for a thread. */
  get here() {
    const { name, direct, thread } = this.channel;
    return thread ? `“${name}”` : `${direct ? "@" : "#"}${name}`;
  }

  userName(id) {
    return id === this.bot.id ? this.bot.username : (this.person(id)?.username ?? "unknown-user");
  }

  names = { user: (id) => this.userName(id), place: (id) => this.place(id), open: (id) => this.open(id) };

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
    if (this.place(this.channel.id)) this.reload();
    else this.#leave();
  }

  open(channelId) {
    if (this.channel?.id === channelId) return;
    this.channel = this.place(channelId);
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
        threads: state.threads ?? [],
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
      this.channel = this.place(wanted) ?? this.places[0];
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
      case "thread":
        this.#threads(event.thread.id, [event.thread]);
        break;
      case "thread_delete":
        this.#threads(event.thread_id, []);
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

  /** A thread is now as in `now`: it came, changed or (with none) went. */
  #threads(id, now) {
    const others = this.threads.filter((thread) => thread.id !== id);
    this.threads = [...others, ...now].sort((one, other) => bySnowflake(one.id, other.id));
    const here = this.place(this.channel.id);
    if (here) this.channel = here;
    else this.#leave();
    this.emit("state");
  }

  /** Where we are is closed to us: on to the channel that it belongs to. */
  #leave() {
    this.open(this.channel.parent ?? this.places[0].id);
  }

  #upsert(message, type) {
    const thread = this.threads.find(({ id }) => id === message.channel_id);
    if (thread && !sees(thread, this.user)) return;
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
    if (![...this.guildChannels, ...this.threads, ...this.directChannels].some(({ id }) => id === channelId)) {
      this.directChannels = (await api.state()).direct_channels ?? [];
    }
    this.emit("unread");
  }

  #remove(messageId) {
    this.#touched.add(messageId);
    if (this.messages.delete(messageId)) this.emit("removed", messageId);
  }
}
