//! A client that sends exactly the messages it is told, and writes down exactly what it gets.
//!
//! ```text
//! "P s INSERT …", "B p s 1,NULL t", "E p 1", "S" ──▶ bytes ──▶ "1 2 D(a) s Z(I)"
//! "F 177 0 2,3 0"                                ──▶ bytes ──▶ "V(5) Z(I)"
//! ```

use std::time::Duration;

use crossfade::demo::servers::PASSWORD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::PATIENCE;

/// What is read at once of a message that is not kept.
const CHUNK: usize = 256 << 10;

/// A session.
pub(crate) struct Wire {
    socket: TcpStream,
    /// Every field of every error and notice, and every parameter reported.
    pub(crate) details: Vec<String>,
}

impl Wire {
    /// Logs in as the administrator, by whatever method the server asks for.
    pub(crate) async fn connect(port: u16, database: &str) -> Self {
        Self::connect_as("postgres", PASSWORD, port, database).await
    }

    pub(crate) async fn connect_as(user: &str, password: &str, port: u16, database: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        login(&mut socket, user, password, database).await;
        Self { socket, details: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Sends messages in one write.
    pub(crate) async fn say(&mut self, messages: &[&str]) {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message)).collect();
        self.send(&bytes).await;
    }

    /// Everything up to the `count`th ReadyForQuery.
    pub(crate) async fn hear(&mut self, count: usize) -> String {
        let mut heard = Vec::new();
        let mut ready = 0;
        while ready < count {
            let next = tokio::time::timeout(PATIENCE, self.message()).await;
            let Ok(next) = next else { panic!("nothing came after {heard:?}") };
            let Some((tag, body)) = next else {
                heard.push("end".to_owned());
                break;
            };
            ready += usize::from(tag == b'Z');
            if matches!(tag, b'E' | b'N' | b'S') {
                let fields = body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                self.details.push(fields.collect::<Vec<_>>().join("|"));
            }
            heard.extend(write_down(tag, &body));
        }
        heard.join(" ")
    }

    /// Kind and length of each message up to the next ReadyForQuery; no body is held.
    pub(crate) async fn lengths(&mut self) -> Vec<(char, usize)> {
        let mut heard = Vec::new();
        let mut scratch = vec![0; CHUNK];
        while heard.last().is_none_or(|(tag, _)| *tag != 'Z') {
            let tag = char::from(self.socket.read_u8().await.unwrap());
            let length = self.socket.read_u32().await.unwrap() as usize - 4;
            let mut left = length;
            while 0 < left {
                let part = &mut scratch[..left.min(CHUNK)];
                let read = tokio::time::timeout(PATIENCE, self.socket.read(part)).await;
                let read = read.expect("it goes on").unwrap();
                assert_ne!(read, 0, "the message was cut off, {left} of {length} bytes early");
                left -= read;
            }
            heard.push((tag, length));
        }
        heard
    }

    /// Waits for a message of this kind; what comes before it is dropped.
    pub(crate) async fn until(&mut self, wanted: u8) -> Vec<u8> {
        self.first(&[wanted]).await.1
    }

    /// The next message that is one of these, whatever comes before.
    pub(crate) async fn first(&mut self, wanted: &[u8]) -> (u8, Vec<u8>) {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.message()).await;
            let (tag, body) = next.expect("a message").expect("no end");
            if wanted.contains(&tag) {
                return (tag, body);
            }
        }
    }

    /// Says that nothing more will come.
    pub(crate) async fn close(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// Says that nothing more will come, and hears the rest.
    pub(crate) async fn finish(&mut self) -> String {
        self.close().await;
        self.hear(usize::MAX).await
    }

    /// Whether nothing comes for a moment.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.message()).await.is_err()
    }

    pub(crate) async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let tag = self.socket.read_u8().await.ok()?;
        let length = self.socket.read_u32().await.ok()?;
        let mut body = vec![0; length as usize - 4];
        self.socket.read_exact(&mut body).await.ok()?;
        Some((tag, body))
    }
}

/// What the test server asks for is SCRAM; the exchange is libpq's own, borrowed from a client library.
async fn login(socket: &mut TcpStream, user: &str, password: &str, database: &str) {
    use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
    let mut startup = 196_608_u32.to_be_bytes().to_vec();
    startup.extend_from_slice(format!("user\0{user}\0database\0{database}\0\0").as_bytes());
    let length = u32::try_from(startup.len() + 4).unwrap().to_be_bytes();
    socket.write_all(&[&length[..], &startup].concat()).await.unwrap();
    let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    loop {
        let tag = socket.read_u8().await.unwrap();
        let length = socket.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        socket.read_exact(&mut body).await.unwrap();
        assert_ne!(tag, b'E', "{}", String::from_utf8_lossy(&body));
        let answer = match (tag, body.get(3)) {
            (b'Z', _) => return,
            (b'R', Some(10)) => {
                let first = scram.message();
                let length = u32::try_from(first.len()).unwrap().to_be_bytes();
                [SCRAM_SHA_256.as_bytes(), b"\0", &length, first].concat()
            }
            (b'R', Some(11)) => {
                scram.update(&body[4..]).unwrap();
                scram.message().to_vec()
            }
            _ => continue,
        };
        socket.write_all(&frame(b'p', &answer)).await.unwrap();
    }
}

