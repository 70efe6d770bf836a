//! Orders: create, read, change, call, release, reopen.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use uuid::Uuid;

use super::views::{OrderJson, mark_replayed, one_order, order_on_conditions};
use crate::{
    domain::{Context, Durability, OrderId, Refusal, RestaurantId, Role},
    http::{
        Code, SharedState,
        edge::{
            caller::{Caller, CallerOrders, CallerRole, CallerSight},
            change::at_level,
        },
        extract::{
            AskedDurability, CallRequest, Change, IdempotencyKey, IfMatch, IfMatchInHeader, InPath, JsonBody,
            LevelInHeader, MaybeJsonBody, NewOrderRequest, NoQuery, OrderInPath, Query, ReadConditions,
            ReadConditionsInHeader, ReleaseRequest, ReopenRequest, RestaurantInPath, StatusChange,
        },
        problem::{Problem, problems},
    },
    service::{ChangedOrder, Created, OrderChange, Orders, Reach, ServiceError},
};

problems!(CreateProblems: MalformedJson, InvalidIdempotencyKey, InvalidDurability, DurabilityUnknown, OutcomeUnknown, RestaurantNotFound, PoolExhausted,
    NumberTaken, UnsupportedMediaType, InvalidBody, InvalidParameter, IdempotencyConflict, Unavailable);

/// Create an order
///
/// Allocates a number. The body may be absent, and all of its fields are optional.
///
/// The first of the restaurant's `ranges` whose `match` fits gives the next number, else the main range. With
/// `requested_number` the order gets that number of whichever range, or is refused with `number_taken`: nothing else is
/// given instead. That is also the answer where the number is blocked, or in none of the ranges.
///
/// With an `Idempotency-Key`, a repeat within the window answers with the same order as it now stands, and takes no
/// second number. Only successes are remembered.
#[utoipa::path(
    post, path = "/v1/restaurants/{restaurant_id}/orders", tag = "orders", operation_id = "create_order",
    params(
        RestaurantInPath,
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "Names this request, for the restaurant: visible ASCII."),
        LevelInHeader,
    ),
    request_body(content = Option<NewOrderRequest>, content_type = "application/json"),
    responses(
        (status = 201, description = "The order, with its number.", body = OrderJson, headers(
            ("Location" = String, description = "Where to read it."),
            ("ETag" = String, description = "Its version, for `If-Match`."),
            ("Durability" = Durability, description = "The level that it has reached."),
            ("Idempotent-Replayed" = Option<String>, description = "`true` where an earlier request created it."),
        )),
        CreateProblems,
    ),
)]
pub(crate) async fn create_order(
    State(state): State<SharedState>,
    InPath(restaurant): InPath<RestaurantId>,
    _: Query<NoQuery>,
    Caller(context): Caller,
    IdempotencyKey(key): IdempotencyKey,
    level: AskedDurability,
    MaybeJsonBody(NewOrderRequest(new)): MaybeJsonBody<NewOrderRequest>,
) -> Result<Response, Problem> {
    let orders = state.service.orders.clone();
    let create = async move { orders.create(restaurant, new, key.as_deref(), context).await };
    let reach = |created: &Created| Reach::order(&created.order);
    let (created, mut headers) = at_level(&state, level, Some(restaurant), create, reach).await?;
    if let Ok(location) = HeaderValue::try_from(format!("/v1/orders/{}", created.order.id)) {
        headers.insert(header::LOCATION, location);
    }
    mark_replayed(&mut headers, created.replayed);
    Ok(one_order(StatusCode::CREATED, created.order, headers))
}

problems!(ReadProblems: InvalidIfMatch, OrderNotFound, VersionMismatch, InvalidParameter, Unavailable);

