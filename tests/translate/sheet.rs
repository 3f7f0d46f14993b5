//! The statements of `statements.sql`: a header, parameters, the text.

/// One statement that both sides run.
#[derive(Debug)]
pub struct Statement {
    pub id: String,
    /// q, w or e.
    pub class: char,
    /// The order of its rows is given.
    pub ordered: bool,
    /// Its values differ from run to run.
    pub volatile: bool,
    /// In text format.
    pub parameters: Vec<String>,
    pub sql: String,
}

/// Queries, writes and expected errors.
pub fn parse(text: &str) -> Vec<Statement> {
    let mut statements: Vec<Statement> = Vec::new();
    let mut open: Option<Statement> = None;
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("-- @") {
            statements.extend(open.take());
            let mut parts = header.split('|');
            let mut words = parts.next().unwrap_or_default().split_whitespace();
            let id = words.next().unwrap_or_default().to_owned();
            let class = words.next().and_then(|word| word.chars().next()).unwrap_or(' ');
            let flags = parts.nth(1).unwrap_or_default();
            open = Some(Statement {
                id,
                class,
                ordered: flags.contains("ord"),
                volatile: flags.contains("vol"),
                parameters: Vec::new(),
                sql: String::new(),
            });
        } else if let (Some(json), Some(statement)) = (line.strip_prefix("-- p: "), &mut open) {
            let values: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
            statement.parameters = values.iter().map(parameter).collect();
        } else if let Some(statement) = &mut open
            && !line.starts_with("--")
            && !line.trim().is_empty()
        {
            statement.sql += line;
            statement.sql.push('\n');
        }
    }
    statements.extend(open);
    statements.retain(|statement| "qwe".contains(statement.class));
    for statement in &mut statements {
        statement.sql = statement.sql.trim().to_owned();
    }
    statements
}

/// A literal of PostgreSQL, alone or beside MySQL's: what is between its quotes.
fn parameter(value: &serde_json::Value) -> String {
    let literal = match value {
        serde_json::Value::Array(both) => both[0].as_str(),
        one => one.as_str(),
    };
    let literal = literal.unwrap();
    match literal.strip_prefix('\'') {
        None => literal.to_owned(),
        Some(rest) => rest[..rest.rfind('\'').unwrap()].replace("''", "'"),
    }
}
