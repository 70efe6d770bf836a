-- Who had a number at an instant, or has it last, is the newest to whom it was given by then: each month's index gives its
-- newest at once. Rows from before given_at count by when they were made, as imports of the past do.
CREATE INDEX orders_by_holder ON orders
    (restaurant_id, display_order_number, (coalesce(given_at, created_at)) DESC, internal_order_id DESC);
