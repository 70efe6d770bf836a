// A till in TypeScript. All that it sends and reads has the types that openapi-typescript makes of the document.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };
type Schemas = components["schemas"];

const [url = "", key = ""] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

/** The body of an answer with this status. */
function got<T>(answer: { data?: T; error?: unknown; response: Response }, status: number): T {
  if (answer.data === undefined || answer.response.status !== status) {
    throw new Error(`${answer.response.status}: ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

const restaurant = { restaurant_id: 7 };
const metadata: Schemas["Metadata"] = { loyalty: { points: 12.5, tiers: ["gold", null] }, paid: true };
const details: Schemas["OrderDetails"] = { order_source: "kiosk", customer_name: "Zoë", note: "no onions", metadata };

const made: Schemas["Order"] = got(
  await api.POST("/v1/restaurants/{restaurant_id}/orders", {
    params: { path: restaurant, header: { "Idempotency-Key": "typescript-1", Durability: "ledger" } },
    body: details,
  }),
  201,
);
const order = { internal_order_id: made.internal_order_id };

const changed = got(
  await api.PATCH("/v1/orders/{internal_order_id}", {
    params: { path: order, header: { "If-Match": `"${made.version}"` } },
    body: { status: "preparing", note: null, metadata: { ...metadata, paid: false } },
  }),
  200,
);
const conflict = await api.PATCH("/v1/orders/{internal_order_id}", {
  params: { path: order, header: { "If-Match": `"${made.version}"` } },
  body: { status: "ready" },
});
const refused: Schemas["Code"] | undefined = conflict.error?.code;

const number = got(
  await api.GET("/v1/restaurants/{restaurant_id}/numbers/{number}", {
    params: { path: { ...restaurant, number: made.display_number_formatted ?? "" } },
  }),
  200,
);
const released = got(
  await api.POST("/v1/orders/{internal_order_id}/release", { params: { path: order }, body: { immediate: false } }),
  200,
);
const found = got(
  await api.GET("/v1/restaurants/{restaurant_id}/search", {
    params: { path: restaurant, query: { q: "Zoë", include_completed: true } },
  }),
  200,
);
// With a key of one restaurant the older calls need not name it.
const lookedUp = got(
  await api.GET("/api/orders/lookup", { params: { query: { display_number: made.display_number_formatted ?? "" } } }),
  200,
);

console.log(
  JSON.stringify({ made, changed, refused, state: number.state, released, found: found.orders, looked_up: lookedUp }),
);
