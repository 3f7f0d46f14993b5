// What a person does: requests that change something, the token, and what asks before it acts.

import { h, render } from "./dom.js";
import { ask, askAfter, headers, setToken, state } from "./state.js";
import { clock } from "./text.js";

const TIME_MAX = 40000;
const TOAST_TIME = 9000;
const DONE_MAX = 50;

/// What was done from this page, the latest first.
export const done = [];
const toasts = [];
const busy = new Set();
let changed = () => {};

export function onAction(change) {
  changed = change;
}

export function mayChange() {
  return state.access?.mayChange === true;
}

export function isBusy(name) {
  return busy.has(name);
}

/// A POST, told of in words whatever becomes of it. `name` is what the button is called; nothing is
/// asked twice at once. Answers with what the sidecar said, or with nothing.
export async function act(name, path, body, { said, then = [], timeout = TIME_MAX } = {}) {
  if (busy.has(name)) return null;
  busy.add(name);
  changed();
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers() },
      body: JSON.stringify(body ?? {}),
      signal: AbortSignal.timeout(timeout),
    });
    const answered = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      if (answer.status === 401) ask("access");
      throw new Error(answered.error ?? `status ${answer.status}`);
    }
    tell("good", said?.(answered) ?? `${name}: done`);
    return answered;
  } catch (error) {
    const why = error.name === "TimeoutError" ? "no answer in time; look at what it did before you try again" : error.message;
    tell("bad", `${name}: ${why}`);
    return null;
  } finally {
    busy.delete(name);
    askAfter("status", "work", "stuck", ...then);
    changed();
  }
}

/// Says it in words, on the page and to a screen reader, and keeps it in the list of what was done.
export function tell(kind, text) {
  const entry = { kind, text, at: Date.now(), key: `${Date.now()}-${text}` };
  done.unshift(entry);
  done.length = Math.min(done.length, DONE_MAX);
  toasts.push(entry);
  showToasts();
  setTimeout(() => dismiss(entry), kind === "bad" ? TOAST_TIME * 2 : TOAST_TIME);
  changed();
}

/// Work that has ended since the last look is told of, whoever began it.
const ran = {};

export function tellEnded() {
  for (const [name, key] of [["Verify", "verify"], ["Backfill", "backfill"]]) {
    const job = state.work?.[key];
    if (!job) continue;
    const before = ran[key];
    ran[key] = job.runs;
    if (before === undefined || job.runs <= before) continue;
    if (job.error) tell("bad", `${name} ended early: ${job.error}`);
    else tell(job.done.includes("not equal") ? "bad" : "good", `${name} ended: ${job.done}.`);
  }
}

function dismiss(entry) {
  const at = toasts.indexOf(entry);
  if (at >= 0) toasts.splice(at, 1);
  showToasts();
}

function showToasts() {
  render(document.getElementById("said"), toasts.slice(-4).map((toast) =>
    h("div", { class: `toast ${toast.kind}`, key: toast.key },
      h("span", { class: `mark ${toast.kind}`, "aria-hidden": "true" }, toast.kind === "bad" ? "!" : "✓"),
      h("p", null, toast.text),
      h("button", { type: "button", class: "plain", "aria-label": "Dismiss", onclick: () => dismiss(toast) }, "×"))));
}

export function doneList() {
  if (done.length === 0) return null;
  return h("section", { class: "card", "aria-labelledby": "h-done", key: "done" },
    h("h2", { id: "h-done" }, "Done from this page"),
    h("ol", { class: "done" }, done.map((entry) =>
      h("li", { key: entry.key },
        h("time", null, clock(entry.at)),
        h("span", { class: `mark ${entry.kind}`, "aria-hidden": "true" }, entry.kind === "bad" ? "!" : "✓"),
        h("span", null, entry.kind === "bad" ? h("span", { class: "unseen" }, "Failed: ") : null, entry.text)))));
}

// One dialogue at a time; the browser keeps the focus in it, and gives it back.

function dialog() {
  return document.getElementById("dialog");
}

export function closeDialog() {
  dialog().close();
}

function open(...content) {
  const element = dialog();
  render(element, h("div", { class: "dialog", key: `${Date.now()}` }, content));
  if (!element.open) element.showModal();
  else element.querySelector("[autofocus]")?.focus();
}

/// Asks for the token, and whether it is the right one.
export function unlock(why = "") {
  const submit = async (event) => {
    event.preventDefault();
    const token = document.getElementById("token").value.trim();
    const answer = await fetch("/access", { headers: { Authorization: `Bearer ${token}` } }).catch(() => null);
    const access = await answer?.json().catch(() => null);
    if (access?.mayChange) {
      setToken(token);
      closeDialog();
      tell("good", "You may make changes until this tab is closed or locked.");
    } else {
      unlock(access ? "That is not the token." : "The sidecar does not answer.");
    }
  };
  open(h("form", { onsubmit: submit },
    h("h2", { id: "dialog-title" }, "Make changes"),
    h("p", null, "Changes need the token that stands under ", h("code", null, "admin.token"), " in proxy.yaml. It is kept in this tab alone."),
    h("label", { for: "token" }, "Token"),
    h("input", { id: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false", autofocus: true, "aria-invalid": why ? "true" : null, "aria-describedby": why ? "token-why" : null }),
    why ? h("p", { id: "token-why", class: "bad", role: "alert" }, why) : null,
    h("div", { class: "buttons" },
      h("button", { type: "button", onclick: closeDialog }, "Cancel"),
      h("button", { type: "submit", class: "main" }, "Unlock"))));
}

/// Asks for a word to be typed before `go` is called.
export function confirmTyped({ title, what, word, button, danger = false, go }) {
  const submit = (event) => {
    event.preventDefault();
    if (document.getElementById("word").value.trim() !== word) return;
    closeDialog();
    go();
  };
  const typed = (event) => {
    document.getElementById("confirm").disabled = event.target.value.trim() !== word;
  };
  open(h("form", { onsubmit: submit },
    h("h2", { id: "dialog-title" }, title),
    what,
    h("label", { for: "word" }, "Type ", h("b", { class: "word" }, word), " to confirm"),
    h("input", { id: "word", type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false", required: true, autofocus: true, oninput: typed }),
    h("div", { class: "buttons" },
      h("button", { type: "button", onclick: closeDialog }, "Cancel"),
      h("button", { type: "submit", id: "confirm", class: danger ? "main danger" : "main", disabled: true }, button))));
}

/// A button that is there, but cannot be pressed, where changes may not be made or it is under way.
export function button(label, { name = label, onclick, disabled = false, main = false, danger = false, describedby = null, small = false, key = null } = {}) {
  const under = busy.has(name);
  const classes = [main ? "main" : "", danger ? "danger" : "", small ? "small" : ""].join(" ").trim();
  return h("button", {
    type: "button", key: key ?? name, class: classes || null, onclick, disabled: disabled || under || !mayChange(),
    "aria-label": name === label ? null : name, "aria-busy": under ? "true" : null, "aria-describedby": describedby,
  }, under ? `${label}…` : label);
}
