// Every table: its state in a line, and behind it what can be done with it.

import { act, button, mayChange } from "./act.js";
import { h } from "./dom.js";
import { differing, lockedHint } from "./overview.js";
import { isMigrated, missing, state } from "./state.js";
import { ago, canMigrate, count, dirty, duration, isCopied, isNew, moment, number, product, refusal } from "./text.js";

const MODES = {
  async: "async: answered once PostgreSQL has it",
  blocking: "blocking: answered once both have it, or the timeout has passed",
  strict: "strict: answered once both have it, or rolled back",
};
const opened = new Set();
const chosen = new Map();
let redraw = () => {};

export function onOpen(change) {
  redraw = change;
}

export function tables() {
  const { status, work } = state;
  const rows = Object.entries(status?.tables ?? {}).sort(([a], [b]) => a.localeCompare(b));
  const migrated = rows.filter(([, table]) => isMigrated(table));
  const verifying = work && work !== missing ? work.verify : null;
  return h("section", { class: "card", id: "tables", "aria-labelledby": "h-tables", key: "tables" },
    h("div", { class: "head" },
      h("h2", { id: "h-tables" }, "Tables", rows.length ? h("small", null, number(rows.length)) : null),
      migrated.length ? h("div", { class: "buttons", role: "group", "aria-label": "All tables" },
        ...backfillButtons(),
        button("Verify all", { onclick: () => verify([]), disabled: verifying?.running }),
        button("Repair all", { onclick: () => repair(null) })) : null),
    under(),
    status?.phase === "setup"
      ? h("p", { class: "muted" }, "Nothing is set up yet: ", h("code", null, "crossfade check"), " says what would not migrate, and ", h("code", null, "crossfade setup"), " begins dual writes.") : null,
    rows.length ? [grid(rows), guessed(rows)] : status?.phase === "setup" ? null : h("p", { class: "muted" }, "No tables are known yet."),
    migrated.length ? lockedHint() : null);
}

function backfillButtons() {
  const { work } = state;
  if (!work || work === missing) return [];
  const paused = work.backfillPaused;
  return [
    button("Start backfill", { key: "backfill", onclick: () => backfill([]), disabled: work.backfill.running }),
    paused
      ? button("Resume backfill", { key: "pause", onclick: () => act("Resume backfill", "/backfill/resume", {}, { said: () => "Backfill goes on." }) })
      : button("Pause backfill", { key: "pause", onclick: () => act("Pause backfill", "/backfill/pause", {}, { said: () => "Backfill waits, whoever runs it." }) }),
  ];
}

/// What is under way.
function under() {
  const { work } = state;
  if (!work || work === missing) return null;
  const lines = [];
  if (work.backfillPaused) lines.push(["warn", "Backfill is paused, whoever runs it."]);
  if (work.backfill.running) lines.push(["", "This sidecar copies old rows."]);
  if (work.verify.running) {
    const { table, rowsRead } = work.verify;
    lines.push(["", table ? `Verify compares ${table}: ${count(rowsRead ?? 0, "row")} read.` : "Verify begins."]);
  }
  for (const [name, job] of [["verify", work.verify], ["backfill", work.backfill]]) {
    if (job.error && !job.running) lines.push(["warn", `The last ${name} ended early: ${job.error}`]);
  }
  return h("ul", { class: "under", key: "under" }, lines.map(([kind, text]) =>
    h("li", { class: kind || null, key: text.split(":")[0] }, kind ? null : h("i", { class: "spin", "aria-hidden": "true" }), text)));
}

function grid(rows) {
  const heads = [["Table"], ["State"], ["Mode"], ["PostgreSQL rows", "n"], ["MySQL rows", "n"], ["Backfill"], ["Last verify"], ["Waiting", "n"], ["Errors", "n"], ["", "more"]];
  return h("div", { class: "wide" }, h("table", { class: "tables" },
    h("thead", null, h("tr", null, heads.map(([text, kind]) =>
      h("th", { scope: "col", class: kind ?? null, key: text }, text || h("span", { class: "unseen" }, "Details"))))),
    rows.map(([name, table]) => h("tbody", { key: name, class: opened.has(name) ? "open" : null }, line(name, table), opened.has(name) ? details(name, table) : null))));
}

/// Two estimates need not be equal where the rows are.
function guessed(rows) {
  const sides = rows.flatMap(([, table]) => [table.rows?.postgresql, table.rows?.mysql]);
  if (!sides.some((side) => side && !side.exact)) return null;
  return h("p", { class: "muted small", key: "guessed" }, "≈: each database's own statistics, which are not compared. Verify compares the rows.");
}

