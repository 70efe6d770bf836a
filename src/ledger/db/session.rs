//! How statements are sent: so that they also work through a pooler that lends a server for one transaction at a time.
//! A fleet of daemons before one Postgres needs one (pgbouncer with `pool_mode = transaction`).
//!
//! There, two transactions of one connection may meet two servers. So nothing may be left on a server for later: no
//! settings of the session, no session's locks, no LISTEN, and no named statements. The driver sends a statement in two
//! steps (Parse, then Bind and Execute). Outside of a transaction the pooler may send them to two servers: the second
//! knows nothing of the statement, or has another caller's. So every statement, a single one too, runs within an
//! explicit transaction, and is unnamed. Both are a matter of types here: only a [`Session`] or a [`Single`] runs
//! statements, and neither can do otherwise.

use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Error, Execute, Executor, PgConnection, Postgres, SqlStr,
    error::BoxDynError,
    postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use crate::ledger::Ledger;

/// A connection within a transaction.
#[derive(Debug)]
pub(in crate::ledger) struct Session<'c>(&'c mut PgConnection);

impl<'c> Session<'c> {
    /// Of a connection on which a transaction has begun.
    pub(in crate::ledger) fn within(connection: &'c mut PgConnection) -> Self {
        Self(connection)
    }

    /// Tries something that may fail for its content without failing the transaction.
    pub(in crate::ledger) async fn attempt<T, E: From<Error>>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        sqlx::raw_sql("SAVEPOINT attempt").execute(&mut *self).await?;
        let done = work(self).await;
        let end = match done {
            Ok(_) => "RELEASE SAVEPOINT attempt",
            Err(_) => "ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt",
        };
        let ended = sqlx::raw_sql(end).execute(&mut *self).await;
        let value = done?;
        ended?;
        Ok(value)
    }
}

/// A statement that is never named on the server.
struct Unnamed<E>(E);

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Unnamed<E> {
    fn sql(self) -> SqlStr {
        self.0.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.0.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.0.take_arguments()
    }

    fn persistent(&self) -> bool {
        false
    }
}

type Step = Either<PgQueryResult, PgRow>;

impl<'c> Executor<'c> for &'c mut Session<'_> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Executor::fetch_many(&mut *self.0, Unnamed(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Executor::fetch_optional(&mut *self.0, Unnamed(query))
    }

    fn prepare_with<'e>(self, _: SqlStr, _: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        never()
    }

    fn describe<'e>(self, _: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        never()
    }
}

/// Runs one statement, in a transaction of its own. A caller that goes away half-way costs a connection, and nothing
/// else.
#[derive(Debug)]
pub(in crate::ledger) struct Single<'l>(pub(in crate::ledger) &'l Ledger);

impl<'c> Executor<'c> for Single<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let all = async move {
            let steps = self.0.single_statement(async |session| session.fetch_many(query).try_collect().await).await;
            steps.map(|steps: Vec<Step>| stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(all).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        async move { self.0.single_statement(async |session| session.fetch_optional(query).await).await }.boxed()
    }

    fn prepare_with<'e>(self, _: SqlStr, _: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        never()
    }

    fn describe<'e>(self, _: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        never()
    }
}

/// What would leave a named statement behind. Nothing calls it.
fn never<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
    let refusal = || Err(Error::Protocol("statements are not prepared by name: a pooler may be in between".to_owned()));
    async move { refusal() }.boxed()
}
