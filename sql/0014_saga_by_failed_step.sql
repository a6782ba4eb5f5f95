-- Owner: the lists (src/saga/node/saga-list.ts). The list by a step; in the order of saga_by_status, and a status at a time.
-- What is stuck has no index of its own: one over steps and compensations would be written anew with every attempt.
CREATE INDEX saga_by_failed_step ON saga (failed_step, status, (started_at AT TIME ZONE 'UTC') DESC, saga_id DESC)
  WHERE failed_step IS NOT NULL;
