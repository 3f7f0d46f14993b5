// The step over, and back: its gates, then the button, then a word to type.

import { act, confirmTyped, isBusy, mayChange } from "./act.js";
import { h } from "./dom.js";
import { lockedHint } from "./overview.js";
import { ask, isFresh, isParted, missing, state } from "./state.js";
import { ago, clock, duration, moment, number } from "./text.js";

const GATES = {
  phase: "The phase allows it",
  attempt: "Nothing else is under way",
  sidecars: "Every sidecar is of this version",
  databases: "Both databases answer",
  dirty: "No table is dirty",
  verified: "Every table is verified, and clean",
  backfill: "Old rows are copied",
  tables: "Every table can be migrated",
  statements: "Every statement can be answered",
  row_security: "No table has row-level security",
  logins: "Every role can log in afterwards",
  group: "Nothing reaches over the group's edge",
  outbox: "Nothing is stuck or late on its way",
  rehearsal: "Rights and tables are as a write wants them",
  sessions: "Nothing that is prepared is in the way",
};
/// Accepts every statement, however many there are.
const ALL = "all";
/// Characters of a statement beside its box.
const TEXT_SHOWN = 120;
/// The change that a phase allows; while a group is on MySQL, that is the way back.
function turn(phase) {
  if (phase === "dual_write") return isParted() ? "rollback" : "switchover";
  return phase === "switched" ? "rollback" : null;
}
/// The record says when each attempt was, so it may be older than gates.
const RECORD_OLD = 15000;
/// Attempts that are shown at once.
const RECORD_SHOWN = 3;
const options = { timeout: "30s", terminate: false, accept: new Set() };
let lastAnswer = null;
let redraw = () => {};

export function onOption(change) {
  redraw = change;
}

export function switchover() {
  const { switchover: said, status } = state;
  // The phase is heard of even while a database is away, and the gates are not: the card follows the phase.
  const direction = status && said?.direction !== null ? turn(status.phase) : said?.direction ?? null;
  const never = !said && !state.failed.switchover;
  const back = direction === "rollback";
  // One that is there no more, or has moved.
  if (back || said?.direction && !said.group && state.group && !groups(said).includes(state.group)) state.group = null;
  const title = back ? "Roll back to PostgreSQL" : "Switch over to MySQL";
  return h("section", { class: "card", id: "switchover", "aria-labelledby": "h-switch", key: "switchover" },
    h("h2", { id: "h-switch" }, direction ? title : "Switchover"),
    said === missing ? h("p", { class: "muted" }, "Not available: this sidecar does not offer it.")
      : never || !said && !direction ? h("p", { class: "muted" }, "Asking…")
        : !direction ? h("p", { class: "muted" }, status?.phase === "complete" ? "The migration is complete: there is no way back by a button." : ["Nothing to switch in this phase. ", h("code", null, "crossfade setup"), " begins dual writes."])
          : step(said, direction, back));
}

/// Why nobody can tell how the gates are now; `null` where it can be told.
function whyUnknown(said, direction) {
  const isOurs = isAbout(said, direction);
  if (isOurs && isFresh("switchover")) return null;
  const { heard, failed } = state;
  const why = failed.switchover ?? (isOurs ? "no later look has ended" : said?.direction === direction ? "they were of other tables" : "they were of another phase");
  return `The gates are unknown${heard.switchover ? `, as of ${clock(heard.switchover)}` : ""}: ${why}.`;
}

/// Whether these gates are those of the change that the card is about.
function isAbout(said, direction) {
  return said?.direction === direction && (said.group ?? null) === state.group;
}

/// Groups that can move without the rest.
function groups(said) {
  return said?.groups ?? [];
}

/// All tables, or one group of them.
function choice(said) {
  if (groups(said).length === 0) return null;
  const one = (group, text) => h("button", {
    type: "button", class: "small", key: group ?? "", "aria-pressed": String(state.group === group),
    onclick: () => {
      state.group = group;
      options.accept.clear();
      ask("switchover");
      redraw();
    },
  }, text);
  return h("div", { class: "buttons start", role: "group", "aria-label": "What moves", key: "choice" },
    one(null, "All tables"), groups(said).map((group) => one(group, `Group ${group}`)));
}

function isOpen(gate) {
  if (gate.name === "statements" && options.accept.has(ALL)) return true;
  return gate.ok || (gate.accept?.length > 0 && gate.accept.every((item) => options.accept.has(item)));
}

/// What was accepted and is still there to be: one that is gone would be refused as a slip.
function accepted() {
  const there = new Set((state.switchover?.gates ?? []).flatMap((gate) => gate.accept ?? []));
  return [...options.accept].filter((item) => item === ALL || there.has(item));
}

