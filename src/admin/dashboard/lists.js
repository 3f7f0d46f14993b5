// What does not go by itself: stuck entries, statements, shadow reads; and the sidecars.

import { act, button } from "./act.js";
import { h } from "./dom.js";
import { isFresh, state } from "./state.js";
import { ago, clock, duration, number, refusal } from "./text.js";
import { repaired } from "./tables.js";

const SHOWN_MAX = 100;
/// A list that was not heard of for longer says when it was, in milliseconds.
const LIST_OLD = 15000;
/// Keys by entry, once somebody with the token has asked for them.
let keys = null;
let redraw = () => {};

export function onKeys(change) {
  redraw = change;
}

function section(id, title, amount, ...content) {
  return h("section", { class: amount ? "card full" : "card", id, "aria-labelledby": `h-${id}`, key: id },
    h("h2", { id: `h-${id}` }, title, amount ? h("small", null, number(amount)) : null), content);
}

function cells(heads, rows) {
  return h("div", { class: "wide" }, h("table", null,
    h("thead", null, h("tr", null, heads.map(([text, kind]) => h("th", { scope: "col", class: kind ?? null, key: text }, text || h("span", { class: "unseen" }, "Actions"))))),
    h("tbody", null, rows.map(({ key, values, kind }) => h("tr", { key, class: kind ?? null }, values.map((value, n) =>
      h(n === 0 ? "th" : "td", { scope: n === 0 ? "row" : null, class: heads[n][1] ?? null, "data-label": heads[n][0] || null, key: n }, value)))))));
}

export function stuck() {
  const list = Array.isArray(state.stuck) ? state.stuck : [];
  if (list.length === 0) keys = null;
  const total = Math.max(list.length, state.status?.lag.stuck ?? 0);
  return section("stuck", "Stuck entries", total,
    aged("stuck"),
    list.length === 0 ? h("p", { class: "muted" }, "None: every change has found its way.") : [
      h("div", { class: "buttons start" },
        button("Retry all", { onclick: () => act("Retry all", "/repair", {}, { said: (answer) => `Retry: ${repaired(answer)}` }) }),
        keys ? null : button("Show keys", { onclick: showKeys })),
      cells([["Table"], ["Operation"], ...(keys ? [["Key"]] : []), ["Reason"], ["Attempts", "n"], ["Waiting for", "n"], ["Next try", "n"], ["", "more"]],
        list.map((entry) => ({
          key: numberOf(entry),
          values: [entry.table, entry.operation, ...(keys ? [h("code", null, keys.get(numberOf(entry)) ?? "–")] : []),
            h("span", { class: "bad" }, refusal(entry.reason)), number(entry.attempts), duration(entry.seconds),
            entry.nextSeconds > 0 ? `in ${duration(entry.nextSeconds)}` : "now",
            button("Retry", { name: `Retry entry ${entry.entry} of ${entry.table}`, small: true, onclick: () => retry(entry) })],
        }))),
      h("p", { class: "muted small" }, "A reason is the database's error number and the column. Mend what it names (a value, a constraint, a column's size), then retry: nothing is lost meanwhile."),
    ]);
}

/// Each database numbers its own entries.
function numberOf(entry) {
  return `${entry.table} ${entry.entry}`;
}

function retry(entry) {
  act(`Retry entry ${entry.entry} of ${entry.table}`, "/repair", { table: entry.table, entry: entry.entry }, {
    said: (answer) => `Entry ${entry.entry} of ${entry.table}: ${repaired(answer)}`,
  });
}

async function showKeys() {
  const answer = await act("Show keys", "/repair", { dryRun: true }, { said: () => "Keys are shown: they are values of your application." });
  if (answer) keys = new Map(answer.stuck.map((line) => [numberOf(line), line.key]));
  redraw();
}

