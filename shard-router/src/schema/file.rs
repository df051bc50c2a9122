use std::path::Path;

use super::{Migration, SchemaError};

/// The line of a file whose statements cannot be in a transaction.
const WITHOUT: &str = "-- shard-router: no transaction";

impl Migration {
    /// The changes in a folder, by their names: `0001_orders.expand.sql`,
    /// `0002_drop_note.contract.sql`. A file with a line `-- shard-router: no transaction` is
    /// run [without one](Self::without_transaction).
    ///
    /// # Errors
    ///
    /// A folder or file that cannot be read, and a `.sql` of neither phase.
    pub fn read_folder(folder: &Path) -> Result<Vec<Self>, SchemaError> {
        let shown = folder.display();
        let failed = |error: std::io::Error| SchemaError::Invalid {
            reason: format!("{shown} cannot be read: {error}"),
        };
        let mut migrations = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(stem) = name.strip_suffix(".sql") else { continue };
            let sql = std::fs::read_to_string(&path).map_err(failed)?;
            let migration = match stem.rsplit_once('.') {
                Some((_, "expand")) => Self::expand(stem, sql),
                Some((_, "contract")) => Self::contract(stem, sql),
                _ => {
                    let reason = format!(
                        "{name}: a change adds or takes away; call it `….expand.sql` or \
                         `….contract.sql`"
                    );
                    return Err(SchemaError::Invalid { reason });
                }
            };
            let without = migration.sql.lines().any(|line| line.trim() == WITHOUT);
            migrations.push(if without { migration.without_transaction() } else { migration });
        }
        migrations.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(migrations)
    }
}
