//! Two axum processes behind one name, whose replica lags: the page shows what
//! its user has saved, whichever process answers, since the cookie says how far
//! that is. `cargo run -p rw-split --example axum_cookie` (needs PostgreSQL's programs)

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use rw_split::{ConsistencyLayer, Error, RwSplit, TokenKeys};
use testbed::postgres::Postgres;
use tower::ServiceExt;

fn failed(error: Error) -> (StatusCode, String) {
    let status = match &error {
        // The user is to look before they send it again.
        _ if error.may_have_happened() => StatusCode::INTERNAL_SERVER_ERROR,
        _ if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

async fn show(State(db): State<RwSplit>) -> Result<String, (StatusCode, String)> {
    let row = db.query_one("SELECT name FROM profiles WHERE id = 1", &[]).await;
    Ok(row.map_err(failed)?.get(0))
}

async fn save(State(db): State<RwSplit>, name: String) -> Result<(), (StatusCode, String)> {
    let sql = "UPDATE profiles SET name = $1 WHERE id = 1";
    db.execute(sql, &[&name]).await.map_err(failed)?;
    Ok(())
}

fn app(db: RwSplit, keys: TokenKeys, slot: u8) -> Result<Router, Box<dyn std::error::Error>> {
    let layer = ConsistencyLayer::cookie("rw", keys)?.slot(slot);
    Ok(Router::new().route("/", get(show).put(save)).with_state(db).layer(layer))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let primary = Postgres::start().await?;
    let setup = "CREATE TABLE profiles (id int PRIMARY KEY, name text NOT NULL); \
        INSERT INTO profiles VALUES (1, 'nobody')";
    primary.client().await?.batch_execute(setup).await?;
    let replica = primary.replica().await?;
    replica.caught_up(Duration::from_secs(10)).await?;
    replica.pause_replay().await?;

    // In a service: 32 random bytes from where you keep secrets.
    let keys = TokenKeys::new(&std::array::from_fn::<u8, 32, _>(|_| fastrand::u8(..)))?;
    let db =
        async || RwSplit::builder().server(primary.url()).server(replica.url()).build().await;
    let processes = [app(db().await?, keys.clone(), 0)?, app(db().await?, keys, 1)?];

    // One process saves.
    let request = Request::put("/").body(Body::from("Ada"))?;
    let response = processes[0].clone().oneshot(request).await?;
    let cookie = cookie(&response).ok_or("a write sets a cookie")?;
    println!("saved on process 0; the browser keeps {} characters", cookie.len());

    // The other shows: with the cookie what was saved, without it the old page.
    for (who, cookie, expected) in
        [("the user", Some(cookie), "Ada"), ("a visitor", None, "nobody")]
    {
        let mut request = Request::get("/").body(Body::empty())?;
        if let Some(cookie) = cookie {
            request.headers_mut().insert(COOKIE, cookie.parse()?);
        }
        let response = processes[1].clone().oneshot(request).await?;
        let page = response.into_body().collect().await?.to_bytes();
        println!("process 1 shows {who} {:?}", String::from_utf8_lossy(&page));
        assert_eq!(page, expected);
    }
    Ok(())
}

fn cookie(response: &Response<Body>) -> Option<String> {
    let set = response.headers().get(SET_COOKIE)?.to_str().ok()?;
    Some(set.split(';').next()?.to_owned())
}
