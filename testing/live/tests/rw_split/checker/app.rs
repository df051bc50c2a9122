//! One app process: a router, and an HTTP service that knows sessions by cookies alone.

use std::convert::Infallible;

use http::{Request, Response};
use rw_split::{ConsistencyLayer, Error, RwSplit, TokenKeys};
use tower::{Layer, ServiceExt, service_fn};

use super::jar::Jar;

pub(super) const KEY: [u8; 32] = [7; 32];

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Both registers of a session, and the global one.
    Read { own: [i32; 2] },
    /// To a register: a value, and the global value that the session has seen.
    Write { register: i32, value: i64, seen: i64 },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) value: i64,
    pub(super) seen: i64,
}

#[derive(Debug)]
pub(super) enum Reply {
    Read { own: [Row; 2], global: i64, on_primary: bool },
    Written,
}

#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) db: RwSplit,
    layer: ConsistencyLayer,
    /// Writes are transactions with this in front.
    set_local: Option<&'static str>,
}

impl App {
    pub(super) fn new(db: RwSplit, slot: u8, set_local: Option<&'static str>) -> Self {
        let keys = TokenKeys::new(&KEY).unwrap();
        let layer = ConsistencyLayer::cookie("rw", keys).unwrap().slot(slot);
        Self { db, layer, set_local }
    }

    /// The reply, and how many cookies came with it.
    pub(super) async fn call(
        &self,
        op: Op,
        jar: &Jar,
        forged: &[String],
    ) -> (Result<Reply, Error>, usize) {
        let mut request = Request::new(op);
        jar.send(request.headers_mut(), forged);
        let service = service_fn(|request: Request<Op>| async move {
            Ok::<_, Infallible>(Response::new(self.handle(request.into_body()).await))
        });
        let response = self.layer.layer(service).oneshot(request).await.unwrap();
        let cookies = jar.receive(response.headers());
        (response.into_body(), cookies)
    }

    async fn handle(&self, op: Op) -> Result<Reply, Error> {
        match op {
            Op::Read { own } => {
                let sql = "SELECT id, v, seen, on_primary() FROM reg WHERE id = ANY($1) \
                    ORDER BY id";
                let ids = vec![0, own[0], own[1]];
                let rows = self.db.query(sql, &[&ids]).await?;
                let row = |at: usize| Row { value: rows[at].get(1), seen: rows[at].get(2) };
                let on_primary = rows[0].get(3);
                Ok(Reply::Read { own: [row(1), row(2)], global: row(0).value, on_primary })
            }
            Op::Write { register, value, seen } => {
                let sql = "UPDATE reg SET v = $2, seen = $3 WHERE id = $1";
                match self.set_local {
                    None => {
                        self.db.execute(sql, &[&register, &value, &seen]).await?;
                    }
                    Some(set) => {
                        self.db
                            .transaction(async |tx| {
                                tx.simple_query(set).await?;
                                tx.execute(sql, &[&register, &value, &seen]).await?;
                                Ok::<_, Error>(())
                            })
                            .await?;
                    }
                }
                Ok(Reply::Written)
            }
        }
    }
}
