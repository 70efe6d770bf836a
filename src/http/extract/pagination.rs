//! `limit` and `cursor`: parts of lists.

use std::str::FromStr;

use super::{QueryReader, Rejected};
use crate::{
    domain::{EventCursor, OrderId, RestaurantId},
    http::{
        code::{FaultCode, Location},
        problem::{Fault, Problem},
    },
    service::Page,
};

/// The largest part of a list that may be asked for.
pub(crate) const MAX_LIMIT: usize = 1000;

/// What a list goes on behind. Its text is opaque to callers.
pub(crate) trait Cursor: FromStr + Copy {
    /// The restaurant whose list it comes from.
    fn restaurant(self) -> RestaurantId;
}

/// A list of orders: the id of the last one.
impl Cursor for OrderId {
    fn restaurant(self) -> RestaurantId {
        OrderId::restaurant(self)
    }
}

impl Cursor for EventCursor {
    fn restaurant(self) -> RestaurantId {
        self.restaurant
    }
}

/// The part of a list that a query asks for, before it is known whose list it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageQuery<C = OrderId> {
    limit: usize,
    cursor: Option<C>,
}

impl<C: Cursor> PageQuery<C> {
    /// Reads `limit` and `cursor`.
    pub(crate) fn read(query: &mut QueryReader<'_>, default_limit: usize) -> Self {
        Self { limit: limit(query, default_limit), cursor: query.optional("cursor", cursor) }
    }

    /// The page, in the list of this restaurant.
    ///
    /// # Errors
    /// `invalid_parameter` where the cursor comes from another restaurant's list.
    pub(crate) fn of(self, restaurant: RestaurantId) -> Result<Page<C>, Problem> {
        match self.cursor {
            Some(cursor) if cursor.restaurant() != restaurant => Err(Problem::invalid_parameter(vec![Fault::new(
                Location::Query,
                "/cursor",
                FaultCode::InvalidValue,
                "is from another restaurant's list; send the next_cursor of this one",
            )])),
            after => Ok(Page { limit: self.limit, after }),
        }
    }

    /// The page, where the address does not say which restaurant's list it is: a cursor of another list does no harm
    /// there.
    pub(crate) fn of_any(self) -> Page<C> {
        Page { limit: self.limit, after: self.cursor }
    }
}

pub(crate) fn limit(query: &mut QueryReader<'_>, default_limit: usize) -> usize {
    query.optional("limit", parse_limit).unwrap_or(default_limit)
}

fn parse_limit(text: &str) -> Result<usize, Rejected> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|limit| digits && (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| Rejected::new(FaultCode::OutOfRange, format!("must be a whole number from 1 to {MAX_LIMIT}")))
}

fn cursor<C: FromStr>(text: &str) -> Result<C, Rejected> {
    text.parse().map_err(|_| Rejected::invalid("is not a next_cursor of this list; start again without it"))
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use utoipa::IntoParams;

    use super::*;
    use crate::http::{
        extract::{FromQuery, Query},
        testing::{self, json_body, request, send},
    };

    #[derive(IntoParams)]
    struct Paged {
        #[param(value_type = String)]
        page: PageQuery,
    }

    impl FromQuery for Paged {
        fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
            Some(Self { page: PageQuery::read(query, 100) })
        }
    }

    async fn ask(query: &str) -> (u16, serde_json::Value) {
        let handler = |Query(paged): Query<Paged>| async move {
            paged.page.of(testing::restaurant(7)).map(|page| axum::Json((page.limit, page.after)))
        };
        let app = testing::behind_the_edge(Router::new().route("/", get(handler)), testing::settings());
        let response = send(&app, request("GET", &format!("/?{query}")).body(Body::empty())).await;
        (response.status().as_u16(), json_body(response).await)
    }

    #[tokio::test]
    async fn pages_have_bounds() {
        let id = testing::order().id.to_string();
        assert_eq!(ask("").await, (200, serde_json::json!([100, null])));
        assert_eq!(ask(&format!("limit=1000&cursor={id}")).await, (200, serde_json::json!([1000, id])));
        for bad in ["0", "1001", "-1", "+5", "1e3", "5.0", "ten", "99999999999999999999", "%00", "5&limit=5"] {
            let (status, body) = ask(&format!("limit={bad}")).await;
            assert_eq!((status, &body["errors"][0]["pointer"]), (422, &"/limit".into()), "{bad}");
        }
    }

    #[tokio::test]
    async fn cursors_are_checked() {
        let elsewhere = OrderId::new(crate::domain::Timestamp::from_unix_ms(5), testing::restaurant(8), 1).to_string();
        for bad in ["42", "7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6f", elsewhere.as_str(), "%ff"] {
            let (status, body) = ask(&format!("cursor={bad}")).await;
            assert_eq!((status, &body["errors"][0]["pointer"]), (422, &"/cursor".into()), "{bad}");
        }
    }
}
