// The board that guests look at: what is ready, what is being prepared, and what has not been collected.

import "./words-board.js";
import { now } from "./clock.js";
import { fit, LEAST, longest, TEN_METRES } from "./fit.js";
import { byAge, createOrders, shownNumber } from "./orders.js";
import { here, hook, make, reconcile, write } from "./page.js";
import { startScreen } from "./screen.js";
import { createVoice } from "./voice.js";
import { known, language, say } from "./words.js";

/** A page stands for so long. */
const PAGE_MS = 8000;
/** An order is the newest for so long after its call, though it may not have been collected after many. */
const CALLED_MS = 30 * 1000;
/** The digits of the newest, in heights of the screen: as large as leaves two rows for the others. */
const HERO = 0.225;

const root = document.documentElement;
const orders = createOrders();
const voice = createVoice({ changed: () => screen && screen.draw() });
/** @type {ReturnType<typeof startScreen> | undefined} */
let screen;
let turns = 0;
let isPaused = false;
/** @type {string[]} */
let toTell = [];
/** @type {number | undefined} */
let telling;

/** @param {Order} order */
function isNotCollected(order) {
  const most = orders.restaurant ? orders.restaurant.max_calls : 0;
  return order.status === "ready" && most > 0 && order.call_count >= most;
}

/** @param {Order} order */
function isJustCalled(order) {
  return order.last_called_at !== null && now() - Date.parse(order.last_called_at) < CALLED_MS;
}

/** @param {Call[]} calls */
function called(calls) {
  calls.sort((a, b) => orders.shownSince(a.order) - orders.shownSince(b.order)).forEach((call) => {
    const number = shownNumber(call.order);
    voice.say(call.order, number);
    toTell.push(call.order.internal_order_id);
  });
  window.clearTimeout(telling);
  // A moment later: the place of a call comes in an event of its own.
  telling = window.setTimeout(tell, 100);
}

/** Tells those who do not see what has changed, and nothing else. */
function tell() {
  const sentences = toTell.map((id) => {
    const order = orders.orders.get(id);
    const place = order && orders.place(order);
    return order ? say(place ? "called_at" : "called", { number: shownNumber(order), place: place || "" }) : "";
  });
  toTell = [];
  hook("status").textContent = sentences.join(" ");
}

function render() {
  const { restaurant } = orders;
  sound();
  if (!restaurant || hook("main").hidden) return;
  const all = Array.from(orders.orders.values());
  const ready = all.filter((order) => order.status === "ready" && (!isNotCollected(order) || isJustCalled(order)));
  ready.sort((a, b) => orders.shownSince(b) - orders.shownSince(a) || byAge(b, a));
  const preparing = all.filter((order) => order.status === "pending" || order.status === "preparing").sort(byAge);
  const left = all.filter(isNotCollected).sort(byAge);
  headings();
  write(hook("heading"), say("board"));

  const strip = hook("strip");
  strip.hidden = left.length === 0;
  const screenHeight = window.innerHeight;
  const isPortrait = window.innerWidth < window.innerHeight;
  const named = (/** @type {Order[]} */ list) => (list.some((order) => order.customer_name) ? screenHeight * 0.04 : 0);

  // The newest stands alone and biggest; the others turn their pages below it.
  const hero = hook("hero");
  const readyBox = hook("ready");
  const newest = ready.slice(0, 1);
  write(hook("none-ready"), newest.length ? "" : say("none_ready"));
  const panel = inner(readyBox);
  const heroWish = {
    width: panel.width,
    height: panel.height * (ready.length > 1 ? 0.55 : 0.8),
    chars: longest(newest.map(shownNumber)),
    digit: screenHeight * (isPortrait ? 0.12 : HERO),
    columns: 1,
    line: 0,
    spread: 1.12,
    between: 0.2,
  };
  let heroFit = fit(heroWish);
  // The words stand beside the number, or below it where there is no room.
  const isStacked = isPortrait || heroFit.width > panel.width * 0.68;
  if (isStacked) heroFit = fit(Object.assign(heroWish, { line: screenHeight * 0.055 }));
  hero.dataset.stacked = String(isStacked);
  hero.style.height = newest.length ? Math.ceil(heroFit.row) + "px" : "0";
  hero.style.fontSize = heroFit.font + "px";
  hero.style.setProperty("--squeeze", String(heroFit.squeeze));
  reconcile(hero, newest, (order) => order.internal_order_id + ":" + order.call_count, tile, (element, order) => {
    fill(element, order);
    const place = orders.place(order);
    const words = place || (isJustCalled(order) ? say("now") : "");
    write(/** @type {Element} */ (element.lastElementChild), [order.customer_name, words].filter(Boolean).join(" · "));
  });
  const others = ready.slice(1);
  turn("ready", others, fit({
    width: panel.width,
    height: panel.height - (newest.length ? heroFit.row : 0),
    chars: longest(others.map(shownNumber)),
    digit: screenHeight * (isPortrait ? 0.08 : TEN_METRES),
    columns: 2,
    line: named(others),
    spread: 1.15,
    between: 0.2,
  }));

  const side = inner(hook("preparing"));
  write(hook("none-preparing"), preparing.length ? "" : say("none_preparing"));
  turn("preparing", preparing, fit({
    width: side.width,
    height: side.height,
    chars: longest(preparing.map(shownNumber)),
    digit: screenHeight * (isPortrait ? 0.045 : LEAST),
    columns: isPortrait ? 3 : 2,
    line: named(preparing),
    spread: 1.35,
    between: 0.3,
  }));

  const bar = hook("strip-numbers");
  turn("strip", left, fit({
    width: bar.clientWidth,
    height: bar.clientHeight || 1,
    chars: longest(left.map(shownNumber)),
    digit: screenHeight * (isPortrait ? 0.028 : 0.05),
    columns: 1,
    rows: 1,
    line: 0,
    spread: 1,
    between: 0.5,
  }));
}

