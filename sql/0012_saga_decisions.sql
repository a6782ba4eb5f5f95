-- Owner: decisions on many sagas (src/saga/node/saga-decisions.ts). A call, and the sagas that it matched when it was made.
CREATE TABLE saga_decisions (
  decisions_id        text PRIMARY KEY,
  task_queue          text NOT NULL,    -- whose workers carry it out
  step                text NOT NULL,
  error_type          text,
  action              text NOT NULL CHECK (action IN ('retry', 'resolve', 'skip')),
  reason              text NOT NULL,    -- with no secret of the sagas in it
  actor               text NOT NULL,
  per_second          integer NOT NULL,
  stop_after_failures integer NOT NULL,
  matching            integer NOT NULL,
  decided             integer NOT NULL DEFAULT 0,
  failed              integer NOT NULL DEFAULT 0,
  status              text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'stopped')),
  stopped_because     text,
  next_at             timestamptz NOT NULL DEFAULT now(), -- no decision before: the rate, whoever works on it
  started_at          timestamptz NOT NULL DEFAULT now(),
  ended_at            timestamptz
) WITH (fillfactor = 70);
CREATE INDEX saga_decisions_running ON saga_decisions (started_at) WHERE status = 'running';

CREATE TABLE saga_decisions_saga (
  decisions_id text NOT NULL REFERENCES saga_decisions,
  position     integer NOT NULL,
  saga_id      text NOT NULL,
  decisions    integer NOT NULL,  -- how many the step had had: with a later one it waits for another reason
  outcome      text CHECK (outcome IN ('decided', 'failed')),
  message      text,              -- why it failed
  PRIMARY KEY (decisions_id, position)
) WITH (fillfactor = 70);
CREATE INDEX saga_decisions_failed ON saga_decisions_saga (decisions_id, position) WHERE outcome = 'failed';
