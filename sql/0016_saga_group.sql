-- Owner: the saga store (src/saga/node/saga-store.ts). The workflow that carries the saga, where that is not one of its own.
ALTER TABLE saga ADD COLUMN carried_by text;
