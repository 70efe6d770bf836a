//! The HTML of the pages: what stands in it before any module runs, and the places that modules fill.
//!
//! Tests find their way by these attributes, which stay as they are:
//!
//! | where | attribute | says |
//! |---|---|---|
//! | `<html>` | `data-page`, `data-restaurant`, `data-base` | which page it is, of what, under which path |
//! | `<html>` | `data-link` | `connecting`, `live`, `away`, `busy`, `pairing`, `unknown`, `forbidden` |
//! | `data-hook="notice"` | `data-says` | which of these, or `unused` (a restaurant without orders or settings), it is about; absent while it is hidden |
//! | `<html>` | `data-fresh` | `never` (nothing is known yet), `yes`, `no` (nothing was heard for 30 s) |
//! | `<html>` | `data-sound` | `on`, `off` (by a person), `blocked` (by the browser), `elsewhere` (another tab speaks) |
//! | `<html>` | `data-said` | the clips of the latest calls, joined by spaces; calls are parted by `;` |
//! | `document` | event `nowserving:say` | `detail`: `order`, `number`, `language`, `clips`, `spoken` |
//! | both | `data-hook` | `main`, `notice`, `code`, `pair-again`, `stale`, `freshness`, `clock`, `restaurant` |
//! | board | `data-hook` | `hero`, `ready-numbers`, `preparing-numbers`, `strip`, `strip-numbers`, `status`, `sound`, `pause` |
//! | board | `li[data-order]` | a number: `data-number`, `data-calls`; `data-pages` of its list |
//! | kitchen | `data-hook` | `cards`, `open`, `queue` (`data-waiting`), `drawer-button`, `drawer`, `served`, `message`, `undo-bar`, `undo`, `typed` (`data-typed`) |
//! | kitchen | `.card[data-order]` | a card: `data-number`, `data-status`, `data-age` (`minutes`, `getting_late`, `late`), `data-queued` (`yes`, `no`); in it `.bump` with `data-to` |
//! | start | `data-hook` | `open`, `number`; its buttons have `data-page` |

use maud::{DOCTYPE, Markup, html};

use super::assets::HASH;
use crate::domain::{BasePath, RestaurantId};

/// A page with modules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Start,
    Board,
    Kitchen,
}

impl Page {
    #[cfg(test)]
    pub const ALL: [Self; 3] = [Self::Start, Self::Board, Self::Kitchen];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Board => "board",
            Self::Kitchen => "kitchen",
        }
    }

    /// All modules that it runs, the first of which loads the others: named in its head, so that they are asked for at once.
    pub const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Start => &["start", "page"],
            Self::Board => &[
                "board",
                "clock",
                "colours",
                "feed",
                "fit",
                "lease",
                "orders",
                "page",
                "screen",
                "voice",
                "words",
                "words-board",
            ],
            Self::Kitchen => {
                &["kitchen", "bumps", "clock", "colours", "feed", "orders", "page", "screen", "words", "words-kitchen"]
            }
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Start => "nowserving",
            Self::Board => "Orders",
            Self::Kitchen => "Kitchen",
        }
    }
}

fn head(page: Page, base: &BasePath, runs: bool) -> Markup {
    let file = |name: &str| format!("{base}/assets/{}/{name}", *HASH);
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (page.title()) }
            link rel="icon" type="image/svg+xml" href=(file("icon.svg"));
            link rel="stylesheet" href=(file("base.css"));
            link rel="stylesheet" href=(file(&format!("{}.css", page.name())));
            @if runs {
                @for module in page.modules() {
                    link rel="modulepreload" href=(file(&format!("{module}.js")));
                }
                script type="module" src=(file(&format!("{}.js", page.name()))) {}
                script nomodule defer src=(file("old.js")) {}
            }
        }
    }
}

/// The shell of a board or a kitchen.
pub(super) fn screen(page: Page, base: &BasePath, restaurant: RestaurantId) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-page=(page.name()) data-restaurant=(restaurant) data-base=(base) data-hash=(*HASH) data-link="connecting" data-fresh="never" {
            (head(page, base, true))
            body {
                main.page-main {
                    p.stale data-hook="stale" hidden {}
                    (notices())
                    @match page {
                        Page::Kitchen => (kitchen()),
                        _ => (board()),
                    }
                }
                @match page {
                    Page::Kitchen => (kitchen_foot()),
                    _ => (board_foot()),
                }
            }
        }
    }
}

/// What stands in the place of the page until there is something to show.
fn notices() -> Markup {
    html! {
        p.notice-text data-hook="old" hidden {
            "This browser is too old for this page: it needs one like Chromium 61 (2017) or newer. An old television can "
            "show it with a small computer or a stick at its HDMI port."
        }
        noscript { p.notice-text { "This page needs JavaScript: it is switched off in this browser." } }
        section.notice data-hook="notice" { h1.notice-title { "Connecting …" } }
    }
}

fn board() -> Markup {
    html! {
        div.board data-hook="main" hidden {
            h1.unseen data-hook="heading" { "Orders" }
            div.panels {
                (panel("ready", &html! { ol.hero data-hook="hero" {} }))
                (panel("preparing", &html! {}))
            }
            section.strip data-hook="strip" aria-labelledby="title-not_collected" hidden {
                div.strip-head { (heading("not_collected")) }
                ol.numbers data-hook="strip-numbers" {}
                p.page role="img" data-hook="strip-page" hidden {}
            }
        }
    }
}

