//! Which column is which field: the many names under which systems keep them.

use std::fmt::{self, Display};

use super::{
    column::{Column, squashed},
    dialect::Dialect,
};

/// Other names of a field, in use in many systems. A field's own name goes before them.
const OTHER_NAMES: [(&str, Column); 27] = [
    ("restaurant", Column::RestaurantId),
    ("created", Column::CreatedAt),
    ("created_on", Column::CreatedAt),
    ("date_created", Column::CreatedAt),
    ("created_date", Column::CreatedAt),
    ("creation_date", Column::CreatedAt),
    ("order_date", Column::CreatedAt),
    ("placed_at", Column::CreatedAt),
    ("ordered_at", Column::CreatedAt),
    ("display_id", Column::DisplayNumber),
    ("table", Column::TableNumber),
    ("guest_name", Column::CustomerName),
    ("billing_name", Column::CustomerName),
    ("billing_first_name", Column::FirstName),
    ("billing_last_name", Column::LastName),
    ("customer_first_name", Column::FirstName),
    ("customer_last_name", Column::LastName),
    ("customer", Column::CustomerName),
    ("notes", Column::Note),
    ("customer_note", Column::Note),
    ("updated", Column::UpdatedAt),
    ("modified_at", Column::UpdatedAt),
    ("date_modified", Column::UpdatedAt),
    ("closed_at", Column::CompletedAt),
    ("finished_at", Column::CompletedAt),
    ("date_completed", Column::CompletedAt),
    ("completed_date", Column::CompletedAt),
];

/// Which field a column is, and how surely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) column: Column,
    /// Its name says that its times are UTC (`date_created_gmt`).
    pub(super) utc: bool,
    /// The lowest counts where several columns could be one field.
    pub(super) rank: u8,
}

/// Two columns that are one field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash {
    pub(super) column: Column,
    pub(super) names: [String; 2],
}

impl Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (field, [first, second]) = (self.column.name(), &self.names);
        write!(f, "{first:?} and {second:?} are both {field}: choose one with --column {field}={first:?}")
    }
}

/// How columns are named.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) dialect: Option<Dialect>,
    /// What `--column` says.
    pub(super) told: Vec<(Column, String)>,
    /// Every row is of a restaurant that is known without the column.
    pub(super) one_restaurant: bool,
}

impl Names {
    /// The field that a column with this name is.
    pub(super) fn of(&self, name: &str) -> Option<Match> {
        let name = name.trim().trim_start_matches('\u{feff}').trim();
        let told = self.told.iter().find(|(_, told)| told.trim().eq_ignore_ascii_case(name));
        if let Some((column, _)) = told {
            return Some(Match { column: *column, utc: says_utc(name).is_some(), rank: 0 });
        }
        let (rank, column, utc) = match self.spelled(name) {
            Some((rank, column)) => (rank, column, false),
            None => {
                let (rank, column) = self.spelled(&says_utc(name)?)?;
                // It goes before the same time in a zone that is not said.
                (rank - 1, column, true)
            }
        };
        let chosen = self.told.iter().any(|(told, _)| *told == column);
        (!chosen).then_some(Match { column, utc, rank })
    }

    /// The rank and the field of a name that does not speak of a zone.
    fn spelled(&self, name: &str) -> Option<(u8, Column)> {
        let general = |column: &Column| !Column::OF_DIALECTS.contains(column);
        let own = |name: &str| {
            Column::ALL.iter().find(|(column, own)| general(column) && squashed(own) == name).map(|(column, _)| *column)
        };
        let whole = squashed(name);
        let of_the_order = || PREFIXES.iter().find_map(|prefix| own(whole.strip_prefix(prefix)?));
        // `orders.created_at`, as a join of tables is exported.
        let of_a_table = || {
            let (table, column) = name.rsplit_once('.')?;
            let table = squashed(table.rsplit('.').next()?);
            TABLES.contains(&table.as_str()).then(|| own(&squashed(column))).flatten()
        };
        if let Some(column) = own(&whole).or_else(of_the_order).or_else(of_a_table) {
            return Some((2, column));
        }
        let of_dialect = self.dialect.map(Dialect::columns).unwrap_or_default();
        if let Some((_, column)) = of_dialect.iter().find(|(known, _)| squashed(known) == whole) {
            return Some((4, *column));
        }
        OTHER_NAMES.iter().find(|(known, _)| squashed(known) == whole).map(|(_, column)| (6, *column))
    }

