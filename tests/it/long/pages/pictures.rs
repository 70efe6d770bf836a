//! Pictures of the pages, with a daemon at work: `make pictures`.

use std::fs;
use std::path::Path;

use super::world::{IS_LIVE, World};

/// So that a picture is not what makes the documentation large.
const MOST_BYTES: usize = 150 * 1024;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "draws the pictures of the pages: `make pictures`"]
async fn pictures() {
    let world = World::start().await;
    world.lunch(38, 4, 3, 0).await;
    draw(&world, "board-calm", "/board/7", (1280, 720), "").await;
    let busy = World::start().await;
    busy.lunch(104, 17, 9, 2).await;
    draw(&busy, "board-busy", "/board/7", (1280, 720), "").await;
    draw(&busy, "board-phone", "/board/7", (390, 844), "").await;
    draw(&busy, "kitchen", "/kitchen/7", (1280, 720), "").await;
    draw(&busy, "board-stale", "/board/7", (1280, 720), LATER).await;
}

/// Half a minute has passed, and nothing was heard: as the clocks of the page say, so that nobody waits for it.
pub const LATER: &str = "const real = performance.now.bind(performance); performance.now = () => real() + 45000;";

async fn draw(world: &World, name: &str, path: &str, (width, height): (u32, u32), before: &str) {
    world.browser.resize(width, height, 1.0).await;
    world.browser.open(&world.url(path)).await;
    world.browser.until(IS_LIVE).await;
    world.browser.until("document.querySelectorAll('li[data-order]').length > 2").await;
    world.browser.click("body").await;
    world.browser.run(before).await;
    if !before.is_empty() {
        world.browser.until("document.documentElement.dataset.fresh === 'no'").await;
    }
    // What fades in has done so.
    world.browser.until("document.getAnimations().length === 0 && document.fonts.status === 'loaded'").await;
    let picture = world.browser.picture().await;
    assert!(picture.len() <= MOST_BYTES, "{name} has {} bytes", picture.len());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
    fs::create_dir_all(&folder).expect("a folder of the project");
    let file = folder.join(format!("{name}.png"));
    fs::write(&file, picture).expect("a file of the project");
    println!("{}", file.display());
}
