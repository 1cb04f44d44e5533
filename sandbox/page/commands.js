// The registered commands as flat leaves ("admin credits grant"), their fuzzy search, and their text form
// (`/imagine prompt: a red apple`). Pure: no DOM, no network.

const SUB_COMMAND = 1;
const SUB_COMMAND_GROUP = 2;
const CHAT_INPUT = 1;
const MESSAGE_MENU = 3;

export const OPTION = { STRING: 3, INTEGER: 4, BOOLEAN: 5, USER: 6, CHANNEL: 7, NUMBER: 10, ATTACHMENT: 11 };

// What people who are no admins hold on this server: reactions, view, send, embed, attach, history, emoji, commands,
// and of threads: start public and private ones, send.
const EVERYDAY = [6, 10, 11, 14, 15, 16, 18, 31, 35, 36, 38].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);

/** Whether Discord would show this command to `user`; "0" means admins only. */
export function mayUse(command, user) {
  const needed = command.default_member_permissions;
  if (user?.admin || needed === null || needed === undefined) return true;
  return needed !== "0" && (BigInt(needed) & EVERYDAY) === BigInt(needed);
}

/** Every slash command that can be run, as {path, description, options}. */
export function leaves(commands) {
  const found = [];
  const walk = (node, path) => {
    const nested = (node.options ?? []).filter(({ type }) => type === SUB_COMMAND || type === SUB_COMMAND_GROUP);
    if (nested.length) nested.forEach((child) => walk(child, `${path} ${child.name}`));
    else found.push({ path, description: node.description ?? "", options: node.options ?? [] });
  };
  for (const command of commands) if ((command.type ?? CHAT_INPUT) === CHAT_INPUT) walk(command, command.name);
  return found.sort((one, other) => depth(one) - depth(other) || one.path.localeCompare(other.path));
}

/** Plain commands are offered before those of a group (`/admin ...`). */
function depth({ path }) {
  return path.split(" ").length;
}

export function messageCommands(commands) {
  return commands.filter(({ type }) => type === MESSAGE_MENU).map(({ name }) => name);
}

/** How well `query` names `text`: higher is better, null when its letters are not even in order. */
export function score(query, text) {
  const wanted = query.toLowerCase();
  const given = text.toLowerCase();
  if (!wanted) return 0;
  if (given.startsWith(wanted)) return 1000 - given.length;
  const inside = given.indexOf(wanted);
  if (inside >= 0) return 500 - inside;
  let at = -1;
  let gaps = 0;
  for (const letter of wanted.replaceAll(" ", "")) {
    const next = given.indexOf(letter, at + 1);
    if (next < 0) return null;
    gaps += next - at - 1;
    at = next;
  }
  return 100 - gaps;
}

/** `items` that match `query`, best first; `text(item)` is what is searched. */
export function search(query, items, text) {
  return items
    .map((item, order) => ({ item, order, rank: score(query, text(item)) }))
    .filter(({ rank }) => rank !== null)
    .sort((one, other) => other.rank - one.rank || one.order - other.order)
    .map(({ item }) => item);
}

/** The leaf whose whole path starts `text` ("/imagine ..."), and what follows it; null when none does. */
export function findLeaf(text, all) {
  if (!text.startsWith("/")) return null;
  const typed = text.slice(1);
  const fits = all.filter(
    ({ path }) => typed === path || typed.startsWith(`${path} `) || typed.startsWith(`${path}\n`),
  );
  const leaf = fits.sort((one, other) => other.path.length - one.path.length)[0];
  return leaf ? { leaf, rest: typed.slice(leaf.path.length).trimStart() } : null;
}

/** The option that takes text without a name: the first required string, else the first string. */
export function mainOption(leaf) {
  const strings = leaf.options.filter(({ type }) => type === OPTION.STRING);
  return strings.find(({ required }) => required) ?? strings[0] ?? leaf.options[0] ?? null;
}

/** Split `name: value name: value` by the names of the leaf's options -> {name: raw value}; a leading rest goes to the main option. */
export function parseOptions(rest, leaf) {
  const values = {};
  let name = null;
  let from = 0;
  const close = (to) => {
    const value = rest.slice(from, to).trim();
    const target = name ?? mainOption(leaf)?.name;
    if (target && (name || value)) values[target] = value;
  };
  for (const hit of rest.matchAll(/(^|\s)([\p{L}\p{N}_-]{1,32}):/gu)) {
    const known = leaf.options.some((option) => option.name === hit[2]);
    if (!known || hit[2] in values || hit[2] === name) continue;
    close(hit.index);
    name = hit[2];
    from = hit.index + hit[0].length;
  }
  close(rest.length);
  return values;
}