export function statements() {
  const list = Array.isArray(state.statements) ? state.statements : [];
  const found = list.filter((one) => one.reason || one.readiness.startsWith("refused"))
    .sort((a, b) => (b.refused?.count ?? 0) - (a.refused?.count ?? 0));
  const moved = state.status?.phase === "switched" || state.status?.phase === "complete";
  return section("statements", "Statements not ready", found.length,
    found.length === 0 ? h("p", { class: "muted" }, state.statements === null ? "Asking…" : "None: MySQL could answer whatever was seen so far, and every write is carried over.") : [
      h("p", { class: "muted" }, moved
        ? "MySQL answers, and refuses these with 0A000 and the reason that stands here. Refusals are counted by this sidecar, since it started."
        : "Change these before the switchover, or accept them at its gate: after it they are refused, with the reason that stands here. One that is sent no more can be forgotten."),
      cells([["Statement"], ["Why"], ["Run", "n"], ["Refused to clients", "n"], ["Last seen", "n"], ["", "more"]], found.slice(0, SHOWN_MAX).map((one) => ({
        key: one.fingerprint,
        values: [h("code", { class: "sql" }, one.text), one.reason ? h("span", { class: "bad" }, `not carried over: ${one.reason}`) : h("span", { class: "warn" }, one.readiness), number(one.count),
          one.refused ? h("span", { class: "bad" }, number(one.refused.count)) : "–", since(one.lastSeen),
          button("Forget", { name: `Forget ${one.fingerprint}`, small: true, onclick: () => forget(one) })],
      }))),
      more(found),
    ]);
}

function since(when) {
  return ago(Math.max(0, (Date.now() - new Date(when)) / 1000));
}

function forget(one) {
  act(`Forget ${one.fingerprint}`, "/statements/forget", { fingerprints: [one.fingerprint] }, {
    then: ["statements", "switchover"],
    said: () => `${one.fingerprint} is forgotten; it is listed again if it is sent again.`,
  });
}

/// Lists that PostgreSQL keeps are old while it does not answer.
function aged(name) {
  const { failed, heard, health, postgresAt } = state;
  if (!heard[name]) return null;
  const postgres = [health?.primary, health?.secondary].find((side) => side?.product === "postgresql");
  if (!isFresh(name, LIST_OLD)) return h("p", { class: "warn small" }, `As of ${clock(heard[name])}: ${failed[name] ?? "no later look has ended"}.`);
  if (!postgres || postgres.answers || state.status?.phase === "complete") return null;
  return h("p", { class: "warn small" }, postgresAt ? `As of ${clock(postgresAt)}, when PostgreSQL last answered.` : "PostgreSQL does not answer: this may be old.");
}

export function shadow() {
  const list = Array.isArray(state.statements) ? state.statements : [];
  const found = list.filter((one) => one.shadow?.mismatch > 0).sort((a, b) => b.shadow.mismatch - a.shadow.mismatch);
  return section("shadow", "Shadow mismatches", found.length,
    found.length === 0 ? h("p", { class: "muted" }, "None: no read that was tried on the other side came out different.") :
      [cells([["Statement"], ["Different", "n"], ["Equal", "n"], ["Open", "n"], ["PostgreSQL", "n"], ["MySQL", "n"]], found.slice(0, SHOWN_MAX).map((one) => ({
        key: one.fingerprint,
        values: [h("code", { class: "sql" }, one.text), h("span", { class: "bad" }, number(one.shadow.mismatch)), number(one.shadow.match), number(one.shadow.undetermined),
          `${number(one.shadow.primaryMs)} ms`, `${number(one.shadow.secondaryMs)} ms`],
      }))), more(found)]);
}

function more(found) {
  return found.length > SHOWN_MAX ? h("p", { class: "muted" }, `and ${number(found.length - SHOWN_MAX)} more: `, h("code", null, "crossfade status --statements")) : null;
}

export function sidecars() {
  const list = Array.isArray(state.sidecars) ? state.sidecars : [];
  const epoch = state.status?.epoch;
  return section("sidecars", "Sidecars", list.length,
    aged("sidecars"),
    list.length === 0 ? h("p", { class: "muted" }, state.status?.phase === "setup" ? "They are listed once dual writes have begun." : "None is known.") :
      cells([["Sidecar"], ["Address"], ["Version"], ["Epoch", "n"], ["Lease"], ["Up for", "n"]], list.map((one) => {
        const [kind, text] = !one.current ? ["bad", "ran out"] : state.apart.has(one.id) ? ["bad", "another epoch"] : ["good", "held"];
        const own = one.id === state.access?.sidecar;
        return {
          key: one.id,
          values: [[h("code", null, one.id), own ? h("span", { class: "here" }, "this one") : null],
            one.address, one.version, number(own ? epoch : one.epoch),
            h("span", { class: `pill ${kind}` }, h("i", { class: `dot ${kind}`, "aria-hidden": "true" }), `${text}, ${duration(one.leaseMs / 1000)}`),
            duration(Math.max(0, (Date.now() - new Date(one.startedAt)) / 1000))],
        };
      })));
}

