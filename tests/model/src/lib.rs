//! Crossfade's protocol as a model: every state that small worlds can reach is looked at.
//!
//! ```text
//! client ─▶ [`primary`] ─reply─▶ [`sidecar`] images ─▶ [`secondary`] (fence, rows)
//!              ▲  outbox ◀─settle──┘                        ▲
//!              └──────── [`drain`] reads rows again ────────┤        [`switchover`]: a model of its
//!                        [`fill`] backfill, epochs ─────────┘        own, of who leads
//! [`scene`] what there is, what may go wrong   [`model`] what comes next, what must hold
//! [`scenes`] the scenes and their claims       [`check`] the checker, and what it cannot ask
//! ```
//!
//! A step of the model is one that another party can see: a statement, a COMMIT, an answer, one row
//! read, one transaction on the secondary. Between any two of them a sidecar or the primary may be
//! killed. The rules are those of the code (`backend::mysql::fence` and `execute`, `apply::drain`,
//! `carry`, `gather` and `upkeep`, `crossfade.enter`); where there is no code yet (backfill, repair,
//! switchover, MySQL as primary), those of the design.
//!
//! # What must hold
//!
//! After quiet both sides are equal (three claims: no row missing, none back from the dead, none
//! stale); quiet can be reached from every state; at every moment each difference has something that
//! stands for it, an entry or a backfill or repair that is not finished; no acknowledged write is
//! missing; a stale epoch neither commits nor is applied; no read is stale.
//! For each safeguard a test takes it away, and names the claim that fails then.
//!
//! # Scenes
//!
//! | file | about | bounds |
//! | --- | --- | --- |
//! | [`scenes::rows`] | fence, outbox, late, doubled, pruned, forged | 1 row, 3 transactions, 2 sidecars, 1 fault of a kind |
//! | [`scenes::unique`] | swaps, owners of values | 2 rows, 3 statements a transaction |
//! | [`scenes::cascade`] | parents, children, both again | 2 rows, 3 transactions |
//! | [`scenes::truncate`] | TRUNCATE, also against a chunk | 2 rows |
//! | [`scenes::backfill`] | chunk, sweep, progress | 1 row, 1 chunk |
//! | [`scenes::repair`] | rows too many, rows missing | 1 row |
//! | [`scenes::crash`] | the primary's log taken back | 2 rows, 2 clients, 1 crash |
//! | [`scenes::epochs`] | epoch raised, savepoints, failover | 2 rows, 2 sidecars |
//! | [`scenes::mirror`] | MySQL as primary | 2 rows |
//! | [`scenes::switchover`] | there and back, deaths, two drivers | 2 sidecars, 2 writes each |
//!
//! `make model` goes on with more faults ([`scene::Scene::deeper`]).
//!
//! # What is left out
//!
//! - Values but for their being equal; key changes; more than one chunk, or one child table.
//! - Leases of claims: any sidecar may have any entry in hand at any time, which allows more.
//! - The timeline: the guard's refusal after a promotion is one step with the raise of the epoch.
//! - The secondary's own crash: each of its transactions is one step, kept or not.
//! - Batches of many transactions: a batch that fails is taken apart into single ones.
//!
//! Invariant: a test passes only if the search was exhaustive within its bounds.

pub mod check;
pub mod model;
pub mod scene;
pub mod scenes;
pub mod state;
pub mod switchover;

mod drain;
mod fill;
mod primary;
mod secondary;
mod sidecar;
