//! What does not compile. The README's table names these.
//!
//! There is no algorithm `none`:
//! ```compile_fail,E0599
//! let _ = jwt_refresh::Algorithm::None;
//! ```
//! A token's text cannot be printed:
//! ```compile_fail,E0277
//! fn print(pair: &jwt_refresh::TokenPair) {
//!     println!("{}", pair.access_token());
//! }
//! ```
//! nor serialised by mistake:
//! ```compile_fail,E0277
//! fn log(pair: &jwt_refresh::TokenPair) -> String {
//!     serde_json::to_string(pair).unwrap()
//! }
//! ```
//! ```compile_fail,E0277
//! fn log(secret: &jwt_refresh::Secret) -> String {
//!     serde_json::to_string(secret).unwrap()
//! }
//! ```
//! ```compile_fail,E0277
//! fn log(keys: &jwt_refresh::SigningKey) -> String {
//!     serde_json::to_string(keys).unwrap()
//! }
//! ```
//! Only a verifier makes a verified token:
//! ```compile_fail,E0451
//! fn forge(good: jwt_refresh::Verified) -> jwt_refresh::Verified {
//!     jwt_refresh::Verified { subject: "root".into(), ..good }
//! }
//! ```
//! A verifier has to be told where revocations come from, by a name that says what
//! it costs to go without:
//! ```compile_fail,E0451
//! let _ = jwt_refresh::AcceptStale { _private: () };
//! ```
//! A cookie in plain http has to be asked for likewise:
//! ```compile_fail,E0061
//! let _ = jwt_refresh::Transport::development_cookie();
//! ```
//! A store has no `get` and no `put`, so a check that is overtaken before its write
//! cannot be written:
//! ```compile_fail,E0599
//! async fn check_then_act(store: jwt_refresh::BoxStore, id: jwt_refresh::SessionId) {
//!     let row = store.get(id).await;
//!     store.put(row).await;
//! }
//! ```
//! and sees hashes only, which a token's text is not:
//! ```compile_fail,E0308
//! fn keep(token: &jwt_refresh::Secret) -> jwt_refresh::store::TokenHash {
//!     token.expose()
//! }
//! ```
