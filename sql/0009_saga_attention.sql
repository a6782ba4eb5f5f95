-- Owner: the saga store (src/saga/node/saga-store.ts). What the sweep, parking and decisions need to know of a saga.
ALTER TABLE saga
  ADD COLUMN stopping    jsonb,       -- {failedStep, error}: why it would roll back, while its pivot can't be settled
  ADD COLUMN decided_at  timestamptz, -- a decision that no run has acted on yet
  ADD COLUMN progress_at timestamptz NOT NULL DEFAULT now(),
  ADD COLUMN looked_at   timestamptz; -- when the sweep last looked at its run
