//! Network addresses as PostgreSQL prints them.
//!
//! ```text
//! family · prefix bits · is cidr · length · address        six bytes of a MAC
//! ```
//!
//! Invariant: the text equals that of `inet::text`, `cidr::text` and `macaddr::text`, so that equal
//! addresses are equal text.

use core::net::IpAddr;
use std::fmt::Write as _;

use super::record::Reader;
use crate::value::DecodeError;

const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 3;

/// inet, or cidr, which always shows its prefix; inet hides a prefix that covers the address.
pub(super) fn address(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let (family, bits, is_cidr, length) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
    let bytes = reader.take(length.into())?;
    let (mut text, whole) = match (family, bytes.len()) {
        (FAMILY_V4, 4) => (v4(bytes), 32),
        (FAMILY_V6, 16) => (v6(bytes), 128),
        _ => return Err(reader.malformed()),
    };
    if bits > whole {
        return Err(reader.malformed());
    }
    if is_cidr != 0 || bits != whole {
        text.push('/');
        text.push_str(&bits.to_string());
    }
    Ok(text)
}

fn v4(octets: &[u8]) -> String {
    let decimals: Vec<String> = octets.iter().map(u8::to_string).collect();
    decimals.join(".")
}

/// The first longest run of two or more zero groups becomes `::`; `::ffff:a.b.c.d` and
/// `::a.b.c.d` show their last half as IPv4, as PostgreSQL does.
fn v6(octets: &[u8]) -> String {
    let mut groups = [0_u16; 8];
    for (group, pair) in groups.iter_mut().zip(octets.chunks_exact(2)) {
        *group = u16::from_be_bytes([pair[0], pair[1]]);
    }
    let run = longest_zero_run(&groups);
    let mapped = run == Some((0, 6)) || (run == Some((0, 5)) && groups[5] == 0xffff);
    let mut text = String::new();
    let mut at = 0;
    while at < 8 {
        if let Some((start, length)) = run
            && at == start
        {
            text.push_str("::");
            at += length;
            continue;
        }
        if at > 0 && !text.ends_with("::") {
            text.push(':');
        }
        if mapped && at == 6 {
            text.push_str(&v4(&octets[12..]));
            break;
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{:x}", groups[at]);
        at += 1;
    }
    text
}

fn longest_zero_run(groups: &[u16; 8]) -> Option<(usize, usize)> {
    let mut best: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < 8 {
        let length = groups[at..].iter().take_while(|group| **group == 0).count();
        if length >= 2 && best.is_none_or(|(_, longest)| length > longest) {
            best = Some((at, length));
        }
        at += length.max(1);
    }
    best
}

/// `08:00:2b:01:02:03`
pub(super) fn macaddr(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// What [`address`] read.
pub(super) fn encode_address(text: &str, is_cidr: bool) -> Option<Vec<u8>> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let (family, octets) = match address.parse().ok()? {
        IpAddr::V4(address) => (FAMILY_V4, address.octets().to_vec()),
        IpAddr::V6(address) => (FAMILY_V6, address.octets().to_vec()),
    };
    let length = u8::try_from(octets.len()).ok()?;
    let bits = bits.unwrap_or(length * 8);
    if length * 8 < bits {
        return None;
    }
    let mut out = vec![family, bits, u8::from(is_cidr), length];
    out.extend(octets);
    Some(out)
}

/// What [`macaddr`] wrote.
pub(super) fn encode_macaddr(text: &str) -> Option<Vec<u8>> {
    let pairs = text.split(':').map(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Vec<u8> = pairs.collect::<Option<_>>()?;
    (bytes.len() == 6).then_some(bytes)
}
