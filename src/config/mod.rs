//! proxy.yaml → [`Config`].
//!
//! ```text
//! proxy.yaml ──yaml──▶ nodes with lines ──reader──▶ Config
//!                                           └──▶ every mistake, `proxy.yaml:LINE: key: message`
//! ```
//!
//! Invariant: a `Config` that exists is right: units, ranges and files were checked while it was
//! read, and whoever has one need not check again. All mistakes of a file are reported together.
//!
//! Not here: what the values mean. A knob's effect is described beside its module.

mod address;
mod expand;
mod limits;
mod reader;
#[cfg(test)]
mod reference;
mod tables;
mod unit;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::admin::{AdminConfig, Token};
use crate::backend::from_url::FromUrl;
use crate::backend::mysql::ToUrl;
use crate::backend::mysql::connect::LinkLimits;
use crate::backend::postgres::connect::Connector;
use crate::backend::tls::{TlsError, TlsFiles};
use crate::backend::url::DatabaseUrl;
use crate::backfill::{Bounds, Options};
use crate::control::Ends;
use crate::listener::Address;
use crate::policy::Policies;
use crate::shadow::ShadowLimits;
use crate::telemetry::{LogConfig, LogFormat};
use crate::verify;

pub use address::Secret;
pub use limits::{LimitMetrics, LimitsConfig};
pub use tables::mode;

use reader::{Reader, Section};

/// Largest proxy.yaml that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// All of proxy.yaml.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: ListenConfig,
    pub admin: AdminConfig,
    pub from: FromUrl,
    pub to: ToUrl,
    pub tables: Policies,
    pub backfill: BackfillConfig,
    pub verify: VerifyConfig,
    pub shadow: ShadowConfig,
    pub limits: LimitsConfig,
    pub log: LogConfig,
}

/// The `listen:` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    pub address: Address,
    pub tls: Option<TlsFiles>,
    /// SCRAM verifiers by user name, where `pg_authid` cannot be read.
    pub users: BTreeMap<String, Secret>,
}

/// The `backfill:` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillConfig {
    pub workers: usize,
    pub chunk_rows: usize,
    pub chunk_bytes: usize,
    /// Rows per second; `None` is unlimited.
    pub max_rate: Option<u64>,
    /// Over any of these, copying waits.
    pub bounds: Bounds,
}

impl BackfillConfig {
    /// As the `backfill:` section asks for it.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            workers: self.workers,
            chunk_rows: self.chunk_rows,
            chunk_bytes: self.chunk_bytes,
            max_rate: self.max_rate,
            bounds: self.bounds,
            again: false,
        }
    }
}

/// The `verify:` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyConfig {
    /// Rows per second that are read on each side; `None` is unlimited.
    pub max_rate: Option<u64>,
    /// How long rows that are on their way are waited for.
    pub patience: Duration,
}

impl VerifyConfig {
    /// As the `verify:` section asks for it.
    #[must_use]
    pub fn options(&self) -> verify::Options {
        verify::Options { patience: self.patience, max_rate: self.max_rate, checksum: false }
    }
}

/// The `shadow:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowConfig {
    /// Share of reads also run on the secondary, 0 to 1.
    pub share: f64,
    /// Reads that are tried at the same time, each with a connection to both sides.
    pub pool: usize,
    pub limits: ShadowLimits,
}

/// Why there is no [`Config`]: every mistake of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the user named it.
    file: String,
    mistakes: Vec<Mistake>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.mistakes.iter().enumerate() {
            let Mistake { line, key, message } = mistake;
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", self.file)?;
            if *line > 0 {
                write!(f, ":{line}")?;
            }
            if !key.is_empty() {
                write!(f, ": {key}")?;
            }
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong; line 0 stands for the file as a whole.
#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    line: usize,
    key: String,
    message: String,
}

impl Mistake {
    fn new(line: usize, key: &str, message: &str) -> Self {
        Self { line, key: key.to_owned(), message: message.to_owned() }
    }
}

impl Config {
    /// Both databases, not yet connected to.
    pub fn ends(&self) -> Result<Ends, TlsError> {
        let from = Connector::new(self.from.clone())?;
        let limits = LinkLimits {
            connect_timeout: self.limits.connect_timeout,
            // Adding a foreign key may wait for others, and one session is silent meanwhile.
            ..LinkLimits::default()
        };
        Ok(Ends { from, to: self.to.clone(), limits })
    }

