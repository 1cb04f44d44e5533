// A form the bot opened: text inputs, select menus and file uploads.

import { el, icon } from "./dom.js";
import { markdown } from "./markdown.js";

const TYPE = {
  ROW: 1,
  SELECT: 3,
  TEXT: 4,
  TEXT_DISPLAY: 10,
  LABEL: 18,
  FILE: 19,
  RADIO: 21,
  CHECKBOXES: 22,
  CHECKBOX: 23,
};
const PARAGRAPH = 2;

/** Show `modal`; `submit(values, files)` sends it and may throw; the dialog stays open until it has worked. */
export function showModal(modal, names, { submit, failed }) {
  const inputs = [];
  const rows = modal.components.map((component) => drawTop(component, inputs, names));
  const send = el("button", { type: "submit", class: "button primary" }, "Submit");
  const cancel = el("button", { type: "button", class: "button ghost", onclick: () => dialog.close() }, "Cancel");
  const close = el(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => dialog.close() },
    icon("close"),
  );
  const form = el(
    "form",
    { method: "dialog" },
    el("header", {}, el("h2", {}, modal.title), close),
    el("div", { class: "modal-rows" }, rows),
    el("footer", {}, cancel, send),
  );
  const dialog = el("dialog", { class: "modal", "aria-label": modal.title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      await submit(...collect(inputs));
      dialog.close();
    } catch (error) {
      failed(error);
      send.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  form.querySelector("textarea, input, select")?.focus();
}

function collect(inputs) {
  const values = {};
  const files = [];
  for (const { id, value, chosen } of inputs) {
    if (chosen) files.push(...chosen().map((file) => [id, file]));
    else values[id] = value();
  }
  return [values, files];
}

function drawTop(component, inputs, names) {
  if (component.type === TYPE.TEXT_DISPLAY) return el("div", {}, markdown(component.content, names));
  if (component.type === TYPE.LABEL) return drawInput(component.component, component, inputs);
  if (component.type === TYPE.ROW)
    return el(
      "div",
      {},
      component.components.map((child) => drawInput(child, child, inputs)),
    );
  return el("p", { class: "unsupported" }, `Component type ${component.type} is not shown here`);
}

function drawInput(component, label, inputs) {
  const required = component.required ?? true;
  const id = component.custom_id;
  const title = el(
    "span",
    { class: "modal-label" },
    label.label ?? "",
    required && el("b", { class: "required-star", title: "required" }, " *"),
  );
  const help = label.description && el("small", {}, label.description);
  const draw = {
    [TYPE.TEXT]: textInput,
    [TYPE.SELECT]: selectInput,
    [TYPE.FILE]: fileInput,
    [TYPE.RADIO]: choiceInput,
    [TYPE.CHECKBOXES]: choiceInput,
    [TYPE.CHECKBOX]: checkbox,
  }[component.type];
  if (!draw) return el("p", { class: "unsupported" }, `Component type ${component.type} is not shown here`);
  const made = draw(component, required);
  inputs.push({ id, ...made });
  const tag = made.group ? "fieldset" : "label";
  return el(tag, { class: "modal-row" }, made.group ? el("legend", {}, title) : title, help, made.node);
}

function textInput(input, required) {
  const props = { required, minlength: input.min_length, maxlength: input.max_length, placeholder: input.placeholder };
  const node =
    input.style === PARAGRAPH ? el("textarea", { ...props, rows: 4 }) : el("input", { ...props, type: "text" });
  node.value = input.value ?? "";
  return { node, value: () => node.value };
}

function selectInput(select, required) {
  const many = (select.max_values ?? 1) > 1;
  const options = select.options.map((option) =>
    el("option", { value: option.value, selected: option.default }, option.label),
  );
  const empty = !many && el("option", { value: "" }, select.placeholder || "Make a selection");
  const node = el("select", { multiple: many, required }, empty, options);
  return { node, value: () => [...node.selectedOptions].map((option) => option.value).filter(Boolean) };
}

function fileInput(upload, required) {
  const node = el("input", {
    type: "file",
    required: required && (upload.min_values ?? 1) > 0,
    multiple: (upload.max_values ?? 1) > 1,
  });
  return { node, chosen: () => [...node.files] };
}

function choiceInput(group, required) {
  const single = group.type === TYPE.RADIO;
  const boxes = group.options.map((option) =>
    el("input", {
      type: single ? "radio" : "checkbox",
      name: group.custom_id,
      value: option.value,
      checked: option.default,
      required: single && required,
    }),
  );
  const node = el(
    "div",
    { class: "choices" },
    boxes.map((box, index) => el("label", {}, box, group.options[index].label)),
  );
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  return { node, group: true, value: () => (single ? (chosen()[0] ?? null) : chosen()) };
}

function checkbox(box) {
  const node = el("input", { type: "checkbox", checked: box.default });
  return { node, value: () => node.checked };
}
