//! What an error means for what was asked.

use tokio_postgres::error::SqlState;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A statement that is proven read-only, on a standby, before a row came.
    ReadOnStandby,
    /// The same on the primary.
    ReadOnPrimary,
    /// All else, outside of a transaction block.
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Again on another server, the primary last.
    Elsewhere,
    /// Again on the primary: a replica cannot, or not yet.
    Primary,
    /// It writes after all. Again on the primary, and from now on.
    Reclassify,
    /// Not the primary any more: find the one that is, and send it there.
    FindPrimary,
    /// On the same connection, prepared again.
    PrepareAgain,
    /// The caller's error.
    Fail,
    /// It may have happened.
    Unknown,
}

/// `code` is `None` where the connection failed, and no server said anything.
pub(crate) fn next(code: Option<&SqlState>, asked: Asked) -> Next {
    let Some(code) = code else {
        return match asked {
            Asked::ReadOnStandby | Asked::ReadOnPrimary => Next::Elsewhere,
            Asked::Write => Next::Unknown,
        };
    };
    let text = code.code();
    // 26000: a pooler's server has not prepared it. 0A000 "cached plan must not
    // change result type": a migration came between. Neither has run.
    if *code == SqlState::INVALID_SQL_STATEMENT_NAME {
        return Next::PrepareAgain;
    }
    match asked {
        Asked::ReadOnStandby => match text {
            "25006" => Next::Reclassify,
            "0A000" => Next::PrepareAgain,
            // A conflict with recovery.
            "40001" | "40P01" => Next::Elsewhere,
            // Not there yet (DDL that is not replayed), or not on a standby.
            "55000" | "42P01" | "42883" | "3F000" | "42704" | "42703" => Next::Primary,
            _ if is_gone(code) => Next::Elsewhere,
            _ => Next::Fail,
        },
        Asked::ReadOnPrimary => match text {
            "25006" => Next::FindPrimary,
            "0A000" => Next::PrepareAgain,
            _ if is_gone(code) => Next::Elsewhere,
            _ => Next::Fail,
        },
        Asked::Write => match text {
            "25006" => Next::FindPrimary,
            // It was refused before it began.
            "53300" | "57P03" => Next::FindPrimary,
            "40003" => Next::Unknown,
            _ if is_gone(code) => Next::Unknown,
            _ => Next::Fail,
        },
    }
}

/// The connection, or the server, is going away. Not 57014: that was asked for.
pub(crate) fn is_gone(code: &SqlState) -> bool {
    let code = code.code();
    code.starts_with("57P") || code.starts_with("08") || code == "53300"
}

/// A migration has changed what a prepared statement returns ("cached plan must
/// not change result type"). It shows when the plan is looked at, before it runs.
/// Other things are 0A000, too: only where it comes from tells.
pub(crate) fn is_old_plan(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        *error.code() == SqlState::FEATURE_NOT_SUPPORTED
            && error.routine() == Some("RevalidateCachedQuery")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(code: &str, asked: Asked) -> Next {
        next(Some(&SqlState::from_code(code)), asked)
    }

    #[test]
    fn a_write_is_sent_again_only_if_it_was_refused_unseen() {
        assert_eq!(after("25006", Asked::Write), Next::FindPrimary);
        assert_eq!(after("57P03", Asked::Write), Next::FindPrimary);
        for code in ["57P01", "57P02", "08006", "08003", "40003"] {
            assert_eq!(after(code, Asked::Write), Next::Unknown, "{code}");
        }
        assert_eq!(next(None, Asked::Write), Next::Unknown);
        for code in ["40001", "40P01", "23505", "42P01", "0A000", "57014", "55000"] {
            assert_eq!(after(code, Asked::Write), Next::Fail, "{code}");
        }
    }

    #[test]
    fn a_cancelled_statement_is_never_repeated() {
        for asked in [Asked::ReadOnStandby, Asked::ReadOnPrimary, Asked::Write] {
            assert_eq!(after("57014", asked), Next::Fail);
        }
    }

    #[test]
    fn a_read_goes_where_it_can_be_answered() {
        assert_eq!(after("25006", Asked::ReadOnStandby), Next::Reclassify);
        assert_eq!(after("40001", Asked::ReadOnStandby), Next::Elsewhere);
        assert_eq!(after("42P01", Asked::ReadOnStandby), Next::Primary);
        assert_eq!(after("42P01", Asked::ReadOnPrimary), Next::Fail);
        assert_eq!(after("57P01", Asked::ReadOnPrimary), Next::Elsewhere);
        assert_eq!(next(None, Asked::ReadOnStandby), Next::Elsewhere);
        assert_eq!(after("22012", Asked::ReadOnStandby), Next::Fail);
    }
}
