//! Crossfade carries an auth service's data from PostgreSQL to MySQL while the service runs.
//!
//! It is a sidecar: the application speaks the PostgreSQL protocol to it instead of to PostgreSQL,
//! and notices nothing. What the application writes is committed on PostgreSQL as ever, and each row
//! that was written arrives on MySQL exactly as PostgreSQL has it.
//!
//! ```text
//!  client ⇄ listener ─▶ session ─▶ plan ─▶ PostgreSQL ─▶ capture ─▶ outbox (in the same transaction)
//!               wire (both ways)                            │
//!                                                           └─▶ apply ─▶ MySQL (fence, rows) ─▶ outbox settled
//!  beside the stream:   catalog   value
//!  above it:            control ── watch<Situation> ─▶ session, apply
//!  around it:           admin (HTTP, dashboard, /metrics)   config   cli   demo
//! ```
//!
//! # Words
//!
//! - **primary, secondary**: who answers, who follows. Roles are values; products are modules.
//! - **row image**: the whole row after a write, as the primary returned it.
//! - **version**: `(epoch, counter, n)`, compared in that order; says which of two images of one row
//!   is newer. With PostgreSQL as primary the counter is the LSN, `n` the statement's number.
//! - **outbox**: a table on the primary that a write's own transaction fills with the keys it touched.
//! - **fence**: a table on the secondary: for each row the newest version applied, and whether that
//!   was a delete (a tombstone).
//! - **epoch**: grows with each change of who is primary, and whenever the primary is not the server
//!   it was.
//! - **dirty**: said of a table, or a key, whose two sides may differ.
//! - **situation**: phase, epoch, timeline and catalogue of one moment, published together.
//! - **policy**: what proxy.yaml asks for, for one table: mode, timeout, capture.
//!
//! # What always holds
//!
//! 1. A client never gets an error for something the primary has committed.
//! 2. A write and the duty to copy it commit together or not at all: the outbox entry is part of the
//!    client's own statement ([`plan`]) or of a trigger's.
//! 3. An outbox entry outlives its change: it is deleted only after the secondary has committed the
//!    change, or a newer one ([`outbox`]).
//! 4. A row changes on the secondary if and only if its fence moved forward, in one transaction
//!    ([`backend::mysql`]). So an apply can be repeated, reordered, and run by any number of sidecars.
//! 5. Rows are replayed, never statements; a value that MySQL has no equal for is refused and shown,
//!    never approximated ([`value`]).
//! 6. What is not understood passes byte for byte, or is refused with an SQLSTATE; a write that is
//!    not captured is counted, and its table marked dirty.
//! 7. Giving up what is in memory is always safe: the outbox has it ([`handoff`]).
//! 8. No row value, parameter, SQL text or secret is in a log, an error, a metric or a panic.
//! 9. Every queue, cache and wait has a bound with a name ([`config`]).
//! 10. No read is answered by a sidecar that has not confirmed phase and epoch within its [`lease`].
//!
//! # How order is known
//!
//! The LSN that versions an image is read while the row's lock is held, and after the row's own change
//! is in the log. Another transaction can touch the row only after this one has committed, which
//! writes more log. So for one row, later change ⇔ larger LSN, whatever order the images reach the
//! secondary in.
//!
//! # Where building changed the design
//!
//! - The outbox entry is written by the client's own statement everywhere, not in front of COMMIT: so
//!   entry and row share every savepoint, and the epoch is checked with each write. A lock that
//!   ROLLBACK TO gives up takes its write with it. It is written by a function in RETURNING rather
//!   than by an INSERT in a WITH list: planning that took PostgreSQL longer than running it.
//! - Rows of one table go to the secondary in one statement with ON DUPLICATE KEY UPDATE, but only
//!   with the whole key compared: where the clause was fired by another unique key, it sets a key
//!   column to NULL, and the statement fails instead of changing another's row.
//! - Keys and images travel as `record_send(…)`, which no DateStyle, TimeZone or bytea_output
//!   changes. A client_encoding other than UTF8 does: such sessions are flagged.
//! - A delete entry is believed only once the row was seen to be gone, and again after whoever wrote to its
//!   table then has ended; no version is past the log's end: otherwise a forged entry could remove or hide
//!   a row.
//! - A row whose parent the secondary lacks takes it along, read and versioned like any row that a drain
//!   reads; `strict` commits the parents before its own transaction. So dual writes work before the
//!   backfill is through.
//! - Who runs at a moment is told by a transaction number of our own, not by a snapshot's xmax, which is
//!   only past what has completed ([`outbox::Moment`]).
//! - The primary's identity is timeline, system identifier and the database's OID.
//! - The result of a verify pass lives on the primary (`crossfade.verified`), not in the process that
//!   compared, so every sidecar shows the same.
//! - Without the lease reads wait and are then refused, and so are new writes; COMMIT and the answers to
//!   writes pass: their guard holds the lock that a change of epoch waits for ([`lease`]).
//! - What a column becomes in MySQL is recorded by `setup` where proxy.yaml has a choice: sidecars with
//!   files of their own could otherwise write one column by two rules.
//! - After DDL the two schemas are compared by MySQL itself, as text, with an empty temporary table of
//!   the wanted shape ([`catalog::ddl::shape`]).
//! - A table with triggers gets RETURNING too while its mode is `strict`, for images before the commit.
//!
//! - A delete or key change on the secondary is refused while a row that its cascade would reach is newer:
//!   InnoDB asks no fence ([`backend::mysql`]).
//! - Within a transaction a change that clashes may wait for the others, but what comes after it on the
//!   same row waits behind it: the fence judges a batch before its rows are written.
//! - A connection that did not roll back is given up: MySQL's BEGIN commits what is open.
//! - A drain leaves entries of a later epoch alone, and never changes its connections within a pass.
//! - No look at the primary waits for the secondary: the epoch is carried there by a task of its own.
//! - Entries are claimed and deleted only on the server, and in the epoch, that they are known of.
//! - `verify` reads each side in its own order and compares sums by bucket: no order of keys has to be the
//!   same in both databases, and neither side sorts.
//! - Which rows differ comes from the sums themselves while they are few: an invertible Bloom lookup table
//!   beside the buckets. `--checksum` hashes by buckets of hashed keys, not by ranges; types without one
//!   exact text are read, not guessed ([`verify`]).
//! - PostgreSQL as the secondary is written to as a replica: no trigger and no foreign key acts there, since
//!   what they do has been done, so rows may come in any order ([`backend::postgres::follow`]).
//! - With MySQL as the primary a row that is gone has a counter in the fence, so that nobody has to be waited
//!   out for it; what InnoDB shows may not be on disk yet, so a drain flushes before it applies
//!   ([`backend::mysql::outbox`]).
//! - With MySQL as the primary every write is a program by key, without RETURNING too; ON CONFLICT is find,
//!   insert, or update by key, never ON DUPLICATE KEY ([`dialect`]). It notes keys only; images are read again.
//! - Counters of rows and of a TRUNCATE are comparable there only because the table's own entry is raised past
//!   all of them, and a row's goes on from the table's.
//! - MySQL's transaction begins with the first statement that needs it, and savepoints are known to it by their
//!   place, since a name stands once only there ([`answer`]).
//! - What PostgreSQL says about a statement is kept by its text, the kinds of its literals, the declared types
//!   and the search path; a shadow read asks both sides anew ([`shadow`]).
//! - Before a sweep looks for tombstones, it waits for every apply that began before its chunk was committed:
//!   an apply writes its rows first, and entries that are new to the fence at its end
//!   ([`backend::mysql::copy`]).
//! - What a chunk may still need of the fence is told by a moment of the primary's log after which every
//!   transaction has ended, not by the LSN of its snapshot: a delete's version is older than its commit.
//! - Whose turn it is, either database can say alone. While it is MySQL's, the lease is confirmed there, and
//!   the catalogue that it keeps lets a sidecar start without PostgreSQL ([`control::store`]).
//! - What a session has on its server is asked of the server when it moves. It is logged in again by what it has
//!   shown of its password: SCRAM's client key comes out of the proof and the verifier ([`door`], [`route`]).
//! - Who writes past Crossfade is refused by a statement trigger that shares the lock, so holding the lock alone
//!   covers every writer; no LOCK TABLE. The epoch moves, and an attempt is undone, only with the attempt's line
//!   locked; MySQL's state row is asked for with NOWAIT, so nobody queues behind it ([`control::switchover`]).
//! - Leaving PostgreSQL for good is one row on MySQL. A write asks for it where it asks for the epoch, so nobody
//!   is held; outbox and fence are dropped after the last transaction that has noted something. Giving the
//!   migration up has sidecars go transparent between two transactions, each by a hold of its own; then the
//!   schema is dropped, and with it every trigger ([`control::switchover`]).
//! - A group of tables moves by the same attempt as all of them: PostgreSQL's settings say from which epoch on MySQL
//!   leads them, before the sequence reaches it, and MySQL says so once it has taken them. Each end sees a
//!   catalogue in which the other's tables are elsewhere ([`phase::Views`]), and so every part works as ever; a
//!   client has one session on each, and [`parts`] in front of them. MySQL's part has a lease of its own, and its
//!   session begins with the first statement that needs it, so that PostgreSQL's tables do not wait for MySQL.
//! - A cancel request of a client of both goes to the one that runs its statement ([`parts`]): it waits for what is
//!   said to keep them alike, which waits for it in turn.
//! - A record of the control tables' version on both sides says down to which version programs may use them
//!   ([`control::layout`]); its version never goes down, so the `setup` of the version before does no harm. While a
//!   group is on MySQL it keeps out what knows no groups, and lets that in again after.
//! - The last hour is kept by each sidecar in a bounded ring; stuck entries are listed without their keys
//!   ([`admin`]). Rows are counted only while they are few; beyond, statistics have to do.
//! - The model in `tests/model` says what backfill, repair and switchover have to keep beyond the
//!   design: a chunk is done only after its sweep; the old primary gets the new epoch first, and the
//!   lease is waited out between the two; repair begins once both sides have the epoch.
//!
//! # Reading order
//!
//! A module uses modules of earlier lines only; `tests/tidy.rs` holds it to that. Up to [`capture`]
//! nothing awaits, and nothing touches the network, the disk or the clock.
//!
//! | modules | purpose |
//! | --- | --- |
//! | [`names`] [`value`] [`policy`] | tables, columns, numbers; one SQL value, read and written exactly; what the user wants |
//! | [`wire`] [`sql`] [`catalog`] | frames; text to tokens and tree; tables, the type map, MySQL's schema |
//! | [`change`] [`phase`] | what a write did; where the migration stands |
//! | [`plan`] | what becomes of a statement: pass, capture, flag |
//! | [`dialect`] | a statement of PostgreSQL as a program for MySQL |
//! | [`capture`] | our columns cut off again, images kept until the commit |
//! | [`backend`] [`outbox`] [`handoff`] | both databases: reached, asked, written; where clients' flow meets the secondary's |
//! | [`lease`] [`hold`] | whether this sidecar may answer; clients held while the primary changes |
//! | [`door`] [`served`] | who wants in: packets, TLS, SCRAM; what is counted of clients, whoever answers |
//! | [`session`] [`answer`] [`apply`] | one client, PostgreSQL or MySQL answering; the workers that face the secondary |
//! | [`backfill`] [`verify`] | old rows copied; both sides compared |
//! | [`shadow`] | reads tried on the secondary before it has to answer them |
//! | [`control`] | sets up, publishes the situation |
//! | [`parts`] | one client of two databases that lead different tables |
//! | [`route`] | one client, from whoever answers to whoever answers next |
//! | [`listener`] [`admin`] | who may come in; HTTP beside the stream |
//! | [`metrics`] [`telemetry`] | composed from all of the above |
//! | [`config`] | proxy.yaml, with every mistake named at once |
//! | [`proxy`] | config to tasks: start order, drain order, nothing else |
//! | [`demo`] [`cli`] | the story on throwaway servers; one command a file |

pub mod names;
pub mod policy;
pub mod value;

pub mod catalog;
pub mod sql;
pub mod wire;

pub mod change;
pub mod phase;

pub mod dialect;
pub mod plan;

pub mod capture;

pub mod backend;
pub mod handoff;
pub mod hold;
pub mod lease;
pub mod outbox;

pub mod door;
pub mod served;

pub mod answer;

pub mod apply;
pub mod backfill;
pub mod session;
pub mod shadow;
pub mod verify;

pub mod control;

pub mod parts;

pub mod route;

pub mod admin;
pub mod listener;

pub mod config;

pub mod metrics;
pub mod proxy;
pub mod telemetry;

pub mod demo;

pub mod cli;
