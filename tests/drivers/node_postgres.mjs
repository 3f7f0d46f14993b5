// node-postgres does what an application does; each observation is checked, and printed.
// What it prints must not depend on what lies between it and PostgreSQL.

import assert from "node:assert/strict";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import pg from "pg";
import Cursor from "pg-cursor";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import { change, told, unserved } from "./unserved.mjs";

const TOKEN = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const check = (name, got, want) => {
  assert.deepStrictEqual(got, want, name);
  console.log("ok", name, JSON.stringify(got));
};
const failure = async (promise) => promise.then(() => assert.fail("it did not fail"), (error) => error);
const connect = async (options) => {
  const client = new pg.Client(options);
  await client.connect();
  return client;
};

async function queries(client) {
  const several = await client.query("SELECT 1 AS a; SELECT 2 AS b, 'x' AS c");
  check("several statements", several.map((r) => [r.command, r.rowCount, r.rows]),
    [["SELECT", 1, [{ a: 1 }]], ["SELECT", 1, [{ b: 2, c: "x" }]]]);
  await unserved("DDL", async () => {
    const table = await client.query("CREATE TEMP TABLE t (n int); INSERT INTO t VALUES (1), (2)");
    check("a temporary table", table.map((r) => [r.command, r.rowCount]), [["CREATE", null], ["INSERT", 2]]);
  });
  const values = ["7", "é😀", TOKEN, "1.50", true, null, ["a", null], { k: [1] }];
  const types = "$1::int8 a, $2::text b, $3::uuid c, $4::numeric(12,2) d, $5::bool e, $6::text f, $7::text[] g, $8::jsonb h";
  const { rows, fields } = await client.query({ text: `SELECT ${types}`, values, rowMode: "array" });
  check("unnamed", rows, [values]);
  check("columns", fields.map((f) => [f.name, f.dataTypeID, f.format]).slice(0, 2), [["a", 20, "text"], ["b", 25, "text"]]);
  for (let turn = 0; turn < 5; turn++) {
    const named = await client.query({ name: "double", text: "SELECT $1::int * 2 AS n", values: [turn] });
    check("named", named.rows, [{ n: turn * 2 }]);
  }
  const binary = await client.query({ text: "SELECT $1::int4 AS n, $2::bool AS b", values: [7, true], binary: true });
  check("binary", [binary.rows[0].n, binary.rows[0].b, binary.fields[0].format], [7, true, "binary"]);
  const wrong = await failure(client.query({ name: "double", text: "SELECT 1", values: [] }));
  check("a name is one statement", /must be unique/.test(wrong.message), true);
  check("empty", (await client.query("")).rows, []);
  // Queued behind each other without waiting.
  const queued = await Promise.all([1, 2, 3].map((n) => client.query("SELECT $1::int AS n", [n])));
  check("queued", queued.map((r) => r.rows[0].n), [1, 2, 3]);
}