function accept(item, label) {
  return h("label", { key: item, class: "accept" },
    h("input", { type: "checkbox", checked: options.accept.has(item), disabled: !mayChange(), onchange: (event) => {
      if (event.target.checked) options.accept.add(item);
      else options.accept.delete(item);
      redraw();
    } }), " ", label);
}

/// A statement is known by its text; other items by their names.
function named(gate, item) {
  const found = gate.name === "statements" && Array.isArray(state.statements) ? state.statements.find((one) => one.fingerprint === item) : null;
  if (!found) return `Accept ${item}`;
  return [`Accept ${item}: `, h("code", { class: "sql" }, found.text.length > TEXT_SHOWN ? `${found.text.slice(0, TEXT_SHOWN)}…` : found.text)];
}

function step(said, direction, back) {
  const unknown = whyUnknown(said, direction);
  const gates = isAbout(said, direction) ? said.gates : [];
  const shut = gates.filter((gate) => !isOpen(gate));
  const verb = back ? "rollback" : "switchover";
  const name = back ? "Roll back" : state.group ? `Switch over group ${state.group}` : "Switch over";
  const ready = !unknown && shut.length === 0;
  return [
    back ? null : choice(said),
    h("p", { class: "lead" }, back
      ? `PostgreSQL answers${isParted() ? " for the group" : ""} again, and MySQL follows. Clients wait for a moment; no connection is lost.`
      : state.group
        ? `MySQL answers for the tables of group ${state.group}, and PostgreSQL for the rest. Clients wait for a moment; no connection is lost. Statements and transactions that need both are refused.`
      : "MySQL answers the clients, and PostgreSQL follows, so that there is a way back. Clients wait for a moment; no connection is lost."),
    h("h3", { id: "h-gates" }, "Gates"),
    h("ul", { class: "gates", "aria-labelledby": "h-gates" }, gates.map((gate) => unknown ? unknownLine(gate) : gateLine(gate))),
    h("fieldset", { class: "options", disabled: !mayChange() },
      h("legend", null, "Options"),
      h("label", null, "Give up after ", h("input", { type: "text", class: "short", value: options.timeout, "aria-label": "Give up after", oninput: (event) => { options.timeout = event.target.value.trim(); } })),
      h("label", null, h("input", { type: "checkbox", checked: options.terminate, onchange: (event) => { options.terminate = event.target.checked; redraw(); } }), " End sessions that cannot be moved")),
    h("p", { id: "switch-why", class: ready ? "good" : "bad", "aria-live": "polite" },
      unknown ?? (ready ? "All gates are open." : `${shut.length} of ${gates.length} gates ${shut.length === 1 ? "is" : "are"} shut: see above why.`)),
    h("div", { class: "buttons start" },
      h("button", { type: "button", key: "dry", disabled: unknown || !mayChange() || isBusy(name), onclick: () => go(verb, name, true) }, "Rehearse"),
      h("button", { type: "button", key: "go", class: "main", disabled: !ready || !mayChange() || isBusy(name), "aria-describedby": "switch-why", "aria-busy": isBusy(name) ? "true" : null, onclick: () => sure(verb, name, back) }, isBusy(name) ? `${name}…` : `${name}…`)),
    lockedHint(),
    isLatest() ? outcome() : null,
  ];
}

/// What it was says nothing about now, so its reasons are left out.
function unknownLine(gate) {
  return h("li", { key: gate.name },
    h("span", { class: "mark warn", "aria-hidden": "true" }, "?"),
    h("div", null,
      h("b", null, GATES[gate.name] ?? gate.name.replaceAll("_", " ")),
      h("span", { class: "state warn" }, "unknown")));
}

function gateLine(gate) {
  const kind = gate.ok ? "good" : isOpen(gate) ? "warn" : "bad";
  return h("li", { key: gate.name, class: gate.ok && !gate.reasons?.length ? null : "full" },
    h("span", { class: `mark ${kind}`, "aria-hidden": "true" }, gate.ok ? "✓" : isOpen(gate) ? "!" : "✕"),
    h("div", null,
      h("b", null, GATES[gate.name] ?? gate.name.replaceAll("_", " ")),
      h("span", { class: `state ${kind}` }, gate.ok ? "open" : isOpen(gate) ? "accepted" : "shut"),
      gate.reasons?.length ? h("ul", null, gate.reasons.map((reason) => h("li", { key: reason }, reason))) : null,
      (gate.accept ?? []).map((item) => accept(item, named(gate, item))),
      gate.name === "statements" && gate.accept?.length !== 1 && !gate.ok ? accept(ALL, "Accept all statements") : null));
}

