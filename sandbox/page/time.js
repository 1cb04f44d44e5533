// Times as Discord shows them, in the reader's own zone.

const DAY_MS = 86_400_000;
const UNITS = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];
const STYLES = {
  t: { hour: "2-digit", minute: "2-digit" },
  T: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  d: { day: "2-digit", month: "2-digit", year: "numeric" },
  D: { day: "numeric", month: "long", year: "numeric" },
  f: { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" },
  F: { weekday: "long", day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" },
};
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function clock(date) {
  return date.toLocaleTimeString("en-GB", STYLES.t);
}

export function day(date) {
  return date.toLocaleDateString("en-GB", STYLES.D);
}

/** "Today at 14:03", "Yesterday at 14:03" or "3 May 2026 14:03". */
export function stamp(date, now = new Date()) {
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  if (date.getTime() >= midnight) return `Today at ${clock(date)}`;
  if (date.getTime() >= midnight - DAY_MS) return `Yesterday at ${clock(date)}`;
  return `${day(date)} ${clock(date)}`;
}

export function ago(seconds, now = Date.now()) {
  const distance = seconds - now / 1000;
  const [unit, length] = UNITS.find(([, size]) => Math.abs(distance) >= size) || UNITS[UNITS.length - 1];
  return relative.format(Math.round(distance / length), unit);
}

/** The text of `<t:seconds:style>`. */
export function formatted(seconds, style) {
  if (style === "R") return ago(seconds);
  return new Date(seconds * 1000).toLocaleString("en-GB", STYLES[style] || STYLES.f);
}

/** Keep every `<time data-relative>` of the page true. */
export function keepRelativeTimesFresh() {
  setInterval(() => {
    for (const node of document.querySelectorAll("time[data-relative]")) {
      const text = ago(Number(node.dataset.relative));
      if (node.textContent !== text) node.textContent = text;
    }
  }, 1000);
}
