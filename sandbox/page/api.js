// What people do, over HTTP (`/human/...`), and what happens, over a WebSocket that mends itself.

const RETRY_MS = [250, 500, 1000, 2000, 4000];

/** A refusal of the server, in words that can be shown. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(method, path, body) {
  const init = { method };
  if (body instanceof FormData) init.body = body;
  else if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "Content-Type": "application/json" };
  }
  let response;
  try {
    response = await fetch(`/human/${path}`, init);
  } catch {
    throw new ApiError(0, "The local Discord does not answer. Is it still running?");
  }
  const text = await response.text();
  let data = {};
  try {
    data = text ? JSON.parse(text) : {};
  } catch {
    data = { error: text.slice(0, 200) };
  }
  if (!response.ok) throw new ApiError(response.status, data.error || `The local Discord answered ${response.status}.`);
  return data;
}

/** JSON, or multipart when there are files: `files` = [[part name, File], ...]. */
function withFiles(payload, files) {
  if (!files?.length) return payload;
  const form = new FormData();
  form.append("payload_json", new Blob([JSON.stringify(payload)], { type: "application/json" }));
  for (const [name, file] of files) form.append(name, file, file.name);
  return form;
}

export const api = {
  state: () => request("GET", "state"),
  messages: (channel, user) => request("GET", `messages?${new URLSearchParams({ channel, user })}`),
  say: (payload, files) => request("POST", "messages", withFiles(payload, files)),
  command: (payload, files) => request("POST", "interactions", withFiles(payload, files)),
  interaction: (id) => request("GET", `interactions/${encodeURIComponent(id)}`),
  press: (payload) => request("POST", "press", payload),
  menu: (payload) => request("POST", "menu", payload),
  modal: (payload, files) => request("POST", "modal", withFiles(payload, files)),
  autocomplete: (payload) => request("POST", "autocomplete", payload),
  react: (payload) => request("POST", "reactions", payload),
  forgetViolations: () => request("DELETE", "violations"),
};

/**
 * Listen to `/human/events` for ever. `onOpen` runs at every (re)connection, so that the caller can fetch what it
 * missed; `onEvent` gets each event; `onLost` runs once per loss.
 */
export function listen({ onOpen, onEvent, onLost }) {
  let failures = 0;
  const connect = () => {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/human/events`);
    socket.addEventListener("open", () => {
      failures = 0;
      onOpen();
    });
    socket.addEventListener("message", ({ data }) => onEvent(JSON.parse(data)));
    socket.addEventListener("close", () => {
      if (failures === 0) onLost();
      setTimeout(connect, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
      failures += 1;
    });
  };
  connect();
}
