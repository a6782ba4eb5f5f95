/** The engine's own workflows. Every module of sagas has them beside its own: `export * from './saga/workflow/engine.js'`. */
export { recoverSaga } from './recover-saga.js'
export { bulkLane, sagaBulk } from './saga-bulk.js'
export { sagaDecisions } from './saga-decisions.js'
export { sagaGroup } from './saga-group.js'
export { sagaSweep } from './saga-sweep.js'
