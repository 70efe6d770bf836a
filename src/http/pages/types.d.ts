// The shapes that the modules of the pages share, for `make lint-pages`. Nothing of this reaches a browser.

type Status = "pending" | "preparing" | "ready" | "served" | "held" | "completed" | "cancelled" | "expired";

interface Item {
  name: string;
  quantity: number;
  note: string | null;
  station: string | null;
}

/** What the pages read of an order; a key of role `screen` sees null in the fields that may be null. */
interface Order {
  internal_order_id: string;
  display_order_number: number | null;
  display_number_formatted: string | null;
  status: Status;
  order_type: string | null;
  order_source: string | null;
  table_number: string | number | null;
  customer_name: string | null;
  note: string | null;
  items: Item[] | null;
  created_at: string;
  updated_at: string;
  reopened_at: string | null;
  version: number;
  call_count: number;
  last_called_at: string | null;
}

interface Restaurant {
  id: number;
  /** Whether it has settings of its own, as each has from its first order on. */
  configured: boolean;
  name: string | null;
  languages: string[];
  accent_colour: string | null;
  background_colour: string | null;
  max_calls: number;
  time_zone: string;
}

interface Snapshot {
  restaurant: Restaurant;
  at: string;
  orders: Order[];
}

/** How a page stands with the daemon. */
type Link =
  | { is: "connecting" | "live" | "away" | "busy" | "unknown" | "forbidden" | "unused" }
  | { is: "pairing"; code: string; expires_at: string };

/** One event of the feed, as it came or as the leading tab handed it on. */
interface FeedEvent {
  name: "snapshot" | "order" | "call" | "heartbeat" | "settings" | "reset";
  id: string;
  data: any;
  /** How long ago something was heard, where a tab tells another what it knows; in milliseconds. */
  ago?: number;
}

interface Call {
  order: Order;
  place: string | null;
}

/** A bump that is on its way, or waits for the network. */
interface Bump {
  id: string;
  number: string;
  from: Status;
  to: Status;
  version: number;
  waits: boolean;
  /** Whether only the status is to change, without a call. */
  plain?: boolean;
}

interface LockManager {
  request(name: string, options: { ifAvailable?: boolean }, work: (lock: unknown) => Promise<unknown> | undefined): Promise<unknown>;
}

interface Words {
  [key: string]: string;
}
