//! The fields of a row.

/// What is read of a row; everything else in it is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Column {
    Id,
    RestaurantId,
    Status,
    CreatedAt,
    DisplayOrderNumber,
    DisplayNumber,
    DisplayNumberFormatted,
    OrderNumber,
    TableNumber,
    OrderSource,
    OrderType,
    ExternalId,
    CustomerName,
    Note,
    Metadata,
    Items,
    UpdatedAt,
    CompletedAt,
    ReleasedAt,
    CancelledAt,
    FulfillmentStatus,
    PaymentStatus,
    FirstName,
    LastName,
    BusinessDate,
    DailySequence,
}

impl Column {
    pub(super) const ALL: [(Self, &'static str); 26] = [
        (Self::Id, "id"),
        (Self::RestaurantId, "restaurant_id"),
        (Self::Status, "status"),
        (Self::CreatedAt, "created_at"),
        (Self::DisplayOrderNumber, "display_order_number"),
        (Self::DisplayNumber, "display_number"),
        (Self::DisplayNumberFormatted, "display_number_formatted"),
        (Self::OrderNumber, "order_number"),
        (Self::TableNumber, "table_number"),
        (Self::OrderSource, "order_source"),
        (Self::OrderType, "order_type"),
        (Self::ExternalId, "external_id"),
        (Self::CustomerName, "customer_name"),
        (Self::Note, "note"),
        (Self::Metadata, "metadata"),
        (Self::Items, "items"),
        (Self::UpdatedAt, "updated_at"),
        (Self::CompletedAt, "completed_at"),
        (Self::ReleasedAt, "released_at"),
        (Self::CancelledAt, "cancelled_at"),
        (Self::FulfillmentStatus, "fulfillment_status"),
        (Self::PaymentStatus, "payment_status"),
        (Self::FirstName, "first_name"),
        (Self::LastName, "last_name"),
        (Self::BusinessDate, "business_date"),
        (Self::DailySequence, "daily_sequence"),
    ];

    /// Columns that are read only where a dialect names them: elsewhere the same names mean too many things.
    pub(super) const OF_DIALECTS: [Self; 5] =
        [Self::CancelledAt, Self::FulfillmentStatus, Self::PaymentStatus, Self::FirstName, Self::LastName];

    /// The first four have to be there.
    pub(super) const REQUIRED: usize = 4;

    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether a whole number with a fraction of zeros (`7.0`, `8001.00`) is that whole number.
    pub(super) fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Id
                | Self::RestaurantId
                | Self::DisplayOrderNumber
                | Self::DisplayNumber
                | Self::DisplayNumberFormatted
                | Self::OrderNumber
                | Self::TableNumber
                | Self::ExternalId
                | Self::DailySequence
        )
    }
}

/// Lower case, letters and digits only: `createdAt`, `CREATED_AT` and `Created at` are one name.
pub(super) fn squashed(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_place() {
        for (at, (column, _)) in Column::ALL.into_iter().enumerate() {
            assert_eq!(column as usize, at);
        }
    }
}
