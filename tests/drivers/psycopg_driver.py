"""psycopg 3 does what an application does; each observation is checked, and printed.

What it prints must not depend on what lies between it and PostgreSQL.
"""

import datetime
import decimal
import logging
import os
import sys
import threading
import uuid

import psycopg
from psycopg import errors, pq
from psycopg.types.json import Jsonb

TOKEN = uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
SEEN = datetime.datetime(2024, 2, 29, 23, 59, 59, 1, tzinfo=datetime.timezone.utc)


def check(name, got, want):
    if got != want:
        sys.exit(f"{name}: got {got!r}, want {want!r}")
    print("ok", name, got)


ANSWERS = os.environ.get("ANSWERS")


def unserved(what, body):
    """What MySQL does not serve: there it has to be refused with 0A000. See unserved.mjs."""
    print(f"unserved: {what}")
    if ANSWERS == "mysql":
        try:
            body()
            sys.exit(f"{what} was served")
        except psycopg.Error as error:
            if error.sqlstate != "0A000":
                raise
    else:
        body()
    print("served")


def connect(**options):
    return psycopg.connect("", autocommit=True, **options)


def queries(conn):
    cursor = conn.execute("SELECT 1 AS a; SELECT 2, 'x' AS b; SELECT 3 WHERE false")
    several = [cursor.fetchall()]
    while cursor.nextset():
        several.append(cursor.fetchall())
    check("several statements", several, [[(1,)], [(2, "x")], []])
    for binary in (False, True):
        cursor = conn.cursor(binary=binary)
        cursor.execute(
            "SELECT %s::int8, %s::text, %s::uuid, %s::numeric(12,2), %s::timestamptz, %s::bytea, %s::text[]",
            (1, "é😀", TOKEN, decimal.Decimal("1.50"), SEEN, b"\0\xff", ["a", None]),
        )
        row = cursor.fetchone()
        want = (1, "é😀", TOKEN, decimal.Decimal("1.50"), SEEN, b"\0\xff", ["a", None])
        check(f"values, binary {binary}", row[:4] + row[5:], want[:4] + want[5:])
        check(f"moment, binary {binary}", row[4].astimezone(datetime.timezone.utc), SEEN)
        check("columns", [(c.name, c.type_code) for c in cursor.description][:2], [("int8", 20), ("text", 25)])
    for turn in range(8):
        got = conn.execute("SELECT %s::int + 1", (turn,), prepare=True).fetchone()
        check("prepared", got, (turn + 1,))
    empty = conn.execute("")
    check("empty query", empty.pgresult.status, pq.ExecStatus.EMPTY_QUERY)
    with conn.cursor() as cursor:
        rows = list(cursor.stream("SELECT n FROM unnest(%s) n ORDER BY n", (list(range(1, 501)),)))
        check("row by row", (len(rows), rows[-1]), (500, (500,)))
    unserved("generate_series in a select list", lambda: list(conn.execute("SELECT generate_series(1, %s)", (500,))))


