-- Owner: the barrier (src/saga/node/barrier.ts), in each participant's own database.
-- A row makes one operation of one step happen at most once; it is written in the transaction of the business rows.
CREATE TABLE saga_barrier (
  saga_id    text NOT NULL,
  step       text NOT NULL,
  op         text NOT NULL CHECK (op IN ('invoke', 'compensate')),
  -- 'compensate' in an invoke row: a tombstone, written by a compensation that came first.
  written_by text NOT NULL CHECK (written_by IN ('invoke', 'compensate')),
  input      jsonb,
  result     jsonb,
  verdict    text CHECK (verdict IN ('applied', 'rejected', 'tombstone', 'done', 'empty')),
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (saga_id, step, op)
);
