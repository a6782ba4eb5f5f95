import type { Saga } from './api'

interface Trouble {
  /** "Undo of B stuck", "C failed". */
  words: string
  step?: string
  isStuck: boolean
  errorType?: string | undefined
}

/** What stands in a saga's way, or ended it; undefined where nothing does. */
export function troubleOf({ status, steps, compensations, failedStep, error }: Saga): Trouble | undefined {
  if (status === 'NEEDS_ATTENTION') {
    const undo = compensations.find((one) => one.status === 'stuck')
    if (undo)
      return { words: `Undo of ${undo.step} stuck`, step: undo.step, isStuck: true, errorType: undo.error?.type }
    const step = steps.find((one) => one.status === 'stuck')
    if (step) return { words: `${step.step} stuck`, step: step.step, isStuck: true, errorType: step.error?.type }
  }
  if (failedStep !== undefined) {
    return { words: `${failedStep} failed`, step: failedStep, isStuck: false, errorType: error?.type }
  }
  return error && { words: '', isStuck: false, errorType: error.type }
}
