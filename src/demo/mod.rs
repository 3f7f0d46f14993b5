//! Throwaway servers, and the story of a migration told on them.

pub mod compare;
pub mod servers;
