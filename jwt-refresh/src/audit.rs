use crate::store::SessionId;

/// Something that happened to a session, for a security log. It holds no token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent<'a> {
    /// What happened.
    pub kind: AuditKind,
    /// The session, where there is one.
    pub session: Option<SessionId>,
    /// The user, where known.
    pub user: Option<&'a str>,
    /// The `kid` or `jti`, where it is about one.
    pub subject: Option<&'a str>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditKind {
    /// A session began.
    Login,
    /// A refresh token was replaced.
    Rotated,
    /// A young refresh token was kept.
    Kept,
    /// A retry got the same successor.
    Replayed,
    /// Junk, or another issuer's token.
    Malformed,
    /// A token of an unknown server key.
    UnknownServerKey,
    /// A token of no session.
    Unknown,
    /// A token of a revoked session.
    Revoked,
    /// A token of an expired session.
    Expired,
    /// A token was used again outside of its windows: theft, or a lost client.
    Reuse,
    /// The store has lost a write, and the session is revoked for it.
    Forked,
    /// The store has lost writes.
    Ahead,
    /// A token was retried too often.
    TooManyReplays,
    /// A retry key came with another token.
    RetryKeyReused,
    /// The claims source refused the user.
    Refused,
    /// One session was ended.
    Logout,
    /// All sessions of a user were ended.
    LogoutAll,
    /// All sessions of a user but one were ended.
    LogoutOthers,
    /// One access token was revoked.
    TokenRevoked,
    /// A signing key was killed.
    KeyKilled,
}

impl AuditEvent<'_> {
    /// A short name, as the metric has it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            AuditKind::Login => "login",
            AuditKind::Rotated => "rotated",
            AuditKind::Kept => "kept",
            AuditKind::Replayed => "replayed",
            AuditKind::Malformed => "malformed",
            AuditKind::UnknownServerKey => "unknown_server_key",
            AuditKind::Unknown => "unknown",
            AuditKind::Revoked => "revoked",
            AuditKind::Expired => "expired",
            AuditKind::Reuse => "reuse",
            AuditKind::Forked => "forked",
            AuditKind::Ahead => "ahead",
            AuditKind::TooManyReplays => "too_many_replays",
            AuditKind::RetryKeyReused => "retry_key_reused",
            AuditKind::Refused => "refused",
            AuditKind::Logout => "logout",
            AuditKind::LogoutAll => "logout_all",
            AuditKind::LogoutOthers => "logout_others",
            AuditKind::TokenRevoked => "token_revoked",
            AuditKind::KeyKilled => "key_killed",
        }
    }
}

/// Receives every event, at once and in its order. It must not block.
pub trait AuditSink: Send + Sync + 'static {
    /// Takes one event.
    fn record(&self, event: &AuditEvent<'_>);
}

/// The default: events as `tracing` events of target `jwt_refresh::audit`, those
/// that want somebody's attention as warnings, the rest at debug.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingAudit;

impl AuditSink for TracingAudit {
    fn record(&self, event: &AuditEvent<'_>) {
        let (name, session, user) = (event.name(), event.session, event.user);
        match event.kind {
            AuditKind::Reuse | AuditKind::Forked | AuditKind::Ahead | AuditKind::KeyKilled => {
                tracing::warn!(target: "jwt_refresh::audit", name, ?session, user);
            }
            _ => tracing::debug!(target: "jwt_refresh::audit", name, ?session, user),
        }
    }
}
