-- Owner: the saga store (src/saga/node/saga-store.ts). A saga that is a step of another one.
ALTER TABLE saga
  ADD COLUMN parent_id      text,        -- the saga that it is a step of
  ADD COLUMN parent_step    text,
  ADD COLUMN handed_over_at timestamptz; -- it is done, and its parent decides whether that stays
CREATE INDEX saga_nested ON saga (parent_id) WHERE parent_id IS NOT NULL;
