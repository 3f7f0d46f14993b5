// Where the migration stands, in one look: a verdict, what needs a person, the phases, both databases.

import { mayChange, unlock } from "./act.js";
import { h } from "./dom.js";
import { isMigrated, isParted, setToken, state } from "./state.js";
import { ago, clock, count, dirty, duration, canMigrate, isCopied, isNew, number, other, phase, product } from "./text.js";

const LAG_SLOW = 10;
const ICONS = { good: "✓", warn: "!", bad: "✕" };

export function top() {
  const { access, failing, heardAt } = state;
  const age = heardAt ? (Date.now() - heardAt) / 1000 : null;
  const live = failing || age === null || age > 15 ? "bad" : "good";
  const said = age === null ? "connecting…" : live === "good" ? "live" : `last heard ${ago(age)}`;
  return [
    h("div", { class: "brand" },
      h("h1", null, h("span", { class: "logo", "aria-hidden": "true" }), "Crossfade"),
      access ? h("p", { class: "muted who" }, location.host, " · ", access.version) : null),
    h("div", { class: "right" },
      h("span", { class: `pill ${live}` }, h("i", { class: `dot ${live}`, "aria-hidden": "true" }), said),
      lock(access)),
  ];
}

function lock(access) {
  if (!access) return null;
  if (access.mayChange && !access.wantsToken) {
    return h("span", { class: "pill", title: "No admin.token is set: whoever reaches this port on this machine may make changes." }, "changes: open");
  }
  if (access.mayChange) {
    return h("button", { type: "button", key: "lock", onclick: () => setToken(null) }, "Lock changes");
  }
  if (access.wantsToken) {
    return h("button", { type: "button", key: "unlock", class: "main", onclick: () => unlock() }, "Make changes");
  }
  return h("span", { class: "pill", title: access.why }, "read-only");
}

/// What needs a person, the gravest first: [kind, what, where].
export function concerns() {
  const found = [];
  const { apart, status, health, stuck, statements, history, work } = state;
  const add = (kind, text, where) => found.push({ kind, text, where });
  if (state.failing) add("bad", `This sidecar does not answer: ${state.why}. What you see is old.`, null);
  if (health) {
    for (const [role, side] of [["primary", health.primary], ["secondary", health.secondary]]) {
      if (!side.answers && !isLeft(status, role)) add(role === "primary" ? "bad" : status?.phase === "setup" ? "warn" : "bad", `${product(side.product)} does not answer: ${side.error ?? "no reason given"}`, "databases");
    }
    if (health.lease && !health.lease.held) add("bad", `This sidecar may not answer clients: ${health.lease.why ?? "its lease ran out"}`, "sidecars");
  }
  if (!status) return found;
  if (status.problem) add("bad", status.problem, null);
  const rows = Object.entries(status.tables);
  for (const [name, table] of rows) {
    if (table.dirty && !isNew(table)) add("bad", `${name} is dirty: it ${dirty(table.dirty)}. ${differing(table) ? "Repair it, then verify again." : "Verify it, and repair what differs."}`, "tables");
  }
  for (const [name, table] of rows) {
    if (table.dirty && !isNew(table) || !differing(table)) continue;
    add("bad", `${name}: ${count(differing(table), "row")} differed at the last verify`, "tables");
  }
  if (status.lag.stuck) add("bad", `${count(status.lag.stuck, "entry", "entries")} stuck: MySQL keeps refusing them`.replace("MySQL", follower(status)), "stuck");
  else if (Array.isArray(stuck) && stuck.length) add("warn", `${count(stuck.length, "entry", "entries")} failed and will be tried again`, "stuck");
  const fresh = rows.filter(([, table]) => isNew(table) && !differing(table));
  const old = fresh.filter(([, table]) => !isCopied(table));
  const copied = fresh.filter(([, table]) => isCopied(table));
  if (old.length) add("warn", `${count(old.length, "table has", "tables have")} old rows that are not copied yet: ${names(old)}. Backfill, then verify.`, "tables");
  if (copied.length) add("warn", `${count(copied.length, "table is", "tables are")} copied, and not verified yet: ${names(copied)}`, "tables");
  if (status.lag.seconds > LAG_SLOW) add("warn", `${capital(follower(status))} is ${duration(status.lag.seconds)} behind`, "charts");
  const impossible = rows.filter(([, table]) => table.capture.startsWith("impossible"));
  if (impossible.length) add("warn", `${count(impossible.length, "table")} cannot be migrated as it is: ${names(impossible)}`, "tables");
  if (apart.size) add("bad", `${count(apart.size, "sidecar")} of another epoch than this one`, "sidecars");
  if (Array.isArray(statements)) {
    const lost = statements.filter((one) => one.reason).length;
    const differ = statements.filter((one) => one.shadow?.mismatch > 0).length;
    const refused = statements.filter((one) => one.refused);
    if (refused.length && isByMySql(status)) {
      const last = refused.map((one) => one.refused.last).sort().at(-1);
      add("bad", `${count(refused.length, "statement was", "statements were")} refused to clients (0A000), last at ${clock(last)}`, "statements");
    }
    if (lost) add("warn", `${count(lost, "statement")} ${lost === 1 ? "writes" : "write"} without being carried over`, "statements");
    if (differ) add("warn", `${count(differ, "statement")} read something else on the other side`, "shadow");
  }
  const recent = history?.errors?.slice(-60).reduce((sum, one) => sum + one, 0) ?? 0;
  if (recent && !status.lag.stuck) add("warn", `${count(recent, "attempt")} to carry a change failed within five minutes; what fails is tried again`, Array.isArray(stuck) && stuck.length ? "stuck" : "charts");
  for (const [name, job] of [["verify", work?.verify], ["backfill", work?.backfill]]) {
    if (job?.error && !job.running) add("warn", `The last ${name} ended early: ${job.error}`, "tables");
  }
  return found;
}

