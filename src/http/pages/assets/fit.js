// How large numbers are, and how many of them a page has.
//
// The measure is WBDG (ADA Standards) table 703.5.5 for characters whose line is 70 to 120 inches above the floor: 2 inches
// up to 15 feet, and 1/8 inch more for each further foot. Ten metres are 32.8 feet: 2 + 17.8 / 8 = 4.23 inches, 107 mm. A
// 43-inch screen of 16:9 is 535 mm high, so digits that are a fifth of its height are read at ten metres, whatever its
// resolution: 216 of 1080 pixels. The least height, 51 mm, is 0.095 of it: 103 of 1080 pixels, read at 4.6 metres.
//
// Four digits of that height do not stand in two columns. They are condensed first, as far as 703.5.4 goes (an O is at least
// 0.55 as wide as an I is high), and only then made smaller.

export const TEN_METRES = 0.2004;
export const LEAST = 0.0952;

let widthOfDigit = 0;
let heightOfDigit = 0;
/** How far digits may be condensed. */
let narrowest = 1;
const LEAST_WIDTH = 0.55;

/** Measures the digits of the font in use, in ems. */
function measure() {
  const context = document.createElement("canvas").getContext("2d");
  widthOfDigit = 0.62;
  heightOfDigit = 0.72;
  if (!context) return;
  context.font = "700 200px " + getComputedStyle(document.body).fontFamily;
  const size = context.measureText("0000000000");
  widthOfDigit = size.width / 2000;
  // Not in old browsers.
  if (!size.actualBoundingBoxAscent) return;
  heightOfDigit = context.measureText("I").actualBoundingBoxAscent / 200;
  // A zero is narrower than the letter.
  const zero = context.measureText("0");
  const width = (zero.actualBoundingBoxLeft + zero.actualBoundingBoxRight) / 200;
  narrowest = Math.min(1, (LEAST_WIDTH * heightOfDigit) / width);
}

/**
 * @param {{width: number, height: number, chars: number, digit: number, columns: number, rows?: number, line: number, spread: number, between: number}} wish
 *   `digit` is the height of a digit, a row is `spread` times as high and has a `line` of words below, numbers
 *   are `between` heights apart, and there are to be `columns` at least
 */
export function fit(wish) {
  if (!widthOfDigit) measure();
  let squeeze = 1;
  const wide = (/** @type {number} */ font) => (wish.chars * widthOfDigit * squeeze + wish.between * heightOfDigit) * font;
  let font = wish.digit / heightOfDigit;
  const most = wish.width / wish.columns;
  if (wide(font) > most) {
    squeeze = Math.max(narrowest, (most / font - wish.between * heightOfDigit) / (wish.chars * widthOfDigit));
    if (wide(font) > most) font *= most / wide(font);
  }
  // A page has one row at least.
  const tallest = Math.max(wish.height - wish.line, 1) / wish.spread;
  if (font * heightOfDigit > tallest) font = tallest / heightOfDigit;
  const row = font * heightOfDigit * wish.spread + wish.line;
  const columns = Math.max(wish.columns, Math.floor(wish.width / wide(font)));
  const rows = Math.max(1, Math.min(wish.rows || Infinity, Math.floor((wish.height + 1) / row)));
  const width = wish.chars * widthOfDigit * squeeze * font;
  return { font, squeeze, columns, rows, row, width, perPage: columns * rows };
}

/** The longest of numbers, in characters. @param {string[]} numbers */
export function longest(numbers) {
  return numbers.reduce((most, number) => Math.max(most, number.length), 2);
}