def writes(conn):
    insert = "INSERT INTO account (email, token, balance, data, tags, secret, seen) VALUES (%s, %s, %s, %s, %s, %s, %s)"
    values = ("a@x", TOKEN, "1.5", Jsonb({"b": [1, None], "a": "é"}), ["x,y", '"'], b"\0\xff", SEEN)
    cursor = conn.execute(insert, values)
    check("insert", (cursor.statusmessage, cursor.rowcount, cursor.description), ("INSERT 0 1", 1, None))
    cursor = conn.execute(insert + " RETURNING id, email, balance * 2 AS balance, balance", ("b@x", *values[1:]))
    check("returning", cursor.fetchall(), [(2, "b@x", decimal.Decimal("3.00"), decimal.Decimal("1.50"))])
    check("returning columns", [c.name for c in cursor.description], ["id", "email", "balance", "balance"])
    cursor = conn.cursor(binary=True)
    cursor.execute("UPDATE account SET standing = 'active' WHERE id <= %s RETURNING *", (2,))
    rows = sorted(cursor.fetchall())
    check("returning star", [row[:2] + row[3:5] for row in rows],
          [(1, "a@x", b"active", decimal.Decimal("1.50")), (2, "b@x", b"active", decimal.Decimal("1.50"))])
    check("no rows", conn.execute("UPDATE account SET admin = true WHERE false").statusmessage, "UPDATE 0")
    upsert = """INSERT INTO account (email) VALUES (%s) ON CONFLICT (email)
                DO UPDATE SET balance = account.balance + 1 RETURNING id, balance"""
    check("upsert", conn.execute(upsert, ("a@x",)).fetchone(), (1, decimal.Decimal("2.50")))
    nothing = conn.execute("INSERT INTO account (email) VALUES ('a@x') ON CONFLICT DO NOTHING")
    check("on conflict do nothing", nothing.statusmessage, "INSERT 0 0")
    with conn.cursor() as cursor:
        cursor.executemany("INSERT INTO device VALUES (%s, %s, %s) RETURNING id",
                           [(n, 1, f"d{n}") for n in range(1, 6)], returning=True)
        got = [cursor.fetchone()]
        while cursor.nextset():
            got.append(cursor.fetchone())
        check("executemany", got, [(n,) for n in range(1, 6)])
    moved = "WITH gone AS (DELETE FROM device WHERE id = 5 RETURNING *) INSERT INTO device SELECT 6, account, name FROM gone"
    unserved("writing a table twice in one statement",
             lambda: check("write within a query", conn.execute(moved).statusmessage, "INSERT 0 1"))
    conn.execute("DELETE FROM device WHERE id IN (5, 6)")
    check("key change", conn.execute("UPDATE device SET id = id + 10 WHERE id > 3").statusmessage, "UPDATE 1")
    check("delete", conn.execute("DELETE FROM device d USING account a WHERE a.id = d.account AND d.id = 1").rowcount, 1)
    check("rows left", [row[0] for row in conn.execute("SELECT id FROM device ORDER BY 1")], [2, 3, 14])


def transactions(conn):
    status = lambda: conn.info.transaction_status.name
    check("idle", status(), "IDLE")
    with conn.transaction():
        conn.execute("INSERT INTO note VALUES (1, 'kept')")
        check("in a transaction", status(), "INTRANS")
        try:
            with conn.transaction():
                conn.execute("INSERT INTO note VALUES (2, 'undone')")
                conn.execute("INSERT INTO note VALUES (1, 'twice')")
        except errors.UniqueViolation:
            pass
        conn.execute("INSERT INTO note VALUES (3, 'kept')")
        with conn.transaction() as inner:
            conn.execute("UPDATE note SET body = 'undone'")
            raise psycopg.Rollback(inner)
    check("savepoints", conn.execute("SELECT * FROM note ORDER BY 1").fetchall(), [(1, "kept"), (3, "kept")])
    conn.execute("BEGIN")
    try:
        conn.execute("SELECT 1/0")
    except errors.DivisionByZero:
        check("failed", status(), "INERROR")
    try:
        conn.execute("SELECT 1")
    except errors.InFailedSqlTransaction as error:
        check("refused until the end", error.sqlstate, "25P02")
    check("end of a failed one", conn.execute("COMMIT").statusmessage, "ROLLBACK")
    conn.execute("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY")
    try:
        conn.execute("INSERT INTO note VALUES (9, 'no')")
    except errors.ReadOnlySqlTransaction as error:
        check("read only", error.sqlstate, "25006")
    conn.execute("ROLLBACK")
    unserved("PREPARE TRANSACTION", lambda: two_phases(conn))


def two_phases(conn):
    if ANSWERS == "mysql":
        conn.execute("PREPARE TRANSACTION 'gtrid'")  # the driver's own words have no SQLSTATE
    xid = conn.xid(1, "gtrid", "branch")
    conn.autocommit = False
    conn.tpc_begin(xid)
    conn.execute("INSERT INTO note VALUES (4, 'two phases')")
    conn.tpc_prepare()
    conn.tpc_commit()
    conn.autocommit = True
    check("two phases", conn.execute("SELECT count(*) FROM note").fetchone(), (3,))


