// The kitchen: a card for each order, and one large button on each that takes it a step further. What is to be cooked comes
// first, oldest first; behind it what waits for its guest, and what was put aside.

import "./words-kitchen.js";
import { createBumps } from "./bumps.js";
import { now } from "./clock.js";
import { byAge, createOrders, shownNumber } from "./orders.js";
import { here, hook, make, reconcile, write } from "./page.js";
import { startScreen } from "./screen.js";
import { say } from "./words.js";

const UNDO_MS = 10 * 1000;
const MESSAGE_MS = 8000;
const TYPED_MS = 8000;
/** A second tap within this on one card, or in one place, is a slip of the finger, not the next step. */
const TWICE_MS = 700;
const ONE_PLACE_PX = 60;
const SERVED_SHOWN = 24;
/** The rows of the grid in kitchen.css, and the room below a card. */
const ROW_PX = 4;
const BETWEEN_PX = 16;
const SOON_MINUTES = Number(here.query.get("soon")) || 8;
const LATE_MINUTES = Number(here.query.get("late")) || 15;

/** @type {Partial<Record<Status, Status>>} */
const NEXT = { pending: "preparing", preparing: "ready", ready: "served", held: "preparing" };

const station = here.query.get("station");
const orders = createOrders();
const bumps = createBumps({
  orders,
  changed: () => screen && screen.draw(),
  tell: (key, bump, order) => message(say(key, { number: bump.number, status: say("is_" + (order ? order.status : bump.to)) })),
});
/** @type {ReturnType<typeof startScreen> | undefined} */
let screen;
/** What may be undone, the latest last. @type {{id: string, number: string, from: Status, to: Status, until: number}[]} */
let undos = [];
/** @type {Map<string, number>} */
const bumpedAt = new Map();
let tapped = { at: 0, x: 0, y: 0 };
let typed = "";
let typedAt = 0;
let messageUntil = 0;
let hasFocused = false;

/** Where an order stands once what was asked for is done. @param {Order} order */
function statusOf(order) {
  const bump = bumps.of(order.internal_order_id);
  return bump ? bump.to : order.status;
}

/** @param {Item} item */
function isHere(item) {
  return !station || !item.station || item.station.toLowerCase() === station.toLowerCase();
}

/** The orders that have a card. */
function cards() {
  const all = Array.from(orders.orders.values());
  const open = all.filter((order) => {
    const isOpen = order.status !== "served" || bumps.of(order.internal_order_id) !== undefined;
    return isOpen && (!order.items || !order.items.length || order.items.some(isHere));
  });
  const turn = (/** @type {Order} */ order) => (order.status === "held" ? 2 : order.status === "ready" ? 1 : 0);
  return open.sort((a, b) => turn(a) - turn(b) || byAge(a, b));
}

/** @param {Order} order */
function bump(order) {
  const to = NEXT[statusOf(order)];
  if (to) change(order, to, true);
}

/** @param {Order} order @param {Status} to @param {boolean} mayUndo */
function change(order, to, mayUndo) {
  const id = order.internal_order_id;
  const known = bumps.of(id);
  if (known && !known.waits) return;
  if (Date.now() - (bumpedAt.get(id) || 0) < TWICE_MS) return;
  bumpedAt.set(id, Date.now());
  const from = statusOf(order);
  const number = shownNumber(order);
  bumps.bump(order, to, number);
  undos = undos.filter((undo) => undo.id !== id);
  // No order becomes pending again: what was begun stays begun.
  if (mayUndo && from !== "pending") undos.push({ id, number, from, to, until: Date.now() + UNDO_MS });
  if (screen) screen.draw();
}

function undo() {
  const last = undos.pop();
  const order = last && orders.orders.get(last.id);
  if (!last || !order) return;
  bumpedAt.delete(last.id);
  change(order, last.from, false);
  message(say("undone", { number: last.number, status: say("is_" + last.from) }));
}

/** @param {string} text */
function message(text) {
  hook("message").textContent = text;
  messageUntil = Date.now() + MESSAGE_MS;
}

function render() {
  const { restaurant } = orders;
  if (!restaurant || hook("main").hidden) return;
  const list = cards();
  const grid = hook("cards");
  const focused = document.activeElement instanceof HTMLElement && grid.contains(document.activeElement) ? document.activeElement : null;
  const focusedCard = focused && /** @type {HTMLElement | null} */ (focused.closest(".card"));
  const place = focusedCard ? Array.from(grid.children).indexOf(focusedCard) : -1;
  reconcile(grid, list, (order) => order.internal_order_id, card, fill);
  pack(grid);
  const buttons = grid.querySelectorAll(".bump");
  // A card that has gone, or has moved, leaves the mark to the one that took its place.
  if (place >= 0 && document.activeElement !== focused) focus(buttons[Math.min(place, buttons.length - 1)]);
  if (!hasFocused && buttons.length) {
    hasFocused = true;
    // A bump bar has no other way to the first card.
    if (document.activeElement === document.body) focus(buttons[0]);
  }
  write(hook("none"), list.length ? "" : say("none"));
  write(hook("title"), station ? say("station", { station }) : say("kitchen"));
  write(hook("open"), say("open", { n: list.length }));
  const waiting = bumps.waiting();
  const queue = hook("queue");
  queue.hidden = !waiting;
  queue.dataset.waiting = String(waiting);
  write(queue, waiting ? say("queue", { n: waiting }) : "");
  drawer();
  bars();
}

