// Numbers, times and names as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const finest = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 2 });

/// 12,345 · 3.4 · 0.12
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 100) return whole.format(value);
  return size >= 1 ? fine.format(value) : finest.format(value);
}

/// 0.3 s · 14 s · 3 min · 2 h 5 min · 4 days
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${fine.format(seconds)} s`;
  if (seconds < 100) return `${whole.format(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) {
    const minutes = Math.floor((seconds % 3600) / 60);
    return `${Math.floor(seconds / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
  }
  return `${Math.floor(seconds / 86400)} days`;
}

export function ago(seconds) {
  return seconds < 2 ? "just now" : `${duration(Math.round(seconds))} ago`;
}

export function count(amount, one, many) {
  return `${number(amount)} ${amount === 1 ? one : many ?? `${one}s`}`;
}

/// 14:03:22 in the reader's own time zone.
export function clock(when) {
  const date = new Date(when);
  if (Number.isNaN(date.valueOf())) return "–";
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

/// 26 Nov 2026, 14:03:22
export function moment(when) {
  const date = new Date(when);
  if (Number.isNaN(date.valueOf())) return "–";
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${clock(when)}`;
}

const PRODUCTS = { postgresql: "PostgreSQL", mysql: "MySQL" };

export function product(name) {
  return PRODUCTS[name] ?? name ?? "–";
}

export function other(name) {
  return name === "mysql" ? "postgresql" : "mysql";
}

const PHASES = { setup: "Setup", dual_write: "Dual write", switched: "Switched", complete: "Complete" };

export function phase(name) {
  return PHASES[name] ?? name;
}

export function canMigrate(table) {
  return table.capture === "returning" || table.capture === "trigger";
}

/// Reasons are kept in a word; here is what they mean.
const DIRTY = {
  abandon: "may have missed writes while the migration was being given up",
  backfill: "has old rows that are not copied and verified yet",
  "capture changed": "is captured in another way than before",
  verify: "differed at a verify",
  unseen_writes: "was written past all sidecars",
  mode_off: "was not migrated for a while",
  outbox_off: "lost changes that no outbox held",
  outbox_lost: "lost entries of the outbox",
  failover: "may have lost its last writes in a failover",
  other_table: "was written in an unexpected way",
  lost_after: "may have lost writes",
};

export function dirty(reason) {
  return DIRTY[reason] ?? `had a write that was not carried over (${reason})`;
}

/// Rows from before dual writes are no trouble; they wait for a backfill and a verify.
export function isNew(table) {
  return table.dirty === "backfill";
}

export function isCopied(table) {
  return table.backfill?.state === "done" || table.backfill?.state === "done before";
}

/// What is meant by the codes that are met most.
const REFUSALS = {
  unrepresentable: "the other database cannot hold this value, so it has to be changed",
  1048: "NULL is not allowed there",
  1062: "another row has that unique value",
  1264: "the number is out of range",
  1366: "the value does not fit the column's type",
  1406: "the value is too long for the column",
  1451: "another row references it",
  1452: "the row that it references is not there",
  3819: "a CHECK constraint refuses it",
  4025: "a CHECK constraint refuses it",
};

/// "1406 user_agent" with the number put into words.
export function refusal(reason) {
  if (!reason) return "no reason given";
  const words = REFUSALS[reason.split(" ")[0]];
  return words ? `${reason}: ${words}` : reason;
}
