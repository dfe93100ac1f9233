//! Where the operator of now is found: with another config comes another.

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::FromRef;

use super::Operator;

/// Where the operator of now is found.
#[derive(Clone)]
pub struct Desk(Arc<RwLock<Arc<Operator>>>);

impl Desk {
    /// With this one at first.
    #[must_use]
    pub fn new(operator: Arc<Operator>) -> Self {
        Self(Arc::new(RwLock::new(operator)))
    }

    /// The one of now. Whatever it is asked, it answers by one config.
    #[must_use]
    pub fn now(&self) -> Arc<Operator> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in its place.
    pub fn change(&self, operator: Operator) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(operator);
    }
}

impl FromRef<Desk> for Arc<Operator> {
    fn from_ref(desk: &Desk) -> Self {
        desk.now()
    }
}
