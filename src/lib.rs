//! Crossfade carries an auth service's data from PostgreSQL to MySQL while the service runs.

pub mod names;
pub mod policy;
pub mod value;

pub mod catalog;
pub mod sql;
pub mod wire;

pub mod change;
pub mod phase;

pub mod plan;

pub mod capture;

pub mod backend;
pub mod handoff;
pub mod outbox;

pub mod apply;
pub mod session;

pub mod control;

pub mod admin;
pub mod listener;

pub mod config;

pub mod metrics;
pub mod proxy;
pub mod telemetry;

pub mod demo;

pub mod cli;