/// Who follows; while each leads some tables, it is the other one for each.
function follower(status) {
  return isParted() ? "the other database" : product(other(status.primary));
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

function isByMySql(status) {
  return status.phase === "switched" || status.phase === "complete" || isParted();
}

/// Nobody asks the old primary any more.
function isLeft(status, role) {
  return status?.phase === "complete" && role === "secondary";
}

export function differing(table) {
  const found = table.verified;
  return found ? found.missing + found.extra + found.different : 0;
}

function names(rows) {
  const list = rows.map(([name]) => name);
  return list.length > 4 ? `${list.slice(0, 4).join(", ")} and ${list.length - 4} more` : list.join(", ");
}

export function verdict() {
  const { status } = state;
  const found = concerns();
  if (!status) return { kind: state.failing ? "bad" : "warn", text: state.failing ? "The sidecar does not answer" : "Asking the sidecar…", found };
  const bad = found.filter((one) => one.kind === "bad").length;
  if (bad) return { kind: "bad", text: `${count(bad, "thing needs", "things need")} attention`, found };
  if (found.length) return { kind: "warn", text: "Working, with something to look at", found };
  return { kind: "good", text: "All is well", found };
}

export function now() {
  const { kind, text, found } = verdict();
  const { status } = state;
  return h("section", { class: `card verdict is-${kind}`, "aria-labelledby": "h-now", key: "now" },
    h("h2", { id: "h-now" }, h("span", { class: `mark big ${kind}`, "aria-hidden": "true" }, ICONS[kind]), text),
    status ? h("p", { class: "lead" }, sentence(status)) : null,
    found.length
      ? h("ul", { class: "concerns" }, found.map((one) =>
        h("li", { key: one.text },
          h("span", { class: `mark ${one.kind}`, "aria-hidden": "true" }, ICONS[one.kind]),
          h("span", null, h("span", { class: "unseen" }, one.kind === "bad" ? "Urgent: " : "To look at: "), one.text),
          one.where ? h("a", { href: `#${one.where}` }, "Show", h("span", { class: "unseen" }, ` ${one.where}`)) : null)))
      : null);
}

function sentence(status) {
  const leads = product(status.primary);
  const follows = product(other(status.primary));
  switch (status.phase) {
    case "setup": return `${leads} answers, and nothing is carried over yet.`;
    case "complete": return `${leads} answers alone; the migration is over.`;
    default: {
      const { seconds, pending } = status.lag;
      const old = Object.values(status.tables).some((table) => isNew(table) && !isCopied(table));
      const everything = old ? "has every change since the setup, and not all of the old rows" : "has everything";
      const behind = pending === 0 ? everything : `is ${seconds < 1 ? "less than a second" : duration(seconds)} behind, with ${count(pending, "change")} on the way`;
      const led = Object.values(status.tables).filter((table) => table.primary === "mysql").length;
      if (led) return `${leads} answers the clients, and MySQL for ${count(led, "table")}; each follows the other and ${behind}.`;
      return `${leads} answers the clients; ${follows} follows and ${behind}.`;
    }
  }
}

const STEPS = [
  ["setup", "PostgreSQL alone"],
  ["dual_write", "PostgreSQL answers, MySQL follows"],
  ["switched", "MySQL answers, PostgreSQL follows"],
  ["complete", "MySQL alone"],
];

/// The verb that comes next, and what to know of it.
function next(status) {
  const migrated = Object.values(status.tables).filter(isMigrated);
  switch (status.phase) {
    case "setup": return ["crossfade setup", ""];
    case "switched": return ["crossfade complete", ", and after it there is no way back"];
    case "complete": return null;
  }
  if (isParted()) return ["crossfade rollback", ""];
  if (migrated.some((table) => isNew(table) && !isCopied(table))) return ["crossfade backfill", ""];
  if (migrated.some(differing)) return ["crossfade repair", ""];
  if (migrated.some((table) => !table.verified || table.dirty)) return ["crossfade verify", ""];
  return ["crossfade switchover", ""];
}

export function path() {
  const { status } = state;
  const at = STEPS.findIndex(([name]) => name === status?.phase);
  const then = status ? next(status) : null;
  return h("section", { class: "card", id: "phases", "aria-labelledby": "h-phases", key: "phases" },
    h("h2", { id: "h-phases" }, "Phases"),
    h("ol", { class: "path" }, STEPS.map(([name, what], n) => {
      const kind = n < at ? "past" : n === at ? "now" : "ahead";
      return h("li", { class: kind, key: name, "aria-current": n === at ? "step" : null },
        h("span", { class: "bullet", "aria-hidden": "true" }, n < at ? "✓" : n + 1),
        h("div", null,
          h("b", null, phase(name), n < at ? h("span", { class: "unseen" }, " (done)") : null, n === at ? h("span", { class: "here" }, "now") : null),
          h("span", { class: "muted" }, what),
          n === at && then ? h("span", { class: "muted next" }, "next: ", h("code", null, then[0]), then[1]) : null));
    })));
}

export function databases() {
  const { status, health } = state;
  const primary = status?.primary ?? "postgresql";
  const card = (name) => {
    const side = [health?.primary, health?.secondary].find((one) => one?.product === name);
    const leads = name === primary;
    const role = leads ? "answers the clients" : roleOfFollower(status);
    const left = !leads && isLeft(status, "secondary");
    const kind = !side || left ? "" : side.answers ? "good" : "bad";
    return h("div", { class: `db ${leads ? "leads" : ""}`, key: name },
      h("h3", null, product(name)),
      h("p", { class: "role" }, role),
      h("p", { class: `pill ${kind}` }, h("i", { class: `dot ${kind}`, "aria-hidden": "true" }), left ? "not asked any more" : !side ? "not asked yet" : side.answers ? "reachable" : "does not answer"),
      side && !side.answers && !left ? h("p", { class: "bad small" }, side.error) : null);
  };
  const lag = status?.lag;
  const flowing = status && (status.phase === "dual_write" || status.phase === "switched");
  return h("section", { class: "card", id: "databases", "aria-labelledby": "h-db", key: "databases" },
    h("h2", { id: "h-db" }, "Which database answers"),
    h("div", { class: "dbs" },
      card("postgresql"),
      h("div", { class: `flow ${primary === "mysql" ? "back" : ""} ${flowing ? "on" : ""}` },
        h("span", { class: "arrow", "aria-hidden": "true" }, primary === "mysql" ? "←" : "→"),
        flowing ? h("span", { class: "small" }, `${number(lag.pending)} on the way`) : h("span", { class: "small muted" }, "nothing flows"),
        flowing ? h("span", { class: "small muted" }, `lag ${duration(lag.seconds)}`) : null),
      card("mysql")),
    h("dl", { class: "facts" },
      fact("Epoch", number(status?.epoch ?? null)),
      fact("Tables", status ? number(Object.values(status.tables).filter(canMigrate).length) : "–"),
      fact("Stuck", number(lag?.stuck ?? null), lag?.stuck ? "bad" : ""),
      fact("Errors since start", number(status?.totalErrors ?? null), status?.totalErrors ? "bad" : "")));
}

function roleOfFollower(status) {
  if (status?.phase === "setup") return "not used yet";
  if (isParted()) return "answers for a group of tables, and follows";
  return status?.phase === "complete" ? "left behind" : "follows";
}

function fact(name, value, kind = "") {
  return h("div", { key: name }, h("dt", null, name), h("dd", { class: kind || null }, value));
}

/// Under a section whose buttons are shut.
export function lockedHint() {
  if (mayChange() || !state.access) return null;
  return h("p", { class: "muted small" }, "Read-only: ", state.access.wantsToken ? "“Make changes” asks for the token." : `${state.access.why}.`);
}

