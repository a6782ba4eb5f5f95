-- The own database of this service: its barrier, and its table.
CREATE TABLE IF NOT EXISTS saga_barrier (
  saga_id    text NOT NULL,
  step       text NOT NULL,
  op         text NOT NULL CHECK (op IN ('invoke', 'compensate')),
  input      jsonb,
  result     jsonb,
  verdict    text CHECK (verdict IN ('applied', 'rejected', 'tombstone', 'done', 'empty', 'forbidden')),
  -- How many decisions the step had had when a refusal was kept.
  decisions  integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (saga_id, step, op)
);

CREATE TABLE IF NOT EXISTS payment_method (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id bigint NOT NULL,
  method  text NOT NULL,
  saga_id text NOT NULL UNIQUE
);
