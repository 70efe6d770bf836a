//! How much of an order a caller may see.

use super::{Choice, NewApiKey, Order, OrderDetails, Role};

/// How much of an order a caller may see. Whatever gives orders to callers of the role `screen` passes them through here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All of it.
    Whole,
    /// What a board shows to all guests: number, status, order type, channel and times.
    Board {
        /// The name of the customer as well.
        names: bool,
    },
}

impl Sight {
    /// What the holder of this key sees; None: no keys are in force.
    #[must_use]
    pub(crate) fn of(key: Option<&NewApiKey>) -> Self {
        match key {
            Some(NewApiKey { role: Role::Screen, shows_names, .. }) => Self::Board { names: *shows_names },
            _ => Self::Whole,
        }
    }

    /// The order as the caller may see it. What is hidden is as if it had not been given.
    #[must_use]
    pub(crate) fn sees(self, order: Order) -> Order {
        let Self::Board { names } = self else { return order };
        let OrderDetails { order_source, order_type, customer_name, .. } = order.details;
        // Of what is added to orders one day, a board sees nothing before it is named here.
        let details = OrderDetails {
            order_source,
            order_type,
            customer_name: customer_name.filter(|_| names),
            ..OrderDetails::default()
        };
        // Why an order has its number may tell of its table.
        Order { details, choice: Choice::Next, ..order }
    }

    /// As [`Sight::sees`], of several.
    #[must_use]
    pub(crate) fn sees_all(self, orders: Vec<Order>) -> Vec<Order> {
        match self {
            Self::Whole => orders,
            Self::Board { .. } => orders.into_iter().map(|order| self.sees(order)).collect(),
        }
    }
}
