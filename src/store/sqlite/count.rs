//! Calls that were made beside the bridge, added to their months.

use std::path::Path;

use super::lock::Lock;
use super::schema::{Role, connect};
use super::{MIGRATIONS, deliveries};
use crate::store::{Charge, Result, StoreError};

/// Adds calls to the months of their accounts in the file of a bridge that does not run. All are added, or none.
///
/// # Errors
/// [`StoreError::Held`] if a bridge runs on it after all; [`StoreError::Failed`], also where another version wrote the file,
/// which is left as it is.
pub fn count(path: &Path, calls: &[(Charge, u32)]) -> Result<()> {
    let fail = |why: String| StoreError::Failed { doing: "counting calls", why: format!("{}: {why}", path.display()) };
    let failed = |error: rusqlite::Error| fail(error.to_string());
    let _lock = Lock::take(path)?;
    let mut db = connect(path, Role::Writer).map_err(failed)?;
    let schema: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if usize::try_from(schema).ok() != Some(MIGRATIONS.len()) {
        return Err(fail("it was written by another version of dari".to_owned()));
    }
    let whole = db.transaction().map_err(failed)?;
    for (charge, calls) in calls {
        deliveries::add_calls(&whole, charge, i64::from(*calls)).map_err(failed)?;
    }
    whole.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::Store;
    use crate::store::sqlite::{SqliteStore, open};

    #[tokio::test]
    async fn calls_are_added_to_what_the_bridge_has_counted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dari.db");
        let charge = Charge { account: "crm".into(), month: "2026-11".into(), limit: Some(2) };
        let held = open(&file).unwrap();
        assert!(matches!(count(&file, &[(charge.clone(), 1)]), Err(StoreError::Held { .. })));
        held.close().await;
        drop(held);
        count(&file, &[(charge.clone(), 2)]).unwrap();
        count(&file, &[(charge.clone(), 3)]).unwrap();
        let store = SqliteStore::new(open(&file).unwrap(), Clock::system(0));
        assert_eq!(store.used("crm", "2026-11").await.unwrap(), 5);
    }
}
