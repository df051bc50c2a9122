//! What the database says about its functions and relations.

use tokio_postgres::{Client, Error};

use crate::classify::{Catalogue, Route, Target};

/// By name: a call does not show which of several functions of a name it means.
/// Every aggregate is labelled immutable, whatever the functions that it is made of.
const FUNCTIONS: &str = "SELECT p.proname::text, bool_or(p.provolatile = 'v' OR EXISTS (\
        SELECT FROM pg_catalog.pg_aggregate a JOIN pg_catalog.pg_proc part ON part.oid IN \
            (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggmtransfn, a.aggmfinalfn) \
        WHERE a.aggfnoid = p.oid AND part.provolatile = 'v')) \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.prokind IN ('f', 'a', 'w') \
    GROUP BY 1";

/// Sequences, foreign tables, what is unlogged; and what such a table is a part of.
const RELATIONS: &str = "WITH RECURSIVE unsafe (oid) AS (\
        SELECT c.oid FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
        AND (c.relkind IN ('S', 'f') OR c.relpersistence = 'u') AND c.relkind NOT IN ('i', 'I') \
        UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN unsafe u ON u.oid = i.inhrelid) \
    SELECT c.relname::text FROM pg_catalog.pg_class c JOIN unsafe USING (oid)";

/// `pg_depend` does not list built-in functions, which are pinned: so the text of
/// each view is read like any other statement.
const VIEWS: &str = "SELECT c.relname::text, pg_catalog.pg_get_viewdef(c.oid) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relkind = 'v'";

pub(crate) async fn load(client: &Client) -> Result<Catalogue, Error> {
    let mut catalogue = Catalogue::default();
    for row in client.query_typed(FUNCTIONS, &[]).await? {
        let name: Box<[u8]> = row.try_get::<_, &str>(0)?.as_bytes().into();
        if row.try_get(1)? {
            catalogue.shadowed.insert(name);
        } else {
            catalogue.functions.insert(name);
        }
    }
    for row in client.query_typed(RELATIONS, &[]).await? {
        catalogue.relations.insert(row.try_get::<_, &str>(0)?.as_bytes().into());
    }
    let mut views = Vec::new();
    for row in client.query_typed(VIEWS, &[]).await? {
        let text: Option<String> = row.try_get(1)?;
        views.push((row.try_get::<_, String>(0)?, text.unwrap_or_default()));
    }
    hide(&mut catalogue, views);
    Ok(catalogue)
}

/// A view of an unsafe view is unsafe as well.
fn hide(catalogue: &mut Catalogue, mut views: Vec<(String, String)>) {
    loop {
        let before = views.len();
        views.retain(|(name, text)| {
            let safe = Route::of(text, catalogue).target() == Target::Replica;
            if !safe {
                catalogue.relations.insert(name.as_bytes().into());
            }
            safe
        });
        if views.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_that_hide_what_is_unsafe_are_found_through_other_views() {
        let view = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let mut catalogue = Catalogue::default();
        hide(
            &mut catalogue,
            vec![
                view("outer_view", " SELECT inner_view.n FROM inner_view;"),
                view("inner_view", " SELECT nextval('s'::regclass) AS n;"),
                view("fine", " SELECT users.name FROM users;"),
            ],
        );
        let is_unsafe = |name: &str| catalogue.relations.contains(name.as_bytes());
        assert!(is_unsafe("outer_view") && is_unsafe("inner_view") && !is_unsafe("fine"));
    }
}
