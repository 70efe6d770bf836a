//! All pages in all states, sizes, languages and ways to see and use them: `make test-pages`.

use serde_json::{Value, json};

use super::pictures::LATER;
use super::world::{IS_LIVE, RESTAURANT, World, card};
use crate::support::browser::{by_hook, key};
use crate::support::{Browser, DaemonOptions};

/// A small screen, a television, and a phone.
const SIZES: [(u32, u32); 3] = [(1280, 720), (1920, 1080), (390, 844)];
const LANGUAGES: [&str; 7] = ["en", "de", "es", "fr", "it", "tr", "pt"];

/// What a board may need before it shows numbers.
const BOARD_KIB: f64 = 60.0;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-pages`"]
async fn every_page_is_without_fault_in_every_state_and_size() {
    let world = World::start().await;
    each_size(&world, "/", "the start page", "1").await;
    each_size(&world, "/board/x", "no number", "1").await;
    each_size(&world, "/board/8", "an unknown restaurant", IS_LIVE).await;
    world.api.configure(RESTAURANT, json!({ "name": "Zur Post" })).await;
    each_size(&world, "/board/7", "an empty board", IS_LIVE).await;
    each_size(&world, "/kitchen/7", "an empty kitchen", IS_LIVE).await;
    world.lunch(104, 17, 9, 2).await;
    let shows = "document.querySelectorAll('li[data-order]').length > 2";
    each_size(&world, "/board/7", "a busy board", shows).await;
    each_size(&world, "/board/7?sound=off", "a silent board", shows).await;
    each_size(&world, "/kitchen/7", "a busy kitchen", shows).await;
    each_size(&world, "/kitchen/7?station=grill", "a station", shows).await;
    for (width, height) in SIZES {
        let of = |state: &str| format!("{state}, {width}×{height}");
        world.browser.resize(width, height, 1.0).await;
        world.show("/board/7").await;
        world.browser.until(shows).await;
        world.browser.run(LATER).await;
        world.browser.until("document.documentElement.dataset.fresh === 'no'").await;
        sound(&world, &of("a stale board")).await;

        world.show("/kitchen/7").await;
        world.browser.until(shows).await;
        let begun = "document.querySelector('.card[data-status=preparing]').dataset.order";
        let bumped = world.browser.value(begun).await;
        world.browser.click(".card[data-status=preparing] .bump").await;
        let bumped = json!({ "internal_order_id": bumped });
        world.browser.until(&format!("!{0} || {0}.dataset.queued === 'no'", card(&bumped, ""))).await;
        world.browser.until(&format!("!{}.hidden", by_hook("undo-bar"))).await;
        sound(&world, &of("a bump that may be undone")).await;
        world.browser.click("[data-hook=drawer-button]").await;
        sound(&world, &of("the drawer")).await;
        world.network.refuse();
        world.browser.press(key::ESCAPE).await;
        world.browser.click(".card:nth-child(2) .bump").await;
        world.browser.until("document.querySelector('.card[data-queued=yes]')").await;
        sound(&world, &of("a bump that waits")).await;
        world.network.heal();
        world.browser.until(&format!("{}.hidden", by_hook("queue"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-pages`"]
async fn words_in_place_of_a_page_are_without_fault() {
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTH_MODE", "keys");
    options.run("keys", &["create", "--name", "a test's", "--role", "admin"]);
    let world = World::with(options, Browser::start().await).await;
    for page in ["board", "kitchen"] {
        let pairs = "document.documentElement.dataset.link === 'pairing'";
        each_size(&world, &format!("/{page}/7"), "pairing", pairs).await;
        let code = world.browser.text("code").await;
        let role = if page == "board" { "screen" } else { "kitchen" };
        world.options.run("screens", &["pair", &code, "--restaurant", "7", "--role", role]);
        world.browser.until(IS_LIVE).await;
        let forbidden = "document.documentElement.dataset.link === 'forbidden'";
        each_size(&world, &format!("/{page}/8"), "forbidden", forbidden).await;
        world.browser.devtools("Network.clearBrowserCookies", json!({})).await;
    }
    let options = DaemonOptions::migrated().await.with("NOWSERVING_AUTO_PROVISION", false);
    let strict = World::with(options, Browser::start().await).await;
    for page in ["board", "kitchen"] {
        let unknown = "document.documentElement.dataset.link === 'unknown'";
        each_size(&strict, &format!("/{page}/8"), "unknown", unknown).await;
    }
}

/// Opens a page in each size, and looks at it once it is as it has to be.
async fn each_size(world: &World, path: &str, state: &str, until: &str) {
    for (width, height) in SIZES {
        world.browser.resize(width, height, 1.0).await;
        world.browser.open(&world.url(path)).await;
        world.browser.until(until).await;
        sound(world, &format!("{state} ({path}), {width}×{height}")).await;
    }
}

