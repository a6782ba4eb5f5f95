-- Owner: the barrier (src/saga/node/barrier.ts), in each participant's own database.
-- How many decisions the step had had when a refusal was kept: behind a newer one the participant is asked again.
ALTER TABLE saga_barrier ADD COLUMN decisions integer NOT NULL DEFAULT 0;
