-- Owner: the lists (src/saga/node/saga-list.ts, src/saga/node/saga-log.ts). What they are read by, newest first.
-- What is filtered has an order of its own (UTC, -id). Were it that of the whole list, PostgreSQL would often walk the whole
-- list instead and leave out what does not fit, and read all of it for what has been rare of late.
CREATE INDEX saga_by_status ON saga (status, (started_at AT TIME ZONE 'UTC') DESC, saga_id DESC);
DROP INDEX saga_log_service_id_idx, saga_log_status_id_idx;
CREATE INDEX saga_log_by_service ON saga_log (service, (-id));
CREATE INDEX saga_log_by_status ON saga_log (status, (-id));
CREATE INDEX saga_log_by_service_and_status ON saga_log (service, status, (-id));
-- Most statuses are those of few services: which goes with which, so that rows which are many are not taken for few.
CREATE STATISTICS saga_log_service_with_status ON service, status FROM saga_log;
-- Searches by a prefix, whatever the database's locale. A label may be longer than an index takes.
CREATE INDEX saga_by_id ON saga (saga_id text_pattern_ops);
CREATE INDEX saga_by_label ON saga (lower(left(label, 255) COLLATE "pg_c_utf8") text_pattern_ops);