/// Axe finds nothing, nothing is wider than the screen, and no text is cut off.
async fn sound(world: &World, state: &str) {
    // A colour that fades in is not what it will be.
    world.browser.until("document.getAnimations().every((one) => one.playState === 'finished')").await;
    world.check(state).await;
    let wide = world.browser.value("document.documentElement.scrollWidth - window.innerWidth").await;
    assert!(wide.as_f64().is_some_and(|wide| wide < 1.0), "{state} is {wide} pixels too wide");
    let cut = world.browser.run(CUT_OFF).await;
    assert_eq!(cut, json!([]), "{state}: this is cut off");
}

/// The texts that reach out of the page, or out of a box that does not scroll.
const CUT_OFF: &str = "
    const cut = [];
    document.querySelectorAll('button, h1, h2, p, .number, .beside, .card-number, .also').forEach((element) => {
        if (!element.textContent.trim() || element.closest('.unseen') || !element.getClientRects().length) return;
        const range = document.createRange();
        range.selectNodeContents(element);
        let text = range.getBoundingClientRect();
        if (!text.width) return;
        if (element.matches('.number')) {
            // Its line is higher than its digits.
            const middle = (text.top + text.bottom) / 2, half = parseFloat(getComputedStyle(element).fontSize) * 0.37;
            text = { left: text.left, right: text.right, top: middle - half, bottom: middle + half };
        }
        // Words beside a number must not lie on the next one.
        const tile = element.closest('.tile');
        const room = tile && tile.getBoundingClientRect();
        if (room && (text.top < room.top - 2 || text.bottom > room.bottom + 2)) cut.push('over its tile: ' + element.textContent);
        for (let box = element; box; box = box.parentElement) {
            const style = getComputedStyle(box);
            const scrolls = /auto|scroll/.test(style.overflowY + style.overflowX);
            if (scrolls) return;
            if (box !== document.documentElement && style.overflow !== 'hidden') continue;
            if (style.textOverflow === 'ellipsis') return;
            const edge = box === document.documentElement ? { left: 0, top: 0, right: innerWidth, bottom: innerHeight } : box.getBoundingClientRect();
            const isPage = box === document.documentElement && document.documentElement.scrollHeight > innerHeight;
            if (text.left < edge.left - 1 || text.right > edge.right + 1 || text.top < edge.top - 1 || (!isPage && text.bottom > edge.bottom + 1)) {
                cut.push(element.className + ' ' + (element.dataset.hook || '') + ': ' + element.textContent.trim());
            }
            return;
        }
    });
    return cut;";

/// With the keyboard alone: all that can be used is reached, in the order of the page, and is seen to be.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-pages`"]
async fn every_page_is_used_by_keyboard() {
    let world = World::start().await;
    world.lunch(104, 5, 3, 0).await;
    for (path, until) in
        [("/", "!document.querySelector('[data-hook=open]').hidden"), ("/board/7", IS_LIVE), ("/kitchen/7", IS_LIVE)]
    {
        world.browser.open(&world.url(path)).await;
        world.browser.until(until).await;
        let usable =
            "Array.from(document.querySelectorAll('a, button, input')).filter((one) => one.getClientRects().length)";
        let usable = world.browser.value(&format!("{usable}.length")).await.as_u64().expect("a number");
        let mut reached = Vec::new();
        // One more, since between the last and the first comes the page.
        for _ in 0..=usable {
            world.browser.press(key::TAB).await;
            if world.browser.value("document.activeElement === document.body").await == true {
                continue;
            }
            let focused = world.browser.run(FOCUSED).await;
            assert!(focused["outline"].as_f64().is_some_and(|width| width >= 2.0), "{path}: {focused} is not seen");
            reached.push(focused["at"].as_u64().unwrap_or_else(|| panic!("{path}: {focused} after {reached:?}")));
        }
        reached.sort_unstable();
        reached.dedup();
        assert_eq!(reached.len() as u64, usable, "{path}: not all is reached");
    }
    // The drawer takes the focus, and gives it back.
    world.browser.run("document.querySelector('[data-hook=drawer-button]').focus();").await;
    world.browser.press(key::ENTER).await;
    world.browser.until(&format!("document.activeElement === {}", by_hook("drawer-close"))).await;
    world.browser.press(key::ESCAPE).await;
    world.browser.until(&format!("document.activeElement === {}", by_hook("drawer-button"))).await;
}

