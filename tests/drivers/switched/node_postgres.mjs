// node-postgres while MySQL answers: each observation is checked, and printed.
// What it prints must be what it prints with PostgreSQL.

import assert from "node:assert/strict";
import pg from "pg";
import Cursor from "pg-cursor";

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
  const values = ["7", "é😀", TOKEN, "1.50", true, null, { k: [1] }];
  const types = "$1::int8 a, $2::text b, $3::uuid c, $4::numeric(12,2) d, $5::bool e, $6::text f, $7::jsonb g";
  const { rows, fields } = await client.query({ text: `SELECT ${types}`, values, rowMode: "array" });
  check("unnamed", rows, [values]);
  check("columns", fields.map((f) => [f.name, f.dataTypeID, f.format]).slice(0, 2), [["a", 20, "text"], ["b", 25, "text"]]);
  for (let turn = 0; turn < 5; turn++) {
    const named = await client.query({ name: "double", text: "SELECT $1::int * 2 AS n", values: [turn] });
    check("named", named.rows, [{ n: turn * 2 }]);
  }
  const binary = await client.query({ text: "SELECT $1::int4 AS n, $2::bool AS b", values: [7, true], binary: true });
  check("binary", [binary.rows[0].n, binary.rows[0].b, binary.fields[0].format], [7, true, "binary"]);
  check("empty", (await client.query("")).rows, []);
  const queued = await Promise.all([1, 2, 3].map((n) => client.query("SELECT $1::int AS n", [n])));
  check("queued", queued.map((r) => r.rows[0].n), [1, 2, 3]);
}

async function writes(client) {
  const insert = "INSERT INTO account (email, token, balance, data, tags, secret) VALUES ($1, $2, $3, $4, $5, $6)";
  const values = ["a@x", TOKEN, "1.5", { b: [1, null], a: "é" }, ["x,y", '"'], Buffer.from([0, 255])];
  const plain = await client.query(insert, values);
  check("insert", [plain.command, plain.rowCount, plain.rows, plain.fields.length], ["INSERT", 1, [], 0]);
  const star = await client.query(insert + " RETURNING *", ["b@x", ...values.slice(1)]);
  check("returning star", [star.fields.map((f) => f.name), star.rows[0].id, star.rows[0].balance, star.rows[0].data, star.rows[0].tags],
    [["id", "email", "token", "standing", "balance", "admin", "data", "tags", "secret", "seen", "created"], "2", "1.50", { a: "é", b: [1, null] }, ["x,y", '"']]);
  check("bytes", [...star.rows[0].secret], [0, 255]);
  check("a date", star.rows[0].created instanceof Date, true);
  const update = await client.query({ name: "u", text: "UPDATE account SET balance = balance + $1 WHERE email = $2 RETURNING balance, balance * 2 AS balance", values: [1, "a@x"], rowMode: "array" });
  check("returning twice the name", update.rows, [["2.50", "5.00"]]);
  check("nobody", (await client.query("UPDATE account SET admin = true WHERE email = $1", ["none"])).rowCount, 0);
  const moment = new Date("2024-02-29T23:59:59.123Z");
  await client.query("UPDATE account SET seen = $1 WHERE id = 1", [moment]);
  check("a moment", (await client.query("SELECT seen FROM account WHERE seen = $1", [moment])).rows[0].seen.toISOString(), moment.toISOString());
  for (let n = 1; n <= 5; n++) await client.query("INSERT INTO device VALUES ($1, 1, $2)", [n, `d${n}`]);
  const batch = await client.query("UPDATE device SET name = 'x' WHERE id = 1; DELETE FROM device WHERE id IN (1, 2); SELECT count(*)::int FROM device");
  check("a batch with writes", batch.map((r) => [r.command, r.rowCount]), [["UPDATE", 1], ["DELETE", 2], ["SELECT", 1]]);
  const upsert = "INSERT INTO note VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET body = excluded.body RETURNING id, body";
  check("upsert inserts", (await client.query(upsert, [50, "new"])).rows, [{ id: 50, body: "new" }]);
  check("upsert updates", (await client.query(upsert, [50, "newer"])).rows, [{ id: 50, body: "newer" }]);
  const nothing = await client.query("INSERT INTO note VALUES (50, 'no') ON CONFLICT DO NOTHING");
  check("nothing", [nothing.command, nothing.rowCount], ["INSERT", 0]);
  check("any", (await client.query("SELECT id FROM device WHERE id = ANY($1) ORDER BY id", [[3, 5, 9]])).rows, [{ id: 3 }, { id: 5 }]);
  await client.query("DELETE FROM account WHERE email = 'b@x'");
}