/** The room for numbers below the heading of a panel. @param {HTMLElement} panel */
function inner(panel) {
  const box = /** @type {HTMLElement} */ (panel.querySelector(".panel-body"));
  return { width: box.clientWidth, height: box.clientHeight };
}

/** Shows the page of a list whose turn it is. @param {string} name @param {Order[]} list @param {ReturnType<typeof fit>} fits */
function turn(name, list, fits) {
  const pages = Math.max(1, Math.ceil(list.length / fits.perPage));
  const page = turns % pages;
  const element = hook(name + "-numbers");
  element.style.fontSize = fits.font + "px";
  element.style.setProperty("--squeeze", String(fits.squeeze));
  element.style.setProperty("--columns", String(fits.columns));
  element.style.setProperty("--row", fits.row + "px");
  element.dataset.pages = String(pages);
  const shown = list.slice(page * fits.perPage, (page + 1) * fits.perPage);
  reconcile(element, shown, (order) => order.internal_order_id, tile, fill);
  const mark = hook(name + "-page");
  write(mark, pages > 1 ? page + 1 + "/" + pages : "");
  mark.setAttribute("aria-label", say("page", { n: page + 1, of: pages }));
  mark.hidden = pages === 1;
}

/** @param {Order} order */
function tile(order) {
  const element = make("li", "tile", [make("span", "number"), make("span", "beside")]);
  element.dataset.order = order.internal_order_id;
  return element;
}

/** @param {HTMLElement} element @param {Order} order */
function fill(element, order) {
  const number = shownNumber(order);
  element.dataset.number = number;
  element.dataset.calls = String(order.call_count);
  write(/** @type {Element} */ (element.firstElementChild), number);
  write(/** @type {Element} */ (element.lastElementChild), order.customer_name || "");
}

/** The headings in the language of the page, and smaller in the restaurant's others. */
function headings() {
  const own = language().split("-")[0];
  const tags = orders.restaurant && !here.query.get("lang") ? orders.restaurant.languages : [];
  const others = tags.filter((tag) => known([tag]) && tag.split("-")[0] !== own);
  ["ready", "preparing", "not_collected"].forEach((key) => {
    write(hook("title-" + key), say(key));
    reconcile(hook("also-" + key), others, (tag) => tag, (tag) => {
      const element = make("span", "also");
      element.lang = tag;
      return element;
    }, (element, tag) => write(element, say(key, {}, tag)));
  });
}

function sound() {
  const state = voice.state();
  const button = hook("sound");
  root.dataset.sound = state;
  const words = { on: "sound_on", off: "sound_off", blocked: "sound_off", elsewhere: "sound_elsewhere" };
  write(/** @type {Element} */ (button.lastElementChild), say(words[state]));
  const many = ["ready", "preparing", "strip"].some((name) => Number(hook(name + "-numbers").dataset.pages) > 1);
  const pause = hook("pause");
  pause.hidden = !many;
  write(pause, say(isPaused ? "turn" : "pause"));
}

hook("sound").addEventListener("click", voice.toggle);
hook("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  if (screen) screen.draw();
});
window.setInterval(() => {
  if (isPaused) return;
  turns += 1;
  if (screen) screen.draw();
}, PAGE_MS);
window.addEventListener("resize", () => screen && screen.draw());

screen = startScreen({
  orders,
  render,
  calls: called,
  restaurant: (restaurant) => voice.use(here.query.get("voice") ? [String(here.query.get("voice"))] : restaurant.languages),
  back: () => {},
  title: "board",
  report: () => ({ station: null, sound: voice.state() === "on" }),
  // A page that speaks because a person touched it would be silent after it.
  mayReload: () => !voice.wasTouched(),
});
