-- Owner: service C (src/services/payment.ts). One row a payment method.
CREATE TABLE table_c (
  id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id        bigint NOT NULL REFERENCES table_a (id),
  payment_method text NOT NULL,
  saga_id        text NOT NULL UNIQUE
);
CREATE INDEX ON table_c (user_id);
