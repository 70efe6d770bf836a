//! What words mean: statuses, channels and types of orders.

use std::collections::HashMap;

use super::{
    column::squashed,
    dialect::{Dialect, WOOCOMMERCE_PREFIX, WOOCOMMERCE_STATUSES},
};
use crate::domain::{OrderSource, OrderStatus, OrderType};

/// What a word can mean.
pub(super) trait Meaning: Copy + PartialEq + Send + Sync + 'static {
    /// Each with its own name.
    const ALL: &'static [(&'static str, Self)];
    /// Words that mean the same wherever they are used.
    const WORDS: &'static [(&'static str, Self)];

    /// What a system's words are.
    fn of(dialect: Dialect) -> &'static [(&'static str, Self)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, meaning)| *meaning == self).map_or("", |(name, _)| *name)
    }
}

impl Meaning for OrderStatus {
    const ALL: &'static [(&'static str, Self)] = &[
        ("pending", Self::Pending),
        ("preparing", Self::Preparing),
        ("ready", Self::Ready),
        ("served", Self::Served),
        ("held", Self::Held),
        ("completed", Self::Completed),
        ("cancelled", Self::Cancelled),
        ("expired", Self::Expired),
    ];

    /// Not among them: `paid`, `invoiced`, `posted`, `failed`, `draft`, `archived`, `returned`, `partially_refunded`,
    /// `unfulfilled`. In one system they end an order, in another they begin it.
    const WORDS: &'static [(&'static str, Self)] = &[
        ("new", Self::Pending),
        ("received", Self::Pending),
        ("created", Self::Pending),
        ("open", Self::Pending),
        ("placed", Self::Pending),
        ("submitted", Self::Pending),
        ("awaiting payment", Self::Pending),
        ("pending payment", Self::Pending),
        ("in progress", Self::Preparing),
        ("confirmed", Self::Preparing),
        ("accepted", Self::Preparing),
        ("processing", Self::Preparing),
        ("cooking", Self::Preparing),
        ("in preparation", Self::Preparing),
        ("being prepared", Self::Preparing),
        ("in kitchen", Self::Preparing),
        ("prepared", Self::Ready),
        ("ready for pickup", Self::Ready),
        ("ready to pick up", Self::Ready),
        ("ready for collection", Self::Ready),
        ("ready for delivery", Self::Ready),
        ("ready to serve", Self::Ready),
        ("awaiting pickup", Self::Ready),
        ("awaiting collection", Self::Ready),
        ("delivered in house", Self::Served),
        ("out for delivery", Self::Served),
        ("on hold", Self::Held),
        ("hold", Self::Held),
        ("paused", Self::Held),
        ("complete", Self::Completed),
        ("closed", Self::Completed),
        ("delivered", Self::Completed),
        ("done", Self::Completed),
        ("finished", Self::Completed),
        ("picked up", Self::Completed),
        ("collected", Self::Completed),
        ("fulfilled", Self::Completed),
        ("canceled", Self::Cancelled),
        ("cancel", Self::Cancelled),
        ("void", Self::Cancelled),
        ("voided", Self::Cancelled),
        ("rejected", Self::Cancelled),
        ("declined", Self::Cancelled),
        ("refunded", Self::Cancelled),
        ("abandoned", Self::Expired),
        ("timed out", Self::Expired),
    ];

    fn of(dialect: Dialect) -> &'static [(&'static str, Self)] {
        dialect.statuses()
    }
}

impl Meaning for OrderSource {
    const ALL: &'static [(&'static str, Self)] = &[
        ("qr", Self::Qr),
        ("pos", Self::Pos),
        ("kiosk", Self::Kiosk),
        ("app", Self::App),
        ("web", Self::Web),
        ("phone", Self::Phone),
        ("api", Self::Api),
    ];
    const WORDS: &'static [(&'static str, Self)] = &[
        ("qr code", Self::Qr),
        ("till", Self::Pos),
        ("terminal", Self::Pos),
        ("point of sale", Self::Pos),
        ("self service kiosk", Self::Kiosk),
        ("mobile", Self::App),
        ("mobile app", Self::App),
        ("online", Self::Web),
        ("website", Self::Web),
        ("telephone", Self::Phone),
        ("call", Self::Phone),
    ];

    fn of(dialect: Dialect) -> &'static [(&'static str, Self)] {
        dialect.sources()
    }
}

impl Meaning for OrderType {
    const ALL: &'static [(&'static str, Self)] = &[
        ("dine_in", Self::DineIn),
        ("takeaway", Self::Takeaway),
        ("delivery", Self::Delivery),
        ("drive_thru", Self::DriveThru),
    ];
    const WORDS: &'static [(&'static str, Self)] = &[
        ("eat in", Self::DineIn),
        ("for here", Self::DineIn),
        ("table", Self::DineIn),
        ("take out", Self::Takeaway),
        ("pick up", Self::Takeaway),
        ("to go", Self::Takeaway),
        ("collection", Self::Takeaway),
        ("carry out", Self::Takeaway),
        ("drive through", Self::DriveThru),
    ];

    fn of(dialect: Dialect) -> &'static [(&'static str, Self)] {
        dialect.types()
    }
}

/// A word and its meaning, as a flag says it: `paid=preparing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told<T> {
    word: String,
    meaning: T,
}

impl<T: Meaning> Told<T> {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let names = || T::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let (word, meaning) = text
            .rsplit_once('=')
            .filter(|(word, _)| !word.trim().is_empty())
            .ok_or_else(|| format!("write WORD=MEANING; the meanings are {}", names()))?;
        let meaning = Vocabulary::<T>::new(None, &[])
            .meaning(meaning)
            .ok_or_else(|| format!("{:?} is none of {}", meaning.trim(), names()))?;
        Ok(Self { word: word.to_owned(), meaning })
    }
}

