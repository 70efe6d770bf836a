//! What other systems call their columns, statuses, channels and types of orders.

use clap::ValueEnum;

use super::column::Column;
use crate::domain::{OrderSource, OrderStatus, OrderType};

/// A system whose exports are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Dialect {
    Woocommerce,
    Shopify,
    Square,
    Odoo,
}

type Statuses = &'static [(&'static str, OrderStatus)];
type Sources = &'static [(&'static str, OrderSource)];
type Types = &'static [(&'static str, OrderType)];
type Columns = &'static [(&'static str, Column)];

impl Dialect {
    /// Its names of columns; in JSON a point leads into an object or a list.
    pub(super) fn columns(self) -> Columns {
        match self {
            Self::Woocommerce => WOOCOMMERCE_COLUMNS,
            Self::Shopify => SHOPIFY_COLUMNS,
            Self::Square => SQUARE_COLUMNS,
            Self::Odoo => ODOO_COLUMNS,
        }
    }

    /// What its statuses mean in a kitchen.
    pub(super) fn statuses(self) -> Statuses {
        match self {
            Self::Woocommerce => WOOCOMMERCE_STATUSES,
            Self::Shopify => SHOPIFY_STATUSES,
            Self::Square => SQUARE_STATUSES,
            Self::Odoo => ODOO_STATUSES,
        }
    }

    pub(super) fn sources(self) -> Sources {
        match self {
            Self::Woocommerce => WOOCOMMERCE_SOURCES,
            Self::Shopify => SHOPIFY_SOURCES,
            Self::Square => SQUARE_SOURCES,
            Self::Odoo => ODOO_SOURCES,
        }
    }

    pub(super) fn types(self) -> Types {
        match self {
            Self::Square => SQUARE_TYPES,
            Self::Shopify => SHOPIFY_TYPES,
            Self::Woocommerce | Self::Odoo => &[],
        }
    }

    /// Words of the state of a fulfillment that say no more than that there is none yet.
    pub(super) fn says_nothing(self, fulfillment: &str) -> bool {
        self == Self::Shopify && fulfillment.eq_ignore_ascii_case("unfulfilled")
    }
}

/// What stands before the statuses of WooCommerce in its database.
pub(super) const WOOCOMMERCE_PREFIX: &str = "wc-";

const WOOCOMMERCE_COLUMNS: Columns = &[
    ("number", Column::DisplayNumber),
    ("post_status", Column::Status),
    ("post_date", Column::CreatedAt),
    ("billing.first_name", Column::FirstName),
    ("billing.last_name", Column::LastName),
    ("post_excerpt", Column::Note),
    ("created_via", Column::OrderSource),
    ("post_modified", Column::UpdatedAt),
    ("date_updated", Column::UpdatedAt),
];

pub(super) const WOOCOMMERCE_STATUSES: Statuses = &[
    ("pending", OrderStatus::Pending),
    ("pending payment", OrderStatus::Pending),
    ("processing", OrderStatus::Preparing),
    ("on-hold", OrderStatus::Held),
    ("completed", OrderStatus::Completed),
    ("cancelled", OrderStatus::Cancelled),
    ("refunded", OrderStatus::Cancelled),
    ("failed", OrderStatus::Cancelled),
    ("trash", OrderStatus::Cancelled),
    ("draft", OrderStatus::Expired),
    ("auto-draft", OrderStatus::Expired),
    ("checkout-draft", OrderStatus::Expired),
];

const WOOCOMMERCE_SOURCES: Sources = &[
    ("checkout", OrderSource::Web),
    ("store-api", OrderSource::Web),
    ("rest-api", OrderSource::Api),
    ("admin", OrderSource::Pos),
];

