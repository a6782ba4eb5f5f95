import { CancellationScope, CancelledFailure } from '@temporalio/workflow'

/** Ends the way forward where somebody cancelled meanwhile. Inside a non-cancellable scope it does nothing. */
export function throwIfCancelled(): void {
  if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('The saga was cancelled')
}
