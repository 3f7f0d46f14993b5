//! The tests that need more than one module: one binary, since linking is what costs.

#![allow(unreachable_pub, reason = "nothing outside this binary reaches any of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its supporting code too")]

mod drivers;
#[allow(dead_code, reason = "a world offers what tests to come need")]
mod support;

mod abandon;
mod admin;
mod answer;
mod apply;
mod backfill;
mod capture;
mod check;
mod compared_back;
mod complete;
mod config;
mod dashboard;
mod demo;
mod deploy;
mod docs;
mod failover;
mod follow;
mod formats;
mod fuzz;
mod hostile;
mod lease;
mod login;
mod loose;
mod moved;
mod parents;
mod postgres18;
mod privacy;
mod random;
mod reload;
mod repair;
mod reversed;
mod seen;
mod setup;
mod shadow;
mod statements;
mod strict;
mod switchover;
mod tidy;
mod torment;
mod translate;
mod trouble;
mod truncate;
mod under_load;
mod unseen;
mod upgrades;
mod verify;
mod wire;
mod writer;
