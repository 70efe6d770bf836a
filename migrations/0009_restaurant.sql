-- The orders of a restaurant by time, with the names of their guests. A search for a part of a name reads the entries of
-- one restaurant, newest first, which lie together; the trigrams that it read before are lists over all restaurants, of
-- which it touched fifty times as many pages, and each new order was added to ten of them. Idempotency keys within their
-- window are the newest of a restaurant, too.
CREATE INDEX orders_by_restaurant ON orders (restaurant_id, internal_order_id) INCLUDE (customer_name_folded);
DROP INDEX orders_by_customer_name;
DROP INDEX orders_by_idempotency_key;
