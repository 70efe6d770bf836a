// One of the browser's tabs does a thing, and another takes over when it is closed.
//
// The Web Locks see to it. A page over plain HTTP from another machine has none: there, a time in the storage that all tabs
// see is renewed every two seconds. No browser tells another one anything, so this reaches no further than one browser.

import { kept, locks } from "./page.js";

const RENEWED_MS = 2000;
const HELD_MS = 5000;

/**
 * Asks for the lease; what it returns says whether this tab has it.
 * @param {string} name @param {() => void} [changed] called when this tab gets it or loses it
 * @returns {() => boolean}
 */
export function lease(name, changed) {
  let isHeld = false;
  /** @param {boolean} held */
  const set = (held) => {
    if (held === isHeld) return;
    isHeld = held;
    if (changed) changed();
  };
  const manager = locks();
  if (manager) {
    manager.request(name, {}, () => {
      set(true);
      return new Promise(() => {});
    });
    return () => isHeld;
  }
  const own = Math.random().toString(36).slice(2);
  const renew = () => {
    const holder = kept.read(name);
    if (holder && holder.own !== own && holder.until > Date.now()) return set(false);
    // Of two tabs that write at once, the later one has it: the other finds that out before it relies on it.
    const wasOurs = holder !== null && holder.own === own;
    kept.write(name, { own, until: Date.now() + HELD_MS });
    const written = kept.read(name);
    set(wasOurs || written === null);
  };
  renew();
  setTimeout(renew, 200);
  setInterval(renew, RENEWED_MS);
  window.addEventListener("pagehide", () => {
    const holder = kept.read(name);
    if (holder && holder.own === own) kept.write(name, null);
  });
  return () => {
    const holder = kept.read(name);
    return isHeld && (holder === null || holder.own === own);
  };
}
