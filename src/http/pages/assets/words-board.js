// The words of the board.

import { addWords } from "./words.js";

addWords({
  en: {
    board: "Orders", ready: "Ready", preparing: "Preparing", not_collected: "Not collected", none_ready: "Nothing is ready yet", none_preparing: "Nothing in preparation",
    page: "Page {n} of {of}", pause: "Stop turning pages", turn: "Turn pages",
    called: "Order {number} is ready.", called_at: "Order {number} is ready: {place}.", now: "Please collect",
    sound_on: "Sound is on", sound_off: "Sound is off. Tap to turn it on.", sound_elsewhere: "Sound comes from another window",
  },
  de: {
    board: "Bestellungen", ready: "Fertig", preparing: "In Arbeit", not_collected: "Nicht abgeholt", none_ready: "Noch nichts fertig", none_preparing: "Nichts in Arbeit",
    page: "Seite {n} von {of}", pause: "Seiten anhalten", turn: "Seiten blättern",
    called: "Bestellung {number} ist fertig.", called_at: "Bestellung {number} ist fertig: {place}.", now: "Bitte abholen",
    sound_on: "Ton ist an", sound_off: "Ton ist aus. Zum Einschalten tippen.", sound_elsewhere: "Der Ton kommt aus einem anderen Fenster",
  },
  es: {
    board: "Pedidos", ready: "Listo", preparing: "En preparación", not_collected: "Sin recoger", none_ready: "Aún no hay nada listo", none_preparing: "Nada en preparación",
    page: "Página {n} de {of}", pause: "Parar las páginas", turn: "Pasar las páginas",
    called: "El pedido {number} está listo.", called_at: "El pedido {number} está listo: {place}.", now: "Recójalo, por favor",
    sound_on: "Sonido activado", sound_off: "Sin sonido. Toque para activarlo.", sound_elsewhere: "El sonido sale de otra ventana",
  },
  fr: {
    board: "Commandes", ready: "Prêt", preparing: "En préparation", not_collected: "Non retiré", none_ready: "Rien n’est encore prêt", none_preparing: "Rien en préparation",
    page: "Page {n} sur {of}", pause: "Arrêter les pages", turn: "Tourner les pages",
    called: "La commande {number} est prête.", called_at: "La commande {number} est prête : {place}.", now: "À retirer",
    sound_on: "Le son est activé", sound_off: "Le son est coupé. Touchez pour l’activer.", sound_elsewhere: "Le son vient d’une autre fenêtre",
  },
  it: {
    board: "Ordini", ready: "Pronto", preparing: "In preparazione", not_collected: "Non ritirato", none_ready: "Ancora niente di pronto", none_preparing: "Niente in preparazione",
    page: "Pagina {n} di {of}", pause: "Ferma le pagine", turn: "Cambia pagina",
    called: "L’ordine {number} è pronto.", called_at: "L’ordine {number} è pronto: {place}.", now: "Da ritirare",
    sound_on: "Audio attivo", sound_off: "Audio spento. Tocchi per accenderlo.", sound_elsewhere: "L’audio viene da un’altra finestra",
  },
  tr: {
    board: "Siparişler", ready: "Hazır", preparing: "Hazırlanıyor", not_collected: "Alınmadı", none_ready: "Henüz hazır olan yok", none_preparing: "Hazırlanan yok",
    page: "Sayfa {n}/{of}", pause: "Sayfaları durdur", turn: "Sayfaları çevir",
    called: "{number} numaralı sipariş hazır.", called_at: "{number} numaralı sipariş hazır: {place}.", now: "Lütfen alın",
    sound_on: "Ses açık", sound_off: "Ses kapalı. Açmak için dokunun.", sound_elsewhere: "Ses başka bir pencereden geliyor",
  },
  pt: {
    board: "Pedidos", ready: "Pronto", preparing: "Em preparação", not_collected: "Por levantar", none_ready: "Ainda nada pronto", none_preparing: "Nada em preparação",
    page: "Página {n} de {of}", pause: "Parar as páginas", turn: "Virar as páginas",
    called: "O pedido {number} está pronto.", called_at: "O pedido {number} está pronto: {place}.", now: "Pode levantar",
    sound_on: "Som ligado", sound_off: "Som desligado. Toque para ligar.", sound_elsewhere: "O som vem de outra janela",
  },
});
