//! A read on the secondary, as a client would get it: a session of `answer`, spoken to over a socket
//! pair.
//!
//! ```text
//! Question ──Parse, Bind, Describe, Execute, Sync──▶ answer ──▶ MySQL
//!     Rows ◀──────── RowDescription, DataRow ──────────┘
//! ```
//!
//! Invariant: the session is READ ONLY, and bounded in time, rows and bytes. One that has failed in any
//! other way than with an error of a statement is given up.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::sides::{Column, Failure, Question, Rows, ShadowLimits, path_text};
use crate::answer::{self, Handover, Services};
use crate::backend::stream::Stream;
use crate::door::credential::Credential;
use crate::door::peer::Peer;
use crate::handoff::Shown;
use crate::plan::seen::described::columns;
use crate::wire::{Body, write};

/// Largest message beside the rows.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

pub(super) struct Secondary {
    services: Services,
    session: Option<Session>,
}

struct Session {
    peer: Peer,
    task: JoinHandle<()>,
    set: (Arc<Shown>, Vec<String>, Duration),
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Secondary {
    pub(super) fn new(services: Services) -> Self {
        Self { services, session: None }
    }

    /// Closes the connection; the next read opens another.
    pub(super) fn rest(&mut self) {
        self.session = None;
    }

    pub(super) async fn read(
        &mut self,
        question: &Question,
        limits: &ShadowLimits,
    ) -> Result<Rows, Failure> {
        let set = (Arc::clone(&question.shown), question.path.clone(), limits.timeout);
        let session = match self.session.take().filter(|session| session.set == set) {
            Some(session) => session,
            None => Session::open(&self.services, question, set).map_err(|_| Failure::Lost)?,
        };
        let session = self.session.insert(session);
        // The session itself ends a statement in time; this is for one that does not.
        let bound = limits.timeout.saturating_mul(2);
        let read = timeout(bound, session.read(question, limits)).await;
        let read = read.unwrap_or(Err(Failure::Lost));
        if let Err(Failure::Lost | Failure::TooLarge) = read {
            self.session = None;
        }
        read
    }
}

impl Session {
    fn open(
        services: &Services,
        question: &Question,
        set: (Arc<Shown>, Vec<String>, Duration),
    ) -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let Shown { zone, date_style, interval_style } = &*question.shown;
        let settings = [
            ("timezone", zone.clone()),
            ("datestyle", date_style.clone()),
            ("intervalstyle", interval_style.clone()),
            ("search_path", path_text(&question.path)),
            ("statement_timeout", set.2.as_millis().to_string()),
            ("default_transaction_read_only", "on".to_owned()),
        ];
        let known = settings.into_iter().filter(|(_, value)| !value.is_empty());
        let handover = Handover {
            client: Peer::new(Stream::Unix(theirs)),
            key: None,
            user: String::new(),
            database: services.database(),
            settings: known.map(|(name, value)| (name.to_owned(), value)).collect(),
            set: Vec::new(),
            statements: Vec::new(),
            credential: Credential::default(),
            answered: 0,
            part: None,
        };
        let services = services.clone();
        let task = tokio::spawn(async move {
            drop(answer::go_on(handover, &services).await);
        });
        Ok(Self { peer: Peer::new(Stream::Unix(ours)), task, set })
    }

    async fn read(&mut self, question: &Question, limits: &ShadowLimits) -> Result<Rows, Failure> {
        let asked = asked(question, limits);
        let started = Instant::now();
        self.peer.stream.write_all(&asked).await.map_err(|_| Failure::Lost)?;
        let mut heard = Heard::default();
        loop {
            let frame = self.peer.frame(MESSAGE_BYTES_MAX).await.map_err(|_| Failure::Lost)?;
            if frame.tag == b'Z' {
                break;
            }
            heard.take(frame.tag, &frame.body(), limits)?;
            if heard.fatal {
                break;
            }
        }
        match heard.refused {
            Some((code, message)) => Err(Failure::Refused { code, message }),
            None => Ok(Rows { columns: heard.columns, rows: heard.rows, took: started.elapsed() }),
        }
    }
}

/// The messages of one read.
fn asked(question: &Question, limits: &ShadowLimits) -> BytesMut {
    let mut out = BytesMut::new();
    let statement = &question.statement;
    let types: &[u8] = if statement.types.is_empty() { &[0, 0] } else { &statement.types };
    write::parse(&mut out, b"", &statement.text, types);
    let (parameters, count) = (&question.parameters, question.parameters.values.len());
    write::message(&mut out, b'B', |out| {
        out.put_slice(&[0, 0]);
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        out.put_u16(count);
        (0..usize::from(count)).for_each(|at| out.put_u16(parameters.format(at)));
        out.put_u16(count);
        for value in &parameters.values {
            match value {
                None => out.put_i32(-1),
                Some(value) => {
                    out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                    out.put_slice(value);
                }
            }
        }
        out.put_slice(&[0, 1, 0, 1]);
    });
    write::describe_portal(&mut out, b"");
    write::message(&mut out, b'E', |out| {
        out.put_u8(0);
        out.put_u32(u32::try_from(limits.rows_max + 1).unwrap_or(u32::MAX));
    });
    write::empty(&mut out, b'S');
    out
}

/// What has come of an answer.
#[derive(Default)]
struct Heard {
    columns: Vec<Column>,
    rows: Vec<Vec<Option<Bytes>>>,
    bytes: usize,
    refused: Option<(String, String)>,
    fatal: bool,
}

impl Heard {
    fn take(&mut self, tag: u8, body: &Bytes, limits: &ShadowLimits) -> Result<(), Failure> {
        match tag {
            b'T' => {
                let found = columns(body, 0).ok_or(Failure::Lost)?;
                let column = |column: crate::plan::seen::described::Column| Column {
                    name: column.name,
                    type_oid: column.type_oid,
                    origin: (column.table, column.number),
                };
                self.columns = found.into_iter().map(column).collect();
            }
            b'D' => {
                self.bytes += body.len();
                if limits.rows_max <= self.rows.len() || limits.bytes_max < self.bytes {
                    return Err(Failure::TooLarge);
                }
                self.rows.push(row(body).ok_or(Failure::Lost)?);
            }
            b'E' => {
                let field = |kind: u8| {
                    let fields = body.split(|byte| *byte == 0);
                    let found = fields.into_iter().find(|field| field.first() == Some(&kind));
                    let text = found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned());
                    text.unwrap_or_default()
                };
                self.fatal = field(b'V') == "FATAL" || field(b'S') == "FATAL";
                self.refused = Some((field(b'C'), field(b'M')));
            }
            _ => {}
        }
        Ok(())
    }
}

fn row(body: &Bytes) -> Option<Vec<Option<Bytes>>> {
    let mut parts = Body::new(body);
    let count = parts.u16()?;
    let field = |_| {
        let length = parts.i32()?;
        Some(match usize::try_from(length) {
            Ok(length) => Some(body.slice_ref(parts.take(length)?)),
            Err(_) => None,
        })
    };
    (0..count).map(field).collect()
}
