// The board for browsers without modules: televisions before about 2019. They show the numbers, and nothing else of the
// page: no voice, no names, no pages that turn. Written for what they had in 2014.
(function () {
  "use strict";

  var root = document.documentElement;
  var base = root.getAttribute("data-base");
  var restaurant = root.getAttribute("data-restaurant");
  /** @type {any} */
  var notice = document.querySelector('[data-hook="notice"]');
  /** @type {Record<string, string[]>} */
  var WORDS = {
    en: ["Ready", "Preparing", "Not up to date since "],
    de: ["Fertig", "In Arbeit", "Nicht aktuell seit "],
    es: ["Listo", "En preparación", "Sin actualizar desde "],
    fr: ["Prêt", "En préparation", "Pas à jour depuis "],
    it: ["Pronto", "In preparazione", "Non aggiornato dalle "],
    pt: ["Pronto", "Em preparação", "Sem atualização desde "],
    tr: ["Hazır", "Hazırlanıyor", "Güncel değil: "]
  };
  /** In parts of a hundred of the screen's height. */
  var SIZES = [26, 20, 16, 13, 10, 8, 6, 5, 4];
  var words = WORDS.en;
  /** @type {Record<string, Order>} */
  var orders = {};
  var heardAt = 0;
  var isKnown = false;

  /** @param {any} element @param {boolean} is */
  function hidden(element, is) {
    if (is) element.setAttribute("hidden", "");
    else element.removeAttribute("hidden");
  }

  if (root.getAttribute("data-page") !== "board" || typeof EventSource === "undefined") {
    hidden(document.querySelector('[data-hook="old"]'), false);
    if (notice) hidden(notice, true);
    return;
  }

  var table = document.createElement("div");
  var banner = document.createElement("p");
  var lists = [make(table, "66%"), make(table, "33%")];
  banner.className = "stale";
  document.body.insertBefore(banner, document.body.firstChild);
  document.body.insertBefore(table, banner.nextSibling);
  hidden(document.querySelector("footer"), true);

  /** @param {Element} parent @param {string} width */
  function make(parent, width) {
    var box = document.createElement("div");
    var title = document.createElement("h2");
    var numbers = document.createElement("p");
    box.style.cssText = "float:left;width:" + width + ";height:90vh;overflow:hidden;padding:2vh;box-sizing:border-box";
    title.style.fontSize = "6vh";
    numbers.style.cssText = "font-weight:bold;line-height:1.1";
    box.appendChild(title);
    box.appendChild(numbers);
    parent.appendChild(box);
    return { box: box, title: title, numbers: numbers };
  }

  /** @param {Date} at */
  function time(at) {
    var minutes = at.getMinutes();
    return at.getHours() + ":" + (minutes < 10 ? "0" : "") + minutes;
  }

  function draw() {
    hidden(table, !isKnown);
    hidden(notice, isKnown);
    var all = Object.keys(orders).map(function (id) {
      return orders[id];
    });
    /** @type {string[][]} */
    var shown = [[], []];
    all.sort(function (a, b) {
      return Date.parse(b.last_called_at || b.updated_at) - Date.parse(a.last_called_at || a.updated_at);
    });
    all.forEach(function (order) {
      var list = order.status === "ready" ? 0 : order.status === "pending" || order.status === "preparing" ? 1 : 2;
      if (list < 2) shown[list].push(String(order.display_number_formatted));
    });
    shown[1].reverse();
    lists.forEach(function (list, i) {
      list.title.textContent = words[i];
      var text = shown[i].join("\u2003");
      if (list.numbers.textContent === text) return;
      list.numbers.textContent = text;
      // As large as lets all of them be seen: there are no pages here.
      SIZES.some(function (size) {
        list.numbers.style.fontSize = size + "vh";
        return list.box.scrollHeight <= list.box.clientHeight + 1;
      });
    });
    var isStale = isKnown && Date.now() - heardAt > 30000;
    hidden(banner, !isStale);
    banner.textContent = words[2] + time(new Date(heardAt));
    table.style.opacity = isStale ? "0.6" : "1";
  }

  /** @param {any} data */
  function heard(data) {
    heardAt = Date.now();
    if (data.restaurant) {
      (data.restaurant.languages || []).some(function (/** @type {string} */ tag) {
        words = WORDS[tag.slice(0, 2)] || words;
        return WORDS[tag.slice(0, 2)];
      });
    }
    if (data.orders) {
      isKnown = true;
      orders = {};
      data.orders.forEach(function (/** @type {Order} */ order) {
        orders[order.internal_order_id] = order;
      });
    }
    if (data.order) {
      if (/completed|cancelled|expired/.test(data.order.status)) delete orders[data.order.internal_order_id];
      else orders[data.order.internal_order_id] = data.order;
    }
    draw();
  }

  /** @param {string} method @param {string} path @param {string | null} body @param {(status: number, answer: any) => any} done */
  function ask(method, path, body, done) {
    var request = new XMLHttpRequest();
    request.open(method, base + path);
    request.setRequestHeader("Content-Type", "application/json");
    request.onloadend = function () {
      var answer = null;
      try {
        answer = JSON.parse(request.responseText);
      } catch (e) {
        // An answer of a proxy.
      }
      done(request.status, answer || {});
    };
    request.send(body);
  }

  /** @param {string} text */
  function tell(text) {
    isKnown = false;
    notice.textContent = text;
    notice.style.fontSize = "8vh";
    draw();
  }

  // Why there is no stream is not said: a key that is missing is the one thing that can be mended here.
  function pair() {
    ask("POST", "/v1/pairings", JSON.stringify({ page: "board", restaurant_id: Number(restaurant) }), function (status, pairing) {
      if (status !== 201) return setTimeout(open, 10000);
      tell("Pair this screen: " + pairing.code);
      return poll();
    });
  }

  function poll() {
    setTimeout(function () {
      ask("GET", "/v1/pairings/current", null, function (_, pairing) {
        if (pairing.state === "paired") open();
        else if (pairing.state === "expired") pair();
        else poll();
      });
    }, 2000);
  }

  function why() {
    var request = new XMLHttpRequest();
    request.open("GET", base + "/v1/restaurants/" + restaurant + "/feed");
    // Known with the head of the answer; a stream has no end.
    request.onreadystatechange = function () {
      if (request.readyState < 2) return;
      var status = request.status;
      request.onreadystatechange = null;
      request.abort();
      if (status === 401) pair();
      else {
        if (status === 404) tell("There is no restaurant " + restaurant + " here");
        setTimeout(open, 10000);
      }
    };
    request.send();
  }

  function open() {
    var stream = new EventSource(base + "/v1/restaurants/" + restaurant + "/feed");
    ["snapshot", "order", "heartbeat", "settings"].forEach(function (name) {
      stream.addEventListener(name, function (event) {
        heard(JSON.parse(event.data));
      });
    });
    stream.onerror = function () {
      if (stream.readyState === 2) why();
    };
  }

  setInterval(draw, 1000);
  open();
})();
