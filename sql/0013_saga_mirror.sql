-- Owner: the mirror (src/saga/node/mirror.ts). When the log was last held against Temporal's history.
ALTER TABLE saga ADD COLUMN mirrored_at timestamptz;
-- Only a saga that took its time can have lost a worker.
CREATE INDEX saga_to_mirror ON saga (ended_at) 
  WHERE (mirrored_at IS NULL OR mirrored_at < ended_at) AND ended_at - started_at > interval '3 s';
