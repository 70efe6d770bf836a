//! How rows are understood: what the flags say of the other system.

use std::{path::PathBuf, str::FromStr};

use chrono_tz::Tz;
use clap::Args;
use encoding_rs::Encoding;

use super::{
    column::Column,
    dialect::Dialect,
    names::Names,
    restaurants::Restaurants,
    time::{AsUtc, DateOrder, TimeRules},
    value::Nothing,
    words::{Meaning, Told, Vocabulary},
};
use crate::domain::{OrderSource, OrderStatus, OrderType, RestaurantId};

#[derive(Debug, Args)]
pub(super) struct RulesArgs {
    /// The system that the orders come from: what its columns and words mean is known (docs/operations/import.md).
    #[arg(long)]
    dialect: Option<Dialect>,
    /// Which column is a field: `--column 'created_at=Placed on'`. May be repeated.
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = told_column)]
    column: Vec<(Column, String)>,
    /// What a status means: `--status 'paid=preparing'`. May be repeated.
    #[arg(long, value_name = "WORD=STATUS", value_parser = told::<OrderStatus>)]
    status: Vec<Told<OrderStatus>>,
    /// What a channel means: `--order-source 'web shop=web'`. May be repeated.
    #[arg(long, value_name = "WORD=SOURCE", value_parser = told::<OrderSource>)]
    order_source: Vec<Told<OrderSource>>,
    /// What a type of order means: `--order-type 'abholung=takeaway'`. May be repeated.
    #[arg(long, value_name = "WORD=TYPE", value_parser = told::<OrderType>)]
    order_type: Vec<Told<OrderType>>,
    /// The restaurant of all rows, whatever the column says.
    #[arg(long, value_name = "ID", conflicts_with = "restaurant_map", value_parser = restaurant)]
    restaurant: Option<RestaurantId>,
    /// Which restaurant each of their ids is: CSV (theirs,ours) or a JSON object.
    #[arg(long, value_name = "FILE")]
    restaurant_map: Option<PathBuf>,
    /// The zone of times that name none, as IANA calls it: Europe/Berlin. Without it they are refused.
    #[arg(long, value_name = "ZONE", value_parser = time_zone, conflicts_with = "assume_utc")]
    time_zone: Option<Tz>,
    /// Take times that name no zone as UTC.
    #[arg(long)]
    assume_utc: bool,
    /// What a date of three numbers means: 10/05/2026 is in October (mdy) or in May (dmy).
    #[arg(long)]
    date_order: Option<DateOrder>,
    /// One more word that stands for no value, besides NULL, \N and the like. May be repeated.
    #[arg(long, value_name = "WORD")]
    null: Vec<String>,
    /// Take NULL, \N and the like as texts.
    #[arg(long)]
    no_null_words: bool,
    /// The encoding of a file that is neither UTF-8 nor begins with a byte order mark: windows-1252, shift_jis.
    #[arg(long, value_name = "NAME", value_parser = encoding, conflicts_with = "from_table")]
    pub(super) encoding: Option<&'static Encoding>,
}

fn told<T: Meaning>(text: &str) -> Result<Told<T>, String> {
    Told::parse(text)
}

fn told_column(text: &str) -> Result<(Column, String), String> {
    let fields = || Column::ALL.map(|(_, name)| name).join(", ");
    let (field, name) = text.split_once('=').filter(|(_, name)| !name.trim().is_empty()).ok_or("write FIELD=COLUMN")?;
    let column = Column::ALL.iter().find(|(_, own)| *own == field.trim()).map(|(column, _)| *column);
    Ok((column.ok_or_else(|| format!("{field:?} is none of {}", fields()))?, name.trim().to_owned()))
}

fn restaurant(text: &str) -> Result<RestaurantId, String> {
    RestaurantId::from_str(text).map_err(|error| error.to_string())
}

fn time_zone(text: &str) -> Result<Tz, String> {
    Tz::from_str(text).map_err(|_| "no time zone of IANA: write it as Europe/Berlin or America/New_York".to_owned())
}

fn encoding(text: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(text.as_bytes())
        .filter(|encoding| *encoding != encoding_rs::REPLACEMENT)
        .ok_or_else(|| "no encoding that is known: write windows-1252, iso-8859-2, utf-16le, shift_jis".to_owned())
}

/// How rows are understood.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) names: Names,
    pub(super) nothing: Nothing,
    pub(super) times: TimeRules,
    pub(super) restaurants: Restaurants,
    pub(super) statuses: Vocabulary<OrderStatus>,
    pub(super) sources: Vocabulary<OrderSource>,
    pub(super) types: Vocabulary<OrderType>,
}

impl Rules {
    /// # Errors
    /// When the map of restaurants cannot be read.
    pub(super) fn new(args: &RulesArgs) -> anyhow::Result<Self> {
        let dialect = args.dialect;
        let restaurants = match (args.restaurant, &args.restaurant_map) {
            (Some(id), _) => Restaurants::One(id),
            (None, Some(path)) => Restaurants::read(path)?,
            (None, None) => Restaurants::Same,
        };
        Ok(Self {
            names: Names { dialect, told: args.column.clone(), one_restaurant: args.restaurant.is_some() },
            nothing: Nothing { told: args.null.clone(), only_told: args.no_null_words },
            times: TimeRules {
                zone: args.time_zone,
                date_order: args.date_order,
                utc: args.assume_utc.then_some(AsUtc::Assumed),
            },
            restaurants,
            statuses: Vocabulary::new(dialect, &args.status),
            sources: Vocabulary::new(dialect, &args.order_source),
            types: Vocabulary::new(dialect, &args.order_type),
        })
    }
}

#[cfg(test)]
impl Default for Rules {
    fn default() -> Self {
        Self {
            names: Names::default(),
            nothing: Nothing::default(),
            times: TimeRules::default(),
            restaurants: Restaurants::default(),
            statuses: Vocabulary::new(None, &[]),
            sources: Vocabulary::new(None, &[]),
            types: Vocabulary::new(None, &[]),
        }
    }
}