pub(crate) fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

/// One message in words: its tag, then its parts. `_` stands for the empty name.
fn encode(message: &str) -> Vec<u8> {
    let (tag, rest) = message.split_once(' ').unwrap_or((message, ""));
    let text = |text: &str| [text.replace('_', "").as_bytes(), b"\0"].concat();
    let mut words = rest.split(' ');
    let body = match tag {
        "Q" => [rest.as_bytes(), b"\0"].concat(),
        "P" => {
            let (name, sql) = rest.split_once(' ').unwrap();
            [text(name), [sql.as_bytes(), b"\0\0\0"].concat()].concat()
        }
        "B" => {
            let (portal, statement) = (words.next().unwrap(), words.next().unwrap());
            bind(text(portal), text(statement), words.next(), words.next())
        }
        "D" | "C" => {
            let kind = words.next().unwrap();
            [kind.as_bytes(), &text(words.next().unwrap())].concat()
        }
        "E" => {
            let portal = text(words.next().unwrap());
            let rows: u32 = words.next().map_or(0, |rows| rows.parse().unwrap());
            [portal, rows.to_be_bytes().to_vec()].concat()
        }
        "F" => call(&rest.split(' ').collect::<Vec<_>>()),
        "d" | "f" => [
            rest.replace("\\n", "\n").replace("\\t", "\t").as_bytes(),
            if tag == "f" { b"\0" } else { b"" },
        ]
        .concat(),
        _ => Vec::new(),
    };
    frame(tag.as_bytes()[0], &body)
}

/// How many ReadyForQuery answer a batch.
pub(crate) fn ready(batch: &[&str]) -> usize {
    batch.iter().filter(|message| ["S", "Q", "F"].contains(&&message[..1])).count()
}

/// A FunctionCall: `function formats arguments result`, the lists with commas or `-`; an argument
/// that begins with `\\x` is bytes.
fn call(words: &[&str]) -> Vec<u8> {
    let list = |at: usize| words[at].split(',').filter(|word| *word != "-");
    let count = |at| u16::try_from(list(at).count()).unwrap().to_be_bytes();
    let mut body = words[0].parse::<u32>().unwrap().to_be_bytes().to_vec();
    body.extend(count(1));
    list(1).for_each(|format| body.extend(format.parse::<u16>().unwrap().to_be_bytes()));
    body.extend(count(2));
    for value in list(2) {
        let bytes = match value.strip_prefix("\\x") {
            Some(digits) => (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect(),
            None => value.as_bytes().to_vec(),
        };
        match value {
            "NULL" => body.extend([255; 4]),
            _ => {
                body.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                body.extend(bytes);
            }
        }
    }
    body.extend(words[3].parse::<u16>().unwrap().to_be_bytes());
    body
}

/// `values` is a list with commas, or `-` for none; `formats` is a list of result formats.
fn bind(
    portal: Vec<u8>,
    statement: Vec<u8>,
    values: Option<&str>,
    formats: Option<&str>,
) -> Vec<u8> {
    let mut body = [portal, statement, vec![0, 0]].concat();
    let values: Vec<_> = values
        .filter(|values| *values != "-")
        .into_iter()
        .flat_map(|list| list.split(','))
        .collect();
    body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        match value {
            "NULL" => body.extend_from_slice(&[255; 4]),
            value => {
                body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend_from_slice(value.as_bytes());
            }
        }
    }
    let formats: Vec<u16> = formats
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(|one| one.parse().unwrap())
        .collect();
    body.extend_from_slice(&u16::try_from(formats.len()).unwrap().to_be_bytes());
    formats.iter().for_each(|format| body.extend_from_slice(&format.to_be_bytes()));
    body
}

/// One answer in words; notices and parameters come when they like, and are left out.
fn write_down(tag: u8, body: &[u8]) -> Option<String> {
    let first = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let inside = match tag {
        b'N' | b'S' | b'A' => return None,
        b'C' | b'Z' => first(body),
        b'E' => {
            let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C'));
            first(&field.unwrap_or_default()[1..])
        }
        b'T' => columns(body).join(","),
        b'D' => values(body).join(","),
        b'V' => values(&[b"\0\x01", body].concat()).join(","),
        b't' => u16::from_be_bytes([body[0], body[1]]).to_string(),
        b'd' => String::from_utf8_lossy(body).trim_end().to_owned(),
        _ => return Some(char::from(tag).to_string()),
    };
    Some(format!("{}({inside})", char::from(tag)))
}

/// Names, with `:b` behind those in binary.
fn columns(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(&rest[..end]);
        let binary = if rest[end + 18] == 1 { ":b" } else { "" };
        names.push(format!("{name}{binary}"));
        rest = &rest[end + 19..];
    }
    names
}

/// Text as it is, binary in hexadecimal.
fn values(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            values.push("NULL".to_owned());
            rest = tail;
            continue;
        };
        let (value, tail) = tail.split_at(length);
        let printable = value.iter().all(|byte| (0x20..0x7f).contains(byte));
        values.push(match printable {
            true => String::from_utf8_lossy(value).into_owned(),
            false => value.iter().map(|byte| format!("{byte:02x}")).collect(),
        });
        rest = tail;
    }
    values
}
