import type { LogRow, Saga, SagaCompensation, SagaStep } from './api'
import type { Kind } from './components/shape'

/** How a status is shown: its word and its shape, and with the shape its colour. */
export interface Shown {
  word: string
  kind: Kind
}

const statuses: Record<string, Shown> = {
  RUNNING: { word: 'Running', kind: 'running' },
  COMPLETED: { word: 'Completed', kind: 'good' },
  COMPENSATING: { word: 'Compensating', kind: 'undoing' },
  COMPENSATED: { word: 'Compensated', kind: 'undone' },
  PARTIALLY_COMPENSATED: { word: 'Partially compensated', kind: 'warning' },
  NEEDS_ATTENTION: { word: 'Needs attention', kind: 'warning' },
}

const stepStatuses: Record<string, Shown> = {
  pending: { word: 'pending', kind: 'pending' },
  running: { word: 'running', kind: 'running' },
  succeeded: { word: 'succeeded', kind: 'good' },
  failed: { word: 'failed', kind: 'bad' },
  stuck: { word: 'stuck', kind: 'warning' },
}

const outcomes: Record<string, string> = {
  applied: 'applied',
  rejected: 'rejected',
  unknown: 'outcome unknown',
}

const compensationStatuses: Record<string, Shown> = {
  pending: { word: 'pending', kind: 'pending' },
  running: { word: 'undoing', kind: 'undoing' },
  done: { word: 'undone', kind: 'undone' },
  empty: { word: 'nothing to undo', kind: 'empty' },
  stuck: { word: 'stuck', kind: 'warning' },
  resolved: { word: 'resolved by a person', kind: 'undone' },
  skipped: { word: 'skipped by a person', kind: 'warning' },
}

// A page may be older than its server: a word that it does not know is shown as it is.
const lookUp = (table: Record<string, Shown>, word: string): Shown => table[word] ?? { word, kind: 'note' }

export const shownSaga = ({ status }: Pick<Saga, 'status'>): Shown => lookUp(statuses, status)

/** A step that waits in a saga that does not go forward any more will never be reached. */
export const shownStep = (step: SagaStep, saga: Pick<Saga, 'status'>): Shown =>
  step.status === 'pending' && saga.status !== 'RUNNING'
    ? { word: 'not reached', kind: 'pending' }
    : lookUp(stepStatuses, step.status)

export const shownCompensation = ({ status }: SagaCompensation): Shown => lookUp(compensationStatuses, status)
export const outcomeWord = (outcome: string): string => outcomes[outcome] ?? outcome

const logKinds: Record<string, Kind> = {
  started: 'note',
  completed: 'good',
  compensated: 'undone',
  recovered: 'note',
  success: 'good',
  failed: 'bad',
  stuck: 'warning',
  decision: 'note',
  triggered: 'undoing-began',
  skipped: 'empty',
  verified: 'empty',
  residue: 'warning',
}

export function logKind({ service, status }: LogRow): Kind {
  if (status === 'success' && service.startsWith('COMPENSATE_')) return 'undone'
  return logKinds[status] ?? 'note'
}

/** Where a saga stands, in a sentence or two. */
export function tell({ status, steps, failedStep, error }: Saga): string {
  const cause = failedStep
    ? `Step ${failedStep} failed for good`
    : error?.type === 'Cancelled'
      ? 'It was cancelled'
      : error?.type === 'DeadlineExceeded'
        ? 'Its time was up'
        : error?.type === 'Terminated'
          ? 'Its run was gone'
          : error?.type === 'CompensationRequested'
            ? 'It had completed, and was to be undone after all'
            : 'It can’t go on'
  switch (status) {
    case 'RUNNING': {
      const again = steps.find((step) => step.status === 'running' && step.attempts > 0)
      return again ? `Step ${again.step} failed and is being tried again.` : 'The steps run, one after the other.'
    }
    case 'COMPLETED': {
      const healed = steps.filter((step) => step.attempts > 1).map(({ step }) => step)
      const heal = healed.length > 0 ? ` ${healed.join(' and ')} took more than one attempt.` : ''
      return `Every step took effect.${heal}`
    }
    case 'COMPENSATING':
      return `${cause}, so what was done is being undone, newest first.`
    case 'COMPENSATED':
      if (error?.type === 'InvalidInput') return 'Its input was not right, so nothing ran.'
      return `${cause}. Everything was undone; nothing of it remains.`
    case 'PARTIALLY_COMPENSATED':
      return `${cause}. It was undone except for what a person chose to leave.`
    case 'NEEDS_ATTENTION':
      return 'It can’t go on by itself and waits for a person. What is stuck, and what each choice will do, is below.'
    default:
      return ''
  }
}
