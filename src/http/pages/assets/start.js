// The start page: opens the page of a restaurant.

import { hook, kept, url } from "./page.js";

const form = /** @type {HTMLFormElement} */ (hook("open"));
const number = /** @type {HTMLInputElement} */ (hook("number"));
const last = kept.read("restaurant");
if (typeof last === "number") number.value = String(last);
hook("open").hidden = false;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const page = document.activeElement instanceof HTMLElement && document.activeElement.dataset.page === "kitchen" ? "kitchen" : "board";
  const submitter = /** @type {any} */ (event).submitter;
  const chosen = (submitter && submitter.dataset.page) || page;
  const restaurant = Number(number.value);
  if (!(restaurant >= 1)) return number.focus();
  kept.write("restaurant", restaurant);
  location.href = url("/" + chosen + "/" + restaurant);
});
