// The time of the daemon. Televisions have clocks that are hours off, and the kitchen's ages must not be.

let offset = 0;
let zone = "";
/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** Learns the time of the daemon from an event that has just come. @param {string} at */
export function learn(at) {
  const time = Date.parse(at);
  if (!isNaN(time)) offset = time - Date.now();
}

/** Takes the time zone of the restaurant. @param {string} name */
export function useZone(name) {
  zone = name;
}

/** The daemon's time, in milliseconds. */
export function now() {
  return Date.now() + offset;
}

/** Hours and minutes, as the restaurant's clock shows them. @param {number} time @param {string} language */
export function clockTime(time, language) {
  const key = language + " " + zone;
  let format = formats.get(key);
  if (!format) {
    /** @type {Intl.DateTimeFormatOptions} */
    const options = { hour: "2-digit", minute: "2-digit", hour12: false };
    try {
      format = new Intl.DateTimeFormat(language, zone ? Object.assign({ timeZone: zone }, options) : options);
    } catch (e) {
      // A zone or a language that this browser does not know.
      format = new Intl.DateTimeFormat("en", options);
    }
    formats.set(key, format);
  }
  // Some browsers count the hour after midnight as the 24th.
  return format.format(new Date(time)).replace(/^24/, "00");
}
