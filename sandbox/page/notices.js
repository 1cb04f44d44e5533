// What comes and goes: toasts with errors, and the stand-in rows of commands that the bot has not answered yet.

import { avatar, el, icon } from "./dom.js";

const TOAST_MS = 7000;
const PATIENCE_MS = 250;

export function toast(message) {
  const close = el(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Close this notice" },
    icon("close"),
  );
  const node = el("div", { class: "toast", role: "alert" }, icon("alert"), el("span", {}, message), close);
  const timer = setTimeout(() => node.remove(), TOAST_MS);
  close.addEventListener("click", () => {
    clearTimeout(timer);
    node.remove();
  });
  document.getElementById("toasts").append(node);
}

/**
 * Show that `/path` by `user` is on its way, if `answered` takes longer than a moment; when it resolves to false the
 * row says that the bot did not answer, and stays until it is dismissed.
 */
export async function commandOnItsWay({ path, user, bot, answered, toBottom }) {
  const text = el(
    "p",
    { class: "thinking" },
    el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")),
    "Sending command…",
  );
  const used = el(
    "p",
    { class: "context-line" },
    avatar(user, "tiny"),
    el("b", {}, user.username),
    el("span", {}, " used "),
    el("span", { class: "command-name" }, `/${path}`),
  );
  const byline = el(
    "div",
    { class: "message-header" },
    el("b", { class: "author bot-author" }, bot.username),
    el("span", { class: "tag" }, "BOT"),
  );
  const body = el("div", { class: "message-body" }, byline, text);
  const node = el(
    "article",
    { class: "message ghost", role: "listitem" },
    el("div", { class: "context" }, used),
    el("div", { class: "gutter" }, avatar(bot)),
    body,
  );
  const place = () => {
    document.getElementById("ghosts").append(node);
    toBottom();
  };
  const patience = setTimeout(place, PATIENCE_MS);
  const ok = await answered;
  clearTimeout(patience);
  if (ok) {
    node.remove();
    return;
  }
  const dismiss = el("button", { type: "button", class: "text-button", onclick: () => node.remove() }, "Dismiss");
  const reason = bot.online ? "The application did not respond" : `${bot.username} is offline, so nobody answered`;
  text.replaceWith(el("p", { class: "failed", role: "alert" }, icon("alert"), reason, " · ", dismiss));
  place();
}
