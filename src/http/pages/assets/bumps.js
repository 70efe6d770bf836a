// Bumps: changes of an order's status from the kitchen. One that is made while the network is away waits in the browser's
// storage, and is sent once when the network is back.
//
// Each is sent with the version that the cook saw (`If-Match`). So one whose answer was lost changes nothing when it is sent
// again: the order has another version by then, and the status that was asked for.

import { send } from "./feed.js";
import { kept, locks, shared } from "./page.js";
import { createOrders } from "./orders.js";

const KEY = shared("bumps");
/** A request without an answer for so long is taken for lost. */
const LOST_MS = 8000;
const AGAIN_MS = 5000;
/** How long the feed may take to tell what another client has made of an order. */
const TOLD_MS = 2000;

/**
 * @param {{
 *   orders: ReturnType<typeof createOrders>,
 *   changed: () => void,
 *   tell: (key: "changed" | "refused" | "gone", bump: Bump, order?: Order) => void,
 * }} page
 */
export function createBumps(page) {
  const { orders } = page.orders;
  /** @type {Map<string, Bump>} */
  let bumps = new Map();
  let isSending = false;

  function read() {
    /** @type {Bump[]} */
    const list = kept.read(KEY) || [];
    const own = Array.from(bumps.values()).filter((bump) => !bump.waits);
    bumps = new Map(list.concat(own).map((bump) => /** @type {[string, Bump]} */ ([bump.id, bump])));
  }

  /** Those that wait are kept; of those on their way it is not known yet whether they have to. */
  function write() {
    kept.write(KEY, Array.from(bumps.values()).filter((bump) => bump.waits));
    page.changed();
  }

  /** @param {Bump} bump */
  function drop(bump) {
    if (bumps.get(bump.id) === bump) bumps.delete(bump.id);
    write();
  }

  /** @param {Bump} bump */
  function attempt(bump) {
    const calls = bump.to === "ready" && (bump.from === "pending" || bump.from === "preparing") && !bump.plain;
    const path = "/v1/orders/" + bump.id + (calls ? "/calls" : "/status");
    const body = calls ? "{}" : JSON.stringify({ status: bump.to });
    const lost = new Promise((_, reject) => window.setTimeout(() => reject(new Error("lost")), LOST_MS));
    const sent = navigator.onLine === false ? Promise.reject(new Error("offline")) : send("POST", path, body, '"' + bump.version + '"');
    return Promise.race([sent, lost]).then(
      (/** @type {any} */ answer) => {
        if (answer.ok) {
          return answer.json().then((/** @type {Order} */ order) => {
            page.orders.apply({ name: "order", id: "", data: { order } });
            // A call within seconds of another one, which was taken back, changes nothing: the guest has just been told.
            if (calls && order.status !== "ready") return attempt(Object.assign(bump, { plain: true, version: order.version }));
            return drop(bump);
          }, () => drop(bump));
        }
        if (answer.status === 429 || answer.status >= 500) return wait(bump);
        drop(bump);
        if (answer.status === 412) settle(bump);
        else page.tell(answer.status === 404 ? "gone" : "refused", bump, orders.get(bump.id));
      },
      () => wait(bump),
    );
  }

  /** @param {Bump} bump */
  function wait(bump) {
    bump.waits = true;
    write();
  }

  /** Says what the order is by now, once the feed has told it; nothing where it is what was asked for. @param {Bump} bump */
  function settle(bump) {
    const until = Date.now() + TOLD_MS;
    const look = () => {
      const order = orders.get(bump.id);
      if (order && order.version === bump.version && Date.now() < until) return window.setTimeout(look, 100);
      if (!order) page.tell("gone", bump);
      else if (order.status !== bump.to) page.tell("changed", bump, order);
      return undefined;
    };
    look();
  }

  /** Sends what waits, one after the other, in one of the tabs. */
  function flush() {
    const waiting = Array.from(bumps.values()).filter((bump) => bump.waits);
    if (!waiting.length || isSending) return;
    isSending = true;
    const work = () => {
      read();
      const now = Array.from(bumps.values()).filter((bump) => bump.waits);
      return now.reduce(
        (before, bump) =>
          before.then(() => {
            const order = orders.get(bump.id);
            if (bumps.get(bump.id) !== bump) return undefined;
            if (order && order.status === bump.to) return drop(bump);
            return attempt(bump);
          }),
        Promise.resolve(),
      );
    };
    const manager = locks();
    const done = manager ? manager.request(KEY, { ifAvailable: true }, (lock) => (lock ? work() : undefined)) : work();
    const end = () => {
      isSending = false;
    };
    done.then(end, end);
  }

  const api = {
    /** @param {string} id */
    of: (id) => bumps.get(id),
    waiting: () => Array.from(bumps.values()).filter((bump) => bump.waits).length,

    /** @param {Order} order @param {Status} to @param {string} number */
    bump(order, to, number) {
      const known = bumps.get(order.internal_order_id);
      if (known && !known.waits) return;
      if (known) {
        // It has not been sent: one change takes the place of the other.
        if (order.status === to) return drop(known);
        known.to = to;
        return write();
      }
      /** @type {Bump} */
      const bump = { id: order.internal_order_id, number, from: order.status, to, version: order.version, waits: false };
      bumps.set(bump.id, bump);
      page.changed();
      attempt(bump);
    },

    flush,
  };

  read();
  window.addEventListener("storage", () => {
    read();
    page.changed();
  });
  window.addEventListener("online", flush);
  window.setInterval(flush, AGAIN_MS);
  return api;
}