    /// Reads the file at `path`, with variables from the environment.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = read_file(path).map_err(|message| ConfigError {
            file: name.clone(),
            mistakes: vec![Mistake::new(0, "", &message)],
        })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &name, directory, &|name| std::env::var(name).ok())
    }

    /// Reads `text`. `name` is what messages call it, `directory` where relative paths start,
    /// `lookup` finds variables.
    pub fn parse(
        text: &str,
        name: &str,
        directory: &Path,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let failed = |mistakes| ConfigError { file: name.to_owned(), mistakes };
        let root = yaml::parse(text).map_err(|mistake| failed(vec![mistake]))?;
        let reader = Reader::new(lookup, directory);
        let config = top(&reader, Section::new(&reader, "", root));
        match (config, reader.into_mistakes()) {
            (Some(config), mistakes) if mistakes.is_empty() => Ok(config),
            (_, mistakes) => Err(failed(mistakes)),
        }
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| reader::reason(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| reader::reason(&error))
}

/// Reads every section, also after one of them was wrong: each has its mistakes reported.
fn top(reader: &Reader<'_>, mut root: Section<'_, '_>) -> Option<Config> {
    let listen = listen(reader, root.section("listen"));
    let admin = admin(root.section("admin"));
    let from = database(reader, root.section("from"), &address::POSTGRES).map(address::as_libpq);
    let to = database(reader, root.section("to"), &address::MYSQL);
    let tables = tables::read(root.section("tables"));
    let tables = tables.with_types(tables::types(root.section("types")));
    let backfill = backfill(root.section("backfill"));
    let verify = verifying(root.section("verify"));
    let shadow = shadow(root.section("shadow"));
    let limits = limits::read(root.section("limits"));
    let log = log(reader, root.section("log"));
    root.finish();
    let (from, to) = (from?, to?);
    Some(Config { listen, admin, from, to, tables, backfill, verify, shadow, limits, log })
}

fn listen(reader: &Reader<'_>, mut section: Section<'_, '_>) -> ListenConfig {
    let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 6432 };
    let address = section.read("address", address, address::listen);
    let tls = section.optional_section("tls").and_then(|tls| listen_tls(reader, tls));
    let users = section.section("users").into_texts();
    section.finish();
    let users = users.into_iter().map(|(name, text)| (name, Secret::new(text))).collect();
    ListenConfig { address, tls, users }
}

fn listen_tls(reader: &Reader<'_>, mut section: Section<'_, '_>) -> Option<TlsFiles> {
    let cert = section.required("cert", |text| reader.file(text));
    let key = section.required("key", |text| reader.file(text));
    let required = section.read("required", false, unit::switch);
    section.finish();
    Some(TlsFiles { cert: cert?, key: key?, required })
}

fn admin(mut section: Section<'_, '_>) -> AdminConfig {
    let address = SocketAddr::from(([127, 0, 0, 1], 9100));
    let address = section.read("address", address, |text| {
        text.parse().map_err(|_| format!("\"{text}\" is not an IP address with a port"))
    });
    let token = section.optional("token", |text| Ok(text.to_owned()));
    section.finish();
    AdminConfig { address, token: token.filter(|token| !token.is_empty()).map(Token::new) }
}

fn database<M: Copy>(
    reader: &Reader<'_>,
    mut section: Section<'_, '_>,
    dialect: &address::Dialect<M>,
) -> Option<DatabaseUrl<M>> {
    if !section.has("url") {
        section.mistake("url", "is missing");
    }
    let file = |path: &str| reader.file(path);
    let url = section.raw("url", |text| address::database(dialect, text, reader.lookup(), &file));
    section.finish();
    url
}

fn backfill(mut section: Section<'_, '_>) -> BackfillConfig {
    let backfill = BackfillConfig {
        workers: section.read("workers", 2, unit::between(1, 64)),
        chunk_rows: section.read("chunk_rows", 5000, unit::between(1, 100_000)),
        chunk_bytes: section.read("chunk_bytes", 8 << 20, unit::size),
        max_rate: section.read("max_rate", None, unit::rate),
        bounds: Bounds {
            outbox: section.read("max_outbox", 10_000, unit::between(1, 100_000_000)),
            lag: section.read("max_lag", Duration::from_secs(10), unit::duration),
            latency: section.read("max_latency", Duration::from_millis(250), unit::duration),
        },
    };
    section.finish();
    backfill
}

