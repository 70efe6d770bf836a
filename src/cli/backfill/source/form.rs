//! How a source was understood, for people to see before anything is taken.

use serde::Serialize;

use crate::cli::backfill::column::Column;

/// What is known of the form of a source so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(in crate::cli::backfill) struct Form {
    /// `csv`, `json`, `json lines` or `table`.
    pub(in crate::cli::backfill) format: &'static str,
    /// What stands between the fields of CSV.
    pub(in crate::cli::backfill) delimiter: Option<char>,
    pub(in crate::cli::backfill) encoding: Option<&'static str>,
    pub(in crate::cli::backfill) compression: Option<&'static str>,
    /// Every column, and the field that it is.
    #[serde(skip)]
    pub(in crate::cli::backfill) columns: Vec<(String, Option<Column>)>,
}
