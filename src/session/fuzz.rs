//! Fuzz targets of what only a session can reach: startup packets, SCRAM, pipes, Bind.

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore as _};

use crate::session::formats::bind_formats;
use crate::session::packet::{self, HEADER_BYTES, PACKET_BYTES_MAX, Packet};
use crate::session::pipe::Pipe;
use crate::wire::{self, Body, MESSAGE_MAX};

#[allow(unreachable_pub, reason = "the tests beside src have it too")]
#[path = "../../tests/fuzz/harness.rs"]
pub(crate) mod harness;

use harness::Verdict;

#[test]
fn fuzz_startup() {
    let make = |random: &mut StdRng| {
        const WORDS: &[&[u8]] = &[
            b"user",
            b"database",
            b"a",
            b"",
            b"replication",
            b"_pq_.x",
            b"options",
            b"-c x=y",
            b"\xff",
        ];
        let version = *[3 << 16, (3 << 16) + 2, 2 << 16, 80_877_102, 80_877_103, 80_877_104]
            .choose(random)
            .unwrap();
        let mut body = u32::to_be_bytes(version).to_vec();
        for _ in 0..random.random_range(0..8) {
            body.extend_from_slice(WORDS.choose(random).unwrap());
            body.push(0);
        }
        let mut input = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
        input.append(&mut body);
        input
    };
    harness::fuzz("startup", 20_000, make, startup);
}

fn startup(input: &[u8]) -> Verdict {
    if let Some(header) = input.first_chunk()
        && let Ok(length) = packet::length(*header)
        && !(HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length)
    {
        return Err(format!("believes a length of {length}"));
    }
    match packet::parse(Bytes::copy_from_slice(input)) {
        Ok(Packet::Startup(startup)) => {
            if startup.raw != input || startup.user.is_empty() || startup.database.is_empty() {
                return Err(format!("{startup:?}"));
            }
            // What is checked is what the server is going to read.
            let ends = |part: &[u8]| input.windows(part.len()).any(|window| window == part);
            let user = [b"user\0", startup.user.as_bytes(), b"\0"].concat();
            (startup.user.contains('\u{fffd}') || ends(&user))
                .then_some(())
                .ok_or("a user that is not there".to_owned())
        }
        Ok(Packet::Cancel(key)) if key.request()[HEADER_BYTES..] != input[HEADER_BYTES..] => {
            Err("a cancel key that is not written as it was read".to_owned())
        }
        _ => Ok(()),
    }
}

/// The first bytes say where the stream is cut; the rest is the stream.
#[test]
fn fuzz_frames() {
    let make = |random: &mut StdRng| {
        let mut input = vec![0; 8];
        random.fill_bytes(&mut input);
        for _ in 0..random.random_range(1..12) {
            let length = random.random_range(0..40_u32);
            input.push(*b"QPBEDSCHdcfXZTA\0".choose(random).unwrap());
            input.extend_from_slice(&(length + 4).to_be_bytes());
            input.extend((0..length).map(|_| random.random::<u8>()));
        }
        input
    };
    harness::fuzz("frames", 20_000, make, |input| {
        let Some((cuts, stream)) = input.split_at_checked(8) else { return Ok(()) };
        let (whole, pieces) = (frames(stream, &[255]), frames(stream, cuts));
        if whole != pieces {
            return Err(format!("{whole:?}\nat once, in pieces\n{pieces:?}"));
        }
        let sizes: usize = whole.0.iter().map(|(_, size)| *size).sum();
        (sizes <= stream.len() + MESSAGE_MAX + 1).then_some(()).ok_or("more than came".to_owned())
    });
}

/// The frames that a pipe finds, and what leaves it where some are passed on, some taken out and
/// some lost. It is given the stream in pieces of the sizes `cuts`, again and again.
fn frames(stream: &[u8], cuts: &[u8]) -> (Vec<(u8, usize)>, Vec<u8>, bool) {
    let mut pipe = Pipe::new(BytesMut::new());
    let (mut found, mut at, mut sizes) = (Vec::new(), 0, cuts.iter().cycle());
    while at < stream.len() {
        let end = (at + usize::from(*sizes.next().unwrap()).max(1)).min(stream.len());
        pipe.receive(&stream[at..end]);
        at = end;
        loop {
            let header = match pipe.next() {
                Err(_) => return (found, left(pipe), true),
                Ok(None) => break,
                Ok(Some(header)) => header,
            };
            match header.tag % 3 {
                0 => pipe.pass(header),
                1 => pipe.lose(header),
                _ if pipe.is_whole(header) => drop(pipe.take(header)),
                _ => break,
            }
            found.push((header.tag, header.size));
        }
    }
    (found, left(pipe), false)
}

fn left(mut pipe: Pipe) -> Vec<u8> {
    pipe.settle();
    pipe.output.to_vec()
}

/// The first byte says how many columns are ours, and whether the client has some; the rest is a Bind.
#[test]
fn fuzz_bind() {
    let make = |random: &mut StdRng| {
        let mut input = vec![random.random(), b'p', 0, b's', 0];
        for _ in 0..2 {
            let count = random.random_range(0..4_u16);
            input.extend_from_slice(&count.to_be_bytes());
            for _ in 0..count {
                let bytes = random.random_range(0..5_u16);
                input.extend_from_slice(&bytes.to_be_bytes());
            }
        }
        input
    };
    harness::fuzz("bind", 20_000, make, |input| {
        let Some((first, body)) = input.split_first() else { return Ok(()) };
        let (added, returning) = (usize::from(first & 7), first & 8 != 0);
        let mut out = BytesMut::new();
        let binary = bind_formats(body, returning, added, &mut out);
        let header = wire::header(&out).ok().flatten().ok_or("no message")?;
        (header.size == out.len()).then_some(()).ok_or("a length that lies")?;
        let written = &out[wire::HEADER..];
        let Some((head, codes)) = result_formats(body) else {
            return (written == body).then_some(()).ok_or("damaged, and changed".to_owned());
        };
        let expected = match (returning, codes.len()) {
            (true, 0 | 2) => codes.to_vec(),
            (true, _) => [codes, &[0, 1].repeat(added)].concat(),
            (false, _) => vec![0, 1],
        };
        let found = result_formats(written).ok_or("cannot be read any more")?;
        if found != (head, &expected[..]) || binary != expected.ends_with(&[0, 1]) && 0 < added {
            return Err(format!("{found:?}"));
        }
        Ok(())
    });
}

/// All of a Bind up to its result formats, and these.
fn result_formats(bind: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut body = Body::new(bind);
    body.text()?;
    body.text()?;
    let formats = usize::from(body.u16()?);
    body.take(2 * formats)?;
    for _ in 0..body.u16()? {
        let length = body.i32()?;
        body.take(usize::try_from(length).unwrap_or(0))?;
    }
    let head = bind.len() - body.rest().len();
    let count = usize::from(body.u16()?);
    (body.rest().len() == 2 * count).then(|| (&bind[..head], body.rest()))
}
