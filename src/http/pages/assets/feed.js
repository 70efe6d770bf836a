// The feed of the restaurant: one stream a browser, since over HTTP/1.1 a browser opens six connections to a host.
//
// The tab that has the lock holds the stream and hands each event on; the others listen to it. Where a browser has no locks
// (plain HTTP from another machine) or no channels, each tab holds a stream of its own.

import { here, locks, shared, url } from "./page.js";

const EVENTS = ["snapshot", "order", "call", "heartbeat", "settings", "reset"];
/** A stream on which nothing has come for so long is dead, though its connection may not know it. */
const DEAD_MS = 35 * 1000;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 20 * 1000;
/** For what only a person can mend. */
const PATIENT_PAUSE_MS = 10 * 1000;
const POLL_MS = 2000;

/**
 * Listens to the feed.
 * @param {{event: (event: FeedEvent) => void, link: (link: Link) => void, whole: () => Snapshot | null}} page
 */
export function listen(page) {
  const name = shared("feed");
  const manager = locks();
  if (!manager || typeof BroadcastChannel === "undefined") {
    return hold(page.event, page.link);
  }
  const channel = new BroadcastChannel(name);
  let leads = false;
  /** @type {Link} */
  let link = { is: "connecting" };
  let position = "";
  let heardAt = 0;
  channel.onmessage = (message) => {
    const said = message.data;
    if (leads) {
      // A tab that has just been opened gets everything, and how old it is.
      const ago = Date.now() - heardAt;
      if (said.hello) channel.postMessage({ link, event: { name: "snapshot", id: position, data: page.whole(), ago } });
      if (said.pair) window.dispatchEvent(new Event("nowserving:pair"));
      return;
    }
    if (said.event && said.event.data) page.event(said.event);
    if (said.link) page.link(said.link);
  };
  window.addEventListener("nowserving:pair", () => leads || channel.postMessage({ pair: true }));
  channel.postMessage({ hello: true });
  manager.request(name, {}, () => {
    leads = true;
    hold(
      (event) => {
        position = event.id || position;
        heardAt = Date.now();
        page.event(event);
        channel.postMessage({ event });
      },
      (next) => {
        link = next;
        page.link(next);
        channel.postMessage({ link });
      },
    );
    return new Promise(() => {});
  });
}

/** Holds a stream for ever. @param {(event: FeedEvent) => void} emit @param {(link: Link) => void} tell */
function hold(emit, tell) {
  const address = url("/v1/restaurants/" + here.restaurant + "/feed");
  /** @type {EventSource | null} */
  let source = null;
  /** @type {number | undefined} */
  let timer;
  let pause = FIRST_PAUSE_MS;
  let lastEvent = Date.now();

  function open() {
    window.clearTimeout(timer);
    timer = undefined;
    if (source) source.close();
    lastEvent = Date.now();
    const stream = new EventSource(address);
    source = stream;
    EVENTS.forEach((name) => {
      stream.addEventListener(name, (event) => {
        const message = /** @type {MessageEvent} */ (event);
        if (stream !== source) return;
        lastEvent = Date.now();
        pause = FIRST_PAUSE_MS;
        /** @type {any} */
        let data;
        try {
          data = JSON.parse(message.data);
        } catch (e) {
          return;
        }
        tell({ is: "live" });
        emit({ name: /** @type {FeedEvent["name"]} */ (name), id: message.lastEventId, data });
      });
    });
    stream.onerror = () => {
      if (stream !== source) return;
      tell({ is: "away" });
      // The browser comes back by itself, with the id of the last event; but not after an answer that is no stream.
      if (stream.readyState === EventSource.CLOSED) ask();
    };
  }

  /** Opens it again after a pause that grows, and is another one for each screen. @param {number} [ms] */
  function later(ms) {
    window.clearTimeout(timer);
    timer = window.setTimeout(open, (ms || pause) * (0.75 + Math.random() / 2));
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }

  /** Finds out why there is no stream: an EventSource does not say. */
  function ask() {
    source = null;
    fetch(address, { headers: { Accept: "text/event-stream" }, credentials: "same-origin", cache: "no-store" }).then(
      (answer) => {
        if (answer.body && answer.body.cancel) answer.body.cancel().catch(() => {});
        if (answer.ok && /event-stream/.test(answer.headers.get("Content-Type") || "")) return open();
        if (answer.status === 401) return pair();
        tell({ is: answer.status === 404 ? "unknown" : answer.status === 403 ? "forbidden" : "busy" });
        later(answer.status === 404 || answer.status === 403 ? PATIENT_PAUSE_MS : undefined);
      },
      () => later(),
    );
  }

  /** Shows a code until an admin has entered it. */
  function pair() {
    const body = JSON.stringify({ page: here.page, restaurant_id: here.restaurant });
    send("POST", "/v1/pairings", body)
      .then((answer) => (answer.status === 201 ? answer.json() : Promise.reject(new Error("no code"))))
      .then((pairing) => {
        tell({ is: "pairing", code: pairing.code, expires_at: pairing.expires_at });
        poll();
      })
      .catch(() => {
        tell({ is: "busy" });
        later();
      });
  }

  function poll() {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => {
      send("GET", "/v1/pairings/current")
        .then((answer) => (answer.ok ? answer.json() : { state: answer.status < 500 ? "expired" : "waiting" }))
        .catch(() => ({ state: "waiting" }))
        .then((pairing) => {
          if (pairing.state === "paired") open();
          else if (pairing.state === "expired") pair();
          else poll();
        });
    }, POLL_MS);
  }

  window.setInterval(() => {
    if (source && Date.now() - lastEvent > DEAD_MS) {
      tell({ is: "away" });
      open();
    }
  }, 5000);
  window.addEventListener("online", () => {
    pause = FIRST_PAUSE_MS;
    if (!source || source.readyState !== EventSource.OPEN) open();
  });
  window.addEventListener("nowserving:pair", pair);
  open();
}

/** Sends a request of this page. @param {string} method @param {string} path @param {string} [body] @param {string} [tag] */
export function send(method, path, body, tag) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (tag !== undefined) headers["If-Match"] = tag;
  return fetch(url(path), { method, headers, body, credentials: "same-origin", cache: "no-store" });
}
