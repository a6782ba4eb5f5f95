-- Owner: the saga store (src/saga/node/saga-store.ts). What is secret of a saga, for as long as it can act, and how its row keeps values.
ALTER TABLE saga
  ADD COLUMN secrets jsonb, -- texts that no message may have, encrypted: [{keyId, sealed}, …]; null: none, or its row is older
  -- How `input` is kept. 0: as versions before this one did. 1: {keyId, sealed}, bound to this saga.
  ADD COLUMN sealing smallint NOT NULL DEFAULT 0;

-- Owner: src/saga/node/installation.ts. The key of this installation: made once, here. It hashes and encrypts what must be even
-- where PAYLOAD_KEYS has no key.
CREATE TABLE saga_installation (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  key      bytea NOT NULL CHECK (length(key) = 32)
);
-- 488 random bits of PostgreSQL's strong generator.
INSERT INTO saga_installation (key)
VALUES (sha256(convert_to(concat(gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid()), 'UTF8')));