/// Read an order
///
/// Live or finished. A key of role `screen` sees the fields that a board shows to all guests; the others are null.
#[utoipa::path(
    get, path = "/v1/orders/{internal_order_id}", tag = "orders", operation_id = "get_order",
    params(OrderInPath, ReadConditionsInHeader),
    responses(
        (status = 200, description = "The order.", body = OrderJson,
            headers(("ETag" = String, description = "Its version, for `If-Match`."))),
        (status = 304, description = "The order is at the version that `If-None-Match` names.",
            headers(("ETag" = String, description = "Its version."))),
        ReadProblems,
    ),
)]
pub(crate) async fn get_order(
    CallerOrders(orders): CallerOrders,
    CallerSight(sight): CallerSight,
    InPath(id): InPath<Uuid>,
    _: Query<NoQuery>,
    conditions: ReadConditions,
) -> Result<Response, Problem> {
    order_on_conditions::<OrderJson>(sight.sees(orders.get(id).await?), &conditions)
}

problems!(ChangeProblems: MalformedJson, InvalidIfMatch, InvalidDurability, DurabilityUnknown, OutcomeUnknown, OrderNotFound, OrderFinal, ForbiddenStatus, NumberMovedOn,
    VersionMismatch, UnsupportedMediaType, InvalidBody, InvalidParameter, Unavailable);

/// Change an order
///
/// Changes the status and the descriptive fields that are given; `null` clears a descriptive field. A final status
/// (`completed`, `cancelled`) releases the number.
///
/// A live order may go to any other live status except back to `pending`, and to `completed` or `cancelled`; `expired`
/// comes only from clean-up. A final order does not change: asking for the same final status again answers 200. But a
/// completed order that is to be `preparing` is reopened, as `POST …/reopen` does it.
///
/// After a `durability_unknown` the change has been made: repeat it without `If-Match`, which names the version before
/// it.
#[utoipa::path(
    patch, path = "/v1/orders/{internal_order_id}", tag = "orders", operation_id = "change_order",
    params(
        OrderInPath,
        IfMatchInHeader,
        LevelInHeader,
    ),
    request_body(content = Change, content_type = "application/json"),
    responses(
        (status = 200, description = "The order after the change.", body = OrderJson,
            headers(
                ("ETag" = String, description = "Its new version."),
                ("Durability" = Durability, description = "The level that it has reached."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first \
                    answer of its store: the change was made then, and the order is as it now stands."),
            )),
        ChangeProblems,
    ),
)]
pub(crate) async fn change_order(call: OrderCall, JsonBody(change): JsonBody<Change>) -> Result<Response, Problem> {
    call.change(change.into()).await
}

/// Change an order's status
///
/// The same as `PATCH` of the order with a `status` in the body, for clients that have no `PATCH`. Those may also send any
/// `PATCH`, `PUT` or `DELETE` as a `POST` with `X-HTTP-Method-Override`.
///
/// A key of role `kitchen` sends the status alone, and one of `pending`, `preparing`, `ready` and `served`; anything else is
/// `forbidden`. It does not reopen an order: one that has ended is an `order_final`.
#[utoipa::path(
    post, path = "/v1/orders/{internal_order_id}/status", tag = "orders", operation_id = "set_order_status",
    params(
        OrderInPath,
        IfMatchInHeader,
        LevelInHeader,
    ),
    request_body(content = Change, content_type = "application/json", description = "With a `status`."),
    responses(
        (status = 200, description = "The order after the change.", body = OrderJson,
            headers(
                ("ETag" = String, description = "Its new version."),
                ("Durability" = Durability, description = "The level that it has reached."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first \
                    answer of its store: the change was made then, and the order is as it now stands."),
            )),
        ChangeProblems,
    ),
)]
pub(crate) async fn set_order_status(
    call: OrderCall,
    CallerRole(role): CallerRole,
    JsonBody(StatusChange(change)): JsonBody<StatusChange>,
) -> Result<Response, Problem> {
    let mut change = OrderChange::from(change);
    if role == Some(Role::Kitchen) {
        if !change.only_status() || !change.status.is_some_and(|status| Role::Kitchen.may_set(status)) {
            return Err(Problem::new(Code::Forbidden, NOT_FOR_KITCHENS));
        }
        change.keeps_final = true;
    }
    call.change(change).await
}

/// What a kitchen is told that asks for more.
const NOT_FOR_KITCHENS: &str = "A key of role kitchen sets the status alone, to pending, preparing, ready or served; use one \
                                of role till for anything else.";

