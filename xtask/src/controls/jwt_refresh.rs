//! Of `jwt-refresh`.

use super::{Control, Test};

pub(super) const CONTROLS: &[Control] = &[
    Control {
        krate: "jwt-refresh",
        broken: "closed_connections",
        protection: "a connection that is closed is nobody's: after a promotion none fails",
        test: Test::live("jwt_refresh", "faults::a_promotion_is_followed"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_revoked",
        protection: "a revoked session stays revoked",
        test: Test::jwt_refresh(
            "outcomes",
            "a_replay_outside_of_the_window_revokes_and_is_known_at_once",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_expired",
        protection: "a session ends at its absolute and its idle expiry",
        test: Test::jwt_refresh(
            "outcomes",
            "a_session_ends_at_its_absolute_and_its_idle_expiry",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_kept",
        protection: "a young refresh token is kept",
        test: Test::jwt_refresh("outcomes", "rotated_kept_and_replayed"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_grace",
        protection: "a retry within the grace window gets the identical successor",
        test: Test::jwt_refresh("outcomes", "rotated_kept_and_replayed"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_retry",
        protection: "a retry with its retry key gets the identical successor",
        test: Test::jwt_refresh("outcomes", "a_retry_key_outlasts_the_window"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_replays",
        protection: "a token is not answered without end",
        test: Test::jwt_refresh("outcomes", "too_many_replays_are_no_reuse"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_retry_key",
        protection: "a retry key belongs to one token",
        test: Test::jwt_refresh("outcomes", "a_retry_key_outlasts_the_window"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_forked",
        protection: "a wrong hash of a genuine token is a fork",
        test: Test::jwt_refresh("store", "the_memory_store_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_reuse",
        protection: "a replay outside of every window revokes",
        test: Test::jwt_refresh(
            "outcomes",
            "a_replay_outside_of_the_window_revokes_and_is_known_at_once",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "rule_ahead",
        protection: "a token that is newer than the row revokes nothing",
        test: Test::jwt_refresh("store", "the_memory_store_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_tag",
        protection: "junk does not reach the store",
        test: Test::in_jwt_refresh("refresh::token::tests::every_bit_of_the_text_counts"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "own_key_replay",
        protection: "a replay uses the row's server key",
        test: Test::in_jwt_refresh(
            "refresh::token::tests::the_successor_is_the_same_for_all_servers_that_have_the_keys",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_signature",
        protection: "a signature must fit",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "algorithm_from_token",
        protection: "the key fixes the algorithm",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "accepts_crit",
        protection: "crit, jku, jwk and their like are refused",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "any_typ",
        protection: "another kind of token is refused",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_duplicates",
        protection: "no member occurs twice",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_expiry",
        protection: "an expired token is refused",
        test: Test::jwt_refresh(
            "corpus",
            "tokens::every_hostile_token_is_refused_for_its_own_reason",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_key_admission",
        protection: "a weak RSA key is not admitted",
        test: Test::jwt_refresh("corpus", "keys::every_bad_key_is_refused_for_its_own_reason"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "mixed_sets",
        protection: "a set does not mix symmetric and asymmetric keys",
        test: Test::jwt_refresh("corpus", "keys::bad_sets_are_refused"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_publication",
        protection: "a key is published before it signs",
        test: Test::jwt_refresh("keys", "a_key_is_published_then_signs_then_retires"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_key_epoch",
        protection: "a remembered token is verified again when the keys change",
        test: Test::jwt_refresh(
            "keys",
            "a_key_that_is_taken_out_is_unknown_also_for_remembered_tokens",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "unchecked_hits",
        protection: "a remembered token is judged again",
        test: Test::jwt_refresh("keys", "remembered_tokens_are_judged_again"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_staleness",
        protection: "without news of revocations the answer is 503",
        test: Test::jwt_refresh(
            "http",
            "failing::before_the_revocations_are_known_the_answer_is_503_and_not_401",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "get_refresh",
        protection: "a GET refreshes nothing",
        test: Test::jwt_refresh("http", "browser::bad_requests_are_answered_as_the_rfc_has_it"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_origin_check",
        protection: "another site cannot use the cookie",
        test: Test::jwt_refresh("http", "browser::requests_of_other_sites_are_refused"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_owner",
        protection: "a user ends sessions of their own only",
        test: Test::jwt_refresh("outcomes", "nobody_ends_another_users_session"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_expired",
        protection: "a session ends at its expiry, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_epoch",
        protection: "logout_all ends every session, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_kept",
        protection: "a young refresh token is kept, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_reuse",
        protection: "a reuse revokes, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_unpublished",
        protection: "a reuse is published, on Redis",
        test: Test::live("jwt_refresh", "stores::on_redis::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "postgres_expired",
        protection: "a session ends at its expiry, on PostgreSQL",
        test: Test::live("jwt_refresh", "stores::on_postgres::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "postgres_reuse",
        protection: "a reuse revokes, on PostgreSQL",
        test: Test::live("jwt_refresh", "stores::on_postgres::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "postgres_unlocked",
        protection: "one of many rotates, on PostgreSQL",
        test: Test::live("jwt_refresh", "stores::on_postgres::it_conforms"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "postgres_user_unlocked",
        protection: "a rotation that waited sees a logout_all",
        test: Test::live("jwt_refresh", "faults::a_rotation_that_waited_sees_a_logout_all"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_staleness",
        protection: "no revoked token is accepted after the bound",
        test: Test::live("jwt_refresh", "feed::cut::on_redis"),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_grace",
        protection: "two tabs at once stay logged in, on Redis",
        test: Test::live(
            "storefront",
            "login::stays::two_tabs_that_lose_answers_stay_logged_in_on_redis",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "redis_retry",
        protection: "a retry with its key finds its successor, on Redis",
        test: Test::live(
            "storefront",
            "login::stays::two_tabs_that_lose_answers_stay_logged_in_on_redis",
        ),
    },
    Control {
        krate: "jwt-refresh",
        broken: "no_feed",
        protection: "who has logged out is refused by every worker of the fleet",
        test: Test::live(
            "fleet",
            "torture::a_token_is_refused_by_all_workers_after_its_logout",
        ),
    },
];
