-- What search needs: each index begins with the restaurant and leaves out orders that have nothing to find. Case is
-- folded for ASCII only where codes are compared ("C" lower), which means the same on every server.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
-- Lets the name index begin with the restaurant.
CREATE EXTENSION IF NOT EXISTS btree_gin;

CREATE INDEX orders_by_external_id ON orders (restaurant_id, lower(external_id COLLATE "C"), internal_order_id)
    WHERE external_id IS NOT NULL;
CREATE INDEX orders_by_table ON orders (restaurant_id, lower(table_number COLLATE "C"), internal_order_id)
    WHERE table_number IS NOT NULL;
-- Order numbers of our own are found through their number.
CREATE INDEX orders_by_given_number ON orders (restaurant_id, lower(order_number COLLATE "C"), internal_order_id)
    WHERE order_number_given;
CREATE INDEX orders_by_customer_name ON orders USING gin (restaurant_id, customer_name_folded gin_trgm_ops)
    WHERE customer_name_folded IS NOT NULL;
