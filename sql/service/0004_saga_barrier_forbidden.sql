-- Owner: the barrier (src/saga/node/barrier.ts), in the own database of every service.
-- What 0017 of the shared database makes.
-- 'forbidden', of a compensation: an operator has had the last word on the step, so a compensation that comes late is not run.
ALTER TABLE saga_barrier
  DROP CONSTRAINT saga_barrier_verdict_check,
  -- NOT VALID: the rows there are hold to less, and a big table is not read under its lock.
  ADD CONSTRAINT saga_barrier_verdict_check
    CHECK (verdict IN ('applied', 'rejected', 'tombstone', 'done', 'empty', 'forbidden')) NOT VALID;
