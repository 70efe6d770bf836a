// The restaurant's own colours, as far as they can be read: 7:1 for text (WCAG 1.4.6). One that cannot is ignored.

const ENOUGH = 7;

/** @param {string | null} text @returns {number[] | null} */
function parse(text) {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text || "");
  return match ? match.slice(1).map((part) => parseInt(part, 16)) : null;
}

/** @param {number[]} colour */
function luminance(colour) {
  const linear = colour.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : Math.pow((share + 0.055) / 1.055, 2.4);
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

/** The contrast of two colours, 1 to 21. @param {number[]} one @param {number[]} other */
export function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

/** @param {number[]} from @param {number[]} to @param {number} share */
function mix(from, to, share) {
  return from.map((part, i) => Math.round(part + (to[i] - part) * share));
}

/** @param {number[]} colour */
function css(colour) {
  return "rgb(" + colour.join(",") + ")";
}

const OWN = { background: [12, 17, 22], text: [244, 246, 248] };
const NAMES = ["--bg", "--text", "--muted", "--surface", "--ready-surface", "--line", "--accent"];

/** Sets the colours of the page. @param {Restaurant} restaurant */
export function theme(restaurant) {
  const style = document.documentElement.style;
  NAMES.forEach((name) => style.removeProperty(name));
  let background = OWN.background;
  let text = OWN.text;
  const wished = parse(restaurant.background_colour);
  const inks = [OWN.text, [10, 12, 14]];
  const ink = wished && inks.find((ink) => contrast(ink, wished) >= ENOUGH);
  if (wished && ink) {
    background = wished;
    text = ink;
    // The words that are less loud, and the panels, as long as all text on them can be read.
    const panel = [0.1, 0.05, 0].map((share) => mix(background, text, share)).find((p) => contrast(p, text) >= ENOUGH);
    const muted = mix(text, background, 0.2);
    const surface = panel || background;
    style.setProperty("--bg", css(background));
    style.setProperty("--text", css(text));
    style.setProperty("--surface", css(surface));
    style.setProperty("--ready-surface", css(background));
    style.setProperty("--muted", css(contrast(muted, surface) >= ENOUGH ? muted : text));
    style.setProperty("--line", css(mix(background, text, 0.3)));
    style.setProperty("--accent", css(text));
  }
  const accent = parse(restaurant.accent_colour);
  const surfaces = wished && ink ? [background, mix(background, text, 0.1)] : [background, [15, 42, 34]];
  if (accent && surfaces.every((surface) => contrast(accent, surface) >= ENOUGH)) {
    style.setProperty("--accent", css(accent));
  }
}
