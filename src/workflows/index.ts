/** The workflow bundle: every workflow type that the worker serves, under the name it is exported by. */
export { createUserSaga } from './create-user.js'
export * from '../saga/workflow/engine.js'
