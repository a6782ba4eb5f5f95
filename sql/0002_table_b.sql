-- Owner: service B (src/services/address.ts). One row an address.
CREATE TABLE table_b (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id bigint NOT NULL REFERENCES table_a (id),
  address text NOT NULL,
  saga_id text NOT NULL UNIQUE
);
CREATE INDEX ON table_b (user_id);