function errorsOf(name) {
  const entries = Object.entries(state.status.errorsByEntity);
  return entries.filter(([entity]) => entity.slice(0, entity.lastIndexOf(".")) === name)
    .map(([entity, errors]) => [entity.slice(entity.lastIndexOf(".") + 1), errors]);
}

function line(name, table) {
  const errors = errorsOf(name).reduce((sum, [, one]) => sum + one, 0);
  const isOpen = opened.has(name);
  const id = `d-${encodeURIComponent(name)}`;
  const [kind, text] = standing(table);
  return h("tr", { key: "line" },
    h("th", { scope: "row", "data-label": "Table" }, name, table.primary === "mysql" ? h("small", null, " led by MySQL") : null),
    h("td", { "data-label": "State" }, h("span", { class: `pill ${kind}` }, h("i", { class: `dot ${kind}`, "aria-hidden": "true" }), text)),
    h("td", { "data-label": "Mode" }, table.mode),
    h("td", { class: "n", "data-label": "PostgreSQL rows" }, rows(table.rows?.postgresql)),
    h("td", { class: "n", "data-label": "MySQL rows" }, rows(table.rows?.mysql)),
    h("td", { "data-label": "Backfill" }, copied(table)),
    h("td", { "data-label": "Last verify" }, verified(table)),
    h("td", { class: `n ${table.stuck ? "bad" : ""}`, "data-label": "Waiting" }, number(table.pending), table.stuck ? ` (${number(table.stuck)} stuck)` : ""),
    h("td", { class: `n ${errors ? "bad" : ""}`, "data-label": "Errors" }, number(errors)),
    h("td", { class: "more" }, h("button", {
      type: "button", class: "small", "aria-expanded": String(isOpen), "aria-controls": isOpen ? id : null,
      onclick: () => {
        if (!opened.delete(name)) opened.add(name);
        redraw();
      },
    }, isOpen ? "Close" : "Open", h("span", { class: "unseen" }, ` ${name}`))));
}

/// The one word that sums a table up.
function standing(table) {
  if (table.capture.startsWith("impossible")) return ["bad", "not migratable"];
  if (!isMigrated(table)) return ["", canMigrate(table) ? "not set up" : "not migrated"];
  if (table.stuck) return ["bad", "stuck"];
  if (differing(table)) return ["bad", "differs"];
  if (table.dirty && !isNew(table)) return ["bad", "dirty"];
  if (isCopying(table)) return ["warn", "copying"];
  if (isNew(table)) return ["warn", isCopied(table) ? "unverified" : "not copied"];
  if (!table.verified) return ["warn", "unverified"];
  return table.verified.clean ? ["good", "equal"] : ["warn", "not clean"];
}

function isCopying(table) {
  return ["waiting", "sweeping", "copying", "interrupted", "stopped"].includes(table.backfill?.state);
}

function rows(counted) {
  if (!counted) return "–";
  return counted.exact ? number(counted.rows) : h("span", { class: "muted" }, h("span", { class: "unseen" }, "about "), h("span", { "aria-hidden": "true" }, "≈ "), number(counted.rows));
}

/// Rows to copy: the number that stands in the table's line, or the estimate that the copy began with.
function expected(table) {
  return Math.max(table.backfill.rows, table.rows?.postgresql?.rows ?? table.backfill.expected);
}

function copied(table) {
  if (!isMigrated(table)) return "–";
  const copy = table.backfill;
  if (!copy) return h("span", { class: "muted" }, "not begun");
  if (copy.state === "done" || copy.state === "done before") {
    return copy.refused ? h("span", { class: "bad" }, `done, ${number(copy.refused)} refused`) : "done";
  }
  const all = expected(table);
  const share = all ? Math.min(1, copy.rows / all) : 0;
  return h("div", { class: "copy" },
    h("progress", { max: 1, value: share, "aria-label": "Copied" }),
    h("span", { class: "small" }, `${Math.floor(share * 100)} %, ${copy.state}`));
}

function verified(table) {
  if (!isMigrated(table)) return "–";
  const found = table.verified;
  if (!found) return h("span", { class: "muted" }, "never");
  const when = ago(found.age);
  if (found.clean) return h("span", null, when);
  return h("span", { class: "bad" }, differing(table) ? `${when}: ${count(differing(table), "row differs", "rows differ")}` : `${when}: not clean`);
}

