-- Owner: the lists (src/saga/node/saga-list.ts, src/saga/node/saga-log.ts). What they are read by, newest first.
CREATE INDEX saga_by_status ON saga (status, started_at DESC, saga_id DESC);
-- Searches by a prefix, whatever the database's collation. A label may be longer than an index takes, and upper or lower case.
CREATE INDEX saga_by_id ON saga (saga_id text_pattern_ops);
CREATE INDEX saga_by_label ON saga (lower(left(label, 255) COLLATE "pg_c_utf8") text_pattern_ops);
CREATE INDEX ON saga_log (service, status, id);
