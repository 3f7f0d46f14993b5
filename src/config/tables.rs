//! The `tables:` section: each line a pattern and a policy, the first that fits wins; and `types:`.

use std::time::Duration;

use crate::policy::{
    CaptureChoice, CitextChoice, JsonbChoice, Mode, NumericChoice, Pattern, Policies, Policy,
    TextChoice, TypeChoices, UuidChoice, VARCHAR_CHARS_MAX,
};

use super::reader::Section;
use super::unit;

/// Longest name of a group.
const GROUP_BYTES_MAX: usize = 63;
/// Longest wait for the secondary where the line names none.
const TIMEOUT: Duration = Duration::from_secs(2);

const MODES: [(&str, Mode); 4] = [
    ("off", Mode::Off),
    ("async", Mode::Async),
    ("blocking", Mode::Blocking),
    ("strict", Mode::Strict),
];

const CAPTURES: [(&str, CaptureChoice); 3] = [
    ("auto", CaptureChoice::Auto),
    ("returning", CaptureChoice::Returning),
    ("trigger", CaptureChoice::Trigger),
];

/// The policy of every table where proxy.yaml has no `tables:` at all, or no line that fits.
pub(super) const DEFAULT: Policy =
    Policy { mode: Mode::Blocking, timeout: TIMEOUT, capture: CaptureChoice::Auto, outbox: true };

/// Reads a mode as `tables:` and `POST /tables/{table}/mode` have it.
pub fn mode(text: &str) -> Result<Mode, String> {
    unit::word(&MODES, text)
}

pub(super) fn read(section: Section<'_, '_>) -> Policies {
    let (mut lines, mut groups) = (Vec::new(), Vec::new());
    let mut last: Option<String> = None;
    for (pattern, mut line) in section.into_sections() {
        if last.as_deref() == Some("*") {
            line.mistake("", "can never be reached: the line \"*\" before it fits every table");
        }
        if pattern.split('.').any(str::is_empty) || pattern.split('.').count() > 2 {
            line.mistake("", "is no table pattern; write users, auth.users, tmp_* or auth.*");
        }
        let policy = policy(&mut line);
        groups.push(line.optional("group", group));
        if policy.mode == Mode::Off && groups.last().is_some_and(Option::is_some) {
            line.mistake("group", "has no meaning here: the table is not migrated");
        }
        line.finish();
        lines.push((Pattern::new(&pattern), policy));
        last = Some(pattern);
    }
    Policies::new(lines, DEFAULT).with_groups(groups)
}

fn group(text: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    match (1..=GROUP_BYTES_MAX).contains(&text.len()) && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("is no name of a group: up to {GROUP_BYTES_MAX} letters, digits, - and _"))
        }
    }
}

pub(super) fn types(mut section: Section<'_, '_>) -> TypeChoices {
    let default = TypeChoices::default();
    let text = |text: &str| {
        TextChoice::parse(text).ok_or_else(|| {
            format!("\"{text}\" is neither longtext nor varchar(1) to varchar({VARCHAR_CHARS_MAX})")
        })
    };
    let types = TypeChoices {
        jsonb: section.read("jsonb", default.jsonb, |word| unit::word(&JsonbChoice::WORDS, word)),
        numeric: section
            .read("numeric", default.numeric, |word| unit::word(&NumericChoice::WORDS, word)),
        uuid: section.read("uuid", default.uuid, |word| unit::word(&UuidChoice::WORDS, word)),
        citext: section
            .read("citext", default.citext, |word| unit::word(&CitextChoice::WORDS, word)),
        text: section.read("text", default.text, text),
    };
    section.finish();
    types
}

fn policy(line: &mut Section<'_, '_>) -> Policy {
    let timed = line.has("timeout");
    let policy = Policy {
        mode: line.required("mode", mode).unwrap_or(DEFAULT.mode),
        timeout: line.read("timeout", DEFAULT.timeout, unit::duration),
        capture: line.read("capture", DEFAULT.capture, |text| unit::word(&CAPTURES, text)),
        outbox: line.read("outbox", DEFAULT.outbox, unit::switch),
    };
    if !policy.outbox && policy.mode != Mode::Async {
        line.mistake("outbox", "may be false with mode async only: the other modes promise more");
    }
    if timed && matches!(policy.mode, Mode::Off | Mode::Async) {
        line.mistake("timeout", "has no meaning here: only blocking and strict wait");
    }
    policy
}
