-- Owner: the saga log (src/saga/node/saga-log.ts). Only ever appended to.
CREATE TABLE saga_log (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  saga_id    text NOT NULL,
  service    text NOT NULL,
  status     text NOT NULL,
  message    text NOT NULL,
  attempt    integer,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- One per attempt made by a worker: a write whose answer was lost is repeated without a second row.
  entry_id   uuid UNIQUE
);
CREATE INDEX ON saga_log (saga_id, id);
CREATE INDEX ON saga_log (service, id);
CREATE INDEX ON saga_log (status, id);

CREATE FUNCTION saga_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'saga_log is only ever appended to';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON saga_log
  FOR EACH STATEMENT EXECUTE FUNCTION saga_log_is_append_only();