const SHOPIFY_COLUMNS: Columns = &[
    ("name", Column::DisplayNumber),
    ("location", Column::RestaurantId),
    ("location_id", Column::RestaurantId),
    ("financial_status", Column::PaymentStatus),
    ("displayFinancialStatus", Column::PaymentStatus),
    ("fulfillment_status", Column::FulfillmentStatus),
    ("displayFulfillmentStatus", Column::FulfillmentStatus),
    ("fulfilled_at", Column::CompletedAt),
    ("cancelled_at", Column::CancelledAt),
    ("billing_name", Column::CustomerName),
    ("customer.first_name", Column::FirstName),
    ("customer.last_name", Column::LastName),
    ("customer.firstName", Column::FirstName),
    ("customer.lastName", Column::LastName),
    ("source", Column::OrderSource),
    ("source_name", Column::OrderSource),
    ("shipping_method", Column::OrderType),
];

const SHOPIFY_STATUSES: Statuses = &[
    ("open", OrderStatus::Pending),
    ("pending", OrderStatus::Pending),
    ("authorized", OrderStatus::Pending),
    ("partially_paid", OrderStatus::Pending),
    ("unpaid", OrderStatus::Pending),
    ("paid", OrderStatus::Preparing),
    ("partially_refunded", OrderStatus::Preparing),
    ("unfulfilled", OrderStatus::Preparing),
    ("pending_fulfillment", OrderStatus::Preparing),
    ("in_progress", OrderStatus::Preparing),
    ("partial", OrderStatus::Preparing),
    ("partially_fulfilled", OrderStatus::Preparing),
    ("ready_for_pickup", OrderStatus::Ready),
    ("ready_for_delivery", OrderStatus::Ready),
    ("out_for_delivery", OrderStatus::Served),
    ("on_hold", OrderStatus::Held),
    ("scheduled", OrderStatus::Held),
    ("fulfilled", OrderStatus::Completed),
    ("picked_up", OrderStatus::Completed),
    ("delivered", OrderStatus::Completed),
    ("closed", OrderStatus::Completed),
    ("archived", OrderStatus::Completed),
    ("cancelled", OrderStatus::Cancelled),
    ("refunded", OrderStatus::Cancelled),
    ("restocked", OrderStatus::Cancelled),
    ("voided", OrderStatus::Cancelled),
    ("request_declined", OrderStatus::Cancelled),
    ("expired", OrderStatus::Expired),
];

const SHOPIFY_SOURCES: Sources = &[
    ("web", OrderSource::Web),
    ("pos", OrderSource::Pos),
    ("iphone", OrderSource::App),
    ("android", OrderSource::App),
    ("shopify_draft_order", OrderSource::Phone),
];

const SHOPIFY_TYPES: Types = &[("local pickup", OrderType::Takeaway), ("local delivery", OrderType::Delivery)];

const SQUARE_COLUMNS: Columns = &[
    ("location_id", Column::RestaurantId),
    ("state", Column::Status),
    ("fulfillments.0.state", Column::FulfillmentStatus),
    ("fulfillments.0.type", Column::OrderType),
    ("fulfillments.0.pickup_details.recipient.display_name", Column::CustomerName),
    ("fulfillments.0.pickup_details.note", Column::Note),
    ("ticket_name", Column::DisplayNumber),
    ("reference_id", Column::ExternalId),
    ("source.name", Column::OrderSource),
];

const SQUARE_STATUSES: Statuses = &[
    ("draft", OrderStatus::Pending),
    ("open", OrderStatus::Pending),
    ("proposed", OrderStatus::Pending),
    ("reserved", OrderStatus::Preparing),
    ("prepared", OrderStatus::Ready),
    ("completed", OrderStatus::Completed),
    ("canceled", OrderStatus::Cancelled),
    ("failed", OrderStatus::Cancelled),
];

const SQUARE_SOURCES: Sources = &[
    ("square online", OrderSource::Web),
    ("square point of sale", OrderSource::Pos),
    ("square for restaurants", OrderSource::Pos),
    ("square kiosk", OrderSource::Kiosk),
];

