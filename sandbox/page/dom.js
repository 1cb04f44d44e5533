// Makes DOM nodes. The page never parses HTML: whatever a bot or a person wrote ends up in text nodes and
// attributes, so nothing in a prompt can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `class`, `dataset`, `onclick`-like listeners, anything else as an attribute. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// Stroke drawings on a 24 x 24 field.
const ICONS = {
  hash: "M9.5 4 7.5 20M16.5 4l-2 16M4.5 9h16M3.5 15h16",
  thread: "M5 5h14v10.500h-7.500L7.5 19.5v-4H5z",
  lock: "M8 11V8a4 4 0 0 1 8 0v3M5.5 11h13v9h-13z",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6 6 18",
  shield: "M12 3l7 2.5v5.5c0 4.5-3 8-7 10-4-2-7-5.5-7-10V5.5zM9 12l2.2 2.200L15.2 10",
  alert: "M12 4 21 19.5H3zM12 10v4.5M12 17v.3",
  apps: "M5 5h5.5v5.5H5zM13.5 5H19v5.5h-5.5zM5 13.5h5.5V19H5zM16.250 13.5v5.5M13.5 16.250H19",
  reply: "M4 17v-3a5 5 0 0 1 5-5h10M15 5l4 4-4 4",
  file: "M7 3h7l4 4v14H7zM14 3v4h4M10 12h5M10 16h5",
  upload: "M12 16V5M7.5 9 12 4.5 16.5 9M5 19h14",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 14.800a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.600z",
  send: "M4 12 20 4.5 15.5 20 11.5 13.5zM11.5 13.5 20 4.5",
  people:
    "M9 11.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.400zM3 19.5c0-3.5 2.5-5.5 6-5.5s6 2 6 5.5M15.5 5.5a3 3 0 0 1 0 5.800M17.5 14.300c2.2.7 3.5 2.5 3.5 5.2",
  down: "M12 5v13M6.5 12.5 12 18l5.5-5.5",
  external: "M13.5 4.5h6v6M19.5 4.5 11 13M17 14v5H5V7h5",
  chevron: "M8 10l4 4 4-4",
};

/** A decorative line icon, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true", class: "icon" })) {
    svg.setAttribute(key, value);
  }
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// Emoji that the bots here use are drawn, as a bare Linux has no colour emoji font; all others are left to the system.
const EMOJI = {
  "🔄": {
    fill: "#4d8dff",
    path: "M7 12.5a5 5 0 0 1 8.8-3.200M17 11.5a5 5 0 0 1-8.8 3.200M16.2 6v3.600h-3.600M7.8 18v-3.600h3.6",
    box: true,
  },
  "❌": { fill: "#f0545c", path: "M6 6l12 12M18 6 6 18" },
  "✉": { fill: "#c9d4ea", path: "M3.5 6.5h17v11h-17zM4 7l8 6 8-6" },
  "🪄": { fill: "#f3c273", path: "M4.5 19.5 14 10M17 3.5v4M15 5.5h4M20 12v3M18.5 13.5h3M9 4.5v2M8 5.5h2", thin: true },
  "✅": { fill: "#3ba665", path: "M7 12.5l3.5 3.5L17 8.5", box: true },
};

/** Splits a text at the emoji that are drawn here; they are kept as parts of their own. */
export const drawnEmoji = new RegExp(`(${Object.keys(EMOJI).join("|")})\ufe0f?`, "u");

/** An emoji by its character, drawn by us where we can, named for screen readers by the character itself. */
export function emoji(character) {
  const drawing = EMOJI[character.replace("\ufe0f", "")];
  if (!drawing) return el("span", { class: "emoji" }, character);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "emoji drawn");
  svg.setAttribute("aria-hidden", "true");
  if (drawing.box) {
    const box = document.createElementNS(SVG, "rect");
    const square = { x: 2, y: 2, width: 20, height: 20, rx: 5, fill: drawing.fill };
    for (const [key, value] of Object.entries(square)) box.setAttribute(key, String(value));
    svg.append(box);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", drawing.path);
  path.setAttribute("stroke", drawing.box ? "#ffffff" : drawing.fill);
  path.setAttribute("stroke-width", drawing.box || drawing.thin ? "2" : "3");
  svg.append(path);
  return svg;
}

/** The round picture of a member: initials on their colour; the bot has the page's own mark. */
export function avatar(user, size = "") {
  if (user.bot) return el("img", { class: `avatar ${size}`, src: "/page/icon.svg", alt: "", draggable: "false" });
  const node = el("span", { class: `avatar ${size}`, "aria-hidden": "true" }, (user.username || "?").slice(0, 1));
  node.style.backgroundColor = colour(user.avatar_color);
  return node;
}

function colour(value) {
  if (typeof value === "number") return `#${value.toString(16).padStart(6, "0")}`;
  return /^#[0-9a-f]{3,8}$/i.test(value || "") ? value : "#5d6678";
}

/** Put `children` into `node` instead of what was there. */
export function fill(node, ...children) {
  node.replaceChildren(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
}
