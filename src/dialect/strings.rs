//! Functions of text and of bytes.
//!
//! ```text
//! left(s, -2) ──▶ LEFT(s, CHAR_LENGTH(s) - 2)      concat(a, b) ──▶ CONCAT(COALESCE(a,''), …)
//! ```
//!
//! Invariant: lengths and positions count characters for text and bytes for bytea, as in PostgreSQL.

use sqlparser::ast::{Expr, TrimWhereField};

use crate::dialect::cast::FAILS;
use crate::dialect::expression::strict;
use crate::dialect::literal;
use crate::dialect::program::{Slot, Source, Text};
use crate::dialect::refuse::{Refused, unsupported};
use crate::dialect::translator::Translator;
use crate::dialect::typed::{Node, Typed, fill, join};
use crate::dialect::types::Type;
use crate::value::{PgType, Value};

impl Translator<'_> {
    /// An argument that a function takes as text.
    pub(super) fn text_argument(&mut self, typed: Typed) -> Result<Typed, Refused> {
        let typed = self.settle(typed)?;
        if typed.ty.is_text() {
            return self.as_text(typed);
        }
        let message = format!("function does not exist for type {}", typed.ty.name());
        Err(Refused::error("42883", message))
    }

    fn texts(&mut self, args: Vec<Typed>, kinds: &str) -> Result<(Vec<Text>, bool), Refused> {
        let mut nullable = false;
        let mut texts = Vec::new();
        for (arg, kind) in args.into_iter().zip(kinds.chars()) {
            let arg = match kind {
                't' => self.text_argument(arg)?,
                _ => {
                    let arg = self.resolve(arg, &Type::int4())?;
                    if !arg.ty.is_integer() {
                        let message = format!("function does not exist for type {}", arg.ty.name());
                        return Err(Refused::error("42883", message));
                    }
                    arg
                }
            };
            nullable |= arg.nullable;
            texts.push(self.text(&arg)?);
        }
        Ok((texts, nullable))
    }

    /// Functions of texts and integers that a template says all about.
    pub(super) fn string_function(
        &mut self,
        name: &str,
        args: &[Typed],
    ) -> Result<Option<Typed>, Refused> {
        let is_bytes = args.first().is_some_and(|arg| arg.ty.kind == PgType::Bytea);
        if let Some((kinds, template, ty)) = template(name, args.len(), is_bytes) {
            let (texts, nullable) = self.texts(args.to_vec(), kinds)?;
            return Ok(Some(Typed::sql(fill(template, &texts), ty, nullable)));
        }
        match (name, args.len()) {
            ("length" | "octet_length", 1) if is_bytes => {
                self.bytes(args, "LENGTH({0})", Type::int4())
            }
            ("ascii", 1) => self.ascii(args),
            ("chr", 1) => self.chr(args),
            ("split_part", 3) => self.split_part(args),
            ("concat", 1..) => self.concat_function(args),
            ("concat_ws", 2..) => self.concat_ws(args),
            ("md5", 1) => self.md5(args),
            ("sha256", 1) => self.bytes(args, "UNHEX(SHA2({0}, 256))", Type::builtin("bytea")),
            ("encode", 2) => self.encode(args),
            ("decode", 2) => self.decode(args),
            ("host", 1) if args[0].ty.kind == PgType::Inet => {
                let value = self.text(&args[0])?;
                Ok(Some(strict(
                    "SUBSTRING_INDEX({0}, '/', 1)",
                    &[&args[0]],
                    &[value],
                    Type::text(),
                )))
            }
            _ => Ok(None),
        }
    }

    fn bytes(
        &mut self,
        args: &[Typed],
        template: &str,
        ty: Type,
    ) -> Result<Option<Typed>, Refused> {
        let arg = self.resolve(args[0].clone(), &Type::builtin("bytea"))?;
        if arg.ty.kind != PgType::Bytea {
            return Err(Refused::error("42883", "function does not exist for this type"));
        }
        let text = self.text(&arg)?;
        Ok(Some(strict(template, &[&arg], &[text], ty)))
    }

    fn ascii(&mut self, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        let (texts, nullable) = self.texts(args.to_vec(), "t")?;
        // The code point of the first letter, not its first byte.
        let template = "CAST(CONV(HEX(CONVERT(LEFT({0}, 1) USING utf32)), 16, 10) AS SIGNED)";
        Ok(Some(Typed::sql(fill(template, &texts), Type::int4(), nullable)))
    }

    fn chr(&mut self, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        match args[0].value() {
            Some(Value::Int(code)) => {
                let letter =
                    u32::try_from(*code).ok().and_then(char::from_u32).filter(|c| *c != '\0');
                let letter = letter
                    .ok_or_else(|| Refused::error("54000", "requested character is not valid"))?;
                Ok(Some(Typed::constant(Value::Text(letter.to_string()), Type::text())))
            }
            _ => Err(unsupported("chr of what is not a constant")),
        }
    }

    /// The n-th part, from the front or (negative) from the end.
    fn split_part(&mut self, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        let Some(Value::Int(at)) = args[2].value() else {
            return Err(unsupported("split_part at what is not a constant"));
        };
        let at = *at;
        if at == 0 {
            return Err(Refused::error("22023", "field position must not be zero"));
        }
        let (texts, nullable) = self.texts(args[..2].to_vec(), "tt")?;
        // How often the separator is there tells how many parts there are.
        let parts =
            "(CHAR_LENGTH({0}) - CHAR_LENGTH(REPLACE({0}, {1}, ''))) / CHAR_LENGTH({1}) + 1";
        let piece = if at > 0 {
            format!("SUBSTRING_INDEX(SUBSTRING_INDEX({{0}}, {{1}}, {at}), {{1}}, -1)")
        } else {
            format!("SUBSTRING_INDEX(SUBSTRING_INDEX({{0}}, {{1}}, {at}), {{1}}, 1)")
        };
        let whole = if at.abs() == 1 { "{0}" } else { "''" };
        let template = format!("IF({{1}} = '', {whole}, IF({parts} < {}, '', {piece}))", at.abs());
        Ok(Some(Typed::sql(fill(&template, &texts), Type::text(), nullable)))
    }

    /// concat leaves NULLs out.
    fn concat_function(&mut self, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        let mut texts = Vec::new();
        for arg in args {
            let arg = self.settle(arg.clone())?;
            let text = self.output_text(&arg)?;
            texts.push(if arg.nullable { fill("COALESCE({0}, '')", &[text]) } else { text });
        }
        let text = fill("CONCAT({0})", &[join(texts, ", ")]);
        Ok(Some(Typed::sql(text, Type::text(), false)))
    }

    fn concat_ws(&mut self, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        let separator = self.text_argument(args[0].clone())?;
        let mut texts = vec![self.text(&separator)?];
        for arg in &args[1..] {
            let arg = self.settle(arg.clone())?;
            texts.push(self.output_text(&arg)?);
        }
        let text = fill("CONCAT_WS({0})", &[join(texts, ", ")]);
        Ok(Some(Typed::sql(text, Type::text(), separator.nullable)))
    }

    /// What the type's output function prints, which for a boolean is not its cast to text.
    fn output_text(&mut self, typed: &Typed) -> Result<Text, Refused> {
        match typed.ty.kind {
            PgType::Bool => {
                let text = self.text(typed)?;
                Ok(fill("IF({0} IS NULL, NULL, IF({0}, 't', 'f'))", &[text]))
            }
            PgType::Inet => self.text(typed),
            // With the blanks that MySQL does not keep.
            PgType::Bpchar if typed.ty.typmod >= 4 => {
                let text = self.text(typed)?;
                let (length, bin) = (typed.ty.typmod - 4, self.collation());
                Ok(fill(&format!("RPAD({{0}} COLLATE {bin}, {length}, ' ')"), &[text]))
            }
            PgType::Bpchar => Err(unsupported("char(n) of unknown length in concat")),
            _ => self.text_of(typed),
        }
    }

    fn md5(&mut self, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        if self.is_mysql() {
            return Err(unsupported("md5"));
        }
        let arg = match args[0].ty.kind {
            PgType::Bytea => args[0].clone(),
            _ => self.text_argument(args[0].clone())?,
        };
        let text = self.text(&arg)?;
        Ok(Some(strict("MD5({0})", &[&arg], &[text], Type::text())))
    }

    fn encode(&mut self, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        let template = match &args[1].node {
            Node::Unknown(format) if format == "hex" => "LOWER(HEX({0}))",
            // Both break lines after 76 characters.
            Node::Unknown(format) if format == "base64" => "TO_BASE64({0})",
            _ => return Err(unsupported("encode to this format")),
        };
        self.bytes(&args[..1], template, Type::text())
    }

    fn decode(&mut self, args: &[Typed]) -> Result<Option<Typed>, Refused> {
        let Node::Unknown(format) = &args[1].node else {
            return Err(unsupported("decode from this format"));
        };
        if format != "hex" {
            return Err(unsupported("decode from this format"));
        }
        let ty = Type::builtin("bytea");
        if let Node::Unknown(digits) = &args[0].node {
            let value = literal::parse(&format!("\\x{digits}"), &ty, &self.around)?;
            return Ok(Some(Typed::constant(value, ty)));
        }
        let arg = self.text_argument(args[0].clone())?;
        let text = self.text(&arg)?;
        let template = format!(
            "(CASE WHEN UNHEX({{0}}) IS NOT NULL THEN UNHEX({{0}}) WHEN {{0}} IS NOT NULL THEN {FAILS} END)"
        );
        Ok(Some(Typed::sql(fill(&template, &[text]), ty, arg.nullable)))
    }

    pub(super) fn substring(
        &mut self,
        expr: &Expr,
        from: Option<&Expr>,
        length: Option<&Expr>,
    ) -> Result<Typed, Refused> {
        let value = self.expr(expr)?;
        let one = Typed::constant(Value::Int(1), Type::int4());
        let from = match from {
            Some(from) => self.expr(from)?,
            None => one,
        };
        let found = match length {
            Some(length) => {
                let length = self.expr(length)?;
                self.string_function("substring", &[value, from, length])?
            }
            None if matches!(from.node, Node::Unknown(_)) || from.ty.is_text() => {
                return self.substring_by_pattern(value, &from);
            }
            None => self.string_function("substring", &[value, from])?,
        };
        found.ok_or_else(|| unsupported("substring of this type"))
    }

    pub(super) fn trim(
        &mut self,
        side: Option<TrimWhereField>,
        what: Option<&Expr>,
        expr: &Expr,
        characters: Option<&[Expr]>,
    ) -> Result<Typed, Refused> {
        let value = self.expr(expr)?;
        let value = self.text_argument(value)?;
        let what = match (what, characters) {
            (Some(what), _) => Some(self.expr(what)?),
            (None, Some([what])) => Some(self.expr(what)?),
            (None, None | Some([])) => None,
            _ => return Err(unsupported("trim of several")),
        };
        // A set of letters in PostgreSQL, a whole string in MySQL: the same for one letter.
        let what = match what {
            None => Text::sql("' '"),
            Some(what) => match &what.node {
                Node::Unknown(letter) if letter.chars().count() == 1 => {
                    let typed = self.settle(what)?;
                    self.text(&typed)?
                }
                _ => return Err(unsupported("trim of several letters")),
            },
        };
        let side = match side {
            Some(TrimWhereField::Leading) => "LEADING",
            Some(TrimWhereField::Trailing) => "TRAILING",
            _ => "BOTH",
        };
        let texts = [self.text(&value)?, what];
        let template = format!("TRIM({side} {{1}} FROM {{0}})");
        Ok(strict(&template, &[&value], &texts, Type::text()))
    }

    /// `~` and its kin, for patterns that mean the same to both engines.
    pub(super) fn regex_match(
        &mut self,
        value: Typed,
        pattern: &Typed,
        any_case: bool,
        negated: bool,
    ) -> Result<Typed, Refused> {
        let value = self.text_argument(value)?;
        let pattern = self.pattern(pattern, any_case, false)?;
        let texts = [self.text(&value)?, pattern];
        let not = if negated { "NOT " } else { "" };
        let template = match (self.is_mysql(), any_case) {
            (true, true) => format!("({not}REGEXP_LIKE({{0}}, {{1}}, 'in'))"),
            (true, false) => format!("({not}REGEXP_LIKE({{0}}, {{1}}, 'cn'))"),
            (false, _) => format!("({{0}} {not}REGEXP {{1}})"),
        };
        Ok(strict(&template, &[&value], &texts, Type::bool()))
    }

    /// A pattern as both products' engines read it.
    fn pattern(&self, pattern: &Typed, any_case: bool, extracts: bool) -> Result<Text, Refused> {
        let (Node::Unknown(text) | Node::Constant(Value::Text(text))) = &pattern.node else {
            return Err(unsupported("a regular expression that is not a literal"));
        };
        let mut text = super::regex::portable(text, extracts)?;
        if !self.is_mysql() {
            text = format!("{}{text}", if any_case { "(?si)" } else { "(?s)" });
        }
        Ok(constant_text(text))
    }

    /// `substring(s from 'pattern')`: the first group, or all that matched.
    fn substring_by_pattern(&mut self, value: Typed, pattern: &Typed) -> Result<Typed, Refused> {
        let value = self.text_argument(value)?;
        let (Node::Unknown(text) | Node::Constant(Value::Text(text))) = &pattern.node else {
            return Err(unsupported("a regular expression that is not a literal"));
        };
        let portable = super::regex::portable(text, true)?;
        let whole = super::regex::around_group(&portable)?;
        let prefix = if self.is_mysql() { "" } else { "(?s)" };
        let group = if self.is_mysql() { "$2" } else { "\\2" };
        let texts = [
            self.text(&value)?,
            constant_text(format!("{prefix}{portable}")),
            constant_text(format!("{prefix}{whole}")),
            constant_text(group.to_owned()),
        ];
        let template = if self.is_mysql() {
            "(CASE WHEN REGEXP_LIKE({0}, {1}, 'cn') THEN REGEXP_REPLACE({0}, {2}, {3}, 1, 1, 'cn') END)"
        } else {
            "(CASE WHEN {0} REGEXP {1} THEN REGEXP_REPLACE({0}, {2}, {3}) END)"
        };
        Ok(Typed::sql(fill(template, &texts), Type::text(), true))
    }

    /// `regexp_replace(s, pattern, replacement [, 'g'])`
    pub(super) fn regexp_replace(&mut self, args: &[Typed]) -> Result<Typed, Refused> {
        let value = self.text_argument(args[0].clone())?;
        let all = match args.get(3).map(|flags| &flags.node) {
            None => false,
            Some(Node::Unknown(flags)) if flags == "g" => true,
            _ => return Err(unsupported("regexp_replace with these flags")),
        };
        let (Node::Unknown(pattern), Node::Unknown(with)) = (&args[1].node, &args[2].node) else {
            return Err(unsupported("regexp_replace by what is not a literal"));
        };
        let pattern = super::regex::portable(pattern, true)?;
        let mysql = self.is_mysql();
        let shift = usize::from(!mysql && !all);
        let with = super::regex::replacement(with, mysql, shift)?;
        // MariaDB replaces all there are, so that the first alone is found from the beginning.
        let pattern = match (mysql, all) {
            (true, _) => pattern,
            (false, true) => format!("(?s){pattern}"),
            (false, false) => format!("(?s)^(.*?){pattern}"),
        };
        let texts = [self.text(&value)?, constant_text(pattern), constant_text(with)];
        let template = match (mysql, all) {
            (true, true) => "REGEXP_REPLACE({0}, {1}, {2}, 1, 0, 'cn')",
            (true, false) => "REGEXP_REPLACE({0}, {1}, {2}, 1, 1, 'cn')",
            (false, _) => "REGEXP_REPLACE({0}, {1}, {2})",
        };
        Ok(strict(template, &[&value], &texts, Type::text()))
    }
}