/** Lets a card begin where the one above it ends: a long one must not push the others away. @param {HTMLElement} grid */
function pack(grid) {
  const spans = Array.from(grid.children).map((card) => Math.ceil((/** @type {HTMLElement} */ (card).offsetHeight + BETWEEN_PX) / ROW_PX));
  spans.forEach((span, i) => {
    const style = /** @type {HTMLElement} */ (grid.children[i]).style;
    if (style.gridRowEnd !== "span " + span) style.gridRowEnd = "span " + span;
  });
}

/** @param {Element | undefined} element */
function focus(element) {
  if (element instanceof HTMLElement) element.focus();
}

/** @param {Order} order */
function card(order) {
  const id = order.internal_order_id;
  const button = make("button", "bump");
  button.setAttribute("type", "button");
  button.addEventListener("click", (event) => {
    const now = orders.orders.get(id);
    if (now && !isSlip(event)) bump(now);
  });
  const head = make("div", "card-head", [make("h2", "card-number"), make("p", "card-age")]);
  const parts = ["card-channel", "card-status", "card-name"].map((name) => make("p", name));
  const element = make("li", "card", [head, parts[0], parts[1], parts[2], make("ul", "items"), make("p", "card-elsewhere"), make("p", "card-note"), make("p", "card-queued"), button]);
  element.dataset.order = id;
  return element;
}

/** Whether a tap means the card that was here a moment ago: another one may have taken its place. @param {MouseEvent} event */
function isSlip(event) {
  // A key has no place.
  if (event.detail === 0) return false;
  const { at, x, y } = tapped;
  tapped = { at: Date.now(), x: event.clientX, y: event.clientY };
  return tapped.at - at < TWICE_MS && Math.abs(tapped.x - x) < ONE_PLACE_PX && Math.abs(tapped.y - y) < ONE_PLACE_PX;
}

/** @param {HTMLElement} element @param {Order} order */
function fill(element, order) {
  const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (element.querySelector("." + name));
  const number = shownNumber(order);
  const status = statusOf(order);
  const waits = bumps.of(order.internal_order_id);
  element.dataset.number = number;
  element.dataset.status = order.status;
  element.dataset.queued = waits && waits.waits ? "yes" : "no";
  write(part("card-number"), number);
  age(element, part("card-age"), order);
  const channel = [order.order_source, order.order_type].map((word) => (word ? say(word) : ""));
  channel.push(order.table_number !== null ? say("table", { table: String(order.table_number) }) : "");
  write(part("card-channel"), channel.filter(Boolean).join(" · "));
  write(part("card-status"), say("is_" + order.status));
  write(part("card-name"), order.customer_name || "");
  items(part("items"), part("card-elsewhere"), order);
  write(part("card-note"), order.note || "");
  write(part("card-queued"), !waits ? "" : waits.waits ? say("queued", { status: say("is_" + waits.to) }) : say("sending"));
  const button = part("bump");
  const to = NEXT[status];
  button.setAttribute("aria-disabled", String(!to || (waits !== undefined && !waits.waits)));
  const words = status === "held" ? say("resume") : to ? say("do_" + to) : say("is_" + status);
  write(button, words);
  button.dataset.to = to || "";
  button.setAttribute("aria-label", words + ", " + number);
}

/** @param {HTMLElement} element @param {HTMLElement} text @param {Order} order */
function age(element, text, order) {
  const minutes = Math.floor(Math.max(0, now() - Date.parse(order.reopened_at || order.created_at)) / 60000);
  const isOpen = order.status === "pending" || order.status === "preparing";
  const key = !isOpen || minutes < SOON_MINUTES ? "minutes" : minutes < LATE_MINUTES ? "getting_late" : "late";
  element.dataset.age = key;
  write(text, minutes < 1 ? say("new") : say(key, { n: minutes }));
}

/** @param {HTMLElement} list @param {HTMLElement} elsewhere @param {Order} order */
function items(list, elsewhere, order) {
  const all = order.items || [];
  const own = all.filter(isHere);
  const lines = own.map((item, i) => ({ item, key: i + ":" + item.quantity + ":" + item.name + ":" + item.note }));
  reconcile(list, lines, (line) => line.key, ({ item }) => {
    const name = make("span", "item-name", item.name);
    const quantity = make("span", "item-quantity", item.quantity + " ×");
    return make("li", "item", [quantity, name, item.note ? make("span", "item-note", item.note) : null]);
  }, () => {});
  write(elsewhere, !order.items ? say("no_items") : own.length < all.length ? say("elsewhere", { n: all.length - own.length }) : "");
}

