//! A password of Crossfade's own that can be replaced while it is in use.
//!
//! Invariant: all clones are one. Who holds a URL logs in with the password of now, so a reload
//! reaches every task without asking any of them. It is printed as `***`.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Shared by everyone who was given a clone of it.
#[derive(Clone, Default)]
pub struct Password(Arc<RwLock<Option<String>>>);

impl Password {
    #[must_use]
    pub fn new(text: Option<String>) -> Self {
        Self(Arc::new(RwLock::new(text)))
    }

    /// The password of now, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over another one's text; true if that changed anything.
    pub fn replace(&self, other: &Self) -> bool {
        let new = other.reveal();
        let mut own = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *own != new;
        *own = new;
        changed
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self::new(Some(text.to_owned()))
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.reveal() == other.reveal()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clone_has_the_password_of_now() {
        let (held, new) = (Password::from("old"), Password::from("hunter2"));
        let kept = held.clone();
        assert!(held.replace(&new) && !held.replace(&new));
        assert_eq!(kept.reveal().as_deref(), Some("hunter2"));
        assert_eq!(format!("{kept:?}"), "***");
    }
}
