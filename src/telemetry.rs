//! Logs: where they go, how they look, and what may be in them.
//!
//! ```text
//! tracing events of this crate ──level──▶ text or JSON ──▶ standard error, or `log.file`
//!                                 ▲                              ▲
//!                                 └────────── reload ────────────┘
//! ```
//!
//! Invariant: only this crate's own events are written. Libraries log statements and parameters at
//! their lower levels, so their events are left out whatever the level. A panic is logged with its
//! place, without its message, which could hold a value.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, reload};

/// The `log:` section of proxy.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub level: Level,
    pub format: LogFormat,
    /// Appended to; opened again on reload, so that it can be rotated. Standard error if not set.
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Why logs cannot be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("could not open log file \"{}\"", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("logs are already set up in this process")]
    Twice,
}

/// The running logs; kept for [`Telemetry::reload`].
#[derive(Clone, Debug)]
pub struct Telemetry {
    filter: reload::Handle<Targets, Registry>,
    sink: Sink,
}

impl Telemetry {
    /// Makes this process log as `config` says, panics included.
    pub fn start(config: &LogConfig) -> Result<Self, TelemetryError> {
        let (telemetry, subscriber) = Self::build(config)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)?;
        std::panic::set_hook(Box::new(log_panic));
        Ok(telemetry)
    }

    /// The same without touching the process, for a subscriber of one's own.
    pub fn build(
        config: &LogConfig,
    ) -> Result<(Self, impl Subscriber + Send + Sync), TelemetryError> {
        let sink = Sink::open(config.file.as_deref())?;
        let (filter, handle) = reload::Layer::new(own_events(config.level));
        let subscriber = tracing_subscriber::registry()
            .with(layer(config.format, sink.clone()).with_filter(filter));
        Ok((Self { filter: handle, sink }, subscriber))
    }

    /// Takes a changed level, and opens the file again. The format stays until the next start.
    pub fn reload(&self, config: &LogConfig) -> Result<(), TelemetryError> {
        self.sink.reopen(config.file.as_deref())?;
        self.filter.reload(own_events(config.level)).map_err(|_| TelemetryError::Twice)
    }
}

fn own_events(level: Level) -> Targets {
    Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::from_level(level))
}

fn layer<S>(format: LogFormat, sink: Sink) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(sink);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    }
}

/// A panic's place says what is wrong; its message may quote the data it stumbled over.
fn log_panic(panic: &PanicHookInfo<'_>) {
    match panic.location() {
        Some(place) => error!(file = place.file(), line = place.line(), "panicked"),
        None => error!("panicked"),
    }
}

/// Where lines go. All clones write to the same place.
#[derive(Clone, Debug)]
struct Sink(Arc<Mutex<Target>>);

#[derive(Debug)]
enum Target {
    StandardError,
    File(File),
}

impl Sink {
    fn open(path: Option<&Path>) -> Result<Self, TelemetryError> {
        Ok(Self(Arc::new(Mutex::new(Target::open(path)?))))
    }

    fn reopen(&self, path: Option<&Path>) -> Result<(), TelemetryError> {
        let target = Target::open(path)?;
        *self.lock() = target;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Target> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn open(path: Option<&Path>) -> Result<Self, TelemetryError> {
        let Some(path) = path else { return Ok(Self::StandardError) };
        match OpenOptions::new().create(true).append(true).open(path) {
            Ok(file) => Ok(Self::File(file)),
            Err(source) => Err(TelemetryError::File { path: path.to_owned(), source }),
        }
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self.lock())
    }
}

/// One line being written; whole lines never mix.
#[derive(Debug)]
struct Line<'a>(MutexGuard<'a, Target>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0 {
            Target::StandardError => io::stderr().lock().write(bytes),
            Target::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *self.0 {
            Target::StandardError => io::stderr().lock().flush(),
            Target::File(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tracing::{debug, info, warn};

    use super::*;

    fn config(level: Level, format: LogFormat, name: &str) -> (LogConfig, PathBuf) {
        let path =
            std::env::temp_dir().join(format!("crossfade-{}-{name}.log", std::process::id()));
        drop(fs::remove_file(&path));
        (LogConfig { level, format, file: Some(path.clone()) }, path)
    }

    #[test]
    fn a_reload_changes_the_level_and_opens_the_file_again() {
        let (mut config, path) = config(Level::WARN, LogFormat::Text, "reload");
        let rotated = path.with_extension("1");
        let (telemetry, subscriber) = Telemetry::build(&config).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            info!("too quiet");
            warn!("before");
            fs::rename(&path, &rotated).unwrap();
            config.level = Level::DEBUG;
            telemetry.reload(&config).unwrap();
            debug!(table = "users", "after");
        });
        let (old, new) =
            (fs::read_to_string(&rotated).unwrap(), fs::read_to_string(&path).unwrap());
        assert!(old.contains("before") && !old.contains("too quiet"), "{old}");
        assert!(new.contains("after") && new.contains("users"), "{new}");
        fs::remove_file(&rotated).unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn events_of_libraries_are_left_out_at_every_level() {
        let (config, path) = config(Level::TRACE, LogFormat::Json, "own");
        let (_telemetry, subscriber) = Telemetry::build(&config).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "tokio_postgres", "SELECT 'hunter2'");
            tracing::trace!(position = 7, "ours");
        });
        let text = fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((line["message"].as_str(), line["position"].as_i64()), (Some("ours"), Some(7)));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_is_named() {
        let (mut config, _) = config(Level::INFO, LogFormat::Text, "none");
        config.file = Some(PathBuf::from("/nowhere/crossfade.log"));
        let error = Telemetry::build(&config).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "could not open log file \"/nowhere/crossfade.log\"");
    }
}
