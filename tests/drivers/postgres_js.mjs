// postgres.js does what an application does; each observation is checked, and printed.
// It prepares every statement under a name and pipelines all that is not awaited.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { text } from "node:stream/consumers";
import postgres from "postgres";
import { change, told, unserved } from "./unserved.mjs";

const check = (name, got, want) => {
  assert.deepStrictEqual(got, want, name);
  console.log("ok", name, JSON.stringify(got));
};
const failure = async (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);
const notices = [];
const sql = postgres({ max: 1, onnotice: (notice) => notices.push(notice), fetch_types: true });

const before = async () => (await sql`SELECT ${1}::int + 1 AS n`)[0].n;
check("prepared before", await before(), 2);
await change();
check("executed after", await before(), 2);
check("types", [...(await sql`SELECT ${"7"}::int8 a, ${1.5}::numeric(12,1) b, ${true}::bool c, ${["a", "b c"]}::text[] d, ${sql.json({ k: 1 })}::jsonb e`)],
  [{ a: "7", b: "1.5", c: true, d: ["a", "b c"], e: { k: 1 } }]);
check("simple", (await sql.unsafe("SELECT 1 AS a; SELECT 2 AS b").simple()).map((rows) => [...rows]), [[{ a: 1 }], [{ b: 2 }]]);

// Sent together: one error fails its own statement only.
const together = await Promise.allSettled([
  sql`INSERT INTO note VALUES (1, 'a')`, sql`INSERT INTO note VALUES (1, 'twice')`,
  sql`INSERT INTO note VALUES (2, 'b') RETURNING *`, sql`SELECT count(*)::int FROM note`,
]);
check("an error among others", together.map((r) => r.reason?.code ?? [r.value.command, r.value.count, [...r.value]]),
  [["INSERT", 1, []], "23505", ["INSERT", 1, [{ id: 2, body: "b" }]], ["SELECT", 1, [{ count: 2 }]]]);

const accounts = [{ email: "a@x", balance: "1.50" }, { email: "b@x", balance: "2.00" }, { email: "c@x", balance: "0" }];
check("several rows", [...(await sql`INSERT INTO account ${sql(accounts)} RETURNING id, email`)],
  [{ id: "1", email: "a@x" }, { id: "2", email: "b@x" }, { id: "3", email: "c@x" }]);
for (const turn of [1, 2, 3]) {
  const [row] = await sql`UPDATE account SET balance = balance + ${turn} WHERE email = ${"a@x"} RETURNING balance`;
  check("again by name", row, { balance: ["2.50", "4.50", "7.50"][turn - 1] });
}
check("deleted", (await sql`DELETE FROM account WHERE email = ANY(${["b@x", "none"]})`).count, 1);
check("columns", (await sql`SELECT id, email FROM account`.describe()).columns.map((c) => [c.name, c.type]), [["id", 20], ["email", 25]]);

await sql.begin("ISOLATION LEVEL REPEATABLE READ", async (sql) => {
  await sql`INSERT INTO note VALUES (10, 'kept')`;
  const undone = await failure(sql.savepoint(async (sql) => {
    await sql`INSERT INTO note VALUES (11, 'undone')`;
    await sql`SELECT 1/0`;
  }));
  check("savepoint", undone.code, "22012");
  await Promise.all([sql`INSERT INTO note VALUES (12, 'kept')`, sql`UPDATE note SET body = 'changed' WHERE id = 10`]);
});
await failure(sql.begin(async (sql) => {
  await sql`INSERT INTO note VALUES (13, 'undone')`;
  throw new Error("stop");
}));
check("after transactions", [...(await sql`SELECT * FROM note WHERE 10 <= id ORDER BY id`)], [{ id: 10, body: "changed" }, { id: 12, body: "kept" }]);

const numbers = (most) => Array.from({ length: most }, (_, n) => n + 1);
const series = (most) => sql`SELECT n FROM unnest(${numbers(most)}::int[]) n ORDER BY n`;
const portions = [];
await series(7).cursor(3, (rows) => { portions.push(rows.map((r) => r.n)); });
check("three rows at a time", portions, [[1, 2, 3], [4, 5, 6], [7]]);
let first;
await series(1000).cursor(2, (rows) => { first = rows.length; return sql.CLOSE; });
check("closed early", first, 2);
let seen = 0;
await series(200).forEach(() => { seen++; });
check("row by row", seen, 200);
await unserved("generate_series in a select list", async () => {
  check("a series", (await sql`SELECT generate_series(1, 7) AS n`).count, 7);
});

await unserved("COPY", async () => {
  await pipeline(Readable.from(["100\tx\n101\t", "\\N\n"]), await sql`COPY note FROM STDIN`.writable());
  check("copied", await text(await sql`COPY (SELECT * FROM note WHERE 100 <= id ORDER BY 1) TO STDOUT CSV`.readable()), "100,x\n101,\n");
});
await unserved("functions of the database", async () => {
  await sql`SELECT remark(${"y"})`;
  check("notice", notices.map((n) => [n.severity, n.code, n.message, n.detail, n.hint]), [["NOTICE", "01ABC", "remark on y", "the detail", "the hint"]]);
});
await unserved("LISTEN", async () => {
  const heard = await new Promise((resolve, reject) => sql.listen("news", resolve, () => sql.notify("news", "payload")).catch(reject));
  check("notification", heard, "payload");
});
await unserved("pg_sleep", async () => {
  const slow = sql`SELECT pg_sleep(30)`.execute();
  const ended = failure(slow);
  const watcher = postgres({ max: 1 });
  if (process.env.ANSWERS !== "mysql") {
    while (!(await watcher`SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`).count);
    slow.cancel();
  }
  await watcher.end();
  const error = await ended;
  if (error.code !== "57014") throw error;
});
const wrong = await failure(sql`INSERT INTO device VALUES (1, 999, 'orphan')`);
check("error", told(wrong, ["severity_local", "code", "constraint_name", "table_name"], ["detail"]), {
  severity_local: "ERROR", code: "23503", constraint_name: "device_account_fkey", table_name: "device",
  ...(process.env.ANSWERS ? {} : { detail: 'Key (account)=(999) is not present in table "account".' }),
});
await sql`SET application_name = 'a driver'`;
check("parameter", (await sql`SHOW application_name`)[0].application_name, "a driver");
await sql.end();
