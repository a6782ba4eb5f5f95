-- Owner: service B (src/services/address.ts), in a database of its own. One row an address.
CREATE TABLE table_b (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id bigint NOT NULL, -- a user of service A, whose table is elsewhere
  address text NOT NULL,
  saga_id text NOT NULL UNIQUE
);
CREATE INDEX ON table_b (user_id);