async function transactions(client) {
  await client.query("BEGIN");
  await client.query("INSERT INTO note VALUES (1, 'kept')");
  await client.query("SAVEPOINT s");
  const twice = await failure(client.query("INSERT INTO note VALUES ($1, $2)", [1, "twice"]));
  check("an error in a transaction", [twice.code, twice.constraint, twice.table, twice.detail, twice.message],
    ["23505", "note_pkey", "note", "Key (id)=(1) already exists.", 'duplicate key value violates unique constraint "note_pkey"']);
  check("refused until the end", (await failure(client.query("SELECT 1"))).code, "25P02");
  await client.query("ROLLBACK TO s");
  await client.query("INSERT INTO note VALUES (2, 'kept')");
  await client.query("COMMIT");
  await client.query("BEGIN; INSERT INTO note VALUES (3, 'undone'); ROLLBACK");
  // One implicit transaction: the error undoes what came before it.
  await failure(client.query("INSERT INTO note VALUES (4, 'undone'); SELECT 1/0"));
  check("notes", (await client.query("SELECT id FROM note WHERE id < 10 ORDER BY 1")).rows.map((r) => r.id), [1, 2]);
}

async function errors(client) {
  const fields = async (text, values) => {
    const error = await failure(client.query(text, values));
    return [error.code, error.message, error.schema, error.table, error.column, error.constraint];
  };
  for (const [text, values] of [
    ["INSERT INTO account (email) VALUES ('a@x')", []],
    ["INSERT INTO account (email) VALUES (NULL)", []],
    ["UPDATE account SET balance = -1", []],
    ["INSERT INTO device VALUES (77, 99, 'x')", []],
    ["DELETE FROM account WHERE id = $1", ["not a number"]],
    ["SELECT * FROM account WHERE token = $1", ["not-a-uuid"]],
    ["UPDATE account SET standing = $1", ["sad"]],
    ["UPDATE device SET name = $1", ["more than twenty letters long"]],
    ["SELECT emial FROM account", []],
    ["SELECT * FROM nowhere", []],
    ["SELECT 1/0", []],
    ["SELECT $1::int", ["99999999999"]],
  ]) {
    console.log(text, JSON.stringify(await fields(text, values)));
  }
  check("and on it goes", (await client.query("SELECT 1 AS n")).rows, [{ n: 1 }]);
}

async function portals(client) {
  const cursor = client.query(new Cursor("SELECT id FROM device ORDER BY id", []));
  const sizes = [];
  for (let rows; (rows = await cursor.read(2)).length; ) sizes.push(rows.map((r) => r.id));
  check("two rows at a time", sizes, [[3, 4], [5]]);
  await cursor.close();
  const early = client.query(new Cursor("SELECT id FROM device"));
  await early.read(1);
  await early.close();
  check("closed early", (await client.query("SELECT 1 AS n")).rows, [{ n: 1 }]);
}

const client = await connect({ application_name: "a driver", options: "-c statement_timeout=60000" });
check("application_name", (await client.query("SHOW application_name")).rows, [{ application_name: "a driver" }]);
check("options", (await client.query("SHOW statement_timeout")).rows, [{ statement_timeout: "1min" }]);
await queries(client);
await writes(client);
await transactions(client);
await errors(client);
await portals(client);
await client.end();
const pool = new pg.Pool({ max: 4 });
const counts = await Promise.all(Array.from({ length: 12 }, (_, n) => pool.query("SELECT $1::int AS n", [n])));
check("a pool", counts.map((r) => r.rows[0].n), Array.from({ length: 12 }, (_, n) => n));
await pool.end();
