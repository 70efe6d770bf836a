// What every page needs: where it is, its storage, and a few lines for its elements.
//
// All modules are written for Chromium 61 and its like, which is what televisions have: no `?.`, no `??`, no `.flat()`.

const root = document.documentElement;

/** What the address and the shell say. */
export const here = {
  page: root.dataset.page || "",
  restaurant: Number(root.dataset.restaurant || 0),
  /** The path under which the daemon is found: empty, or `/orders`. */
  base: root.dataset.base || "",
  query: new URLSearchParams(location.search),
};

/** The daemon's address of a path such as `/v1/orders`. @param {string} path */
export function url(path) {
  return here.base + path;
}

/** The element with a `data-hook`. @param {string} name @returns {HTMLElement} */
export function hook(name) {
  const found = document.querySelector('[data-hook="' + name + '"]');
  if (!(found instanceof HTMLElement)) throw new Error("the shell has no " + name);
  return found;
}

/**
 * A new element with a class, and text or children.
 * @param {string} tag @param {string} [className] @param {string | null | (Node | null)[]} [content]
 */
export function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (typeof content === "string") element.textContent = content;
  else if (content) content.forEach((child) => child && element.appendChild(child));
  return element;
}

/** Sets text only where it differs, so that what is read aloud and what is selected stay. @param {Element} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Makes the children of `parent` those of `items`, by key: an element stays the same as long as its item is there, and so
 * keeps the focus.
 * @template T
 * @param {Element} parent @param {T[]} items @param {(item: T) => string} keyOf
 * @param {(item: T) => HTMLElement} create @param {(element: HTMLElement, item: T) => void} update
 */
export function reconcile(parent, items, keyOf, create, update) {
  /** @type {Map<string, HTMLElement>} */
  const old = new Map();
  Array.from(parent.children).forEach((child) => {
    if (child instanceof HTMLElement) old.set(child.dataset.key || "", child);
  });
  let next = parent.firstElementChild;
  items.forEach((item) => {
    const key = keyOf(item);
    let element = old.get(key);
    if (element) {
      old.delete(key);
    } else {
      element = create(item);
      element.dataset.key = key;
    }
    update(element, item);
    if (element === next) next = element.nextElementSibling;
    else parent.insertBefore(element, next);
  });
  old.forEach((element) => parent.removeChild(element));
}

/** Storage that may be missing, full or forbidden. */
function guarded(/** @type {"localStorage" | "sessionStorage"} */ kind) {
  return {
    /** @param {string} key @returns {any} */
    read(key) {
      try {
        return JSON.parse(window[kind].getItem("nowserving:" + key) || "null");
      } catch (e) {
        return null;
      }
    },
    /** @param {string} key @param {unknown} value */
    write(key, value) {
      try {
        window[kind].setItem("nowserving:" + key, JSON.stringify(value));
      } catch (e) {
        // The page works without; it forgets when it is loaded again.
      }
    },
  };
}

/** Kept by the browser. */
export const kept = guarded("localStorage");
/** Kept as long as the tab is open. */
export const keptInTab = guarded("sessionStorage");

/** The browser's locks; none on a page that came neither by TLS nor from this machine. @returns {LockManager | null} */
export function locks() {
  return /** @type {any} */ (navigator).locks || null;
}

/** A name for what tabs of one browser share. @param {string} what */
export function shared(what) {
  return "nowserving:" + what + ":" + here.base + ":" + here.restaurant;
}