/// What every call that changes an order reads of its request, besides the body.
pub(crate) struct OrderCall {
    state: SharedState,
    orders: Arc<Orders>,
    id: Uuid,
    context: Context,
    if_match: IfMatch,
    level: AskedDurability,
}

impl FromRequestParts<SharedState> for OrderCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &SharedState) -> Result<Self, Problem> {
        let Ok(CallerOrders(orders)) = CallerOrders::from_request_parts(parts, state).await;
        let InPath(id) = InPath::<Uuid>::from_request_parts(parts, state).await?;
        Query::<NoQuery>::from_request_parts(parts, state).await?;
        let Ok(Caller(context)) = Caller::from_request_parts(parts, state).await;
        let if_match = IfMatch::from_request_parts(parts, state).await?;
        let level = AskedDurability::from_request_parts(parts, state).await?;
        Ok(Self { state: state.clone(), orders, id, context, if_match, level })
    }
}

impl OrderCall {
    /// Makes a change of the version that it is for, and answers with the order once that is as durable as was asked for.
    async fn make<F>(
        self,
        reach: impl FnOnce(&ChangedOrder) -> Reach + Send + 'static,
        change: impl FnOnce(Arc<Orders>, Option<u32>, Context) -> F,
    ) -> Result<Response, Problem>
    where
        F: Future<Output = Result<ChangedOrder, ServiceError>> + Send + 'static,
    {
        let Self { state, orders, id, context, if_match, level } = self;
        let version = expected_version(&orders, id, if_match).await?;
        let change = change(orders, version, context);
        let (changed, mut headers) = at_level(&state, level, restaurant_of(id), change, reach).await?;
        mark_replayed(&mut headers, changed.replayed);
        Ok(one_order(StatusCode::OK, changed.order, headers))
    }

    async fn change(self, change: OrderChange) -> Result<Response, Problem> {
        let id = self.id;
        let make = move |orders: Arc<Orders>, version, context| async move {
            orders.change(id, change, version, context).await
        };
        self.make(its_order, make).await
    }
}

fn its_order(changed: &ChangedOrder) -> Reach {
    Reach::order(&changed.order)
}

/// The restaurant of an order, where its id tells: a foreign UUID does not.
fn restaurant_of(id: Uuid) -> Option<RestaurantId> {
    OrderId::try_from(id).ok().map(OrderId::restaurant)
}

/// The version that the change is for. Only a list needs a look at the order first; the change itself then checks that
/// the order is still at the version found.
async fn expected_version(orders: &Orders, id: Uuid, if_match: IfMatch) -> Result<Option<u32>, Problem> {
    match if_match {
        IfMatch::Any => Ok(None),
        IfMatch::OneOf(versions) if versions.len() == 1 => Ok(versions.first().copied()),
        IfMatch::OneOf(versions) => {
            let current = orders.get(id).await?.version;
            if versions.contains(&current) {
                return Ok(Some(current));
            }
            Err(Refusal::VersionMismatch { current }.into())
        }
    }
}

problems!(ReleaseProblems: MalformedJson, InvalidIfMatch, InvalidDurability, DurabilityUnknown, OutcomeUnknown, OrderNotFound, NumberMovedOn, VersionMismatch,
    UnsupportedMediaType, InvalidBody, InvalidParameter, Unavailable);

/// Release an order
///
/// Completes the order unless it is final already; its number then rests. With `immediate`, the number is free at once,
/// also one that rests already, as long as this order was its last holder.
#[utoipa::path(
    post, path = "/v1/orders/{internal_order_id}/release", tag = "orders", operation_id = "release_order",
    params(
        OrderInPath,
        IfMatchInHeader,
        LevelInHeader,
    ),
    request_body(content = Option<ReleaseRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "The order, final.", body = OrderJson,
            headers(
                ("ETag" = String, description = "Its version."),
                ("Durability" = Durability, description = "The level that it has reached."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first \
                    answer of its store: the order was released then."),
            )),
        ReleaseProblems,
    ),
)]
pub(crate) async fn release_order(
    call: OrderCall,
    MaybeJsonBody(release): MaybeJsonBody<ReleaseRequest>,
) -> Result<Response, Problem> {
    let ReleaseRequest { immediate } = release;
    let reach = move |changed: &ChangedOrder| match immediate {
        // The end of a rest is an event of its own, which the order does not count.
        true => Reach::restaurant(changed.order.restaurant()),
        false => Reach::order(&changed.order),
    };
    let id = call.id;
    call.make(
        reach,
        move |orders, version, context| async move { orders.release(id, immediate, version, context).await },
    )
    .await
}

