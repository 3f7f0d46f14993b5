// postgres.js does what an application does; each observation is checked, and printed.
// It prepares every statement under a name and pipelines all that is not awaited.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { text } from "node:stream/consumers";
import postgres from "postgres";

const check = (name, got, want) => {
  assert.deepStrictEqual(got, want, name);
  console.log("ok", name, JSON.stringify(got));
};
const failure = async (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);
const notices = [];
const sql = postgres({ max: 1, onnotice: (notice) => notices.push(notice), fetch_types: true });

check("types", [...(await sql`SELECT ${"7"}::int8 a, ${1.5}::numeric b, ${true}::bool c, ${["a", "b c"]}::text[] d, ${sql.json({ k: 1 })}::jsonb e`)],
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

const portions = [];
await sql`SELECT generate_series(1, 7) AS n`.cursor(3, (rows) => { portions.push(rows.map((r) => r.n)); });
check("three rows at a time", portions, [[1, 2, 3], [4, 5, 6], [7]]);
let first;
await sql`SELECT generate_series(1, 1000) AS n`.cursor(2, (rows) => { first = rows.length; return sql.CLOSE; });
check("closed early", first, 2);
let seen = 0;
await sql`SELECT generate_series(1, 200) AS n`.forEach(() => { seen++; });
check("row by row", seen, 200);

await pipeline(Readable.from(["100\tx\n101\t", "\\N\n"]), await sql`COPY note FROM STDIN`.writable());
check("copied", await text(await sql`COPY (SELECT * FROM note WHERE 100 <= id ORDER BY 1) TO STDOUT CSV`.readable()), "100,x\n101,\n");

await sql`SELECT remark(${"y"})`;
check("notice", notices.map((n) => [n.severity, n.code, n.message, n.detail, n.hint]), [["NOTICE", "01ABC", "remark on y", "the detail", "the hint"]]);
const heard = new Promise((resolve) => sql.listen("news", resolve, () => sql.notify("news", "payload")));
check("notification", await heard, "payload");

const slow = sql`SELECT pg_sleep(30)`.execute();
const watcher = postgres({ max: 1 });
while (!(await watcher`SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`).count);
slow.cancel();
check("cancelled", (await failure(slow)).code, "57014");
const wrong = await failure(sql`INSERT INTO device VALUES (1, 999, 'orphan')`);
check("error", [wrong.severity_local, wrong.code, wrong.constraint_name, wrong.table_name, wrong.detail],
  ["ERROR", "23503", "device_account_fkey", "device", 'Key (account)=(999) is not present in table "account".']);
await sql`SET application_name = 'a driver'`;
check("parameter", (await sql`SHOW application_name`)[0].application_name, "a driver");
await watcher.end();
await sql.end();
