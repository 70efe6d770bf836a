//! The place of the ledger in its database: a schema that the account may make tables in, and that no other program has
//! tables of these names in.

use super::session::Session;
use crate::ledger::LedgerError;

/// What is known of the schema that new tables go into, which is the first of the account's `search_path` that is there.
struct Place {
    /// Quoted where need be, as are the other names.
    database: String,
    account: String,
    /// None where no schema of the path is there, or the account may not use any.
    schema: Option<String>,
    search_path: String,
    may_create: bool,
    /// The first of the wanted names that is taken.
    taken: Option<String>,
}

/// Whether the tables of a ledger are in reach.
pub(super) async fn has_ledger(connection: &mut Session<'_>) -> Result<bool, LedgerError> {
    let found = sqlx::query_scalar!(
        r#"SELECT to_regclass('outbox_progress') IS NOT NULL AND to_regclass('display_order_slots') IS NOT NULL AS "found!""#
    );
    Ok(found.fetch_one(connection).await?)
}

/// Whether tables of these names can be made.
///
/// # Errors
/// [`LedgerError::Mismatch`], with the statements that an administrator runs.
pub(super) async fn check_new(connection: &mut Session<'_>, tables: &[String]) -> Result<(), LedgerError> {
    let place = sqlx::query_as!(
        Place,
        r#"SELECT quote_ident(current_database()) AS "database!", quote_ident(current_user) AS "account!",
                  quote_ident(current_schema()) AS schema, current_setting('search_path') AS "search_path!",
                  coalesce(has_schema_privilege(current_schema()::text, 'CREATE'), false) AS "may_create!",
                  (SELECT relname::text FROM pg_class
                   WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
                     AND relname = ANY ($1::text[])
                   ORDER BY relname LIMIT 1) AS taken"#,
        tables
    )
    .fetch_one(connection)
    .await?;
    place.fault().map_or(Ok(()), |(what, advice)| Err(LedgerError::Mismatch { what, advice }))
}

impl Place {
    /// What is wrong with it, and what to do.
    fn fault(&self) -> Option<(String, String)> {
        let Self { database, account, search_path, .. } = self;
        let Some(schema) = &self.schema else {
            let what =
                format!("no schema of {account}'s search_path ({search_path}) is there in the database {database}");
            return Some((what, self.schema_of_its_own("nowserving")));
        };
        if let Some(table) = &self.taken {
            let what = format!(
                "the schema {schema} of the database {database} has a table {table} already, which is not one of nowserving's"
            );
            let other = if schema == "nowserving" { "nowserving_orders" } else { "nowserving" };
            return Some((what, self.schema_of_its_own(other)));
        }
        if !self.may_create {
            let what = format!("{account} may not make tables in the schema {schema} of the database {database}");
            return Some((what, self.schema_of_its_own("nowserving")));
        }
        None
    }

    fn schema_of_its_own(&self, schema: &str) -> String {
        let Self { database, account, .. } = self;
        format!(
            "give it a schema of its own, as an administrator: CREATE SCHEMA {schema} AUTHORIZATION {account}; ALTER ROLE \
             {account} IN DATABASE {database} SET search_path = {schema}; or let database_url lead to another database \
             (docs/operations/managed.md has both)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_place_comes_with_the_statements() {
        let place = |schema: Option<&str>, may_create, taken: Option<&str>| Place {
            database: "shop".into(),
            account: "\"the App\"".into(),
            schema: schema.map(str::to_owned),
            search_path: "gone".into(),
            may_create,
            taken: taken.map(str::to_owned),
        };
        assert_eq!(place(Some("public"), true, None).fault(), None);
        for (place, part) in [
            (place(None, false, None), "no schema of \"the App\"'s search_path (gone)"),
            (place(Some("public"), false, None), "may not make tables in the schema public of the database shop"),
            (place(Some("public"), true, Some("orders")), "has a table orders already"),
        ] {
            let (what, advice) = place.fault().expect("something is wrong");
            assert!(what.contains(part), "{what}");
            let statements = "CREATE SCHEMA nowserving AUTHORIZATION \"the App\"; ALTER ROLE \"the App\" IN DATABASE shop SET \
                              search_path = nowserving;";
            assert!(advice.contains(statements), "{advice}");
        }
        let (_, advice) = place(Some("nowserving"), true, Some("orders")).fault().expect("it is taken");
        assert!(advice.contains("CREATE SCHEMA nowserving_orders"), "{advice}");
    }
}
