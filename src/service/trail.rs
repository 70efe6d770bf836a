//! What the log says of each change: one line, with both names of the order and who asked. At 5,000 orders a second that is
//! a log of its own, so it is written only where the filter asks for it: `log.filter = "info,nowserving::changes=debug"`.

use chrono::NaiveDate;
use tracing::{Level, Span};

use crate::{
    domain::{Context, Durability, Order, RestaurantId},
    telemetry,
};

/// What the filter calls these lines.
const CHANGES: &str = "nowserving::changes";

/// An order was changed.
pub(super) fn order(kind: &'static str, order: &Order, context: &Context) {
    telemetry::name_order(order);
    tracing::debug!(
        target: CHANGES,
        kind,
        internal_order_id = %order.id,
        display_order_number = order.formatted_number(),
        restaurant_id = order.restaurant().get(),
        status = order.status.as_str(),
        version = order.version,
        actor = context.actor,
        request_id = context.request_id,
        "an order was changed"
    );
}

/// The changes of the present request are asked for at this level: their lines know nothing of it, so their span has it.
pub(super) fn level(level: Durability) {
    // To add to a span is dearer than to ask whether anything reads it.
    if tracing::enabled!(target: CHANGES, Level::DEBUG) {
        Span::current().record("durability", level.as_str());
    }
}

/// A restaurant got settings.
pub(super) fn settings(restaurant: RestaurantId, context: &Context) {
    tracing::debug!(
        target: CHANGES,
        kind = "configured",
        restaurant_id = restaurant.get(),
        actor = context.actor,
        request_id = context.request_id,
        "a restaurant got settings"
    );
}

/// The business date of a restaurant was set by hand.
pub(super) fn business_date(restaurant: RestaurantId, date: NaiveDate, context: &Context) {
    tracing::debug!(
        target: CHANGES,
        kind = "business_date_set",
        restaurant_id = restaurant.get(),
        %date,
        actor = context.actor,
        request_id = context.request_id,
        "a business date was set"
    );
}
