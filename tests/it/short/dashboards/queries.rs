//! Every query of every panel, on a real Prometheus that scraped a real daemon at work, and on its real ledger.

use std::time::Instant;

use serde_json::Value;
use serde_with::{Same, de::DeserializeAsWrap};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::sleep;

use super::{
    draw,
    files::{self, Asked, Filling},
    world::World,
};
use crate::support::{PATIENCE, Prometheus, prometheus::Series};

/// What a query gave.
pub enum Answer {
    Series(Series),
    Rows(Vec<Row>),
}

/// The columns of a row, in their order.
pub type Row = Vec<(String, Value)>;

/// Each dashboard's panels, with what their queries gave.
type Answers = Vec<Vec<Vec<Answer>>>;

/// How far apart the points of a series are.
const STEP_SECONDS: u64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_every_panel_gives_data() {
    let mut world = World::start().await;
    answers(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "draws the pictures of the dashboards: `make pictures`"]
async fn pictures() {
    let mut world = World::start().await;
    world.after_lunch().await;
    let answers = answers(&mut world).await;
    for (dashboard, answers) in files::all().iter().zip(&answers) {
        draw::picture(dashboard, answers);
    }
}

/// Asks until each query has given data, and then once more, all at about the same time.
async fn answers(world: &mut World) -> Answers {
    let started = Instant::now();
    loop {
        let (mut all, mut empty) = (Vec::new(), Vec::new());
        for dashboard in files::all() {
            let mut panels = Vec::new();
            for panel in dashboard.panels() {
                let mut given = Vec::new();
                for asked in files::asked(panel, &world.filling) {
                    match answer(&asked, &world.prometheus, &mut world.ledger, &world.filling).await {
                        Ok(answer) if has_data(&answer) => given.push(answer),
                        Ok(_) => empty.push(format!("{}: no data for\n{}", dashboard.place(panel), text(&asked))),
                        Err(why) => panic!("{}: {why}:\n{}", dashboard.place(panel), text(&asked)),
                    }
                }
                panels.push(given);
            }
            all.push(panels);
        }
        if empty.is_empty() {
            return all;
        }
        assert!(started.elapsed() < PATIENCE * 4, "{} queries give nothing:\n{}", empty.len(), empty.join("\n"));
        sleep(PATIENCE / 60).await;
    }
}

async fn answer(
    asked: &Asked,
    prometheus: &Prometheus,
    ledger: &mut PgConnection,
    filling: &Filling,
) -> Result<Answer, String> {
    match asked {
        Asked::Now(query) => prometheus.now(query).await.map(Answer::Series),
        Asked::Range(query) => prometheus.since(query, filling.from, STEP_SECONDS).await.map(Answer::Series),
        Asked::Ledger(query) => {
            let rows = format!("SELECT row_to_json(answer)::text FROM ({query}) AS answer");
            let rows: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(ledger).await.map_err(|error| error.to_string())?;
            let row = |row: &String| {
                let columns = serde_json::from_str::<DeserializeAsWrap<Row, serde_with::Map<Same, Same>>>(row);
                columns.map(DeserializeAsWrap::into_inner).map_err(|error| error.to_string())
            };
            Ok(Answer::Rows(rows.iter().map(row).collect::<Result<_, _>>()?))
        }
    }
}

fn has_data(answer: &Answer) -> bool {
    match answer {
        Answer::Series(series) => series.iter().any(|(_, points)| !points.is_empty()),
        // A row of nulls is a panel without data, and so is a time without values.
        Answer::Rows(rows) => rows.iter().any(|row| row.iter().any(|(name, value)| name != "time" && !value.is_null())),
    }
}

fn text(asked: &Asked) -> &str {
    match asked {
        Asked::Now(query) | Asked::Range(query) | Asked::Ledger(query) => query,
    }
}
