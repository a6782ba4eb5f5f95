import { log, proxyActivities, proxyLocalActivities } from '@temporalio/workflow'
import type { SampleActivities, SampleRequest } from './sample.js'

/**
 * createUserSaga as Temporal's own TypeScript sample would write it: regular activities under a retry policy, each undo
 * put first on a list once its action has succeeded, and the list run through when one has failed. Returns how it ended.
 */
export async function sampleSaga(request: SampleRequest): Promise<'COMPLETED' | 'COMPENSATED'> {
  const { username, address, payment, refuse } = request
  const activities = proxyActivities<SampleActivities>({
    startToCloseTimeout: '5s',
    retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumAttempts: 3 },
  })
  const compensations: (() => Promise<void>)[] = []
  try {
    const { userId } = await activities.createUser({ username })
    compensations.unshift(() => activities.deleteUser())
    await activities.createAddress({ userId, address })
    compensations.unshift(() => activities.deleteAddress())
    await activities.createPayment({ userId, payment, refuse })
    return 'COMPLETED'
  } catch {
    for (const compensate of compensations) {
      try {
        await compensate()
      } catch (error) {
        log.error('A compensation failed', { error })
      }
    }
    return 'COMPENSATED'
  }
}

/** What a saga costs that does nothing: so many local activities in turn, each given and giving what a step's is. */
export async function bareSaga(localActivities: number): Promise<void> {
  const { nothing } = proxyLocalActivities<SampleActivities>({ startToCloseTimeout: '5s' })
  for (let left = localActivities - 1; left >= 0; left--) {
    await nothing({ left, step: 'B', op: 'invoke', input: { userId: '1', address: '1 Long Street, Springfield' } })
  }
}
