// Pictures and files of a message, and the lightbox that shows one picture in full.

import { el, icon } from "./dom.js";
import { loadable } from "./urls.js";

const MIN_WIDTH = 400;
const MAX_WIDTH = 520;
const MAX_HEIGHT = 520;
const SIZE_UNITS = ["B", "KiB", "MiB", "GiB"];

/** Shown size of a picture: small ones are enlarged, large ones reduced, the ratio always kept. */
export function shownSize(width, height) {
  if (!width || !height) return { width: MIN_WIDTH, height: MIN_WIDTH };
  const enlarge = Math.max(1, MIN_WIDTH / width);
  const scale = Math.min(enlarge, MAX_WIDTH / width, MAX_HEIGHT / height);
  return { width: Math.round(width * scale), height: Math.round(height * scale) };
}

export function fileSize(bytes) {
  const power = Math.min(SIZE_UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 1024 ** power).toFixed(power ? 1 : 0)} ${SIZE_UNITS[power]}`;
}

function isPicture(attachment) {
  return (attachment.content_type || "").startsWith("image/") || /\.(png|jpe?g|webp|gif)$/i.test(attachment.filename);
}

/**
 * The attachments of one message. Pictures keep their place by position: a new preview is decoded first and then
 * takes the old one's place in one step, so that a picture being drawn never blinks.
 */
export class Attachments {
  constructor() {
    this.node = el("div", { class: "attachments" });
    this.shown = [];
  }

  update(attachments) {
    while (this.shown.length > attachments.length) this.shown.pop().node.remove();
    attachments.forEach((attachment, index) => {
      const old = this.shown[index];
      if (old?.id === attachment.id) return;
      if (old && old.picture && isPicture(attachment)) this.#exchange(old, attachment);
      else this.#place(index, attachment);
    });
    this.node.classList.toggle("mosaic", this.shown.filter((entry) => entry.picture).length > 1);
  }

  #place(index, attachment) {
    const picture = isPicture(attachment) && loadable(attachment.url) !== null;
    const node = picture ? pictureButton(attachment) : fileCard(attachment);
    if (this.shown[index]) this.shown[index].node.replaceWith(node);
    else this.node.append(node);
    this.shown[index] = { node, picture, id: attachment.id };
  }

  async #exchange(entry, attachment) {
    entry.id = attachment.id;
    const next = pictureButton(attachment);
    try {
      await next.querySelector("img").decode();
    } catch {
      // A picture that can't be decoded is shown broken, as the browser does it.
    }
    if (entry.id !== attachment.id) return;
    const focused = entry.node === document.activeElement;
    entry.node.replaceWith(next);
    if (focused) next.focus();
    entry.node = next;
  }
}

function pictureButton(attachment) {
  const { width, height } = shownSize(attachment.width, attachment.height);
  const alt = attachment.description || attachment.filename;
  const image = el("img", { src: loadable(attachment.url), alt, width, height, draggable: "false", decoding: "async" });
  const label = `Open ${attachment.filename} in full`;
  return el(
    "button",
    { type: "button", class: "picture", "aria-label": label, onclick: () => lightbox(attachment) },
    image,
  );
}

function fileCard(attachment) {
  const href = loadable(attachment.url);
  const name = href
    ? el(
        "a",
        { href, target: "_blank", rel: "noopener noreferrer", download: attachment.filename },
        attachment.filename,
      )
    : el("span", {}, attachment.filename);
  return el(
    "div",
    { class: "file-card" },
    icon("file"),
    el("div", {}, name, el("small", {}, fileSize(attachment.size))),
  );
}

/** Show one picture over the page; Escape or a click beside it closes. */
export function lightbox(attachment) {
  const close = el("button", { type: "button", class: "icon-button", "aria-label": "Close" }, icon("close"));
  const original = el(
    "a",
    { href: loadable(attachment.url), target: "_blank", rel: "noopener noreferrer" },
    "Open original",
    icon("external"),
  );
  const detail = [
    attachment.width && `${attachment.width} × ${attachment.height}`,
    attachment.size && fileSize(attachment.size),
  ];
  const caption = el(
    "footer",
    {},
    el("span", {}, [attachment.filename, ...detail].filter(Boolean).join(" · ")),
    original,
  );
  const image = el("img", { src: loadable(attachment.url), alt: attachment.description || attachment.filename });
  const grown = Math.max(
    1,
    Math.min(4, (innerWidth * 0.9) / (attachment.width || 1), (innerHeight * 0.82) / (attachment.height || 1)),
  );
  if (attachment.width) image.width = Math.round(attachment.width * grown);
  const dialog = el("dialog", { class: "lightbox", "aria-label": attachment.filename }, close, image, caption);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || close.contains(event.target)) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
