/** The workflow bundle: every workflow type that the worker serves, under the name it is exported by. */
export { createUserSaga } from './create-user.js'
export { recoverSaga } from '../saga/workflow/recover-saga.js'
export { sagaGroup } from '../saga/workflow/saga-group.js'
export { bulkLane, sagaBulk } from '../saga/workflow/saga-bulk.js'
export { sagaDecisions } from '../saga/workflow/saga-decisions.js'
export { sagaSweep } from '../saga/workflow/saga-sweep.js'
