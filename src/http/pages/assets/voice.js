// The voice: clips that follow each other, since televisions cannot speak and browsers have no voices of their own.
//
// "Ding. Order. Forty-two. Four, two." From three digits on, the digits alone. Letters of a number are said before them.
// What is said is told to the document as the event `nowserving:say`, and stands in `data-said` of the root.

import { lease } from "./lease.js";
import { here, kept, shared, url } from "./page.js";

/** With more calls than this waiting, a call is its digits alone. */
const PATIENCE = 3;
/** The clips from which the built-in voice makes the numbers from 21 to 99. */
const MAKES_TENS = /^en\b/;
/** A clip that does not come to its end is given up. */
const LONGEST_CLIP_MS = 5000;

/** The clips of a number. @param {string} shown @param {Set<string>} known @param {boolean} makesTens @param {boolean} isBrief */
export function clipsOf(shown, known, makesTens, isBrief) {
  const clips = ["chime", "order"];
  const parts = /^(.*?)(\d+)\D*$/.exec(shown);
  const letters = (parts ? parts[1] : shown).toLowerCase().replace(/[^a-z0-9]/g, "");
  letters.split("").forEach((letter) => clips.push(letter));
  if (parts) {
    const figure = parts[2].replace(/^0+(?=\d)/, "");
    const units = figure.slice(1);
    if (figure.length <= 2 && !isBrief) {
      if (known.has(figure)) clips.push(figure);
      else if (makesTens && figure.length === 2) clips.push(figure[0] + "0", units);
    }
    if (figure.length > 1 || isBrief) figure.split("").forEach((digit) => clips.push(digit));
  }
  return clips.filter((clip) => known.has(clip));
}

/** @param {{changed: () => void}} page */
export function createVoice(page) {
  const player = new Audio();
  player.preload = "auto";
  /** The clips of calls that have not been said. @type {string[][]} */
  let waiting = [];
  /** Calls that came before it was known which clips there are. @type {{number: string, order: string}[]} */
  let early = [];
  let isPlaying = false;
  /** By the browser: not before a person has touched the page. */
  let isAllowed = false;
  let touched = false;
  let isWanted = here.query.get("sound") !== "off" && kept.read("sound") !== false;
  let language = "";
  /** @type {Map<string, string>} The file of each clip. */
  const files = new Map();
  let asked = "";
  const holds = lease(shared("voice"), page.changed);

  const voice = {
    /** `off` (by a person), `blocked` (by the browser), `elsewhere` (another tab speaks), `on`. */
    state() {
      if (!isWanted) return "off";
      if (!isAllowed) return "blocked";
      return holds() ? "on" : "elsewhere";
    },

    /** Whether it may sound because a person touched the page. */
    wasTouched: () => isAllowed && touched,

    /** The one tap. */
    toggle() {
      isWanted = voice.state() === "off" || voice.state() === "blocked";
      kept.write("sound", isWanted);
      if (isWanted) return unlock(true);
      waiting = [];
      player.pause();
      page.changed();
    },

    /** Takes the first of these languages for which there are clips. @param {string[]} languages */
    use(languages) {
      const wished = languages.concat(["en"]).map((tag) => tag.toLowerCase());
      if (asked === wished.join()) return;
      asked = wished.join();
      choose(wished);
    },

    /** @param {Order} order @param {string} number */
    say(order, number) {
      early.push({ order: order.internal_order_id, number });
      if (language) enqueue();
    },
  };

  /** @param {string[]} wished */
  function choose(wished) {
    const tag = wished[0];
    if (!tag) return;
    fetch(url("/voice/" + encodeURIComponent(tag) + "/clips.json"))
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error("no such voice"))))
      .then((list) => {
        files.clear();
        list.clips.forEach((/** @type {string} */ file) => files.set(file.replace(/\.[^.]*$/, ""), file));
        language = tag;
        // In the cache before they are needed.
        files.forEach((file) => fetch(url("/voice/" + tag + "/" + file)).catch(() => {}));
        enqueue();
      })
      .catch(() => choose(wished.slice(1)));
  }

  /** @param {string} clip @param {number} volume @returns {Promise<void>} */
  function play(clip, volume) {
    return new Promise((resolve, reject) => {
      // It was turned off in the middle of a call.
      if (!isWanted) return resolve();
      const timer = window.setTimeout(resolve, LONGEST_CLIP_MS);
      player.onended = player.onerror = () => {
        window.clearTimeout(timer);
        resolve();
      };
      player.volume = volume;
      player.src = url("/voice/" + language + "/" + (files.get(clip) || ""));
      const begun = player.play();
      // Old browsers return nothing.
      if (begun) begun.catch((error) => (window.clearTimeout(timer), error.name === "NotAllowedError" ? reject(error) : resolve()));
    });
  }

  function enqueue() {
    const calls = early;
    early = [];
    const speaks = voice.state() === "on";
    calls.forEach(({ order, number }) => {
      const clips = clipsOf(number, new Set(files.keys()), MAKES_TENS.test(language), waiting.length >= PATIENCE);
      const root = document.documentElement;
      root.dataset.said = ((root.dataset.said ? root.dataset.said + ";" : "") + clips.join(" ")).slice(-1000);
      const detail = { order, number, language, clips, spoken: speaks };
      document.dispatchEvent(new CustomEvent("nowserving:say", { detail }));
      if (speaks) waiting.push(clips);
    });
    next();
  }

  function next() {
    const clips = waiting[0];
    if (isPlaying || !clips) return;
    waiting = waiting.slice(1);
    isPlaying = true;
    clips
      .reduce((before, clip) => before.then(() => play(clip, 1)), Promise.resolve())
      .catch(() => {
        isAllowed = false;
        waiting = [];
        page.changed();
      })
      .then(() => {
        isPlaying = false;
        next();
      });
  }

  /** Finds out whether the browser lets this page sound; within a gesture, that makes it so. @param {boolean} aloud */
  function unlock(aloud) {
    if (isPlaying) return;
    player.volume = aloud ? 1 : 0;
    player.src = url("/voice/en/chime.mp3");
    const begun = player.play();
    /** @param {boolean} allowed */
    const settle = (allowed) => {
      isAllowed = allowed;
      page.changed();
    };
    if (begun) begun.then(() => settle(true), (error) => error.name === "AbortError" || settle(error.name !== "NotAllowedError"));
    else settle(true);
  }

  // Any touch of the page is the gesture that the browser waits for.
  ["click", "keydown", "touchend"].forEach((type) =>
    document.addEventListener(type, (event) => {
      touched = true;
      const isButton = event.target instanceof Element && event.target.closest('[data-hook="sound"]');
      if (isWanted && !isAllowed && !isButton) unlock(false);
    }),
  );
  unlock(false);
  return voice;
}
