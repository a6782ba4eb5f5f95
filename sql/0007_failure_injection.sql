-- Owner: failure injection (src/saga/node/failure-injection.ts): what is in force, and how often each operation was called.
CREATE TABLE failure_injection (
  only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  failures   jsonb NOT NULL,
  -- Part of the counters' scope, so that a new setting starts them anew.
  generation bigint NOT NULL DEFAULT 1
);
-- The teaching demo: A fails every second call before its transaction, B every second call after its commit.
INSERT INTO failure_injection (failures) VALUES
  ('{"A": [{"mode": "alternate", "when": "before", "kind": "error", "on": "invoke"}],
     "B": [{"mode": "alternate", "when": "after", "kind": "error", "on": "invoke"}],
     "C": [{"mode": "none", "when": "before", "kind": "error", "on": "invoke"}]}');

CREATE TABLE failure_call (
  scope text NOT NULL,
  step  text NOT NULL,
  op    text NOT NULL,
  calls bigint NOT NULL,
  PRIMARY KEY (scope, step, op)
);
