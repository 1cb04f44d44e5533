// Right: who is here, and the rule book: every rule of Discord that the bot broke, with what it sent.

import { avatar, el, fill, icon } from "./dom.js";
import { clock } from "./time.js";

export class Details {
  constructor(root, store, toggleButton) {
    this.store = store;
    this.badge = el("span", { class: "badge", hidden: true });
    this.toggleButton = toggleButton;
    toggleButton.append(icon("shield"), this.badge);
    toggleButton.addEventListener("click", () => this.toggle());
    this.members = el("div", { class: "members" });
    this.verdict = el("span", { class: "verdict" });
    this.count = el("span", { class: "badge", hidden: true });
    this.summary = el(
      "button",
      { type: "button", class: "rules-summary", "aria-expanded": "false", "aria-controls": "violations" },
      icon("shield"),
      this.verdict,
      this.count,
      icon("chevron"),
    );
    this.summary.addEventListener("click", () => this.#expand(this.list.hidden));
    this.list = el("div", { id: "violations", hidden: true });
    this.rules = el("section", { class: "rules", "aria-label": "Rules" }, this.summary, this.list);
    const close = el(
      "button",
      { type: "button", class: "icon-button only-narrow", "aria-label": "Close", onclick: () => this.toggle(false) },
      icon("close"),
    );
    root.append(el("header", {}, close), this.members, this.rules);
    store.on("state", () => this.#drawMembers());
    store.on("violations", () => this.#drawRules());
  }

  toggle(shown = !document.body.classList.contains("show-details")) {
    document.body.classList.toggle("show-details", shown);
    this.toggleButton.setAttribute("aria-expanded", String(shown));
    if (shown && this.store.violations.length) this.#expand(true);
  }

  #drawMembers() {
    const { bot, users } = this.store;
    const admins = users.filter(({ admin }) => admin);
    const others = users.filter(({ admin }) => !admin);
    const status = bot.online ? "online" : "offline";
    const botRow = el(
      "div",
      { class: `member ${status}` },
      el("span", { class: "with-dot" }, avatar(bot, "small"), el("i", { class: `dot ${status}` })),
      el("span", {}, bot.username || "Bot"),
      el("span", { class: "tag" }, "BOT"),
      el("span", { class: "visually-hidden" }, status),
    );
    fill(
      this.members,
      heading("Bot", status),
      botRow,
      heading("Studio admin", admins.length),
      admins.map(person),
      heading("Members", others.length),
      others.map(person),
    );
  }

  #drawRules() {
    const { violations, spec } = this.store;
    const count = violations.length;
    this.verdict.textContent = count ? "Rules broken" : spec ? "All rules kept" : "No rule broken";
    this.summary.title = spec
      ? "Each request of the bot is checked against Discord's API description."
      : "Started without Discord's API description: only the rules of our own are checked.";
    this.rules.classList.toggle("broken", count > 0);
    for (const badge of [this.badge, this.count]) {
      badge.hidden = count === 0;
      badge.textContent = count > 99 ? "99+" : String(count);
    }
    this.toggleButton.setAttribute("aria-label", count ? `Members and rules, ${count} broken` : "Members and rules");
    if (!count) this.#expand(false);
    const clear = el(
      "button",
      { type: "button", class: "text-button", onclick: () => this.store.forgetViolations() },
      "Clear the list",
    );
    fill(this.list, count === 0 ? note(spec) : [violations.slice(-50).reverse().map(violationCard), clear]);
  }

  #expand(open) {
    this.list.hidden = !open;
    this.summary.setAttribute("aria-expanded", String(open));
  }
}

function heading(text, detail) {
  return el("h2", {}, `${text} — ${detail}`);
}

function person(user) {
  return el(
    "div",
    { class: "member" },
    el("span", { class: "with-dot" }, avatar(user, "small"), el("i", { class: "dot online" })),
    el("span", {}, user.username),
    user.admin && el("span", { class: "role" }, "admin"),
  );
}

function note(spec) {
  const text = spec
    ? "Each request of the bot is checked against Discord's published API description and the rules it leaves out."
    : "Started without Discord's API description: only the sandbox's own rules are checked.";
  return el("p", { class: "rules-note" }, text);
}

function violationCard(violation) {
  const at = new Date(typeof violation.at === "number" ? violation.at * 1000 : violation.at);
  const payload =
    violation.payload && el("details", {}, el("summary", {}, "what it sent"), el("pre", {}, text(violation.payload)));
  return el(
    "article",
    { class: "violation" },
    el("h3", {}, violation.rule),
    el("p", {}, violation.detail),
    el("p", { class: "route" }, `${violation.method} ${violation.route} · ${clock(at)}`),
    payload,
  );
}

function text(payload) {
  return typeof payload === "string" ? payload : JSON.stringify(payload, null, 2);
}
