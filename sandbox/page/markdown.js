// Discord's markdown, as DOM nodes. Unknown or unclosed marks stay text; links are http(s) only.

import { drawnEmoji, el, emoji, icon } from "./dom.js";
import { placeIcon } from "./places.js";
import { formatted } from "./time.js";

const SPECIAL = /[\\`*_~|<[h]/;
const MAX_DEPTH = 12;

// Tried in this order at each special character. `make` gets the match, a parser for the inside, and the names.
const INLINE = [
  { rule: /\\([^A-Za-z0-9\s])/y, make: ([, character]) => character },
  { rule: /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)/y, make: ([, , code]) => el("code", {}, code) },
  {
    rule: /\*\*\*(?=\S)((?:\\[\s\S]|[^\\])+?)\*\*\*/y,
    make: ([, text], inner) => el("em", {}, el("strong", {}, inner(text))),
  },
  { rule: /\*\*((?:\\[\s\S]|[^\\])+?)\*\*(?!\*)/y, make: ([, text], inner) => el("strong", {}, inner(text)) },
  { rule: /__((?:\\[\s\S]|[^\\])+?)__(?!_)/y, make: ([, text], inner) => el("u", {}, inner(text)) },
  { rule: /\*(?=\S)((?:\\[\s\S]|\*\*|[^\\*])+?)\*(?!\*)/y, make: ([, text], inner) => el("em", {}, inner(text)) },
  {
    rule: /(?<![A-Za-z0-9_])_((?:\\[\s\S]|__|[^\\_])+?)_(?![A-Za-z0-9_])/y,
    make: ([, text], inner) => el("em", {}, inner(text)),
  },
  { rule: /~~((?:\\[\s\S]|[^\\])+?)~~(?!~)/y, make: ([, text], inner) => el("s", {}, inner(text)) },
  { rule: /\|\|((?:\\[\s\S]|[^\\])+?)\|\|/y, make: ([, text], inner) => spoiler(inner(text)) },
  { rule: /<@!?(\d+)>/y, make: ([, id], _inner, names) => mention(`@${names.user(id)}`) },
  { rule: /<@&(\d+)>/y, make: () => mention("@role") },
  { rule: /<#(\d+)>/y, make: ([, id], _inner, names) => placeMention(id, names) },
  { rule: /<\/([^:>]{1,100}):\d+>/y, make: ([, name]) => mention(`/${name}`) },
  { rule: /<t:(-?\d{1,13})(?::([tTdDfFR]))?>/y, make: ([, seconds, style]) => time(Number(seconds), style) },
  { rule: /<a?:(\w{2,32}):\d+>/y, make: ([, name]) => `:${name}:` },
  {
    rule: /\[((?:\\.|[^[\]\\])+)\]\(\s*<?(https?:\/\/[^\s)>]+)>?\s*\)/y,
    make: ([, text, url], inner) => link(url, inner(text)),
  },
  { rule: /<(https?:\/\/[^\s>]+)>/y, make: ([, url]) => link(url, [url]) },
  { rule: /https?:\/\/[^\s<>]*[^\s<>.,:;"'\])]/y, make: ([url]) => link(url, [url]) },
];

function mention(text) {
  return el("span", { class: "mention" }, text);
}

/** A channel or thread by name; a link to it where `names` can open it. */
function placeMention(id, names) {
  const place = names.place(id);
  if (!place) return mention("#unknown-channel");
  const face = place.thread ? [icon(placeIcon(place)), place.name] : `#${place.name}`;
  if (!names.open) return mention(face);
  return el("button", { type: "button", class: "mention", onclick: () => names.open(id) }, face);
}

function time(seconds, style) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return `<t:${seconds}>`;
  const relative = style === "R" ? { relative: String(seconds) } : {};
  const props = { datetime: date.toISOString(), title: formatted(seconds, "F"), dataset: relative };
  return el("time", props, formatted(seconds, style));
}

export function link(url, children) {
  if (!/^https?:\/\//i.test(url)) return el("span", {}, children);
  return el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, children);
}

