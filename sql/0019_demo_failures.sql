-- Owner: the demo (src/workflows/create-user.ts). A fails every second call before its transaction, B every second call after its commit.
-- Only in a new installation: generation 1 is what 0007 has written, and each change since has made a higher one of it.
UPDATE failure_injection SET failures =
  '{"A": [{"mode": "alternate", "when": "before", "kind": "error", "on": "invoke"}],
    "B": [{"mode": "alternate", "when": "after", "kind": "error", "on": "invoke"}],
    "C": [{"mode": "none", "when": "before", "kind": "error", "on": "invoke"}]}'
  WHERE generation = 1 AND failures = '{}';
