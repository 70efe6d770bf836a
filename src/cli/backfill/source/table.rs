//! An existing `orders` table.

use anyhow::{anyhow, bail};

use super::{BATCH, Form, SourceRow, Volume};
use crate::{
    cli::backfill::{names::Names, reason::Remark, value::Objects},
    service::{ForeignTable, Orders},
};

pub(super) struct TableRows {
    table: ForeignTable,
    objects: Objects,
    form: Form,
    read: u64,
}

impl TableRows {
    pub(super) async fn open(orders: &Orders, url: Option<&str>, name: &str, names: &Names) -> anyhow::Result<Self> {
        let mut table = orders.foreign_table(url, name).await?;
        let columns = table.columns().to_vec();
        let found = names.header(&columns).map_err(|clash| anyhow!("table {}: {clash}", table.name()))?;
        let missing = names.missing(found.iter().flatten().map(|found| found.column));
        if !missing.is_empty() {
            let there: Vec<&str> = columns.iter().map(String::as_str).take(20).collect();
            let there = Remark::new((), there.join(", ")).detail;
            bail!(
                "table {} has no column {}; it has: {there}. Name them with --column FIELD=COLUMN, or read a view of it: \
                 CREATE VIEW v AS SELECT … AS {} FROM {}",
                table.name(),
                missing.join(", "),
                missing[0],
                table.name()
            );
        }
        let wanted = || columns.iter().zip(&found).filter_map(|(name, found)| Some((name.as_str(), (*found)?)));
        let all: Vec<&str> = wanted().map(|(name, _)| name).collect();
        // What is JSON stays so; numbers of any length keep their digits as text.
        let numbers: Vec<&str> = wanted().filter(|(_, found)| found.column.is_whole()).map(|(name, _)| name).collect();
        table.select(&all, &numbers).await?;
        // Which column is which field is settled by now, for every row.
        let told = wanted().map(|(name, found)| (found.column, name.to_owned())).collect();
        let settled = Names { told, ..names.clone() };
        let columns = columns.iter().zip(&found).map(|(name, found)| (name.clone(), found.map(|found| found.column)));
        let form = Form { format: "table", columns: columns.collect(), ..Form::default() };
        Ok(Self { objects: Objects::new(settled), table, form, read: 0 })
    }

    pub(super) fn name(&self) -> &str {
        self.table.name()
    }

    /// Whether its server keeps UTC itself, so that a time without a zone means UTC by either of the customs.
    pub(super) fn is_in_utc(&self) -> bool {
        self.table.is_in_utc()
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Vec<SourceRow>> {
        let limit = u32::try_from(BATCH)?;
        let rows = self.table.next(limit).await?;
        let places = self.read + 1..;
        self.read += rows.len() as u64;
        Ok(places.zip(rows).map(|(place, json)| SourceRow { place, row: self.objects.row(json.as_bytes()) }).collect())
    }

    pub(super) fn volume(&self) -> Volume {
        Volume { done: self.read, total: self.table.estimate() }
    }

    pub(super) fn form(&self) -> Form {
        self.form.clone()
    }

    pub(super) async fn close(self) {
        self.table.close().await;
    }
}