/// What the words of one field mean.
#[derive(Debug)]
pub(super) struct Vocabulary<T>(HashMap<String, T>);

impl<T: Meaning> Vocabulary<T> {
    /// What is told goes before what the dialect says, and that before what is known of every system.
    pub(super) fn new(dialect: Option<Dialect>, told: &[Told<T>]) -> Self {
        let of_dialect = dialect.map(T::of).unwrap_or_default();
        let known = T::ALL.iter().chain(T::WORDS).chain(of_dialect).map(|(word, meaning)| (key(word), *meaning));
        Self(known.chain(told.iter().map(|told| (key(&told.word), told.meaning))).collect())
    }

    pub(super) fn meaning(&self, word: &str) -> Option<T> {
        self.0.get(&key(word)).copied()
    }
}

impl Vocabulary<OrderStatus> {
    /// As [`Vocabulary::meaning`]; `wc-` before a word says that it is WooCommerce's.
    pub(super) fn status(&self, word: &str) -> Option<OrderStatus> {
        self.meaning(word).or_else(|| {
            let word = word.trim();
            let prefix = word.get(..WOOCOMMERCE_PREFIX.len())?;
            let rest = prefix.eq_ignore_ascii_case(WOOCOMMERCE_PREFIX).then(|| key(&word[prefix.len()..]))?;
            WOOCOMMERCE_STATUSES.iter().find(|(word, _)| key(word) == rest).map(|(_, status)| *status)
        })
    }
}

/// Words are the same in upper and lower case, whatever separates their parts. Signs alone are a word as they stand.
fn key(word: &str) -> String {
    let squashed = squashed(word);
    if squashed.is_empty() { word.trim().to_owned() } else { squashed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(dialect: Option<Dialect>, told: &[&str]) -> Vocabulary<OrderStatus> {
        let told: Vec<_> = told.iter().map(|told| Told::parse(told).expect("well-formed")).collect();
        Vocabulary::new(dialect, &told)
    }

    #[test]
    fn statuses_have_many_names() {
        use OrderStatus::*;
        let known = statuses(None, &[]);
        for (name, status) in [
            ("NEW", Pending),
            ("received", Pending),
            ("In Progress", Preparing),
            ("in-progress", Preparing),
            ("inProgress", Preparing),
            ("Confirmed", Preparing),
            ("ready", Ready),
            ("Ready for pickup", Ready),
            ("READY_FOR_PICKUP", Ready),
            ("Delivered in-house", Served),
            ("delivered-in-house", Served),
            ("Out for delivery", Served),
            ("ON_HOLD", Held),
            ("delivered", Completed),
            ("CLOSED", Completed),
            ("canceled", Cancelled),
            ("VOID", Cancelled),
            ("Refunded", Cancelled),
            ("expired", Expired),
            ("wc-processing", Preparing),
            ("WC-on-hold", Held),
            ("wc-failed", Cancelled),
            ("wc-checkout-draft", Expired),
        ] {
            assert_eq!(known.status(name), Some(status), "{name}");
        }
        for status in OrderStatus::ALL {
            assert_eq!(known.status(status.as_str()), Some(status));
            assert_eq!(status.name(), status.as_str());
        }
        for other in ["gone fishing", "", "wc-", "wc-gone", "wé-new", "é"] {
            assert_eq!(known.status(other), None, "{other}");
        }
    }

    #[test]
    fn a_word_that_means_different_things_is_told_or_unknown() {
        for word in ["paid", "Paid", "invoiced", "posted", "failed", "draft", "archived", "returned", "unfulfilled"] {
            assert_eq!(statuses(None, &[]).status(word), None, "{word}");
        }
        assert_eq!(statuses(Some(Dialect::Odoo), &[]).status("paid"), Some(OrderStatus::Preparing));
        assert_eq!(statuses(Some(Dialect::Shopify), &[]).status("PAID"), Some(OrderStatus::Preparing));
        assert_eq!(statuses(Some(Dialect::Odoo), &["paid=completed"]).status("paid"), Some(OrderStatus::Completed));
        let told = statuses(None, &["Paid & Packed = ready", "=?=held", "已付款=preparing", "done=served"]);
        assert_eq!(told.status("paid/packed"), Some(OrderStatus::Ready));
        assert_eq!(told.status("=?"), Some(OrderStatus::Held));
        assert_eq!(told.status("已付款"), Some(OrderStatus::Preparing));
        assert_eq!(told.status("Done"), Some(OrderStatus::Served));
        for bad in ["paid", "paid=", "=ready", "paid=gone"] {
            assert!(Told::<OrderStatus>::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn channels_and_types_have_many_names() {
        let sources = Vocabulary::<OrderSource>::new(None, &[Told::parse("web shop=online").expect("well-formed")]);
        assert_eq!(sources.meaning("QR-Code"), Some(OrderSource::Qr));
        assert_eq!(sources.meaning("Web Shop"), Some(OrderSource::Web));
        assert_eq!(sources.meaning("carrier pigeon"), None);
        let types = Vocabulary::<OrderType>::new(Some(Dialect::Square), &[]);
        assert_eq!(types.meaning("PICKUP"), Some(OrderType::Takeaway));
        assert_eq!(types.meaning("SHIPMENT"), Some(OrderType::Delivery));
        assert_eq!(types.meaning("Take-Away"), Some(OrderType::Takeaway));
    }
}
