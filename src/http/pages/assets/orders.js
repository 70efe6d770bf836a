// The live orders of the restaurant, as the feed tells them, and which calls have not sounded yet.

import { learn, now, useZone } from "./clock.js";
import { keptInTab, shared } from "./page.js";

/** What has sounded is remembered for so long over a reload of the page. */
const REMEMBERED_MS = 10 * 60 * 1000;

export function createOrders() {
  /** @type {Map<string, Order>} */
  const orders = new Map();
  /** How often each order had been called when it was last looked at. @type {Map<string, number>} */
  let heard = new Map();
  /** @type {Map<string, string>} */
  const places = new Map();
  /** Since when each order has been ready. @type {Map<string, number>} */
  const readySince = new Map();
  const key = shared("heard");
  const before = keptInTab.read(key);
  let knewBefore = false;
  if (before && Array.isArray(before.counts) && Date.now() - before.at < REMEMBERED_MS) {
    heard = new Map(before.counts);
    knewBefore = true;
  }

  const store = {
    /** @type {Restaurant | null} */
    restaurant: null,
    orders,
    /** The id of the latest event. @type {string | null} */
    position: null,
    /** The daemon's time of the latest event. */
    heardAt: 0,

    /** Takes an event; the calls in it are those that have to sound. @param {FeedEvent} event @returns {Call[]} */
    apply(event) {
      const data = event.data;
      if (event.id) store.position = event.id;
      if (data.at && event.name !== "reset") {
        // The time in an event that is told again is an old one; a heartbeat and a snapshot say what time it is.
        if (event.name === "heartbeat" || event.name === "snapshot") learn(data.at);
        store.heardAt = now() - (event.ago || 0);
      }
      if (event.name === "snapshot") return snapshot(data);
      if (event.name === "settings") take(data.restaurant);
      if (event.name === "order") return order(data.order);
      if (event.name === "call") {
        const calls = order(data.order);
        if (data.place) places.set(data.order.internal_order_id, data.place);
        return calls;
      }
      return [];
    },

    /** Everything, as another tab takes it. @returns {Snapshot | null} */
    whole() {
      if (!store.restaurant) return null;
      return { restaurant: store.restaurant, at: new Date(now()).toISOString(), orders: Array.from(orders.values()) };
    },

    /** Where the order was called to. @param {Order} order */
    place(order) {
      return places.get(order.internal_order_id) || null;
    },

    /** When the order came onto the board, or was called again. @param {Order} order */
    shownSince(order) {
      const called = order.last_called_at ? Date.parse(order.last_called_at) : 0;
      return Math.max(called, readySince.get(order.internal_order_id) || 0);
    },
  };

  /** @param {Restaurant} restaurant */
  function take(restaurant) {
    store.restaurant = restaurant;
    useZone(restaurant.time_zone);
  }

  /** @param {Snapshot} data @returns {Call[]} */
  function snapshot(data) {
    const isFirst = !store.restaurant && !knewBefore;
    take(data.restaurant);
    orders.clear();
    const counts = heard;
    heard = new Map();
    /** @type {Call[]} */
    const calls = [];
    data.orders.forEach((order) => {
      const id = order.internal_order_id;
      put(order);
      heard.set(id, order.call_count);
      // An order that came and was called in the gap is as new as one whose count rose in it.
      if (!isFirst && order.status === "ready" && order.call_count > (counts.get(id) || 0)) {
        calls.push({ order, place: places.get(id) || null });
      }
    });
    [places, readySince].forEach((map) => Array.from(map.keys()).forEach((id) => orders.has(id) || map.delete(id)));
    remember();
    return calls;
  }

  /** @param {Order} order @returns {Call[]} */
  function order(order) {
    const id = order.internal_order_id;
    const known = orders.get(id);
    if (known && order.version < known.version) return [];
    if (isOver(order)) {
      [orders, heard, places, readySince].forEach((map) => map.delete(id));
      remember();
      return [];
    }
    put(order);
    const rose = order.call_count > (heard.get(id) || 0);
    heard.set(id, order.call_count);
    if (!rose) return [];
    remember();
    return order.status === "ready" ? [{ order, place: places.get(id) || null }] : [];
  }

  /** @param {Order} order */
  function put(order) {
    const id = order.internal_order_id;
    orders.set(id, order);
    if (order.status !== "ready") readySince.delete(id);
    else if (!readySince.has(id)) readySince.set(id, Date.parse(order.updated_at));
  }

  function remember() {
    keptInTab.write(key, { at: Date.now(), counts: Array.from(heard) });
  }

  return store;
}

/** @param {Order} order */
function isOver(order) {
  return order.status === "completed" || order.status === "cancelled" || order.status === "expired";
}

/** Oldest first. @param {Order} a @param {Order} b */
export function byAge(a, b) {
  return Date.parse(a.created_at) - Date.parse(b.created_at) || (a.internal_order_id < b.internal_order_id ? -1 : 1);
}

/** The number as it is shown. @param {Order} order */
export function shownNumber(order) {
  return order.display_number_formatted || String(order.display_order_number || "–");
}
