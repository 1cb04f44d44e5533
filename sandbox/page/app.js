// Puts the page together: the store in the middle, the views around it, and what a click or a key leads to.

import { ApiError, api } from "./api.js";
import { Composer } from "./composer.js";
import { Details } from "./details.js";
import { avatar, el, fill, icon } from "./dom.js";
import { Interactions } from "./interactions.js";
import { MessageList } from "./list.js";
import { messageCommands } from "./commands.js";
import { popupMenu } from "./menu.js";
import { showModal } from "./modal.js";
import { commandOnItsWay, toast } from "./notices.js";
import { placeIcon } from "./places.js";
import { Sidebar } from "./sidebar.js";
import { Store } from "./store.js";
import { keepRelativeTimesFresh } from "./time.js";

const TYPING_MS = 10_000;
const FIRST_WISHES = ["a red apple on a blue background", "a yellow star on a purple background"];

const byId = (id) => document.getElementById(id);
const store = new Store();
const interactions = new Interactions(store, openModal);
const sidebar = new Sidebar(byId("sidebar"), store);
const detailsButton = el("button", {
  type: "button",
  class: "icon-button",
  "aria-expanded": "false",
  "aria-controls": "details",
});
new Details(byId("details"), store, detailsButton);
const composer = new Composer(byId("composer"), store, { sent: commandSent, toast });
const list = new MessageList(
  store,
  { press, react, menu: messageMenu, dismiss: (message) => store.dismiss(message.id) },
  { list: byId("messages"), scroller: byId("scroller"), toLatest: byId("to-latest"), announcer: byId("announcer") },
);

function place() {
  return { user: store.user.id, channel: store.channel.id };
}

/** Run a request; a refusal becomes a toast and null. */
async function attempt(request) {
  try {
    return await request;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message);
    return null;
  }
}

function commandSent({ id, path }) {
  const answered = interactions.answered(id);
  commandOnItsWay({ path, user: store.user, bot: store.bot, answered, toBottom: () => list.toBottom() });
}

async function press(message, customId, values) {
  const body = { ...place(), message: message.id, custom_id: customId, ...(values && { values }) };
  const started = await attempt(api.press(body));
  return started ? interactions.answered(started.interaction_id) : true;
}

function react(message, emoji) {
  return attempt(api.react({ ...place(), message: message.id, emoji }));
}

function messageMenu(message, point) {
  const run = (command) => async () => {
    const started = await attempt(api.menu({ ...place(), message: message.id, command }));
    if (started && !(await interactions.answered(started.interaction_id)))
      toast(`“${command}” got no answer from ${store.bot.username}.`);
  };
  const apps = messageCommands(store.commands).map((name) => ({
    label: name,
    run: run(name),
    danger: /^(cancel|delete|report)/i.test(name),
  }));
  const copy = (text) => () => navigator.clipboard?.writeText(text);
  const rest = [
    { label: "Copy text", run: copy(message.content ?? "") },
    { label: "Copy message ID", run: copy(message.id) },
  ];
  popupMenu(
    [
      { heading: "Apps" },
      ...(apps.length ? apps : [{ heading: "no message commands" }]),
      { heading: "Message" },
      ...rest,
    ],
    point,
  );
}

function openModal(interaction) {
  const submit = async (values, files) => {
    const started = await api.modal({ user: store.user.id, interaction_id: interaction.id, values }, files);
    if (started.interaction_id)
      interactions
        .answered(started.interaction_id)
        .then((ok) => ok || toast("Something went wrong: the form got no answer."));
  };
  showModal(interaction.modal, { ...store.names, open: null }, { submit, failed: (error) => toast(error.message) });
}

