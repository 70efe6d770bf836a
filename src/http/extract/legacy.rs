//! What older systems ask for in a query: one order, or a search.

use utoipa::IntoParams;
use uuid::Uuid;

use super::{FromQuery, QueryReader, Rejected, boolean, pagination, search_text};
use crate::{
    domain::{RestaurantId, SearchQuery, WrittenNumber},
    http::code::FaultCode,
};

const SEARCH_LIMIT: usize = 20;

/// How to find one order: by its id, or by the number it has in a restaurant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LookupQuery {
    /// By its id.
    Id(Uuid),
    /// By its number.
    Number(RestaurantId, WrittenNumber),
}

/// The documentation of [`LookupQuery`].
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only its documentation is used")]
struct LookupParameters {
    /// The restaurant; with `display_number` only. With a key of one restaurant it may be left out, and is that one.
    #[param(minimum = 1, maximum = 2_147_483_647)]
    restaurant_id: Option<u32>,
    /// The number, as people write it: `42`, `0042`, `#42`, or as it is shown (`A-042`, `R7-0042`); or what another system
    /// called an imported order. Never with `internal_id`.
    #[param(example = "0042")]
    display_number: Option<String>,
    /// The order's id; alone.
    internal_id: Option<Uuid>,
}

impl IntoParams for LookupQuery {
    fn into_params(
        parameter_in: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
    ) -> Vec<utoipa::openapi::path::Parameter> {
        LookupParameters::into_params(parameter_in)
    }
}

impl FromQuery for LookupQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let by_id = query.has("internal_id");
        let by_number = query.has("restaurant_id") || query.has("display_number");
        if by_id && by_number {
            let detail = "must be alone: leave out restaurant_id and display_number, or this";
            query.fault("internal_id", FaultCode::InvalidValue, detail);
        }
        if by_id {
            let id = query.required("internal_id", |text| Uuid::try_parse(text).map_err(|_| not_a_uuid()));
            query.ignore(&["restaurant_id", "display_number"]);
            return id.map(Self::Id);
        }
        let restaurant = query.restaurant("restaurant_id");
        let number = query.required("display_number", |text| WrittenNumber::parse(text).map_err(Rejected::invalid));
        Some(Self::Number(restaurant?, number?))
    }
}

fn not_a_uuid() -> Rejected {
    Rejected::invalid("must be a UUID")
}

/// The parameters of the older search.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LegacySearchQuery {
    /// The restaurant. With a key of one restaurant it may be left out, and is that one.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 2_147_483_647)]
    pub restaurant_id: RestaurantId,
    /// What to search for.
    #[param(value_type = String, min_length = 1, max_length = 128)]
    pub q: SearchQuery,
    /// Whether orders that have ended are searched too.
    #[param(value_type = Option<bool>, default = false)]
    pub include_completed: bool,
    /// At most so many orders.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 20)]
    pub limit: usize,
}

impl FromQuery for LegacySearchQuery {
    fn from_query(query: &mut QueryReader<'_>) -> Option<Self> {
        let restaurant = query.restaurant("restaurant_id");
        let q = query.required("q", search_text);
        let include_completed = query.optional("include_completed", boolean).unwrap_or(false);
        let limit = pagination::limit(query, SEARCH_LIMIT);
        Some(Self { restaurant_id: restaurant?, q: q?, include_completed, limit })
    }
}

impl LegacySearchQuery {
    /// The restaurant that is searched.
    pub(crate) fn restaurant(&self) -> RestaurantId {
        self.restaurant_id
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, body::Body, routing::get};

    use super::*;
    use crate::domain::Scope;
    use crate::http::extract::Query;
    use crate::http::testing::{self, json_body, request, send};

    const ID: &str = "7f0c2a5e-3b1d-4c8f-9a6e-1d2b3c4d5e6f";

    async fn lookup(query: &str) -> (u16, String) {
        lookup_with(query, None).await
    }

    /// With a key that is good for these restaurants.
    async fn lookup_with(query: &str, scope: Option<Scope>) -> (u16, String) {
        let routes = Router::new().route("/", get(|Query(q): Query<LookupQuery>| async move { format!("{q:?}") }));
        let app = testing::behind_the_edge(routes, testing::settings());
        let mut sent = request("GET", &format!("/?{query}"));
        if let Some(scope) = scope {
            let mut key = testing::api_key();
            key.is.scope = scope;
            sent = sent.extension(Arc::new(key));
        }
        let response = send(&app, sent.body(Body::empty())).await;
        match response.status().as_u16() {
            200 => (200, testing::text(response).await),
            status => {
                let body = json_body(response).await;
                let errors = body["errors"].as_array().expect("faults");
                (status, errors.iter().map(|e| e["pointer"].as_str().unwrap_or_default()).collect())
            }
        }
    }

    #[tokio::test]
    async fn there_are_two_ways_to_look_up() {
        let by_id = format!("{:?}", LookupQuery::Id(ID.parse().expect("a UUID")));
        assert_eq!(lookup(&format!("internal_id={ID}")).await, (200, by_id));
        let by_number = LookupQuery::Number(testing::restaurant(7), WrittenNumber::of("42").expect("a number"));
        assert_eq!(lookup("restaurant_id=7&display_number=0042").await, (200, format!("{by_number:?}")));
    }

    #[tokio::test]
    async fn there_is_no_third_way() {
        let mixed = format!("internal_id={ID}&restaurant_id=7&display_number=42");
        for (query, faults) in [
            ("", "/restaurant_id/display_number"),
            ("restaurant_id=7", "/display_number"),
            ("display_number=42", "/restaurant_id"),
            ("restaurant_id=0&display_number=x", "/restaurant_id/display_number"),
            ("internal_id=42", "/internal_id"),
            (&mixed, "/internal_id"),
            ("internal_id=42&restaurant_id=7&typo=1", "/internal_id/internal_id/typo"),
        ] {
            assert_eq!(lookup(query).await, (422, faults.to_owned()), "{query}");
        }
    }
    #[tokio::test]
    async fn a_key_of_one_restaurant_names_it() {
        let scope = |ids: &[i64]| Scope::of(ids.iter().map(|id| testing::restaurant(*id))).expect("a list");
        let found = |restaurant: i64| {
            let number = WrittenNumber::parse("42").expect("a number");
            (200, format!("{:?}", LookupQuery::Number(testing::restaurant(restaurant), number)))
        };
        for (query, scope, expected) in [
            ("display_number=0042", scope(&[7]), found(7)),
            ("restaurant_id=&display_number=42", scope(&[7]), found(7)),
            // The door has looked at what is named; here that goes first.
            ("restaurant_id=8&display_number=42", scope(&[7]), found(8)),
            ("display_number=42", scope(&[7, 8]), (422, "/restaurant_id".to_owned())),
            ("display_number=42", Scope::All, (422, "/restaurant_id".to_owned())),
            ("", scope(&[7]), (422, "/display_number".to_owned())),
            ("restaurant_id=0&display_number=42", scope(&[7]), (422, "/restaurant_id".to_owned())),
            ("restaurant_id=7&restaurant_id=8&display_number=42", scope(&[7]), (422, "/restaurant_id".to_owned())),
        ] {
            assert_eq!(lookup_with(query, Some(scope.clone())).await, expected, "{query} {scope:?}");
        }
    }
}