async function writes(client) {
  const insert = "INSERT INTO account (email, token, balance, data, tags, secret) VALUES ($1, $2, $3, $4, $5, $6)";
  const values = ["a@x", TOKEN, "1.5", { b: [1, null], a: "é" }, ["x,y", '"'], Buffer.from([0, 255])];
  const plain = await client.query(insert, values);
  check("insert", [plain.command, plain.rowCount, plain.rows, plain.fields.length], ["INSERT", 1, [], 0]);
  const star = await client.query(insert + " RETURNING *", ["b@x", ...values.slice(1)]);
  check("returning star", [star.fields.map((f) => f.name), star.rows[0].id, star.rows[0].balance, star.rows[0].data],
    [["id", "email", "token", "standing", "balance", "admin", "data", "tags", "secret", "seen", "created"], "2", "1.50", { a: "é", b: [1, null] }]);
  const update = await client.query({ name: "u", text: "UPDATE account SET balance = balance + $1 WHERE email = $2 RETURNING balance, balance * 2 AS balance", values: [1, "a@x"], rowMode: "array" });
  check("returning twice the name", update.rows, [["2.50", "5.00"]]);
  const moment = new Date("2024-02-29T23:59:59.123Z");
  await client.query("UPDATE account SET seen = $1 WHERE id = 1", [moment]);
  check("a moment", (await client.query("SELECT seen FROM account WHERE seen = $1", [moment])).rows[0].seen.toISOString(), moment.toISOString());
  check("nobody", (await client.query("UPDATE account SET admin = true WHERE email = $1", ["none"])).rowCount, 0);
  await client.query("INSERT INTO device SELECT n, 1, 'd' || n FROM unnest(ARRAY[1, 2, 3, 4, 5]) n");
  const batch = await client.query("UPDATE device SET name = 'x' WHERE id = 1; DELETE FROM device WHERE id IN (1, 2); SELECT count(*)::int FROM device");
  check("a batch with writes", batch.map((r) => [r.command, r.rowCount]), [["UPDATE", 1], ["DELETE", 2], ["SELECT", 1]]);
  const upsert = "INSERT INTO note VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET body = excluded.body RETURNING id, body";
  check("upsert inserts", (await client.query(upsert, [20, "new"])).rows, [{ id: 20, body: "new" }]);
  check("upsert updates", (await client.query(upsert, [20, "newer"])).rows, [{ id: 20, body: "newer" }]);
  const nothing = await client.query("INSERT INTO note VALUES (20, 'no') ON CONFLICT DO NOTHING");
  check("nothing", [nothing.command, nothing.rowCount], ["INSERT", 0]);
  check("any", (await client.query("SELECT id FROM device WHERE id = ANY($1) ORDER BY id", [[3, 5, 9]])).rows, [{ id: 3 }, { id: 5 }]);
  await client.query("DELETE FROM account WHERE email = 'b@x'");
  check("moved", (await client.query("UPDATE device SET id = id + 10 RETURNING id")).rows.map((r) => r.id).sort(), [13, 14, 15]);
}

async function transactions(client) {
  await client.query("BEGIN");
  await client.query("INSERT INTO note VALUES (1, 'kept')");
  await client.query("SAVEPOINT s");
  const twice = await failure(client.query("INSERT INTO note VALUES ($1, $2)", [1, "twice"]));
  check("an error in a transaction", [twice.code, twice.constraint, twice.table, twice.detail], ["23505", "note_pkey", "note", "Key (id)=(1) already exists."]);
  check("refused until the end", (await failure(client.query("SELECT 1"))).code, "25P02");
  await client.query("ROLLBACK TO s");
  await client.query("INSERT INTO note VALUES (2, 'kept')");
  await client.query("COMMIT");
  await client.query("BEGIN; INSERT INTO note VALUES (3, 'undone'); ROLLBACK");
  // One implicit transaction: the error undoes what came before it.
  await failure(client.query("INSERT INTO note VALUES (4, 'undone'); SELECT 1/0"));
  check("notes", (await client.query("SELECT id FROM note WHERE id < 10 ORDER BY 1")).rows.map((r) => r.id), [1, 2]);
}

async function portals(client) {
  const cursor = client.query(new Cursor("SELECT n FROM unnest(ARRAY[1, 2, 3, 4, 5, 6, 7]) n ORDER BY n"));
  const sizes = [];
  for (let rows; (rows = await cursor.read(3)).length; ) sizes.push(rows.map((r) => r.n));
  check("three rows at a time", sizes, [[1, 2, 3], [4, 5, 6], [7]]);
  await cursor.close();
  const early = client.query(new Cursor("SELECT id FROM device"));
  await early.read(1);
  await early.close();
  check("closed early", (await client.query("SELECT 1 AS n")).rows, [{ n: 1 }]);
  const write = client.query(new Cursor("INSERT INTO note SELECT n, 'limited' FROM unnest(ARRAY[50, 51, 52, 53, 54]) n RETURNING id"));
  check("a write in portions", [(await write.read(2)).length, (await write.read(10)).length], [2, 3]);
  await write.close();
  await unserved("generate_series in a select list", async () => {
    check("a series", (await client.query("SELECT generate_series(1, $1::int) AS n", [3])).rows.length, 3);
  });
}

