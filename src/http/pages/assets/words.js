// The words of the pages. A language that is missing here, or a word that is missing in one, is English.

/** @type {Record<string, Words>} */
const BOTH = {
  en: {
    up_to_date: "Up to date", stale: "Not up to date since {time}", connecting: "Connecting …",
    never: "Not connected to the order system",
    pair_title: "Pair this screen", pair_text: "Give this code to an administrator. The screen starts by itself once it is entered.",
    pair_how: "On the operations page, or with the command:", pair_valid: "This code is valid until {time}. A new one follows.",
    unknown_title: "There is no restaurant {id} here", unknown_text: "Check the number at the end of the address, or ask the person who set up this screen. It may have been mistyped.",
    unused_title: "Restaurant {id} has had no orders yet", unused_text: "Check the number at the end of the address. If it is right, nothing has to be done: the screen starts with the first order.",
    forbidden_title: "This screen belongs to another restaurant", forbidden_text: "It is paired, but not for restaurant {id}. Pair it again to use it here.", pair_again: "Pair again",
    away_title: "No connection to the order system", away_text: "Check the network of this screen. It tries again by itself, and nothing has to be pressed.",
    busy_title: "The order system is not ready", busy_text: "It is starting, or has too much to do. This screen tries again by itself.",
  },
  de: {
    up_to_date: "Aktuell", stale: "Nicht aktuell seit {time}", connecting: "Verbindung wird hergestellt …",
    never: "Nicht mit dem Bestellsystem verbunden",
    pair_title: "Diesen Bildschirm koppeln", pair_text: "Geben Sie diesen Code der Verwaltung. Der Bildschirm startet von selbst, sobald er eingegeben ist.",
    pair_how: "Auf der Betriebsseite oder mit dem Befehl:", pair_valid: "Dieser Code gilt bis {time}. Danach folgt ein neuer.",
    unknown_title: "Hier gibt es kein Restaurant {id}", unknown_text: "Prüfen Sie die Nummer am Ende der Adresse, oder fragen Sie, wer diesen Bildschirm eingerichtet hat. Vielleicht ist sie vertippt.",
    unused_title: "Restaurant {id} hatte noch keine Bestellung", unused_text: "Prüfen Sie die Nummer am Ende der Adresse. Stimmt sie, ist nichts zu tun: Der Bildschirm startet mit der ersten Bestellung.",
    forbidden_title: "Dieser Bildschirm gehört zu einem anderen Restaurant", forbidden_text: "Er ist gekoppelt, aber nicht für Restaurant {id}. Koppeln Sie ihn neu, um ihn hier zu verwenden.", pair_again: "Neu koppeln",
    away_title: "Keine Verbindung zum Bestellsystem", away_text: "Prüfen Sie das Netz dieses Bildschirms. Er versucht es von selbst wieder, es muss nichts gedrückt werden.",
    busy_title: "Das Bestellsystem ist nicht bereit", busy_text: "Es startet gerade oder hat zu viel zu tun. Der Bildschirm versucht es von selbst wieder.",
  },
  es: {
    up_to_date: "Al día", stale: "Sin actualizar desde las {time}", connecting: "Conectando …",
    never: "Sin conexión con el sistema de pedidos",
    pair_title: "Vincular esta pantalla", pair_text: "Dé este código a un administrador. La pantalla empieza sola en cuanto se introduce.",
    pair_how: "En la página de operaciones o con el comando:", pair_valid: "Este código vale hasta las {time}. Después aparece otro.",
    unknown_title: "Aquí no existe el restaurante {id}", unknown_text: "Compruebe el número al final de la dirección o pregunte a quien instaló esta pantalla. Puede estar mal escrito.",
    unused_title: "El restaurante {id} aún no ha tenido pedidos", unused_text: "Compruebe el número al final de la dirección. Si es correcto, no hay que hacer nada: la pantalla empieza con el primer pedido.",
    forbidden_title: "Esta pantalla es de otro restaurante", forbidden_text: "Está vinculada, pero no al restaurante {id}. Vincúlela de nuevo para usarla aquí.", pair_again: "Vincular de nuevo",
    away_title: "Sin conexión con el sistema de pedidos", away_text: "Compruebe la red de esta pantalla. Lo intenta de nuevo sola; no hay que pulsar nada.",
    busy_title: "El sistema de pedidos no está listo", busy_text: "Está arrancando o tiene demasiado trabajo. La pantalla lo intenta de nuevo sola.",
  },
  fr: {
    up_to_date: "À jour", stale: "Pas à jour depuis {time}", connecting: "Connexion …",
    never: "Pas de liaison avec le système de commandes",
    pair_title: "Associer cet écran", pair_text: "Donnez ce code à un administrateur. L’écran démarre seul dès qu’il est saisi.",
    pair_how: "Sur la page d’exploitation ou avec la commande :", pair_valid: "Ce code est valable jusqu’à {time}. Un autre suivra.",
    unknown_title: "Il n’y a pas de restaurant {id} ici", unknown_text: "Vérifiez le numéro à la fin de l’adresse, ou demandez à la personne qui a installé cet écran. Il est peut-être mal saisi.",
    unused_title: "Le restaurant {id} n’a pas encore eu de commande", unused_text: "Vérifiez le numéro à la fin de l’adresse. S’il est juste, il n’y a rien à faire : l’écran démarre avec la première commande.",
    forbidden_title: "Cet écran est à un autre restaurant", forbidden_text: "Il est associé, mais pas au restaurant {id}. Associez-le de nouveau pour l’utiliser ici.", pair_again: "Associer de nouveau",
    away_title: "Pas de liaison avec le système de commandes", away_text: "Vérifiez le réseau de cet écran. Il réessaie seul, il n’y a rien à presser.",
    busy_title: "Le système de commandes n’est pas prêt", busy_text: "Il démarre ou il est surchargé. L’écran réessaie seul.",
  },
  it: {
    up_to_date: "Aggiornato", stale: "Non aggiornato dalle {time}", connecting: "Connessione …",
    never: "Nessun collegamento con il sistema ordini",
    pair_title: "Associa questo schermo", pair_text: "Dia questo codice a un amministratore. Lo schermo parte da solo appena viene inserito.",
    pair_how: "Nella pagina di gestione o con il comando:", pair_valid: "Questo codice vale fino alle {time}. Poi ne arriva uno nuovo.",
    unknown_title: "Qui non c’è un ristorante {id}", unknown_text: "Controlli il numero alla fine dell’indirizzo o chieda a chi ha installato questo schermo. Forse è scritto male.",
    unused_title: "Il ristorante {id} non ha ancora avuto ordini", unused_text: "Controlli il numero alla fine dell’indirizzo. Se è giusto, non occorre fare nulla: lo schermo parte con il primo ordine.",
    forbidden_title: "Questo schermo è di un altro ristorante", forbidden_text: "È associato, ma non al ristorante {id}. Lo associ di nuovo per usarlo qui.", pair_again: "Associa di nuovo",
    away_title: "Nessun collegamento con il sistema ordini", away_text: "Controlli la rete di questo schermo. Riprova da solo, non occorre premere nulla.",
    busy_title: "Il sistema ordini non è pronto", busy_text: "Si sta avviando o ha troppo lavoro. Lo schermo riprova da solo.",
  },
  tr: {
    up_to_date: "Güncel", stale: "{time} saatinden beri güncel değil", connecting: "Bağlanıyor …",
    never: "Sipariş sistemine bağlı değil",
    pair_title: "Bu ekranı eşleştirin", pair_text: "Bu kodu bir yöneticiye verin. Kod girilince ekran kendiliğinden başlar.",
    pair_how: "İşletim sayfasında veya şu komutla:", pair_valid: "Bu kod {time} saatine kadar geçerli. Sonra yenisi gelir.",
    unknown_title: "Burada {id} numaralı restoran yok", unknown_text: "Adresin sonundaki numarayı kontrol edin veya bu ekranı kuran kişiye sorun. Yanlış yazılmış olabilir.",
    unused_title: "{id} numaralı restoranın henüz siparişi olmadı", unused_text: "Adresin sonundaki numarayı kontrol edin. Doğruysa bir şey yapmak gerekmez: ekran ilk siparişle başlar.",
    forbidden_title: "Bu ekran başka bir restorana ait", forbidden_text: "Eşleştirilmiş, ama {id} numaralı restoran için değil. Burada kullanmak için yeniden eşleştirin.", pair_again: "Yeniden eşleştir",
    away_title: "Sipariş sistemine bağlantı yok", away_text: "Bu ekranın ağını kontrol edin. Kendiliğinden yeniden dener, bir şeye basmak gerekmez.",
    busy_title: "Sipariş sistemi hazır değil", busy_text: "Başlıyor ya da çok yoğun. Ekran kendiliğinden yeniden dener.",
  },
  pt: {
    up_to_date: "Atualizado", stale: "Sem atualização desde as {time}", connecting: "A ligar …",
    never: "Sem ligação ao sistema de pedidos",
    pair_title: "Emparelhar este ecrã", pair_text: "Dê este código a um administrador. O ecrã começa sozinho assim que for introduzido.",
    pair_how: "Na página de operações ou com o comando:", pair_valid: "Este código é válido até às {time}. Depois segue-se outro.",
    unknown_title: "Não existe aqui o restaurante {id}", unknown_text: "Verifique o número no fim do endereço ou pergunte a quem instalou este ecrã. Pode estar mal escrito.",
    unused_title: "O restaurante {id} ainda não teve pedidos", unused_text: "Verifique o número no fim do endereço. Se estiver certo, não é preciso fazer nada: o ecrã começa com o primeiro pedido.",
    forbidden_title: "Este ecrã é de outro restaurante", forbidden_text: "Está emparelhado, mas não com o restaurante {id}. Emparelhe-o de novo para o usar aqui.", pair_again: "Emparelhar de novo",
    away_title: "Sem ligação ao sistema de pedidos", away_text: "Verifique a rede deste ecrã. Tenta de novo sozinho, não é preciso premir nada.",
    busy_title: "O sistema de pedidos não está pronto", busy_text: "Está a arrancar ou tem trabalho a mais. O ecrã tenta de novo sozinho.",
  },
};

/** @type {Record<string, Words>[]} */
const tables = [BOTH];
let chosen = "en";

/** Adds the words of one page. @param {Record<string, Words>} words */
export function addWords(words) {
  tables.push(words);
}

/** The first of these languages that has words, as its tag was given. @param {string[]} tags */
export function known(tags) {
  return tags.find((tag) => BOTH[primary(tag)] !== undefined);
}

/** @param {string} tag */
function primary(tag) {
  return tag.toLowerCase().split("-")[0];
}

/** Makes a language that of the page. @param {string} tag */
export function speak(tag) {
  chosen = tag;
  document.documentElement.lang = tag;
}

export function language() {
  return chosen;
}

/** What the page says. @param {string} key @param {Record<string, string | number>} [values] @param {string} [tag] */
export function say(key, values, tag) {
  const of = primary(tag || chosen);
  const found = tables.map((table) => table[of] && table[of][key]).find(Boolean);
  const text = found || tables.map((table) => table.en[key]).find(Boolean) || key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (values && values[name] !== undefined ? String(values[name]) : whole));
}
