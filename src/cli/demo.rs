//! `crossfade demo`: the story on throwaway servers; see [`crate::demo`].

use std::io::Write;
use std::time::Duration;

use clap::ValueEnum;

use crate::demo;
use crate::demo::servers::Product;

use super::{Failure, Outcome};

/// The whole story on throwaway servers: dual writes under load, then a comparison row by row.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Clients of the application.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u64).range(1..=64))]
    clients: u64,
    /// How long they work.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The database that is moved to.
    #[arg(long, value_enum, default_value_t = Target::Mariadb)]
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    Mariadb,
    Mysql,
}

impl Demo {
    /// Exits 0 when both databases are equal at the end, 1 when they differ, 3 when a server could
    /// not be started.
    pub(super) async fn run(self, out: &mut impl Write) -> Result<Outcome, Failure> {
        let options = demo::Options {
            target: match self.target {
                Target::Mariadb => Product::MariaDb,
                Target::Mysql => Product::MySql,
            },
            clients: self.clients,
            duration: Duration::from_secs(self.seconds),
        };
        match demo::run(&options, out).await {
            Ok(true) => Ok(Outcome::Well),
            Ok(false) => Ok(Outcome::Found),
            Err(demo::DemoError::Output(error)) => Err(Failure::Output(error)),
            Err(error @ demo::DemoError::Server(_)) => Err(Failure::Unreachable(error.into())),
            Err(error) => Err(Failure::Refused(error.into())),
        }
    }
}