problems!(ReopenProblems: MalformedJson, InvalidIfMatch, InvalidDurability, DurabilityUnknown, OutcomeUnknown, OrderNotFound, OrderFinal, NumberMovedOn,
    VersionMismatch, UnsupportedMediaType, InvalidBody, InvalidParameter, Unavailable);

/// Reopen an order
///
/// Takes an order that was completed by mistake back to `preparing`, with its number, as long as that number still rests
/// for it. Otherwise the answer is `number_moved_on`: the rest is over, it was ended early, or another order has had the
/// number since. The active window begins anew.
///
/// An order that is live stays as it is, so the call may be repeated. One that was cancelled or has expired stays so
/// (`order_final`).
#[utoipa::path(
    post, path = "/v1/orders/{internal_order_id}/reopen", tag = "orders", operation_id = "reopen_order",
    params(
        OrderInPath,
        IfMatchInHeader,
        LevelInHeader,
    ),
    request_body(content = Option<ReopenRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "The order, live.", body = OrderJson,
            headers(
                ("ETag" = String, description = "Its version."),
                ("Durability" = Durability, description = "The level that it has reached."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` where the service had lost the first \
                    answer of its store: the order was reopened then."),
            )),
        ReopenProblems,
    ),
)]
pub(crate) async fn reopen_order(
    call: OrderCall,
    MaybeJsonBody(ReopenRequest {}): MaybeJsonBody<ReopenRequest>,
) -> Result<Response, Problem> {
    let id = call.id;
    call.make(its_order, move |orders, version, context| async move { orders.reopen(id, version, context).await }).await
}

problems!(CallProblems: MalformedJson, InvalidIfMatch, InvalidDurability, DurabilityUnknown, OutcomeUnknown, OrderNotFound, OrderFinal, OrderNotCallable,
    VersionMismatch, UnsupportedMediaType, InvalidBody, InvalidParameter, Unavailable);

/// Call an order
///
/// Says that the guest was told: boards show and sound it, at a `place` if one is given. A `pending` or
/// `preparing` order becomes `ready`, one that is `ready` stays so. Each call counts in `call_count`, sets
/// `last_called_at`, and is an event `called` of its own.
///
/// Two screens that call at once make one call. Within 3 seconds of the last call another one changes nothing, whatever
/// version its `If-Match` names; the answer is the order, with `Idempotent-Replayed: true`. Later ones are repeats, and
/// count.
///
/// An order that is `served` or `held` is not called (`order_not_callable`): put it back to `preparing` or `ready` first.
#[utoipa::path(
    post, path = "/v1/orders/{internal_order_id}/calls", tag = "orders", operation_id = "call_order",
    params(
        OrderInPath,
        IfMatchInHeader,
        LevelInHeader,
    ),
    request_body(content = Option<CallRequest>, content_type = "application/json"),
    responses(
        (status = 200, description = "The order, ready.", body = OrderJson,
            headers(
                ("ETag" = String, description = "Its version."),
                ("Durability" = Durability, description = "The level that it has reached."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` where the order was called less than 3 \
                    seconds ago, or where the service had lost the first answer of its store."),
            )),
        CallProblems,
    ),
)]
pub(crate) async fn call_order(
    call: OrderCall,
    MaybeJsonBody(CallRequest { place }): MaybeJsonBody<CallRequest>,
) -> Result<Response, Problem> {
    let id = call.id;
    call.make(its_order, move |orders, version, context| async move { orders.call(id, place, version, context).await })
        .await
}
