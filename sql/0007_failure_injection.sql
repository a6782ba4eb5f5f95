-- Owner: failure injection (src/saga/node/failure-injection.ts): what is in force, and how often each operation was called.
CREATE TABLE failure_injection (
  only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  failures   jsonb NOT NULL,
  -- Part of the counters' scope, so that a new setting starts them anew.
  generation bigint NOT NULL DEFAULT 1
);
-- Nothing fails on purpose until somebody says so.
INSERT INTO failure_injection (failures) VALUES ('{}');

CREATE TABLE failure_call (
  scope text NOT NULL,
  step  text NOT NULL,
  op    text NOT NULL,
  calls bigint NOT NULL,
  PRIMARY KEY (scope, step, op)
);
