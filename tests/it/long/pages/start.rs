//! The start page.

use super::world::{IS_LIVE, World};

#[tokio::test(flavor = "multi_thread")]
async fn the_start_page_leads_to_the_screens() {
    let world = World::start().await;
    for (button, page) in [("board", "/board/7"), ("kitchen", "/kitchen/7")] {
        world.browser.open(&world.url("/")).await;
        // It remembers the restaurant.
        let number = "document.querySelector('[data-hook=number]')";
        world.browser.until(&format!("!document.querySelector('[data-hook=open]').hidden && {number}")).await;
        if button == "board" {
            world.browser.click("[data-hook=number]").await;
            world.browser.press("7").await;
            world.check("the start page").await;
        }
        assert_eq!(world.browser.value(&format!("{number}.value")).await, "7");
        world.browser.click(&format!("[data-page={button}].button")).await;
        world.browser.until(&format!("location.pathname === '{page}'")).await;
        world.browser.until(IS_LIVE).await;
    }
    // What is no number has no page, and says so.
    world.browser.open(&world.url("/board/seven")).await;
    let said = world.browser.text("notice").await;
    assert!(said.contains("“seven” is not the number of a restaurant"), "{said}");
    world.browser.click("[data-hook=notice] a").await;
    world.browser.until("location.pathname === '/'").await;
}
