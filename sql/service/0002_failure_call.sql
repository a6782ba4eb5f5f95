-- Owner: failure injection (src/saga/node/failure-injection.ts), in the own database of every service: how often each
-- operation was called. What is to fail comes with the calls.
CREATE TABLE failure_call (
  scope text NOT NULL,
  step  text NOT NULL,
  op    text NOT NULL,
  calls bigint NOT NULL,
  PRIMARY KEY (scope, step, op)
);