function spoiler(children) {
  const hidden = el("span", { class: "spoiler-text" }, children);
  const node = el(
    "button",
    { class: "spoiler", type: "button", "aria-expanded": "false", title: "Show the spoiler" },
    hidden,
  );
  node.addEventListener("click", () => {
    node.classList.add("shown");
    node.setAttribute("aria-expanded", "true");
  });
  return node;
}

/** Inline markdown of `text` as a list of nodes and strings; `names` = {user(id), place(id), open(id) or null}. */
export function inline(text, names, depth = 0) {
  const nodes = [];
  let plain = "";
  const inner = (inside) => (depth < MAX_DEPTH ? inline(inside, names, depth + 1) : [inside]);
  for (let at = 0; at < text.length;) {
    const found = SPECIAL.test(text[at]) ? match(text, at) : null;
    if (!found) {
      plain += text[at];
      at += 1;
      continue;
    }
    const made = found.make(found.hit, inner, names);
    if (typeof made === "string") plain += made;
    else {
      if (plain) nodes.push(...withEmoji(plain));
      plain = "";
      nodes.push(made);
    }
    at += found.hit[0].length;
  }
  if (plain) nodes.push(...withEmoji(plain));
  return nodes;
}

function match(text, at) {
  for (const { rule, make } of INLINE) {
    rule.lastIndex = at;
    const hit = rule.exec(text);
    if (hit) return { hit, make };
  }
  return null;
}

function withEmoji(text) {
  return text
    .split(drawnEmoji)
    .map((part, index) => (index % 2 ? emoji(part) : part))
    .filter((part) => part !== "");
}

/** A whole message text as a list of block nodes. */
export function markdown(text, names) {
  const blocks = [];
  text.split(/```(?:([\w+-]*)\n)?([\s\S]+?)```/).forEach((part, index, parts) => {
    if (index % 3 === 2) blocks.push(el("pre", { class: "code-block" }, el("code", {}, part.replace(/\n$/, ""))));
    if (index % 3 !== 0 || part === "") return;
    const afterBlock = index > 0 ? part.replace(/^\n/, "") : part;
    const trimmed = index < parts.length - 1 ? afterBlock.replace(/\n$/, "") : afterBlock;
    if (trimmed) blocks.push(...lines(trimmed, names));
  });
  return blocks;
}

function lines(text, names) {
  const blocks = [];
  const rest = text.split("\n");
  while (rest.length) {
    const line = rest.shift();
    let found;
    if (line.startsWith(">>> ")) {
      blocks.push(el("blockquote", {}, lines([line.slice(4), ...rest.splice(0)].join("\n"), names)));
    } else if (line.startsWith("> ")) {
      const quoted = [line.slice(2)];
      while (rest.length && rest[0].startsWith("> ")) quoted.push(rest.shift().slice(2));
      blocks.push(el("blockquote", {}, lines(quoted.join("\n"), names)));
    } else if (line.startsWith("-# ")) {
      blocks.push(el("p", { class: "subtext" }, inline(line.slice(3), names)));
    } else if ((found = /^(#{1,3}) +(.+)$/.exec(line))) {
      blocks.push(
        el(
          "p",
          { class: `heading h${found[1].length}`, role: "heading", "aria-level": found[1].length + 2 },
          inline(found[2], names),
        ),
      );
    } else if ((found = /^\s*[-*] +(.+)$/.exec(line))) {
      const last = blocks[blocks.length - 1];
      const list = last?.tagName === "UL" ? last : el("ul");
      if (list !== last) blocks.push(list);
      list.append(el("li", {}, inline(found[1], names)));
    } else {
      const paragraph = [line];
      while (rest.length && !/^(>>> |> |-# |#{1,3} |\s*[-*] )/.test(rest[0])) paragraph.push(rest.shift());
      blocks.push(el("p", {}, inline(paragraph.join("\n"), names)));
    }
  }
  return blocks;
}