def pipelines(conn):
    with conn.pipeline():
        cursors = [conn.execute("INSERT INTO note VALUES (%s, 'piped') RETURNING id", (n,)) for n in range(10, 15)]
        check("pipeline", [cursor.fetchone()[0] for cursor in cursors], [10, 11, 12, 13, 14])
    try:
        with conn.pipeline() as pipeline:
            conn.execute("INSERT INTO note VALUES (20, 'before the error')")
            conn.execute("INSERT INTO note VALUES (10, 'twice')")
            conn.execute("INSERT INTO note VALUES (21, 'after the error')")
            pipeline.sync()
    except errors.UniqueViolation as error:
        check("error in a pipeline", error.diag.constraint_name, "note_pkey")
    with conn.pipeline() as pipeline:
        for number in (30, 31, 32):
            conn.execute("INSERT INTO note VALUES (%s, 'several syncs')", (number,))
            pipeline.sync()
    rows = conn.execute("SELECT id FROM note WHERE id >= 20 ORDER BY 1").fetchall()
    check("what pipelines left", [row[0] for row in rows], [30, 31, 32])


def copies(conn):
    with conn.cursor() as cursor:
        for number, options in enumerate(("TEXT", "CSV", "BINARY")):
            first = 100 + 10 * number
            with cursor.copy(f"COPY note FROM STDIN (FORMAT {options})") as copy:
                if options == "CSV":
                    copy.write(f'{first},"a,b"\n{first + 1},\n{first + 2},""\n')
                else:
                    if options == "BINARY":
                        copy.set_types(["int4", "text"])
                    for row in ((first, "a,b"), (first + 1, None), (first + 2, "")):
                        copy.write_row(row)
            check(f"copy in, {options}", cursor.statusmessage, "COPY 3")
            rows = conn.execute("SELECT body FROM note WHERE id BETWEEN %s AND %s ORDER BY id", (first, first + 2))
            check(f"copied, {options}", [row[0] for row in rows], ["a,b", None, ""])
            with cursor.copy(f"COPY (SELECT * FROM note WHERE id >= {first} ORDER BY 1) TO STDOUT (FORMAT {options})") as copy:
                data = b"".join(bytes(block) for block in copy)
            check(f"copy out, {options}", data[:400], data[:400])
        try:
            with cursor.copy("COPY note FROM STDIN") as copy:
                copy.write_row((200, "lost with the error"))
                raise RuntimeError("stop")
        except RuntimeError:
            pass
        check("copy given up", conn.execute("SELECT count(*) FROM note WHERE id = 200").fetchone(), (0,))
        try:
            with cursor.copy("COPY note FROM STDIN") as copy:
                copy.write("not a number\tx\n")
        except errors.InvalidTextRepresentation as error:
            check("copy refused", error.diag.context.splitlines()[0][:16], "COPY note, line ")
        big = "x" * 200_000
        with cursor.copy("COPY note FROM STDIN") as copy:
            for number in range(300, 320):
                copy.write_row((number, big))
        got = conn.execute("SELECT body FROM note WHERE id >= 300").fetchall()
        check("copy of 4 MB", (len(got), all(row[0] == big for row in got)), (20, True))


def cursors(conn):
    with conn.transaction():
        with conn.cursor(name="walk", scrollable=True) as cursor:
            cursor.execute("SELECT generate_series(1, 100)")
            check("fetch", [row[0] for row in cursor.fetchmany(3)], [1, 2, 3])
            cursor.scroll(50)
            check("after a jump", cursor.fetchone(), (54,))
            cursor.scroll(-10)
            check("after a jump back", cursor.fetchone(), (45,))
    with conn.cursor(name="held", withhold=True) as cursor:
        cursor.execute("SELECT generate_series(1, 10)")
        check("held", len(cursor.fetchall()), 10)


def remarks(conn):
    got = []
    conn.add_notice_handler(lambda n: got.append(
        (n.severity, n.sqlstate, n.message_primary, n.message_detail, n.message_hint)))
    conn.execute("SELECT remark('a thing')")
    check("notice", got, [("NOTICE", "01ABC", "remark on a thing", "the detail", "the hint")])


def listens(conn):
    conn.execute("LISTEN news")
    with connect() as other:
        other.execute("NOTIFY news, 'from another'")
    conn.execute("SELECT pg_notify('news', 'from itself')")
    heard = [n.payload for n in conn.notifies(timeout=10, stop_after=2)]
    check("notifications", heard, ["from another", "from itself"])
    conn.execute("UNLISTEN *")