function drawer() {
  const button = hook("drawer-button");
  write(button, say("drawer"));
  const panel = hook("drawer");
  write(hook("drawer-title"), say("drawer"));
  write(hook("drawer-close"), say("close"));
  if (panel.hidden) return;
  const served = Array.from(orders.orders.values()).filter((order) => order.status === "served" && !bumps.of(order.internal_order_id));
  served.sort((a, b) => Date.parse(b.updated_at) - Date.parse(a.updated_at));
  write(hook("drawer-none"), served.length ? "" : say("drawer_none"));
  reconcile(hook("served"), served.slice(0, SERVED_SHOWN), (order) => order.internal_order_id, (order) => {
    const back = make("button", "button back");
    back.setAttribute("type", "button");
    back.addEventListener("click", () => {
      const now = orders.orders.get(order.internal_order_id);
      // Another button than the one that was just tapped.
      bumpedAt.delete(order.internal_order_id);
      if (now) change(now, "preparing", false);
    });
    const element = make("li", "served", [make("span", "served-number"), back]);
    element.dataset.order = order.internal_order_id;
    return element;
  }, (element, order) => {
    const number = shownNumber(order);
    element.dataset.number = number;
    write(/** @type {Element} */ (element.firstElementChild), number);
    const back = /** @type {Element} */ (element.lastElementChild);
    write(back, say("back"));
    back.setAttribute("aria-label", say("back") + ", " + number);
  });
}

/** @param {boolean} isOpen */
function open(isOpen) {
  hook("drawer").hidden = !isOpen;
  hook("drawer-button").setAttribute("aria-expanded", String(isOpen));
  render();
  focus(hook(isOpen ? "drawer-close" : "drawer-button"));
}

function bars() {
  const time = Date.now();
  undos = undos.filter((undo) => undo.until > time);
  const last = undos[undos.length - 1];
  const bar = hook("undo-bar");
  const wasHidden = bar.hidden;
  bar.hidden = last === undefined;
  if (last) {
    write(hook("undo-text"), say("bumped", { number: last.number, status: say("is_" + last.to) }));
    write(hook("undo"), say("undo"));
    bar.setAttribute("aria-label", say("undo"));
    write(hook("undo-left"), say("seconds", { n: Math.ceil((last.until - time) / 1000) }));
  } else if (!wasHidden && document.activeElement === document.body) {
    focus(hook("cards").querySelector(".bump") || undefined);
  }
  if (typed && time - typedAt > TYPED_MS) typed = "";
  write(hook("typed"), typed ? say("typed", { number: typed }) : here.query.get("keys") === "off" ? "" : say("keys"));
  hook("typed").dataset.typed = typed;
  const told = hook("message");
  if (told.textContent && time > messageUntil) told.textContent = "";
}

/** The order that a number on a bump bar means. @param {string} digits */
function byDigits(digits) {
  const figure = (/** @type {string} */ text) => Number(text.replace(/\D/g, ""));
  const list = cards();
  return list.find((order) => figure(shownNumber(order)) === Number(digits)) || list.find((order) => order.display_order_number === Number(digits));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || hook("main").hidden) return;
  const isOn = here.query.get("keys") !== "off";
  if (event.key === "Escape" && !hook("drawer").hidden) open(false);
  else if (event.key === "Escape") typed = "";
  else if (isOn && /^[0-9]$/.test(event.key)) {
    typed = (typed + event.key).slice(-6);
    typedAt = Date.now();
  } else if (event.key === "Enter" && typed) {
    const order = byDigits(typed);
    if (order) bump(order);
    else message(say("no_such", { number: typed }));
    typed = "";
    event.preventDefault();
  } else if (event.key === "Enter" && event.repeat) {
    // A key that is held down is one bump.
    event.preventDefault();
  } else if (isOn && event.key === "Backspace") {
    if (typed) typed = typed.slice(0, -1);
    else undo();
  } else if (/^Arrow/.test(event.key)) {
    if (!move(event.key)) return;
    event.preventDefault();
  } else return;
  bars();
});

/** Goes from card to card. @param {string} key */
function move(key) {
  const buttons = Array.from(hook("cards").querySelectorAll(".bump"));
  const at = buttons.indexOf(/** @type {Element} */ (document.activeElement));
  if (!buttons.length || (document.activeElement !== document.body && at < 0)) return false;
  const columns = getComputedStyle(hook("cards")).gridTemplateColumns.split(" ").length;
  /** @type {Record<string, number>} */
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const next = at < 0 ? 0 : at + steps[key];
  if (next < 0 || next >= buttons.length) return true;
  focus(buttons[next]);
  return true;
}

hook("undo").addEventListener("click", undo);
hook("drawer-button").addEventListener("click", () => open(hook("drawer").hidden !== false));
hook("drawer-close").addEventListener("click", () => open(false));

window.addEventListener("resize", () => screen && screen.draw());

screen = startScreen({
  orders,
  render,
  calls: () => {},
  restaurant: () => {},
  back: bumps.flush,
  title: "kitchen",
  report: () => ({ station, sound: false }),
  mayReload: () => undos.length === 0 && typed === "",
});
