//! Aggregates that are made of one part for each shard. There are no others here, so that no
//! `count(distinct)` is added up.

use std::cmp::Ordering;

use tokio_postgres::Row;

use super::{Policy, ScatterQuery};
use crate::error::Error;

mod sealed {
    use tokio_postgres::Row;

    use crate::error::Error;

    #[allow(unnameable_types, reason = "sealed")]
    pub trait Sealed: Sized {
        /// What a column is cast to before the shard aggregates it.
        const BEFORE: &'static str;
        /// And the aggregate, before it is sent.
        const AFTER: &'static str;

        fn read(row: &Row, column: usize) -> Result<Option<Self>, Error>;
    }
}

/// What columns are aggregated as: `i64`, exactly, for whole numbers; `f64` for all numbers;
/// `String` for the least and the greatest text, by bytes.
pub trait Aggregable: sealed::Sealed {
    #[doc(hidden)]
    fn before(&self, other: &Self) -> Ordering;
}

impl sealed::Sealed for i64 {
    const BEFORE: &'static str = "";
    const AFTER: &'static str = "::text";

    fn read(row: &Row, column: usize) -> Result<Option<Self>, Error> {
        let Some(text) = row.try_get::<_, Option<&str>>(column).map_err(unexpected)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| Error::Aggregate {
            reason: format!(
                "{text:?} is no whole number of 64 bits; aggregate the column as f64"
            ),
        })
    }
}