const SQUARE_TYPES: Types = &[
    ("pickup", OrderType::Takeaway),
    ("delivery", OrderType::Delivery),
    ("shipment", OrderType::Delivery),
    ("dine_in", OrderType::DineIn),
];

const ODOO_COLUMNS: Columns = &[
    ("config_id", Column::RestaurantId),
    ("state", Column::Status),
    ("date_order", Column::CreatedAt),
    ("write_date", Column::UpdatedAt),
    ("name", Column::OrderNumber),
    ("tracking_number", Column::DisplayNumber),
    ("pos_reference", Column::ExternalId),
    ("partner_id", Column::CustomerName),
    ("table_id", Column::TableNumber),
    ("general_note", Column::Note),
];

const ODOO_STATUSES: Statuses = &[
    ("draft", OrderStatus::Pending),
    ("new", OrderStatus::Pending),
    ("sent", OrderStatus::Pending),
    ("sale", OrderStatus::Preparing),
    ("paid", OrderStatus::Preparing),
    ("done", OrderStatus::Completed),
    ("posted", OrderStatus::Completed),
    ("invoiced", OrderStatus::Completed),
    ("cancel", OrderStatus::Cancelled),
];

const ODOO_SOURCES: Sources = &[("mobile", OrderSource::Qr), ("kiosk", OrderSource::Kiosk)];

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::cli::backfill::words::Meaning;

    /// The lines of the tables in the documents.
    fn table<T: Meaning>(words: &[(&str, T)]) -> String {
        let mut lines = String::new();
        for meaning in T::ALL.iter().map(|(_, meaning)| *meaning) {
            let words: Vec<String> =
                words.iter().filter(|(_, other)| *other == meaning).map(|(word, _)| format!("`{word}`")).collect();
            if !words.is_empty() {
                let _ = writeln!(lines, "| `{}` | {} |", meaning.name(), words.join(", "));
            }
        }
        lines
    }

    fn columns(dialect: Dialect) -> String {
        let mut lines = String::new();
        for (column, name) in Column::ALL {
            let names: Vec<String> = dialect
                .columns()
                .iter()
                .filter(|(_, other)| *other == column)
                .map(|(word, _)| format!("`{word}`"))
                .collect();
            if !names.is_empty() {
                let _ = writeln!(lines, "| `{name}` | {} |", names.join(", "));
            }
        }
        lines
    }

    #[test]
    fn the_page_has_the_tables_of_the_code() {
        let page = include_str!("../../../docs/operations/import.md");
        for dialect in Dialect::value_variants() {
            let name = dialect.to_possible_value().expect("it can be asked for").get_name().to_owned();
            let section = page.split_once(&format!("\n### {name}\n")).expect("a section of its own").1;
            let section = section.split_once("\n##").map_or(section, |(section, _)| section);
            let tables =
                [table(dialect.statuses()), columns(*dialect), table(dialect.sources()), table(dialect.types())];
            for wanted in &tables {
                assert!(section.contains(wanted.as_str()), "{name} lacks:\n{wanted}");
            }
            let rows = section.lines().filter(|line| line.starts_with("| `")).count();
            let wanted: usize = tables.iter().map(|table| table.lines().count()).sum();
            assert_eq!(rows, wanted, "{name} has rows that are not in the code");
        }
        let general = page.split_once("\n### Words of every system\n").expect("a section of its own").1;
        for wanted in [table(OrderStatus::WORDS), table(OrderSource::WORDS), table(OrderType::WORDS)] {
            assert!(general.contains(&wanted), "the general words lack:\n{wanted}");
        }
    }

    #[test]
    fn paid_ends_an_order_in_no_dialect() {
        for dialect in Dialect::value_variants() {
            for (word, status) in dialect.statuses().iter().filter(|(word, _)| *word == "paid") {
                assert!(status.is_live(), "{dialect:?}: {word}");
            }
        }
    }
}
