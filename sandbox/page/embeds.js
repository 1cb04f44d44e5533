// Embeds: the coloured cards of a message.

import { el } from "./dom.js";
import { inline, link, markdown } from "./markdown.js";
import { lightbox, shownSize } from "./attachments.js";
import { stamp } from "./time.js";
import { loadable } from "./urls.js";

/** One embed as a card; `names` resolves mentions. */
export function embedCard(embed, names) {
  const title = embed.title && inline(embed.title, names);
  const card = el(
    "article",
    { class: "embed" },
    embed.author?.name && el("p", { class: "embed-author" }, embed.author.name),
    title && el("h3", {}, embed.url ? link(embed.url, title) : title),
    embed.description && el("div", { class: "embed-text" }, markdown(embed.description, names)),
    embed.fields?.length &&
      el(
        "dl",
        { class: "embed-fields" },
        embed.fields.map((field) => fieldCell(field, names)),
      ),
    embed.image?.url && embedImage(embed.image),
    (embed.footer?.text || embed.timestamp) && el("p", { class: "embed-footer" }, footerText(embed)),
  );
  if (embed.thumbnail?.url)
    card.append(el("img", { class: "embed-thumbnail", src: loadable(embed.thumbnail.url), alt: "" }));
  if (Number.isInteger(embed.color)) card.style.borderLeftColor = `#${embed.color.toString(16).padStart(6, "0")}`;
  return card;
}

function fieldCell(field, names) {
  return el(
    "div",
    { class: field.inline ? "inline-field" : "" },
    el("dt", {}, inline(field.name, names)),
    el("dd", {}, markdown(field.value, names)),
  );
}

function footerText(embed) {
  return [embed.footer?.text, embed.timestamp && stamp(new Date(embed.timestamp))].filter(Boolean).join(" · ");
}

function embedImage(image) {
  const { width, height } = shownSize(image.width, image.height);
  const filename = image.url.split("/").pop().split("?")[0];
  const open = () => lightbox({ ...image, filename });
  return el(
    "button",
    { type: "button", class: "picture", onclick: open },
    el("img", { src: loadable(image.url), alt: filename, width, height }),
  );
}
