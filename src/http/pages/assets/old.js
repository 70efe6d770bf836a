// For browsers without modules (before Chromium 61), which read nothing else of a page.
(function () {
  var box = document.querySelector('[data-hook="old"]');
  if (box) box.removeAttribute("hidden");
  var connecting = document.querySelector('[data-hook="notice"]');
  if (connecting) connecting.setAttribute("hidden", "");
})();