def messages(conn):
    unserved("functions of the database", lambda: remarks(conn))
    unserved("LISTEN", lambda: listens(conn))
    for name, value in (("application_name", "a driver"), ("TimeZone", "Asia/Tokyo"), ("DateStyle", "ISO, DMY")):
        conn.execute(f"SET {name} = '{value}'")
        check("parameter", conn.info.parameter_status(name), value)
    conn.execute("RESET ALL")
    check("server", conn.info.parameter_status("server_encoding"), "UTF8")


def show(statement, got):
    check(statement, got, got)
    if not got["sqlstate"] or not (got.get("source_function") or ANSWERS):
        sys.exit(f"{statement}: fields are missing: {got}")


def failures(conn):
    fields = ["severity", "sqlstate", "message_primary", "schema_name", "table_name", "column_name", "constraint_name"]
    if not ANSWERS:
        # MySQL does not know where in the text an error is, nor what may help.
        fields += ["message_detail", "message_hint", "statement_position", "context", "datatype_name", "source_function"]
    def fields_of(statement, *parameters):
        try:
            conn.execute(statement, *parameters)
        except psycopg.Error as error:
            return {field: getattr(error.diag, field) for field in fields if getattr(error.diag, field)}
        sys.exit(f"{statement} did not fail")
    for statement in (
        "INSERT INTO account (email) VALUES ('a@x')",
        f"INSERT INTO account VALUES (50, NULL, '{TOKEN}', DEFAULT, 1, true, NULL, NULL, NULL, NULL, '2024-01-01Z')",
        f"INSERT INTO account VALUES (50, 'poor@x', '{TOKEN}', DEFAULT, -1, true, NULL, NULL, NULL, NULL, '2024-01-01Z')",
        "INSERT INTO device VALUES (1, 999, 'orphan')",
        "INSERT INTO device VALUES (1, 1, repeat('x', 21))",
        "UPDATE account SET emial = 'x'",
        "INSERT INTO account (email, data) VALUES ('j@x', '{')",
    ):
        show(statement, fields_of(statement))
    for what, statement in (
        ("a statement that is not understood", "INSRT INTO account"),
        ("DO", "DO $$ BEGIN RAISE EXCEPTION 'custom' USING ERRCODE = 'ZZ001', HINT = 'none', COLUMN = 'c'; END $$"),
    ):
        if ANSWERS == "mysql":
            unserved(what, lambda: conn.execute(statement))
        else:
            unserved(what, lambda: show(statement, fields_of(statement)))
    check("still usable", conn.execute("SELECT 1").fetchone(), (1,))


def cancel_once_asleep(conn):
    asleep = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    with connect() as other:
        while not other.execute(asleep).fetchall():
            pass
    conn.cancel_safe()


def cancelling(conn):
    if ANSWERS == "mysql":
        unserved("pg_sleep", lambda: conn.execute("SELECT pg_sleep(30)"))
    else:
        unserved("pg_sleep", lambda: cancelled(conn))
    check("usable after cancelling", conn.execute("SELECT 1").fetchone(), (1,))


def cancelled(conn):
    for _ in range(3):
        timer = threading.Thread(target=cancel_once_asleep, args=(conn,))
        timer.start()
        try:
            conn.execute("SELECT pg_sleep(30)")
            sys.exit("the cancel request was lost")
        except errors.QueryCanceled as error:
            check("cancelled", error.sqlstate, "57014")
        timer.join()


def held(conn):
    """The primary changes under the connection: until it has."""
    prepared = lambda: conn.execute("SELECT %s::int + 7", (1,), prepare=True).fetchone()
    check("prepared before", prepared(), (8,))
    if "CHANGES" in os.environ:
        print("connected", flush=True)
        sys.stdin.readline()
    check("executed after", prepared(), (8,))


def main():
    # It remarks on pipelines that were aborted before it had asked, which is a matter of timing.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    with connect() as conn:
        for part in (held, queries, writes, transactions, pipelines):
            part(conn)
        unserved("COPY", lambda: copies(conn))
        unserved("DECLARE CURSOR", lambda: cursors(conn))
        for part in (messages, failures, cancelling):
            part(conn)
    check("closed", conn.closed, True)


main()