function sure(verb, name, back) {
  confirmTyped({
    title: `${name} now?`,
    what: h("div", null,
      h("p", null, back ? "From then on PostgreSQL answers." : state.group ? `From then on MySQL answers for the tables of group ${state.group}.` : "From then on MySQL answers."),
      h("p", null, `If it is not through after ${options.timeout}, it undoes itself, and all goes on as before.`,
        options.terminate ? " Sessions that cannot be moved are ended." : "",
        accepted().length ? ` Accepted: ${accepted().join(", ")}.` : "")),
    word: back || !state.group ? verb : `${verb} ${state.group}`,
    button: name,
    danger: true,
    go: () => go(verb, name, false),
  });
}

async function go(verb, name, dry) {
  const body = { dry_run: dry, timeout: options.timeout, accept: verb === "switchover" ? accepted() : [], terminate: options.terminate };
  if (verb === "switchover" && state.group) body.group = state.group;
  lastAnswer = null;
  const answer = await act(name, `/${verb}`, body, {
    timeout: 600000,
    then: ["switchover", "attempts", "sidecars", "health"],
    said: (said) => `${dry ? "Rehearsal" : name}: ${said.outcome}${said.reasons?.length ? ` (${said.reasons.join("; ")})` : ""}`,
  });
  lastAnswer = answer && { ...answer, dry, name, at: Date.now() };
  redraw();
}

/// Once somebody has changed the primary since, what was done here before is told by the record.
function isLatest() {
  return lastAnswer && !((state.status?.epoch ?? 0) > lastAnswer.epoch);
}

function outcome() {
  const { outcome: how, reasons = [], dry, name, epoch, hold_seconds: held, at } = lastAnswer;
  const kind = how === "done" || how === "ready" ? "good" : "bad";
  return h("div", { class: `outcome ${kind}`, role: "status" },
    h("b", null, `${dry ? "Rehearsal" : name}: ${how}`), ` ${moment(at)} (${ago((Date.now() - at) / 1000)})`,
    how === "done" && !dry ? h("p", null, `Epoch ${number(epoch)}. Clients waited ${duration(held)}.`) : null,
    reasons.length ? h("ul", null, reasons.map((reason) => h("li", { key: reason }, reason))) : null);
}

const STAGES = ["announced", "held", "drained", "flipped", "resumed"];

export function attempts() {
  const { attempts: list } = state;
  return h("section", { class: Array.isArray(list) && list.length ? "card full" : "card", id: "attempts", "aria-labelledby": "h-attempts", key: "attempts" },
    h("h2", { id: "h-attempts" }, "Record of switchovers", Array.isArray(list) && list.length ? h("small", null, number(list.length)) : null),
    list === missing || isFresh("attempts", RECORD_OLD) || !state.heard.attempts ? null : h("p", { class: "warn small" }, `As of ${clock(state.heard.attempts)}: ${state.failed.attempts ?? "no later look has ended"}.`),
    list === missing ? h("p", { class: "muted" }, "Not available: this sidecar keeps no record.")
      : !Array.isArray(list) || list.length === 0 ? h("p", { class: "muted" }, "There was none.")
        : record([...list].sort((a, b) => b.id - a.id)));
}

/// The latest, and behind a line those before.
function record(list) {
  const [latest, before] = [list.slice(0, RECORD_SHOWN), list.slice(RECORD_SHOWN)];
  return [
    h("ol", { class: "attempts", key: "latest" }, latest.map(attempt)),
    before.length ? h("details", { key: "before" },
      h("summary", null, `${number(before.length)} before`),
      h("ol", { class: "attempts" }, before.map(attempt))) : null,
  ];
}

function attempt(one) {
  const how = ["announced", "held"].includes(one.state) ? null : one.state;
  const kind = how === "done" ? "good" : how ? "bad" : "warn";
  const sidecars = one.sidecars ?? [];
  return h("li", { key: one.id },
    h("p", null,
      h("span", { class: `pill ${kind}` }, h("i", { class: `dot ${kind}`, "aria-hidden": "true" }), how ?? "under way"),
      h("b", null, one.direction === "rollback" ? "Rollback" : "Switchover"), ` ${moment(one.started)}`,
      one.hold_seconds === null || one.hold_seconds === undefined ? "" : `; clients waited ${duration(one.hold_seconds)}`),
    one.reasons?.length ? h("ul", { class: "reasons" }, one.reasons.map((reason) => h("li", { key: reason }, reason))) : null,
    sidecars.length ? h("details", null,
      h("summary", null, `${sidecars.length} sidecar${sidecars.length === 1 ? "" : "s"}, step by step`),
      h("div", { class: "wide" }, h("table", null,
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "Sidecar"), STAGES.map((stage) => h("th", { scope: "col", class: "n", key: stage }, stage)))),
        h("tbody", null, sidecars.map((side) => h("tr", { key: side.sidecar },
          h("th", { scope: "row" }, h("code", null, side.sidecar)),
          STAGES.map((stage) => h("td", { class: "n", key: stage, "data-label": stage }, side[stage] ? `+${number((new Date(side[stage]) - new Date(one.started)) / 1000)} s` : "–")))))))) : null);
}