function details(name, table) {
  const facts = [["Name in MySQL", table.target], ["Captured by", table.capture]];
  if (table.primary) facts.push(["Led by", product(table.primary)]);
  if (table.lagSeconds > 0) facts.push(["Oldest change on its way", duration(table.lagSeconds)]);
  if (table.dirty) facts.push(["Dirty", `${dirty(table.dirty)}; ${isNew(table) && !isCopied(table) ? "backfill, then verify" : "a clean verify clears it"}`]);
  if (table.lastError) facts.push(["Last refusal", refusal(table.lastError)]);
  for (const [operation, errors] of errorsOf(name)) facts.push([`Errors of ${operation}`, number(errors)]);
  const copy = table.backfill;
  if (copy) {
    const far = isCopied(table) ? count(copy.rows, "row") : `${number(copy.rows)} of about ${count(expected(table), "row")}, ${number(Math.round(copy.rate))}/s`;
    facts.push(["Backfill", `${copy.state}: ${far}`]);
    if (copy.waits) facts.push(["Backfill waits", copy.waits]);
  }
  const found = table.verified;
  if (found) {
    facts.push(["Verified", `${moment(found.at)}, in ${duration(found.seconds)}`]);
    const parts = [["equal", found.equal], ["missing", found.missing], ["extra", found.extra], ["different", found.different], ["on their way", found.unsettled]];
    facts.push(["Found", parts.filter(([part, rows]) => rows || part === "equal").map(([part, rows]) => `${number(rows)} ${part}`).join(", ")]);
  }
  return h("tr", { key: "details", class: "details", id: `d-${encodeURIComponent(name)}` }, h("td", { colspan: 10 },
    h("div", { class: "detail" },
      h("dl", null, facts.map(([what, value]) => h("div", { key: what }, h("dt", null, what), h("dd", null, value)))),
      isMigrated(table) ? actions(name, table) : canMigrate(table) ? null : h("p", { class: "muted" }, "What is migrated is decided in proxy.yaml, and by ", h("code", null, "crossfade setup"), "."))));
}

function actions(name, table) {
  const { work } = state;
  const wanted = chosen.get(name) ?? table.mode;
  const id = `m-${encodeURIComponent(name)}`;
  return h("div", { class: "acts" },
    h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        setMode(name, wanted);
      },
    },
    h("label", { for: id }, "Mode"),
    h("div", { class: "row" },
      h("select", { id, value: wanted, disabled: !mayChange(), "aria-describedby": `${id}-hint`, onchange: (event) => { chosen.set(name, event.target.value); redraw(); } },
        Object.entries(MODES).map(([mode, what]) => h("option", { key: mode, value: mode, selected: mode === wanted }, what))),
      h("button", { type: "submit", disabled: !mayChange() || wanted === table.mode, "aria-label": `Set the mode of ${name}` }, "Set")),
    h("p", { class: "muted small", id: `${id}-hint` }, "In this sidecar, until a reload or restart; proxy.yaml says what holds after.")),
    h("div", { class: "buttons", role: "group", "aria-label": name },
      button("Verify", { name: `Verify ${name}`, onclick: () => verify([name]), disabled: work?.verify?.running }),
      button("Repair", { name: `Repair ${name}`, onclick: () => repair(name) }),
      button("Backfill", { name: `Backfill ${name}`, onclick: () => backfill([name]), disabled: work?.backfill?.running || table.primary === "mysql" })));
}

function setMode(name, mode) {
  act(`Mode of ${name}`, `/tables/${encodeURIComponent(name)}/mode`, { mode }, {
    said: () => `${name} is ${mode} in this sidecar, until a reload or restart.`,
  }).then(() => chosen.delete(name));
}

function verify(names) {
  const name = names.length ? `Verify ${names[0]}` : "Verify all";
  act(name, "/verify", { tables: names }, { said: () => `${name}: begun; what it finds stands in the table's line.` });
}

function backfill(names) {
  const name = names.length ? `Backfill ${names[0]}` : "Start backfill";
  act(name, "/backfill", names.length ? { tables: names, again: true } : {}, { said: () => `${name}: begun.` });
}

export function repair(table) {
  const name = table ? `Repair ${table}` : "Repair all";
  act(name, "/repair", table ? { table } : {}, { said: (answer) => `${name}: ${repaired(answer)}` });
}

/// What came of a repair, in a sentence.
export function repaired(answer) {
  if (!answer.found) return "nothing was stuck or different.";
  const parts = [`${number(answer.carried)} of ${number(answer.found)} carried`];
  if (answer.stuck.length) parts.push(`${number(answer.stuck.length)} refused again: ${refusal(answer.stuck[0].reason)}`);
  if (answer.waiting) parts.push(`${number(answer.waiting)} not tried yet`);
  return `${parts.join(", ")}. Verify says whether all is equal.`;
}
