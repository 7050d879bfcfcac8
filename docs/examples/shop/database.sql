-- The two users of a rotation plan, and the role that has their rights.
CREATE TABLE orders (number bigint NOT NULL, placed_at timestamptz NOT NULL DEFAULT now());
CREATE ROLE shop;
GRANT INSERT, SELECT ON orders TO shop;
-- Valid until the first rotation.
CREATE ROLE shop_a LOGIN PASSWORD 'first' IN ROLE shop;
CREATE ROLE shop_b LOGIN IN ROLE shop;