    /// Which field each column of a header is.
    ///
    /// # Errors
    /// Two columns for one field.
    pub(super) fn header(&self, names: &[String]) -> Result<Vec<Option<Match>>, Clash> {
        let prefix = common_prefix(names);
        let of = |name: &String| self.of(name).or_else(|| self.of(name.trim().get(prefix..).filter(|_| prefix > 0)?));
        let mut matches: Vec<Option<Match>> = names.iter().map(of).collect();
        for (column, _) in Column::ALL {
            let of_it = |found: &Option<Match>| found.filter(|found| found.column == column);
            let Some(best) = matches.iter().filter_map(of_it).map(|found| found.rank).min() else { continue };
            let mut chosen: Option<usize> = None;
            for (at, matched) in matches.iter_mut().enumerate() {
                let Some(found) = of_it(matched) else { continue };
                match chosen {
                    _ if found.rank > best => *matched = None,
                    None => chosen = Some(at),
                    Some(first) => {
                        let names = [first, at].map(|at| names[at].trim().trim_start_matches('\u{feff}').to_owned());
                        return Err(Clash { column, names });
                    }
                }
            }
        }
        Ok(matches)
    }

    /// The fields that a row must have and that are not among these.
    pub(super) fn missing(&self, there: impl IntoIterator<Item = Column>) -> Vec<&'static str> {
        let there: Vec<Column> = there.into_iter().collect();
        let has = |column: Column| match column {
            Column::RestaurantId if self.one_restaurant => true,
            Column::Status => {
                [column, Column::FulfillmentStatus, Column::PaymentStatus].iter().any(|column| there.contains(column))
            }
            column => there.contains(&column),
        };
        Column::ALL
            .into_iter()
            .take(Column::REQUIRED)
            .filter(|(column, _)| !has(*column))
            .map(|(_, name)| name)
            .collect()
    }

    /// The names in a dialect that lead into an object of JSON: `billing.first_name` below `billing`.
    pub(super) fn below<'a>(&self, name: &'a str) -> impl Iterator<Item = (&'static str, Column)> + use<'a> {
        let columns = self.dialect.map(Dialect::columns).unwrap_or_default();
        columns.iter().filter_map(move |(path, column)| {
            let rest = path.strip_prefix(name)?.strip_prefix('.')?;
            Some((rest, *column))
        })
    }

    /// As [`Names::of`] for a name of a dialect.
    pub(super) fn of_path(column: Column) -> Match {
        Match { column, utc: false, rank: 4 }
    }
}

/// What stands before the names of columns: `order_id`, `orderId`, `OrderID`.
const PREFIXES: [&str; 2] = ["orders", "order"];
const TABLES: [&str; 3] = ["o", "order", "orders"];

/// How much of each name is one prefix of them all: `ord_id`, `ord_status`, `ord_created_at`.
fn common_prefix(names: &[String]) -> usize {
    let [first, others @ ..] = names else { return 0 };
    let first = first.trim();
    let same = |at: &usize| others.iter().all(|name| name.trim().get(..*at) == first.get(..*at));
    let ends = first.char_indices().filter(|(_, c)| matches!(c, '_' | '.')).map(|(at, _)| at + 1);
    if others.len() < 3 { 0 } else { ends.filter(same).max().unwrap_or(0) }
}

