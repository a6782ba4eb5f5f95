/**
 * Why a part could not be started, as one sentence for the person at the terminal. `detail`, where there is one, is
 * shown below it: the last lines of the part's log, or what was tried.
 */
export class StartError extends Error {
  constructor(
    message: string,
    readonly detail?: string,
  ) {
    super(message)
  }
}
