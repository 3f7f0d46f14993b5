//! The session's search path, through SET, SET LOCAL, savepoints and what is rolled back.
//!
//! ```text
//! SET ──▶ session ┐ ROLLBACK, ROLLBACK TO: as it was
//! LOCAL ─▶ local  ┴ COMMIT: the session's
//! ```
//!
//! Invariant: [`Paths::now`] is what the primary will use for the next statement, or unknown. While a
//! statement that moves it is on its way, it is unknown.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::names::split_path;
use crate::plan::cache::{PathKey, Planner};
use crate::plan::{PathChange, Plan, SearchPath, Step};

#[derive(Debug)]
pub(super) struct Paths {
    user: Box<str>,
    /// What RESET goes back to.
    first: Arc<PathKey>,
    level: Level,
    /// As of the last commit.
    committed: Level,
    savepoints: Vec<(String, Level)>,
    /// A statement that moves it was sent, and not all is answered since.
    sent: bool,
    unknown: Arc<PathKey>,
}

#[derive(Clone, Debug)]
struct Level {
    session: Arc<PathKey>,
    local: Option<Arc<PathKey>>,
}

impl Paths {
    /// Of a fresh session of `user`, whose startup message had these `parameters`.
    pub(super) fn new(
        planner: &Planner,
        user: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Self {
        let first = Arc::new(PathKey::from(first(planner, user, parameters)));
        let level = Level { session: Arc::clone(&first), local: None };
        Self {
            user: user.into(),
            first,
            committed: level.clone(),
            level,
            savepoints: Vec::new(),
            sent: false,
            unknown: Arc::default(),
        }
    }

    /// What the next statement's names are looked up in.
    pub(super) fn now(&self) -> &Arc<PathKey> {
        if self.sent {
            return &self.unknown;
        }
        self.level.local.as_ref().unwrap_or(&self.level.session)
    }

    /// What they are looked up in if the plan is one of several statements, some of which end the
    /// transaction that has moved the path; `None` if that makes no difference.
    pub(super) fn across(&self, plan: &Plan) -> Option<PathKey> {
        let ends =
            |step: &Step| matches!(step, Step::Commit | Step::Transaction | Step::RollbackTo(_));
        let moved = self.level.local.is_some()
            || !Arc::ptr_eq(&self.level.session, &self.committed.session);
        let several = 1 < plan.statements.len();
        let across = moved && several && plan.statements.iter().any(|planned| ends(&planned.step));
        across.then(|| self.now().moved())
    }

    /// The statements of this plan are about to leave.
    pub(super) fn send(&mut self, plan: &Plan) {
        let moves = |step: &Step| match step {
            Step::SearchPath(change) => *change != PathChange::Kept,
            // By its name only: what it was prepared from may set the path.
            Step::Execute(_) | Step::RollbackTo(_) => true,
            Step::Commit | Step::Transaction => self.level.local.is_some(),
            _ => false,
        };
        self.sent |= plan.statements.iter().any(|planned| moves(&planned.step));
    }

    /// Everything that was sent is answered.
    pub(super) fn settled(&mut self) {
        self.sent = false;
    }

    pub(super) fn change(&mut self, change: PathChange) {
        match change {
            PathChange::Set(path) => {
                let session = Arc::new(PathKey::from(path.of(&self.user)));
                self.level = Level { session, local: None };
            }
            PathChange::Local(path) => {
                self.level.local = Some(Arc::new(PathKey::from(path.of(&self.user))));
            }
            PathChange::Reset => {
                self.level = Level { session: Arc::clone(&self.first), local: None };
            }
            PathChange::Kept => {}
        }
    }

    pub(super) fn savepoint(&mut self, name: &str) {
        self.savepoints.push((name.to_owned(), self.level.clone()));
    }

    pub(super) fn release(&mut self, name: &str) {
        if let Some(at) = self.savepoints.iter().rposition(|(known, _)| known == name) {
            self.savepoints.truncate(at);
        }
    }

    pub(super) fn rollback_to(&mut self, name: &str) {
        match self.savepoints.iter().rposition(|(known, _)| known == name) {
            Some(at) => {
                self.savepoints.truncate(at + 1);
                self.level = self.savepoints[at].1.clone();
            }
            None => self.level.local = Some(Arc::clone(&self.unknown)),
        }
    }

    pub(super) fn commit(&mut self) {
        if self.level.local.is_some() || !Arc::ptr_eq(&self.level.session, &self.committed.session)
        {
            self.level.local = None;
            self.committed = self.level.clone();
        }
        self.savepoints.clear();
    }

    pub(super) fn rollback(&mut self) {
        self.level = self.committed.clone();
        self.savepoints.clear();
    }
}

fn first(planner: &Planner, user: &str, parameters: &BTreeMap<String, String>) -> SearchPath {
    let given = |path: &str| SearchPath::Known(split_path(path)).of(user);
    if let Some(options) = parameters.get("options").filter(|text| text.contains("search_path")) {
        return option(options).map_or(SearchPath::Unknown, |path| given(&path));
    }
    if let Some(path) = parameters.get("search_path") {
        return given(path);
    }
    let paths = &planner.situation.catalog.search_paths;
    let known = paths.get(user).or_else(|| paths.get(""));
    known.map_or(SearchPath::Unknown, |path| SearchPath::Known(path.clone()))
}

/// The path in `-c search_path=a,b`; `None` where it takes more than that to read it.
fn option(options: &str) -> Option<String> {
    if options.contains('\\') || options.matches("search_path").count() != 1 {
        return None;
    }
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next()?,
            word => word.strip_prefix("-c").or_else(|| word.strip_prefix("--"))?,
        };
        if let Some((name, path)) = setting.split_once('=')
            && name == "search_path"
        {
            return Some(path.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phase::Situation;

    fn paths() -> Paths {
        let planner = Planner::new(Arc::new(Situation::transparent()), 1);
        let parameters = BTreeMap::from([("search_path".to_owned(), "first".to_owned())]);
        Paths::new(&planner, "app", &parameters)
    }

    fn known(schema: &str) -> SearchPath {
        SearchPath::Known(vec![schema.to_owned()])
    }

    #[track_caller]
    fn is(paths: &Paths, schema: &str) {
        assert_eq!(**paths.now(), PathKey::from(known(schema)));
    }

    #[test]
    fn what_is_local_ends_with_the_transaction() {
        let mut paths = paths();
        paths.change(PathChange::Set(known("a")));
        paths.change(PathChange::Local(known("b")));
        is(&paths, "b");
        paths.commit();
        is(&paths, "a");
        paths.change(PathChange::Local(known("b")));
        paths.rollback();
        is(&paths, "a");
        paths.change(PathChange::Reset);
        is(&paths, "first");
        paths.rollback();
        is(&paths, "a");
    }

    #[test]
    fn a_savepoint_brings_both_back() {
        let mut paths = paths();
        paths.change(PathChange::Local(known("a")));
        paths.savepoint("s");
        paths.change(PathChange::Set(known("$user")));
        is(&paths, "app");
        paths.rollback_to("s");
        is(&paths, "a");
        paths.rollback_to("s");
        paths.release("s");
        paths.commit();
        is(&paths, "first");
        paths.rollback_to("gone");
        assert_eq!(**paths.now(), PathKey::default());
    }

    #[test]
    fn options_are_read_as_far_as_they_are_plain() {
        for (options, path) in [
            ("-c search_path=a,b", Some("a,b")),
            ("-csearch_path=a -c timezone=UTC", Some("a")),
            ("--search_path=a", Some("a")),
            (r"-c search_path=a,\ b", None),
            ("-c search_path=a -c search_path=b", None),
        ] {
            assert_eq!(option(options).as_deref(), path, "{options}");
        }
    }
}