function drawTopbar() {
  const channels = el(
    "button",
    {
      type: "button",
      class: "icon-button only-narrow",
      "aria-label": "Channels and people",
      onclick: () => sidebar.toggle(),
    },
    icon("menu"),
  );
  const { bot, channel } = store;
  const status = el(
    "span",
    { class: `bot-status ${bot.online ? "online" : "offline"}` },
    el("i", { class: `dot ${bot.online ? "online" : "offline"}` }),
    `${bot.username} is ${bot.online ? "online" : "offline"}`,
  );
  fill(
    byId("topbar"),
    channels,
    parentLink(channel),
    channel.direct ? avatar(bot, "mini") : icon(placeIcon(channel)),
    el("h1", {}, channel.name),
    channel.archived && el("span", { class: "tag quiet not-narrow" }, "archived"),
    channel.locked && el("span", { class: "tag quiet not-narrow" }, "locked"),
    el("span", { class: "spacer" }),
    status,
    detailsButton,
  );
}

/** The way from a thread back to its channel. */
function parentLink({ parent }) {
  if (!parent) return null;
  const back = { type: "button", class: "text-button not-narrow", onclick: () => store.open(parent) };
  return [el("button", back, `#${store.place(parent).name}`), el("span", { class: "not-narrow" }, "›")];
}

function welcomeTexts() {
  const { channel, bot, here } = store;
  if (channel.thread) {
    const whom = "Seen by its members, the bot and whoever manages threads.";
    return [channel.name, channel.private ? whom : `A thread of #${store.place(channel.parent).name}.`];
  }
  const about = "A Discord of your own, on this computer. Nothing leaves it, nothing needs a token.";
  return [channel.direct ? `You and ${bot.username}` : `Welcome to ${here}`, about];
}

function drawWelcome() {
  const [title, about] = welcomeTexts();
  const imagine = store.commands.some(({ name }) => name === "imagine");
  const wish = (text) =>
    el(
      "button",
      { type: "button", class: "wish", onclick: () => composer.write(`/imagine prompt: ${text}`) },
      el("b", {}, "/imagine"),
      ` ${text}`,
    );
  fill(
    byId("welcome"),
    el("span", { class: "welcome-mark" }, store.bot.username ? avatar(store.bot, "big") : icon("hash")),
    el("h2", {}, title),
    el("p", {}, about),
    imagine && el("p", {}, "Type ", el("kbd", {}, "/"), " to see what the bot can do, or try one of these:"),
    imagine && el("div", { class: "wishes" }, FIRST_WISHES.map(wish)),
  );
}

let typingTimer;

function drawTyping({ channel_id: channelId, user_id: userId, on = true }) {
  if (channelId !== store.channel.id || userId === store.user.id) return;
  clearTimeout(typingTimer);
  composer.typing.textContent = on ? `${store.userName(userId ?? store.bot.id)} is typing…` : "";
  if (on) typingTimer = setTimeout(() => (composer.typing.textContent = ""), TYPING_MS);
}

store.on("state", drawTopbar);
store.on("state", drawWelcome);
store.on("channel", drawTopbar);
store.on("channel", drawWelcome);
store.on("typing", drawTyping);
store.on("message", ({ message }) => message.author.bot && (composer.typing.textContent = ""));
store.on("trouble", (error) => toast(error.message));
store.on("connection", () => {
  byId("banner").hidden = store.connected;
  byId("banner").textContent = store.connected ? "" : "The local Discord does not answer. Trying again…";
});
addEventListener("unhandledrejection", ({ reason }) => toast(reason?.message ?? String(reason)));
addEventListener("keydown", (event) => {
  const field = event.target.closest?.("input, textarea, select, button, dialog, [role=menu]");
  if (event.key === "/" && !field) byId("composer-input").focus();
});
byId("sidebar").addEventListener("keydown", (event) => event.key === "Escape" && sidebar.toggle(false));
byId("chat").addEventListener("pointerdown", (event) => {
  if (!event.target.closest("#topbar")) document.body.classList.remove("show-sidebar", "show-details");
});

keepRelativeTimesFresh();
store.start();