impl Aggregable for i64 {
    fn before(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl sealed::Sealed for f64 {
    const BEFORE: &'static str = "::double precision";
    // As text it would have as many digits as the server's settings say.
    const AFTER: &'static str = "";

    fn read(row: &Row, column: usize) -> Result<Option<Self>, Error> {
        row.try_get(column).map_err(unexpected)
    }
}

impl Aggregable for f64 {
    /// NaN is above all, as in PostgreSQL.
    fn before(&self, other: &Self) -> Ordering {
        match (self.is_nan(), other.is_nan()) {
            (false, false) => self.partial_cmp(other).unwrap_or(Ordering::Equal),
            (a, b) => a.cmp(&b),
        }
    }
}

impl sealed::Sealed for String {
    const BEFORE: &'static str = "::text COLLATE \"C\"";
    const AFTER: &'static str = "::text";

    fn read(row: &Row, column: usize) -> Result<Option<Self>, Error> {
        row.try_get(column).map_err(unexpected)
    }
}

impl Aggregable for String {
    fn before(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl<'a, P: Policy> ScatterQuery<'a, P> {
    /// How many rows there are.
    ///
    /// # Errors
    ///
    /// As for awaiting the query.
    pub async fn count(self) -> Result<P::Output<u64>, Error> {
        let (rows, missing) = self.partials(|_| "count(*)".into()).await?;
        let mut total = 0_u64;
        for row in &rows {
            let count: i64 = row.try_get(0).map_err(unexpected)?;
            total = total.saturating_add(count.unsigned_abs());
        }
        Ok(P::output(total, missing))
    }

    /// The sum of a column, exactly; nothing if no row has a value.
    ///
    /// # Errors
    ///
    /// As for awaiting the query, and [`Error::Aggregate`] if the column is not of whole
    /// numbers, or the sum is more than an `i64`.
    pub async fn sum(self, column: &str) -> Result<P::Output<Option<i64>>, Error> {
        let (rows, missing) = self.partials(|q| format!("sum({})::text", q(column))).await?;
        let mut total: Option<i128> = None;
        for text in texts(&rows, 0)? {
            let part: i128 = text.parse().map_err(|_| Error::Aggregate {
                reason: format!(
                    "sum of {column:?}: {text:?} is no whole number; use `sum_f64`"
                ),
            })?;
            let sum = total.unwrap_or(0).checked_add(part);
            total = Some(sum.ok_or_else(|| too_large(column))?);
        }
        let total = total.map(i64::try_from).transpose().map_err(|_| too_large(column))?;
        Ok(P::output(total, missing))
    }

    /// The sum of a column as floating point; nothing if no row has a value.
    ///
    /// # Errors
    ///
    /// As for awaiting the query, and [`Error::Aggregate`] if the sum is more than an `f64`.
    pub async fn sum_f64(self, column: &str) -> Result<P::Output<Option<f64>>, Error> {
        let sum = |q: &dyn Fn(&str) -> String| format!("sum({}::double precision)", q(column));
        let (rows, missing) = self.partials(sum).await?;
        Ok(P::output(added(&rows, column)?, missing))
    }

    /// The mean of a column, of all rows together; nothing if no row has a value.
    ///
    /// # Errors
    ///
    /// As for awaiting the query.
    pub async fn avg(self, column: &str) -> Result<P::Output<Option<f64>>, Error> {
        let parts = |q: &dyn Fn(&str) -> String| {
            let column = q(column);
            format!("sum({column}::double precision), count({column})")
        };
        let (rows, missing) = self.partials(parts).await?;
        let total = added(&rows, column)?;
        let mut count = 0_i64;
        for row in &rows {
            count = count.saturating_add(row.try_get(1).map_err(unexpected)?);
        }
        Ok(P::output(total.map(|total| total / count as f64), missing))
    }

    /// The least value of a column; nothing if no row has a value.
    ///
    /// # Errors
    ///
    /// As for awaiting the query, and [`Error::Aggregate`] if a value is no `T`.
    pub async fn min<T: Aggregable>(self, column: &str) -> Result<P::Output<Option<T>>, Error> {
        self.extreme("min", column, Ordering::Less).await
    }

    /// The greatest value of a column; nothing if no row has a value.
    ///
    /// # Errors
    ///
    /// As [`min`](Self::min).
    pub async fn max<T: Aggregable>(self, column: &str) -> Result<P::Output<Option<T>>, Error> {
        self.extreme("max", column, Ordering::Greater).await
    }

    async fn extreme<T: Aggregable>(
        self,
        name: &str,
        column: &str,
        wanted: Ordering,
    ) -> Result<P::Output<Option<T>>, Error> {
        let part = |q: &dyn Fn(&str) -> String| {
            let (before, after) = (<T as sealed::Sealed>::BEFORE, <T as sealed::Sealed>::AFTER);
            format!("({name}(({}){before})){after}", q(column))
        };
        let (rows, missing) = self.partials(part).await?;
        let parts = values::<T>(&rows, 0)?;
        let best = parts.into_iter().reduce(|a, b| if b.before(&a) == wanted { b } else { a });
        Ok(P::output(best, missing))
    }
}

/// The total of parts; as on one server, it is an error that finite ones add up to no number.
fn added(rows: &[Row], column: &str) -> Result<Option<f64>, Error> {
    let parts = values::<f64>(rows, 0)?;
    let finite = parts.iter().all(|part| part.is_finite());
    let total = parts.into_iter().reduce(|a, b| a + b);
    if finite && total.is_some_and(f64::is_infinite) {
        let reason = format!("the sum of {column:?} is more than an f64 can hold");
        return Err(Error::Aggregate { reason });
    }
    Ok(total)
}

fn too_large(column: &str) -> Error {
    Error::Aggregate {
        reason: format!("the sum of {column:?} is more than an i64 can hold; use `sum_f64`"),
    }
}

fn unexpected(error: tokio_postgres::Error) -> Error {
    Error::Aggregate { reason: format!("a shard's part cannot be read: {error}") }
}

fn texts(rows: &[Row], column: usize) -> Result<Vec<&str>, Error> {
    let mut texts = Vec::new();
    for row in rows {
        texts.extend(row.try_get::<_, Option<&str>>(column).map_err(unexpected)?);
    }
    Ok(texts)
}

fn values<T: sealed::Sealed>(rows: &[Row], column: usize) -> Result<Vec<T>, Error> {
    rows.iter().filter_map(|row| T::read(row, column).transpose()).collect()
}