/// Functions that a template says all about: what the arguments are (`t` text, `i` integer), the call, and
/// the result's type.
fn template(
    name: &str,
    count: usize,
    is_bytes: bool,
) -> Option<(&'static str, &'static str, Type)> {
    if is_bytes && matches!(name, "length" | "octet_length") {
        return None;
    }
    let (int, text) = (Type::int4, Type::text);
    Some(match (name, count) {
        ("lower", 1) => ("t", "LOWER({0})", text()),
        ("upper", 1) => ("t", "UPPER({0})", text()),
        ("length" | "char_length" | "character_length", 1) => ("t", "CHAR_LENGTH({0})", int()),
        ("octet_length", 1) => ("t", "LENGTH({0})", int()),
        ("bit_length", 1) => ("t", "(8 * LENGTH({0}))", int()),
        ("strpos", 2) => ("tt", "LOCATE({1}, {0})", int()),
        ("left", 2) => (
            "ti",
            "IF({1} < 0, LEFT({0}, GREATEST(CHAR_LENGTH({0}) + {1}, 0)), LEFT({0}, {1}))",
            text(),
        ),
        ("right", 2) => (
            "ti",
            "IF({1} < 0, RIGHT({0}, GREATEST(CHAR_LENGTH({0}) + {1}, 0)), RIGHT({0}, {1}))",
            text(),
        ),
        ("substr" | "substring", 2) if !is_bytes => {
            ("ti", "SUBSTRING({0}, GREATEST({1}, 1))", text())
        }
        ("substr" | "substring", 3) if !is_bytes => (
            "tii",
            "IF({2} < 0, (SELECT 1 WHERE {2} < 0 UNION ALL SELECT 2), \
                 SUBSTRING({0}, GREATEST({1}, 1), GREATEST({1} + {2} - GREATEST({1}, 1), 0)))",
            text(),
        ),
        ("lpad", 2) => ("ti", "LPAD({0}, GREATEST({1}, 0), ' ')", text()),
        ("rpad", 2) => ("ti", "RPAD({0}, GREATEST({1}, 0), ' ')", text()),
        ("lpad", 3) => (
            "tit",
            "IF({2} = '', LEFT({0}, GREATEST({1}, 0)), LPAD({0}, GREATEST({1}, 0), {2}))",
            text(),
        ),
        ("rpad", 3) => (
            "tit",
            "IF({2} = '', LEFT({0}, GREATEST({1}, 0)), RPAD({0}, GREATEST({1}, 0), {2}))",
            text(),
        ),
        ("reverse", 1) => ("t", "REVERSE({0})", text()),
        ("repeat", 2) => ("ti", "REPEAT({0}, {1})", text()),
        ("replace", 3) => ("ttt", "IF({1} = '', {0}, REPLACE({0}, {1}, {2}))", text()),
        ("btrim", 1) => ("t", "TRIM({0})", text()),
        ("ltrim", 1) => ("t", "LTRIM({0})", text()),
        ("rtrim", 1) => ("t", "RTRIM({0})", text()),
        ("starts_with", 2) => ("tt", "(LEFT({0}, CHAR_LENGTH({1})) = {1})", Type::bool()),
        _ => return None,
    })
}

fn constant_text(text: String) -> Text {
    Text::value(Slot {
        source: Source::Constant(Value::Text(text)),
        ty: Type::text(),
        form: super::program::Form::Column(crate::value::TargetType::LongText),
    })
}