fn board_foot() -> Markup {
    html! {
        // For what has changed, and nothing else: a board that is read aloud from its top at each call helps no listener.
        p.unseen role="status" data-hook="status" {}
        footer.foot {
            p.clock data-hook="clock" {}
            p.name data-hook="restaurant" {}
            p.freshness data-hook="freshness" {}
            button.button type="button" data-hook="pause" hidden {}
            button.button.sound type="button" data-hook="sound" { (speaker()) span {} }
        }
    }
}

fn panel(name: &str, first: &Markup) -> Markup {
    html! {
        section.panel.{ "panel-" (name) } data-hook=(name) aria-labelledby=(format!("title-{name}")) {
            div.panel-head {
                (heading(name))
                p.page role="img" data-hook=(format!("{name}-page")) hidden {}
            }
            div.panel-body {
                p.none data-hook=(format!("none-{name}")) {}
                (first)
                ol.numbers data-hook=(format!("{name}-numbers")) {}
            }
        }
    }
}

/// A heading in the language of the page, and the restaurant's other ones beside it.
fn heading(name: &str) -> Markup {
    let title = format!("title-{name}");
    html! {
        h2.panel-title id=(title) data-hook=(title) {}
        div data-hook=(format!("also-{name}")) {}
    }
}

fn speaker() -> Markup {
    html! {
        svg.icon viewBox="0 0 24 24" aria-hidden="true" { path d="M4 9v6h4l5 5V4L8 9zm12 .3v5.400a3 3 0 0 0 0-5.400z" {} }
    }
}

fn kitchen() -> Markup {
    html! {
        div.kitchen data-hook="main" hidden {
            div.head {
                h1.title data-hook="title" {}
                p.name data-hook="restaurant" {}
                p.open data-hook="open" {}
                p.queue data-hook="queue" hidden {}
                button.button type="button" data-hook="drawer-button" aria-expanded="false" aria-controls="drawer" {}
            }
            div.body {
                div.scroll {
                    p.none data-hook="none" {}
                    ol.cards data-hook="cards" {}
                }
                aside.drawer id="drawer" data-hook="drawer" aria-labelledby="drawer-title" hidden {
                    div.drawer-head {
                        h2.drawer-title id="drawer-title" data-hook="drawer-title" {}
                        button.button type="button" data-hook="drawer-close" {}
                    }
                    p data-hook="drawer-none" {}
                    ol data-hook="served" {}
                }
            }
        }
    }
}

fn kitchen_foot() -> Markup {
    html! {
        p.message role="status" data-hook="message" {}
        section.undo-bar data-hook="undo-bar" hidden {
            p data-hook="undo-text" {}
            button.undo type="button" data-hook="undo" {}
            p data-hook="undo-left" {}
        }
        footer.foot {
            p.clock data-hook="clock" {}
            p.freshness data-hook="freshness" {}
            p.typed data-hook="typed" {}
        }
    }
}

/// The page that says what this is.
pub(super) fn start(base: &BasePath) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-page="start" data-base=(base) {
            (head(Page::Start, base, true))
            body {
                main.start {
                    h1 { "nowserving" }
                    p.lead {
                        "This daemon gives the orders of restaurants their numbers: short ones, each of one live order, "
                        "that come back after a rest."
                    }
                    h2 { "Screens" }
                    form.open data-hook="open" hidden {
                        label for="number" { "Number of the restaurant" }
                        input id="number" data-hook="number" type="number" min="1" max="2147483647" inputmode="numeric" required;
                        div {
                            button.button.first type="submit" data-page="board" { "Open the board" }
                            button.button type="submit" data-page="kitchen" { "Open the kitchen" }
                        }
                    }
                    p { "The board is for guests: " code { (base) "/board/7" } ". The kitchen is for cooks: "
                        code { (base) "/kitchen/7" } ", and for one station " code { (base) "/kitchen/7?station=grill" } "." }
                    h2 { "For developers and operators" }
                    ul.links {
                        li { a href=(format!("{base}/docs/")) { "The API, to read and to try" } span { "Every call with its answers." } }
                        li { a href=(format!("{base}/openapi.json")) { "The OpenAPI document" } span { "To make clients from." } }
                        li { a href=(format!("{base}/readyz")) { "Readiness" } span { "Whether this daemon can serve." } }
                    }
                }
            }
        }
    }
}

/// What is answered where the address names no restaurant.
pub(super) fn no_restaurant(page: Page, base: &BasePath, given: &str) -> Markup {
    let example = format!("{base}/{}/7", page.name());
    html! {
        (DOCTYPE)
        html lang="en" data-page=(page.name()) data-base=(base) data-link="unknown" {
            (head(page, base, false))
            body {
                main.notice data-hook="notice" {
                    h1.notice-title { "“" (given.chars().take(40).collect::<String>()) "” is not the number of a restaurant" }
                    p.notice-text { "The address of this screen ends with the restaurant’s number, like this:" }
                    p.notice-text { code.command { (example) } }
                    p.notice-text { "Check the address, or ask the person who set up this screen." }
                    p.notice-text { a href=(format!("{base}/")) { "To the start page" } }
                }
            }
        }
    }
}
