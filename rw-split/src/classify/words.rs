//! Which names are safe on a standby.

use std::sync::LazyLock;

use foldhash::{HashMap, HashMapExt};

/// What a name before a parenthesis stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A built-in function that a standby answers like the primary.
    Safe,
    /// Syntax: `IN (`, `OVER (`, `VALUES (`.
    Keyword,
    /// A built-in that means something to one session only.
    Session,
}

/// Keywords that stand before a parenthesis, and before which no call ends.
const KEYWORDS: &str = "all and any array as asc between by case check columns cube cycle default \
    desc distinct else end escape except exists fetch filter first following from group groups \
    having ignore ilike in inner intersect into is isnull join lateral left like limit \
    materialized next not notnull nulls of offset on only operator or order over partition \
    passing path preceding primary range recursive returning right rollup row rows search select \
    separator set sets similar some symmetric table tablesample then ties to union unique using \
    values when where window with within without xmlnamespaces full cross natural outer";

/// Functions whose effect, or answer, belongs to one connection.
const SESSION: &str = "currval lastval pg_advisory_lock pg_advisory_lock_shared \
    pg_try_advisory_lock pg_try_advisory_lock_shared pg_advisory_unlock \
    pg_advisory_unlock_shared pg_advisory_unlock_all set_config setseed dblink_connect \
    dblink_disconnect";

/// Catalogue relations that replication keeps the same on every server. All
/// others that begin with `pg_` answer for the server that they run on.
const RELATIONS: &str = "pg_aggregate pg_am pg_amop pg_amproc pg_attrdef pg_attribute \
    pg_auth_members pg_authid pg_cast pg_catalog pg_class pg_collation pg_constraint \
    pg_conversion pg_database pg_db_role_setting pg_default_acl pg_depend pg_description pg_enum \
    pg_event_trigger pg_extension pg_foreign_data_wrapper pg_foreign_server pg_foreign_table \
    pg_group pg_index pg_indexes pg_inherits pg_init_privs pg_language pg_largeobject \
    pg_largeobject_metadata pg_matviews pg_namespace pg_opclass pg_operator pg_opfamily \
    pg_parameter_acl pg_partitioned_table pg_policies pg_policy pg_proc pg_publication \
    pg_publication_namespace pg_publication_rel pg_publication_tables pg_range pg_rewrite \
    pg_roles pg_rules pg_seclabel pg_seclabels pg_sequence pg_shadow pg_shdepend \
    pg_shdescription pg_shseclabel pg_statistic pg_statistic_ext pg_statistic_ext_data pg_stats \
    pg_stats_ext pg_stats_ext_exprs pg_subscription_rel pg_tables pg_tablespace \
    pg_timezone_abbrevs pg_timezone_names pg_toast pg_transform pg_trigger pg_ts_config \
    pg_ts_config_map pg_ts_dict pg_ts_parser pg_ts_template pg_type pg_user pg_user_mapping \
    pg_user_mappings pg_views pg_trgm pg_bigm";

static CALLS: LazyLock<HashMap<&'static [u8], Call>> = LazyLock::new(|| {
    let mut calls = HashMap::new();
    let functions = include_str!("functions.txt").lines().filter(|line| !line.starts_with('#'));
    calls.extend(functions.map(|name| (name.as_bytes(), Call::Safe)));
    let session = SESSION.split_ascii_whitespace();
    calls.extend(session.map(|name| (name.as_bytes(), Call::Session)));
    // `left(x, 1)` and `right(x, 1)` are functions, and safe ones: it comes to the same.
    let keywords = KEYWORDS.split_ascii_whitespace();
    calls.extend(keywords.map(|name| (name.as_bytes(), Call::Keyword)));
    calls
});

static REPLICATED: LazyLock<HashMap<&'static [u8], ()>> = LazyLock::new(|| {
    let names = RELATIONS.split_ascii_whitespace().map(|name| (name.as_bytes(), ()));
    // The functions that may be written without a parenthesis next to them.
    names.chain(CALLS.keys().map(|name| (*name, ()))).collect()
});

pub(super) fn call(name: &[u8]) -> Option<Call> {
    CALLS.get(name).copied()
}

/// For names that begin with `pg_`.
pub(super) fn is_replicated(name: &[u8]) -> bool {
    REPLICATED.contains_key(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_function_is_listed_twice_and_none_is_a_keyword() {
        let lines = || include_str!("functions.txt").lines().filter(|l| !l.starts_with('#'));
        let mut sorted: Vec<_> = lines().collect();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), lines().count());
        for name in sorted {
            assert!(!SESSION.split_ascii_whitespace().any(|session| session == name), "{name}");
        }
    }

    #[test]
    fn what_works_on_a_standby_and_is_wrong_there_is_not_listed() {
        for name in [
            "pg_advisory_xact_lock",
            "pg_try_advisory_xact_lock",
            "pg_wal_replay_pause",
            "pg_terminate_backend",
            "pg_cancel_backend",
            "pg_reload_conf",
            "pg_export_snapshot",
            "pg_stat_reset",
            "pg_notify",
            "nextval",
            "setval",
            "txid_current",
            "current_setting",
            "pg_is_in_recovery",
            "pg_backend_pid",
            "query_to_xml",
            "ts_stat",
            "lo_create",
        ] {
            assert_eq!(call(name.as_bytes()), None, "{name}");
        }
    }
}
