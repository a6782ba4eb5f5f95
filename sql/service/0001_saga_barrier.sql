-- Owner: the barrier (src/saga/node/barrier.ts), in the own database of every service.
-- What 0004 and 0008 of the shared database make.
CREATE TABLE saga_barrier (
  saga_id    text NOT NULL,
  step       text NOT NULL,
  op         text NOT NULL CHECK (op IN ('invoke', 'compensate')),
  -- 'compensate' in an invoke row: a tombstone, written by a compensation that came first.
  written_by text NOT NULL CHECK (written_by IN ('invoke', 'compensate')),
  input      jsonb,
  result     jsonb,
  verdict    text CHECK (verdict IN ('applied', 'rejected', 'tombstone', 'done', 'empty')),
  -- How many decisions the step had had when a refusal was kept: behind a newer one the participant is asked again.
  decisions  integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (saga_id, step, op)
);
