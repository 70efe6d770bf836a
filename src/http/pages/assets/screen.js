// What the board and the kitchen have in common: the feed, how fresh it is, and what is said where there is nothing to show.
//
// A screen is honest: 30 seconds after the latest heartbeat it says since when it is not up to date, and keeps what it knew.

import { clockTime, now } from "./clock.js";
import { theme } from "./colours.js";
import { listen, send } from "./feed.js";
import { createOrders } from "./orders.js";
import { here, hook, make, url, write } from "./page.js";
import { known, language, say, speak } from "./words.js";

const STALE_MS = 30 * 1000;
const REPORTED_MS = 30 * 1000;

/**
 * @param {{
 *   orders: ReturnType<typeof createOrders>,
 *   render: () => void,
 *   calls: (calls: Call[]) => void,
 *   restaurant: (restaurant: Restaurant) => void,
 *   back: () => void,
 *   title: string,
 *   report: () => {station: string | null, sound: boolean},
 *   mayReload: () => boolean,
 * }} page
 */
export function startScreen(page) {
  const root = document.documentElement;
  const { orders } = page;
  /** @type {Link} */
  let link = { is: "connecting" };
  /** When something was heard, by the clock that does not jump and by the one that goes on in sleep. */
  let heardAt = [0, 0];
  let isStale = false;
  let isScheduled = false;
  let wasLive = false;

  choose(Array.from(navigator.languages || [navigator.language || "en"]));

  listen({
    event(event) {
      const ago = event.ago || 0;
      if (event.name !== "reset") heardAt = [performance.now() - ago, Date.now() - ago];
      const calls = orders.apply(event);
      const { restaurant } = orders;
      if (restaurant && (event.name === "snapshot" || event.name === "settings")) {
        choose(restaurant.languages);
        theme(restaurant);
        page.restaurant(restaurant);
      }
      if (calls.length) page.calls(calls);
      if (event.name === "heartbeat" || event.name === "snapshot") page.back();
      draw();
    },
    link(next) {
      const changes = next.is !== link.is || next.is === "pairing";
      link = next;
      if (changes) draw();
      if (!changes || next.is !== "live") return;
      report();
      if (wasLive) renew();
      wasLive = true;
    },
    whole: orders.whole,
  });

  /** @param {string[]} languages */
  function choose(languages) {
    const asked = here.query.get("lang");
    speak(known((asked ? [asked] : []).concat(languages)) || "en");
  }

  /** Draws the page once, however many events have come. */
  function draw() {
    if (isScheduled) return;
    isScheduled = true;
    // Not with the frames, of which a window that is not seen has none.
    window.setTimeout(() => {
      isScheduled = false;
      freshness();
      notice();
      page.render();
    }, 16);
  }

  function freshness() {
    const quiet = Math.max(performance.now() - heardAt[0], Date.now() - heardAt[1]);
    const isKnown = orders.restaurant !== null;
    isStale = isKnown && quiet > STALE_MS;
    root.dataset.link = link.is;
    root.dataset.fresh = !isKnown ? "never" : isStale ? "no" : "yes";
    const stale = say("stale", { time: clockTime(orders.heardAt, language()) });
    write(hook("freshness"), !isKnown ? say("never") : isStale ? stale : say("up_to_date"));
    const banner = hook("stale");
    banner.hidden = !isStale;
    write(banner, isStale ? stale : "");
    write(hook("clock"), clockTime(now(), language()));
    const { restaurant } = orders;
    const name = restaurant ? restaurant.name || "" : "";
    write(hook("restaurant"), name);
    document.title = say(page.title) + (name ? " – " + name : "");
  }

  function notice() {
    const { restaurant } = orders;
    const isKnown = restaurant !== null;
    // One that nobody has set up, and that has had no order yet, is most likely a number that was mistyped.
    const isUnused = restaurant !== null && !restaurant.configured && orders.orders.size === 0;
    // What a screen knows stays on it while the daemon is away; not where it must not, or need not, show it.
    const isBarred = link.is === "pairing" || link.is === "unknown" || link.is === "forbidden";
    const shows = !isKnown || isBarred || isUnused;
    /** @type {Link} */
    const told = isUnused && !isBarred ? { is: "unused" } : link;
    const box = hook("notice");
    const main = hook("main");
    box.hidden = !shows;
    main.hidden = shows;
    const key = !shows ? "" : JSON.stringify([told, language()]);
    if (box.dataset.shows === key) return;
    box.dataset.shows = key;
    if (shows) box.dataset.says = told.is;
    else delete box.dataset.says;
    while (box.firstChild) box.removeChild(box.firstChild);
    if (shows) noticeOf(told).forEach((child) => box.appendChild(child));
  }

  /** Every 30 seconds, and when the screen has come back. */
  function report() {
    const { station, sound } = page.report();
    const body = { page: here.page, station, sound, stale: isStale, position: orders.position };
    send("PUT", "/v1/screens/self", JSON.stringify(body)).catch(() => {});
  }

  /** A screen is never loaded again by hand: after an update of the daemon, it does so itself. */
  function renew() {
    const own = url("/assets/" + root.dataset.hash + "/icon.svg");
    fetch(own, { method: "HEAD", cache: "no-store" }).then(
      (answer) => {
        const isOurs = /immutable/.test(answer.headers.get("Cache-Control") || "");
        if (answer.ok && !isOurs && page.mayReload()) location.reload();
      },
      () => {},
    );
  }

  window.setInterval(draw, 1000);
  window.setInterval(() => orders.restaurant && report(), REPORTED_MS);
  document.addEventListener("visibilitychange", draw);
  draw();
  return { draw, isStale: () => isStale };
}

/** @param {Link} link @returns {HTMLElement[]} */
function noticeOf(link) {
  const values = { id: here.restaurant };
  const title = (/** @type {string} */ key) => make("h1", "notice-title", say(key, values));
  const text = (/** @type {string} */ key) => make("p", "notice-text", say(key, values));
  if (link.is === "live" || link.is === "connecting") return [title("connecting")];
  if (link.is !== "pairing") {
    const words = [title(link.is + "_title"), text(link.is + "_text")];
    if (link.is !== "forbidden") return words;
    const again = make("button", "button", say("pair_again"));
    again.dataset.hook = "pair-again";
    again.addEventListener("click", () => window.dispatchEvent(new Event("nowserving:pair")));
    return words.concat(again);
  }
  const code = make("p", "code", link.code);
  code.dataset.hook = "code";
  // A letter at a time, for who hears it.
  code.setAttribute("aria-label", link.code.split("").join(" "));
  code.setAttribute("role", "img");
  const role = here.page === "kitchen" ? " --role kitchen" : "";
  const command = make("code", "command", "nowserving screens pair " + link.code + " --restaurant " + here.restaurant + role);
  const until = say("pair_valid", { time: clockTime(Date.parse(link.expires_at), language()) });
  return [
    title("pair_title"),
    code,
    text("pair_text"),
    make("p", "notice-how", [document.createTextNode(say("pair_how") + " "), command]),
    make("p", "notice-how", until),
  ];
}
