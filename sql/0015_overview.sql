-- Owner: the overview (src/saga/node/saga-overview.ts). What ended, and what waited for a person, in the last minutes or hours.
CREATE INDEX saga_by_end ON saga (ended_at) INCLUDE (started_at, status) WHERE ended_at IS NOT NULL AND parent_id IS NULL;
-- The rows that begin and end a wait: few beside all those of attempts.
CREATE INDEX saga_log_of_waits ON saga_log (created_at) INCLUDE (saga_id) WHERE status IN ('stuck', 'decision', 'recovered');