async function copies(client) {
  await unserved("COPY", async () => {
    await pipeline(Readable.from(["100\ta b\n101\t", "\\N\n102\t\n"]), client.query(copyFrom("COPY note FROM STDIN")));
    const out = await text(client.query(copyTo("COPY (SELECT * FROM note WHERE id >= 100 ORDER BY 1) TO STDOUT CSV")));
    check("copied", out, '100,a b\n101,\n102,""\n');
    const refused = await failure(pipeline(Readable.from(["x\ty\n"]), client.query(copyFrom("COPY note FROM STDIN"))));
    check("copy refused", [refused.code, refused.where.slice(0, 17)], ["22P02", "COPY note, line 1"]);
  });
  check("usable", (await client.query("SELECT 1 AS n")).rows, [{ n: 1 }]);
}

async function messages(client) {
  await unserved("functions of the database", async () => {
    const notice = once(client, "notice");
    notice.catch(() => {});
    await client.query("SELECT remark('x')");
    const [got] = await notice;
    check("notice", [got.severity, got.code, got.message, got.detail, got.hint], ["NOTICE", "01ABC", "remark on x", "the detail", "the hint"]);
  });
  await unserved("LISTEN", async () => {
    await client.query('LISTEN "News"');
    const other = await connect();
    const heard = once(client, "notification");
    await other.query(`SELECT pg_notify('News', 'payload')`);
    check("notification", [(await heard)[0].channel, (await heard)[0].payload], ["News", "payload"]);
    await other.end();
  });
  const refused = new pg.Client({ password: "wrong" });
  check("wrong password", (await failure(refused.connect())).code, "28P01");
  const unknown = new pg.Client({ database: "no_such_database" });
  check("unknown database", ["3D000", "08004"].includes((await failure(unknown.connect())).code), true);
  const started = await connect({ application_name: "a driver", options: "-c statement_timeout=60000" });
  check("application_name", (await started.query("SHOW application_name")).rows, [{ application_name: "a driver" }]);
  check("options", (await started.query("SHOW statement_timeout")).rows, [{ statement_timeout: "1min" }]);
  await started.end();
  const pool = new pg.Pool({ max: 4 });
  const counts = await Promise.all(Array.from({ length: 12 }, (_, n) => pool.query("SELECT $1::int AS n", [n])));
  check("a pool", counts.map((r) => r.rows[0].n), Array.from({ length: 12 }, (_, n) => n));
  await pool.end();
}

async function failures(client) {
  for (const statement of [
    "INSERT INTO account (email) VALUES ('a@x')", "INSERT INTO device VALUES (1, 999, 'orphan')",
    "SELECT emial FROM account", "SELECT $1::int", "INSERT INTO device VALUES (1, 1, repeat('x', 21))",
  ]) {
    const error = await failure(client.query(statement, statement.includes("$1") ? ["x"] : []));
    check(statement, Boolean(error.code && (error.routine || process.env.ANSWERS)), true);
    console.log(JSON.stringify(told(error, ["severity", "code", "message", "schema", "table", "column", "constraint"],
      ["detail", "hint", "position", "dataType"])));
  }
  for (const [statement, values] of [
    ["INSERT INTO account (email) VALUES (NULL)", []], ["UPDATE account SET balance = -1", []],
    ["DELETE FROM account WHERE id = $1", ["not a number"]], ["SELECT * FROM account WHERE token = $1", ["not-a-uuid"]],
    ["UPDATE account SET standing = $1", ["sad"]], ["UPDATE device SET name = $1", ["more than twenty letters long"]],
    ["SELECT * FROM nowhere", []], ["SELECT 1/0", []], ["SELECT $1::int", ["99999999999"]],
  ]) {
    const { code, message, schema, table, column, constraint } = await failure(client.query(statement, values));
    console.log(statement, JSON.stringify([code, message, schema, table, column, constraint]));
  }
  await client.query("SET statement_timeout = 100");
  await unserved("pg_sleep", async () => {
    const slept = await failure(client.query("SELECT pg_sleep(30)"));
    if (slept.code !== "57014") throw slept;
  });
  await client.query("RESET statement_timeout");
}

const client = await connect();
const before = () => client.query({ name: "before", text: "SELECT $1::int + 1 AS n", values: [1] });
check("prepared before", (await before()).rows, [{ n: 2 }]);
await change();
check("executed after", (await before()).rows, [{ n: 2 }]);
for (const part of [queries, writes, transactions, portals, copies, messages, failures]) await part(client);
await client.end();
