// What the sidecar says, asked for again and again. One question of a kind at a time; a page that nobody
// looks at asks less often.

import { canMigrate } from "./text.js";

const TIME_MAX = 8000;
const HIDDEN_FACTOR = 10;
/// Until what this sidecar does not offer is asked for again.
const MISSING_PAUSE = 30000;
/// An answer that is older says nothing about now, in milliseconds.
const OLD = 5000;
/// Looks in a row that find a sidecar at another epoch before it is said: it hears of a change a little later.
const APART_LOOKS = 3;

/// Path, pause in milliseconds between an answer and the next question, and which state it is.
const QUESTIONS = [
  { name: "status", path: "/migration-status", pause: 1500 },
  { name: "health", path: "/health/readiness", pause: 2000, also: [503] },
  { name: "work", path: "/work", pause: 1000 },
  { name: "access", path: "/access", pause: 10000 },
  { name: "history", path: "/history", pause: 4000 },
  { name: "stuck", path: "/stuck", pause: 2000 },
  { name: "sidecars", path: "/sidecars", pause: 3000 },
  { name: "switchover", path: "/switchover", pause: 2000 },
  { name: "attempts", path: "/attempts", pause: 5000 },
  { name: "statements", path: "/statements?only=open", pause: 10000 },
];

/// The last answer of each kind; `null` before the first, `missing` where there is no such endpoint.
/// `apart`: ids of sidecars at another epoch than this one, which is no news right after a change.
/// `postgresAt`: when PostgreSQL last answered, as far as this page has seen.
/// `heard` and `failed`, by kind: when it was answered last, and why the last question was not.
/// `group`: the group whose switchover the gates are asked for, or `null` for all tables.
export const state = { token: null, group: null, heardAt: 0, failing: false, why: "", heard: {}, failed: {}, apart: new Set(), postgresAt: 0 };
export const missing = Symbol("missing");
for (const { name } of QUESTIONS) state[name] = null;

/// Whether MySQL leads a group of tables while PostgreSQL leads the rest.
export function isParted() {
  return Object.values(state.status?.tables ?? {}).some((table) => table.primary === "mysql");
}

/// Whether this table is carried over now; before `setup` none is.
export function isMigrated(table) {
  return canMigrate(table) && state.status?.phase !== "setup";
}

/// Whether the last answer of this kind still holds.
export function isFresh(name, old = OLD) {
  return !state.failed[name] && Date.now() - (state.heard[name] ?? 0) <= old;
}

const waiting = new Map();
/// Something was just done, which the next status is to show.
let acted = false;
let changed = () => {};

try {
  state.token = sessionStorage.getItem("crossfade-token");
} catch {
  // A browser that keeps nothing asks for the token again after a reload.
}

export function setToken(token) {
  state.token = token;
  try {
    if (token) sessionStorage.setItem("crossfade-token", token);
    else sessionStorage.removeItem("crossfade-token");
  } catch {
    // As above.
  }
  ask("access");
}

/// Asks for everything from here on; `change` is called after each answer.
export function listen(change) {
  changed = change;
  for (const question of QUESTIONS) go(question);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) ask(...QUESTIONS.map(({ name }) => name));
  });
}

/// Something was just done here.
export function askAfter(...names) {
  acted = true;
  ask(...names);
}

/// Asks these at once.
export function ask(...names) {
  for (const name of names) waiting.get(name)?.();
}

async function go(question) {
  for (;;) {
    await once(question);
    changed();
    const pause = state[question.name] === missing ? MISSING_PAUSE : question.pause * (document.hidden ? HIDDEN_FACTOR : 1);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, pause);
      waiting.set(question.name, () => {
        clearTimeout(timer);
        resolve();
      });
    });
    waiting.delete(question.name);
  }
}

async function once({ name, path, also = [] }) {
  const before = turn();
  const query = name === "history" && state.history ? `?after=${state.history.next}` : name === "status" && acted ? "?fresh=true"
    : name === "switchover" && state.group ? `?group=${encodeURIComponent(state.group)}` : "";
  if (name === "status") acted = false;
  try {
    const answer = await fetch(path + query, { cache: "no-store", headers: headers(), signal: AbortSignal.timeout(TIME_MAX) });
    if (answer.status === 404) {
      state[name] = missing;
    } else if (answer.ok || also.includes(answer.status)) {
      const said = await answer.json();
      state[name] = name === "history" ? joined(state.history, said) : said;
    } else {
      throw new Error((await answer.json().catch(() => ({}))).error ?? `status ${answer.status}`);
    }
    [state.heard[name], state.failed[name]] = [Date.now(), null];
    if (name === "health" && [state.health.primary, state.health.secondary].some((side) => side?.product === "postgresql" && side.answers)) state.postgresAt = Date.now();
    if (name === "status") heardStatus(before);
    if (name === "sidecars" && Array.isArray(state.sidecars)) heardSidecars(state.sidecars);
  } catch (error) {
    state.failed[name] = error.name === "TimeoutError" ? "no answer in time" : error.message;
    if (name === "status") [state.failing, state.why] = [true, state.failed.status];
  }
}

function heardStatus(before) {
  [state.heardAt, state.failing] = [Date.now(), false];
  // What hangs on the phase is asked for at once.
  if (turn() !== before) ask("switchover", "attempts", "sidecars");
}

function turn() {
  return `${state.status?.phase} ${isParted()}`;
}

const looks = new Map();

function heardSidecars(list) {
  const { access, health, status } = state;
  // It is PostgreSQL that keeps the list, and what it said before its outage is old.
  const postgres = [health?.primary, health?.secondary].find((side) => side?.product === "postgresql");
  const apart = postgres?.answers && status ? list.filter((one) => one.current && one.id !== access?.sidecar && one.epoch !== status.epoch) : [];
  const found = apart.map(({ id }) => [id, looks.get(id)?.epoch === status.epoch ? looks.get(id).count + 1 : 1]);
  looks.clear();
  for (const [id, count] of found) looks.set(id, { count, epoch: status.epoch });
  state.apart = new Set(found.filter(([, count]) => count >= APART_LOOKS).map(([id]) => id));
}

/// Of the kept hour and what is new; all anew where the sidecar is another one.
function joined(kept, said) {
  if (!kept || said.next < kept.next || said.at.length >= said.samplesMax) return said;
  const all = { ...said };
  for (const [column, values] of Object.entries(said)) {
    if (Array.isArray(values)) all[column] = [...kept[column], ...values].slice(-said.samplesMax);
  }
  return all;
}

export function headers() {
  return state.token ? { Authorization: `Bearer ${state.token}` } : {};
}