/// The name without the word that says UTC at its end, if it has one: `created_at_utc`, `dateCreatedGmt`, `Created (UTC)`.
fn says_utc(name: &str) -> Option<String> {
    let lower = name.trim().trim_end_matches(')').to_ascii_lowercase();
    let rest = ["gmt", "utc"].iter().find_map(|zone| lower.strip_suffix(zone))?;
    let rest = rest.trim_end_matches(|c: char| !c.is_alphanumeric());
    (!rest.is_empty()).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dialect: Option<Dialect>) -> Names {
        Names { dialect, ..Names::default() }
    }

    fn column(name: &str) -> Option<Column> {
        names(None).of(name).map(|found| found.column)
    }

    fn header(names: &Names, columns: &[&str]) -> Result<Vec<Option<Column>>, Clash> {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        Ok(names.header(&columns)?.into_iter().map(|found| found.map(|found| found.column)).collect())
    }

    #[test]
    fn names_are_the_same_however_they_are_spelled() {
        for (name, wanted) in [
            ("id", Column::Id),
            ("\u{feff}ID", Column::Id),
            ("order_id", Column::Id),
            ("orderId", Column::Id),
            ("OrderID", Column::Id),
            ("Order ID", Column::Id),
            ("orders.id", Column::Id),
            ("o.\"createdAt\"", Column::CreatedAt),
            ("public.orders.status", Column::Status),
            ("restaurantId", Column::RestaurantId),
            ("RESTAURANT-ID", Column::RestaurantId),
            ("orderStatus", Column::Status),
            ("order_created_at", Column::CreatedAt),
            ("createdAtUtc", Column::CreatedAt),
            ("date_created_gmt", Column::CreatedAt),
            ("Created at (UTC)", Column::CreatedAt),
            ("orderNumber", Column::OrderNumber),
            ("order_type", Column::OrderType),
            ("customerName", Column::CustomerName),
            ("order_customer_name", Column::CustomerName),
        ] {
            assert_eq!(column(name), Some(wanted), "{name}");
        }
        for other in
            ["", "customer.id", "billing_id", "border_id", "ids", "total", "state", "first_name", "order", "utc"]
        {
            assert_eq!(column(other), None, "{other}");
        }
        assert!(names(None).of("created_at_gmt").expect("known").utc);
        assert!(!names(None).of("created_at").expect("known").utc);
    }

    #[test]
    fn two_columns_for_one_field_are_told() {
        let plain = names(None);
        for (columns, field) in [
            (["id", "order_id"], Column::Id),
            (["createdAt", "created_at"], Column::CreatedAt),
            (["status", "Order Status"], Column::Status),
            (["note", "note"], Column::Note),
            (["closed_at", "finished_at"], Column::CompletedAt),
        ] {
            let clash = header(&plain, &columns).expect_err("two for one");
            assert_eq!((clash.column, &clash.names), (field, &columns.map(str::to_owned)));
            let told = Names { told: vec![(field, columns[0].to_owned())], ..Names::default() };
            assert_eq!(header(&told, &columns[..1]), Ok(vec![Some(field)]));
        }
        let told = Names { told: vec![(Column::Id, "order_id".to_owned())], ..Names::default() };
        assert_eq!(header(&told, &["id", "order_id"]), Ok(vec![None, Some(Column::Id)]));
        // The own name goes before another one, and a time that says its zone before one that does not.
        assert_eq!(header(&plain, &["created", "created_at"]), Ok(vec![None, Some(Column::CreatedAt)]));
        assert_eq!(header(&plain, &["created_at", "created_at_utc"]), Ok(vec![None, Some(Column::CreatedAt)]));
    }

    #[test]
    fn a_prefix_of_all_names_says_nothing() {
        let all = ["ord_id", "ord_restaurant_id", "ord_status", "ord_created_at", "ord_total"];
        let wanted =
            [Some(Column::Id), Some(Column::RestaurantId), Some(Column::Status), Some(Column::CreatedAt), None];
        assert_eq!(header(&names(None), &all), Ok(wanted.to_vec()));
        let own = ["order_id", "order_restaurant_id", "order_status", "order_number"];
        let wanted = [Column::Id, Column::RestaurantId, Column::Status, Column::OrderNumber];
        assert_eq!(header(&names(None), &own), Ok(wanted.map(Some).to_vec()));
        assert_eq!(header(&names(None), &["x_id", "x_status", "é_x", "x"]), Ok(vec![None; 4]));
    }

    #[test]
    fn a_dialect_knows_the_columns_of_its_exports() {
        let missing = |dialect, columns: &[&str]| {
            let names = names(dialect);
            let found = header(&names, columns).expect("no two for one");
            names.missing(found.into_iter().flatten())
        };
        let shopify =
            ["Id", "Name", "Financial Status", "Fulfillment Status", "Created at", "Cancelled at", "Location"];
        assert_eq!(missing(Some(Dialect::Shopify), &shopify), Vec::<&str>::new());
        assert_eq!(missing(None, &shopify), ["restaurant_id", "status"]);
        let square = ["id", "location_id", "state", "created_at", "fulfillments.0.state", "source.name"];
        assert_eq!(missing(Some(Dialect::Square), &square), Vec::<&str>::new());
        let odoo = ["id", "config_id", "state", "date_order", "tracking_number"];
        assert_eq!(missing(Some(Dialect::Odoo), &odoo), Vec::<&str>::new());
        let woo = ["order_id", "order_date", "status", "billing_first_name"];
        assert_eq!(missing(Some(Dialect::Woocommerce), &woo), ["restaurant_id"]);
    }
}
