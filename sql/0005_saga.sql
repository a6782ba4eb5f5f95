-- Owner: the saga store (src/saga/node/saga-store.ts). One row a saga: the intent, its fate, and the projection for readers.
CREATE TABLE saga (
  saga_id         text PRIMARY KEY,
  type            text NOT NULL,
  -- Decides, by compare-and-set, how the saga ends; status is what people are shown.
  fate            text NOT NULL DEFAULT 'open' CHECK (fate IN ('open', 'rollback', 'completed', 'rolledBack')),
  status          text NOT NULL DEFAULT 'RUNNING'
    CHECK (status IN ('RUNNING', 'COMPLETED', 'COMPENSATING', 'COMPENSATED', 'PARTIALLY_COMPENSATED', 'NEEDS_ATTENTION')),
  label           text,           -- what a search by name finds
  view            jsonb NOT NULL, -- the input as people may see it, secrets masked
  input           jsonb,          -- the input in full, until the saga ends
  input_hash      text NOT NULL,
  failures        jsonb,          -- failure injection for this saga alone
  idempotency_key text UNIQUE,
  first_run_id    text,           -- null until a worker has opened it
  openings        integer NOT NULL DEFAULT 0,
  claims          integer NOT NULL DEFAULT 0,
  cancel          jsonb,          -- {reason, actor, at}
  steps           jsonb NOT NULL, -- [{step, service, status, outcome, attempts, …}]
  compensations   jsonb NOT NULL DEFAULT '[]',
  result          jsonb,
  failed_step     text,
  error           jsonb,          -- {type, message}
  started_at      timestamptz NOT NULL DEFAULT now(),
  ended_at        timestamptz
) WITH (fillfactor = 70);
CREATE INDEX saga_newest ON saga (started_at DESC, saga_id DESC);
CREATE INDEX saga_unfinished ON saga (started_at) WHERE fate IN ('open', 'rollback');