const FOCUSED: &str = "
    const focused = document.activeElement;
    const style = getComputedStyle(focused);
    const all = Array.from(document.querySelectorAll('a, button, input'));
    return { at: all.indexOf(focused), what: focused.outerHTML.slice(0, 80), outline: style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth) };";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-pages`"]
async fn what_a_person_prefers_is_heeded() {
    let world = World::start().await;
    world.lunch(104, 6, 3, 1).await;
    let prefer = async |name: &str, value: &str| {
        let features = json!({ "features": [{ "name": name, "value": value }] });
        world.browser.devtools("Emulation.setEmulatedMedia", features).await;
    };
    for (reduced, most) in [("no-preference", 2), ("reduce", 0)] {
        prefer("prefers-reduced-motion", reduced).await;
        world.show("/board/7").await;
        world.browser.until("document.querySelector('[data-hook=hero] li')").await;
        // Animations from here on.
        let watch = "window.moved = new Set(); (function look() {
            document.getAnimations().forEach((one) => moved.add(one)); requestAnimationFrame(look); })();";
        world.browser.until("document.getAnimations().length === 0").await;
        world.browser.run(watch).await;
        let next = world.order(if most == 0 { 900 } else { 901 }, json!({})).await;
        world.call(&next, None).await;
        world.browser.until(&super::world::on_board("hero", &next)).await;
        world.browser.until("document.getAnimations().length === 0").await;
        let moved = world.browser.value("window.moved.size").await.as_u64().expect("a number");
        assert!(moved <= most, "{moved} animations with {reduced}");
    }
    prefer("forced-colors", "active").await;
    for path in ["/", "/board/7", "/kitchen/7"] {
        world.browser.open(&world.url(path)).await;
        world.browser.until(if path == "/" { "1" } else { IS_LIVE }).await;
        let bare = "Array.from(document.querySelectorAll('button, input')).filter((one) => one.getClientRects().length
            && parseFloat(getComputedStyle(one).borderTopWidth) < 1).map((one) => one.outerHTML)";
        assert_eq!(world.browser.value(bare).await, json!([]), "{path}: without a border no shape is left");
        // Which colours they are is not in the styles that axe reads.
        world.check_without("'color-contrast'", &format!("{path} with forced colours")).await;
    }
    prefer("forced-colors", "none").await;
    for scheme in ["light", "dark"] {
        prefer("prefers-color-scheme", scheme).await;
        world.browser.open(&world.url("/")).await;
        world.check(&format!("the start page, {scheme}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-pages`"]
async fn every_language_fits() {
    let world = World::start().await;
    world.lunch(104, 17, 9, 2).await;
    let shows = "document.querySelectorAll('li[data-order]').length > 2";
    for page in ["board", "kitchen"] {
        let mut titles: Vec<Value> = Vec::new();
        for language in LANGUAGES {
            for (width, height) in SIZES {
                world.browser.resize(width, height, 1.0).await;
                world.show(&format!("/{page}/7?lang={language}")).await;
                world.browser.until(shows).await;
                sound(&world, &format!("the {page} in {language}, {width}×{height}")).await;
            }
            assert_eq!(world.browser.value("document.documentElement.lang").await, language);
            titles.push(world.browser.value("document.body.innerText.replace(/[^\\p{L} ]/gu, '')").await);
        }
        titles.sort_by_key(Value::to_string);
        titles.dedup();
        assert_eq!(titles.len(), LANGUAGES.len(), "two languages of the {page} are alike");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make test-pages`"]
async fn pages_ask_no_other_host_and_are_small() {
    let world = World::start().await;
    world.lunch(104, 17, 9, 2).await;
    for path in ["/", "/board/7", "/kitchen/7"] {
        world.browser.devtools("Network.clearBrowserCache", json!({})).await;
        world.browser.events().await;
        world.browser.open(&world.url(path)).await;
        world.browser.until(if path == "/" { "1" } else { IS_LIVE }).await;
        let own = world.url("/");
        for event in world.browser.events().await {
            let Some(url) = event["params"]["request"]["url"].as_str() else { continue };
            assert!(url.starts_with(&own) || url.starts_with("data:"), "{path} asks for {url}");
        }
        let size = "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
            .filter((one) => !/\\/voice\\/|\\/v1\\//.test(one.name)).reduce((sum, one) => sum + one.transferSize, 0) / 1024";
        let kib = world.browser.value(size).await.as_f64().expect("a number");
        println!("{path}: {kib:.1} KiB");
        assert!(kib > 1.0 && kib <= BOARD_KIB, "{path} takes {kib} KiB");
        let said = world.browser.log("browser").await;
        assert!(said.is_empty(), "{path}: {said:#?}");
    }
}