fn verifying(mut section: Section<'_, '_>) -> VerifyConfig {
    let verify = VerifyConfig {
        max_rate: section.read("max_rate", None, unit::rate),
        patience: section.read("patience", Duration::from_secs(60), unit::duration),
    };
    section.finish();
    verify
}

fn shadow(mut section: Section<'_, '_>) -> ShadowConfig {
    let default = ShadowLimits::default();
    let shadow = ShadowConfig {
        share: section.read("share", 0.0, unit::share),
        pool: section.read("pool", 4, unit::between(1, 64)),
        limits: ShadowLimits {
            rows_max: section.read("rows_max", default.rows_max, unit::between(1, 100_000)),
            bytes_max: section.read("bytes_max", default.bytes_max, unit::size),
            timeout: section.read("timeout", default.timeout, unit::duration),
            settle: section.read("settle", default.settle, unit::duration),
        },
    };
    section.finish();
    shadow
}

fn log(reader: &Reader<'_>, mut section: Section<'_, '_>) -> LogConfig {
    const LEVELS: [(&str, tracing::Level); 5] = [
        ("error", tracing::Level::ERROR),
        ("warn", tracing::Level::WARN),
        ("info", tracing::Level::INFO),
        ("debug", tracing::Level::DEBUG),
        ("trace", tracing::Level::TRACE),
    ];
    const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log = LogConfig {
        level: section.read("level", tracing::Level::INFO, |text| unit::word(&LEVELS, text)),
        format: section.read("format", LogFormat::Text, |text| unit::word(&FORMATS, text)),
        file: section.optional("file", |text| Ok(reader.path(text))),
    };
    section.finish();
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::TableName;
    use crate::policy::Mode;

    const URLS: &str =
        "from: { url: 'postgres://u@h/d' }\nto: { url: 'mysql://u:${PASSWORD}@h/d' }\n";

    fn read(text: &str) -> Result<Config, String> {
        let lookup = |name: &str| (name == "PASSWORD").then(|| "hunter2".to_owned());
        Config::parse(text, "proxy.yaml", Path::new("/nowhere"), &lookup)
            .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(section: &str, expected: &str) {
        assert_eq!(read(&format!("{URLS}{section}")).unwrap_err(), expected);
    }

    #[test]
    fn two_urls_are_enough() {
        let config = read(URLS).unwrap();
        assert_eq!(config.limits, LimitsConfig::default());
        assert_eq!(config.tables.of(&TableName::parse("users")), tables::DEFAULT);
        assert_eq!(config.to.password.reveal().as_deref(), Some("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_first_line_of_tables_that_fits_wins() {
        let config = read(&format!(
            "{URLS}tables:\n  logs: {{ mode: async, outbox: false }}\n  \"l*\": {{ mode: strict, \
             timeout: 1s }}\n  \"*\": {{ mode: \"off\" }}\n"
        ))
        .unwrap();
        let of = |table: &str| config.tables.of(&TableName::parse(table));
        assert_eq!((of("logs").mode, of("logs").outbox), (Mode::Async, false));
        assert_eq!((of("left").mode, of("left").timeout.as_secs()), (Mode::Strict, 1));
        assert_eq!(of("auth.users").mode, Mode::Off);
    }

    #[test]
    fn every_mistake_is_listed_with_its_line() {
        let text = "\
listen: { adress: 127.0.0.1:1, tls: { cert: none.crt } }
limits:
  lease: 5
  lease: 6s
  queue_bytes: [64MiB]
tables:
  logs: { mode: blocking, outbox: false }
from: { url: 'postgres://u:${NONE}@h/d' }
colour: blue
";
        assert_eq!(
            read(text).unwrap_err(),
            "\
proxy.yaml:1: listen.tls.cert: file \"/nowhere/none.crt\": no such file
proxy.yaml:1: listen.tls.key: is missing
proxy.yaml:1: listen.adress: unknown key; did you mean \"address\"?
proxy.yaml:1: to.url: is missing
proxy.yaml:3: limits.lease: \"5\" is not a duration; write for instance 500ms, 2s, 5m or 1h
proxy.yaml:4: limits.lease: is given twice, first on line 3
proxy.yaml:5: limits.queue_bytes: must be a single value
proxy.yaml:7: tables.logs.outbox: may be false with mode async only: the other modes promise more
proxy.yaml:8: from.url: environment variable NONE is not set
proxy.yaml:9: colour: unknown key; known here: listen, admin, from, to, tables, types, backfill, \
             verify, shadow, limits, log"
        );
    }

    #[test]
    fn tables_have_lines_that_can_be_reached_and_mean_something() {
        refused(
            "tables:\n  '*': { mode: async }\n  users: { mode: async }",
            "proxy.yaml:5: tables.users: can never be reached: the line \"*\" before it fits every \
             table",
        );
        refused(
            "tables:\n  users: { mode: async, timeout: 2s }",
            "proxy.yaml:4: tables.users.timeout: has no meaning here: only blocking and strict wait",
        );
        refused("tables:\n  users: {}", "proxy.yaml:4: tables.users.mode: is missing");
        refused(
            "tables: users",
            "proxy.yaml:3: tables: must be a section of its own: key: value lines",
        );
    }

    #[test]
    fn types_are_chosen_from_exact_ones() {
        let config = read(&format!("{URLS}types: {{ jsonb: text, text: varchar(191) }}")).unwrap();
        let record = config.tables.types().record();
        assert_eq!(record, "jsonb=text numeric=text uuid=char citext=ci text=varchar(191)");
        refused(
            "types: { uuid: text }",
            "proxy.yaml:3: types.uuid: \"text\" is not one of char, binary",
        );
        refused(
            "types: { text: varchar(9000) }",
            "proxy.yaml:3: types.text: \"varchar(9000)\" is neither longtext nor varchar(1) to \
             varchar(4000)",
        );
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        let message = read("listen:\n  - a\n b: [").unwrap_err();
        assert!(message.starts_with("proxy.yaml:"), "{message}");
        assert!(read("a: &x 1\nb: *x").unwrap_err().contains("aliases"), "aliases");
        let deep = "a: ".to_owned() + &"[".repeat(40) + &"]".repeat(40);
        assert_eq!(read(&deep).unwrap_err(), "proxy.yaml:1: is nested too deeply");
        let flood = "[".repeat(1 << 19);
        assert_eq!(
            read(&flood).unwrap_err(),
            "proxy.yaml:1: is not YAML: recursion limit exceeded"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Config::load(Path::new("/nowhere/proxy.yaml")).unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/proxy.yaml: no such file");
    }

    const REFERENCE: &str = include_str!("../../proxy.yaml");

    #[test]
    fn the_reference_holds_the_defaults() {
        let none = |_: &str| None;
        let reference = Config::parse(REFERENCE, "proxy.yaml", Path::new(""), &none).unwrap();
        let default = read(URLS).unwrap();
        let sections = |config: &Config| {
            let Config { listen, admin, backfill, verify, shadow, limits, log, .. } = config;
            format!("{listen:#?}{admin:#?}{backfill:#?}{verify:#?}{shadow:#?}{limits:#?}{log:#?}")
        };
        assert_eq!(sections(&reference), sections(&default));
        let any = TableName::parse("any.table");
        assert_eq!(reference.tables.of(&any), default.tables.of(&any));
        assert_eq!(reference.tables.types(), default.tables.types());
    }

    #[test]
    fn the_reference_names_every_key() {
        let text = format!("{URLS}listen: {{ tls: {{}} }}\ntables: {{ t: {{}} }}\n");
        let root = yaml::parse(&text).unwrap();
        let reader = Reader::new(&|_| None, Path::new(""));
        top(&reader, Section::new(&reader, "", root));
        for full in reader.asked() {
            let (section, key) = full.split_once('.').unwrap_or((&full, &full));
            let key = key.rsplit('.').next().unwrap();
            let block = REFERENCE.split(&format!("\n{section}:")).nth(1).unwrap_or_else(|| {
                panic!("section {section} is not in proxy.yaml");
            });
            let end = block.find("\n# ").filter(|_| section != key).unwrap_or(block.len());
            let named = section == key || block[..end].contains(&format!("{key}:"));
            assert!(named, "{full} is not in proxy.yaml");
        }
    }
}
