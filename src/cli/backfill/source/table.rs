//! An existing `orders` table.

use super::{BATCH, SourceRow, Volume, check_columns};
use crate::{
    cli::backfill::row::{Column, Row},
    service::{ForeignTable, Orders},
};

pub(super) struct TableRows {
    table: ForeignTable,
    read: u64,
}

impl TableRows {
    pub(super) async fn open(orders: &Orders, url: Option<&str>, name: &str) -> anyhow::Result<Self> {
        let mut table = orders.foreign_table(url, name).await?;
        let columns = table.columns().to_vec();
        let all: Vec<&str> = columns.iter().map(String::as_str).collect();
        check_columns(&format!("table {}", table.name()), &all)?;
        let wanted: Vec<&str> = all.into_iter().filter(|name| Column::named(name).is_some()).collect();
        let ids: Vec<&str> = wanted.iter().copied().filter(|name| Column::named(name) == Some(Column::Id)).collect();
        table.select(&wanted, &ids).await?;
        Ok(Self { table, read: 0 })
    }

    pub(super) fn name(&self) -> &str {
        self.table.name()
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Vec<SourceRow>> {
        let limit = u32::try_from(BATCH)?;
        let rows = self.table.next(limit).await?;
        let first = self.read + 1;
        self.read += rows.len() as u64;
        let places = first..;
        Ok(places.zip(rows).map(|(place, json)| SourceRow { place, row: Row::from_json(json.as_bytes()) }).collect())
    }

    pub(super) fn volume(&self) -> Volume {
        Volume { done: self.read, total: self.table.estimate() }
    }

    pub(super) async fn close(self) {
        self.table.close().await;
    }
}
