-- Owner: service C (src/services/payment.ts), in a database of its own. One row a payment method.
CREATE TABLE table_c (
  id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id        bigint NOT NULL, -- a user of service A, whose table is elsewhere
  payment_method text NOT NULL,
  saga_id        text NOT NULL UNIQUE
);
CREATE INDEX ON table_c (user_id);
