import type { Json, Plan, SagaView, StepDeclarations, StepView } from './types.js'

/**
 * What a rollback would do now: the compensations that are left, or, while the saga goes forward, those of the steps that
 * were reached, newest first. Empty once the saga has ended or its pivot is applied. `inputs` is what each step was given,
 * secrets masked; `reached`, newest first, is what the run knows better than its row.
 */
export function planOf(
  { status, steps, compensations }: Pick<SagaView, 'status' | 'steps' | 'compensations'>,
  declared: StepDeclarations,
  inputs: Record<string, Json | undefined>,
  reached: string[] = [],
): Plan {
  const isPast = steps.some(
    ({ step, status, outcome }) =>
      declared[step]?.kind === 'pivot' && (status === 'succeeded' || outcome === 'applied'),
  )
  const isOver = status === 'COMPLETED' || status === 'COMPENSATED' || status === 'PARTIALLY_COMPENSATED'
  if (isPast || isOver) return { steps: [] }
  const isRollingBack = status === 'COMPENSATING' || compensations.some((one) => one.status === 'stuck')
  const settled = new Set(compensations.filter((one) => !isDue(one)).map(({ step }) => step))
  // As the claim has it: what a lost run has reached and this one has not comes first.
  const lost = lastCalledFirst(steps.filter(({ status }) => status !== 'pending'))
    .map(({ step }) => step)
    .filter((step) => !reached.includes(step))
  const order = isRollingBack ? compensations.filter(isDue).map(({ step }) => step) : [...lost, ...reached]
  return {
    steps: order
      .filter((step) => declared[step]?.kind === 'compensatable' && !settled.has(step))
      .map((step) => ({
        step,
        service: declared[step]?.service ?? step,
        action: 'compensate',
        input: inputs[step] ?? null,
      })),
  }
}

/** The id of the nested saga that a step is. */
export function nestedId(sagaId: string, step: string): string {
  return `${sagaId}.${step}`
}

/** Whether a compensation is still to be done. */
export function isDue({ status }: { status: string }): boolean {
  return status === 'pending' || status === 'running' || status === 'stuck'
}

/** The fields of a saga's result that stand beside its own; a result that is no object has none. */
export function fieldsOf(result: Json): Record<string, Json> {
  return typeof result === 'object' && result !== null && !Array.isArray(result) ? result : {}
}

/**
 * Steps in the reverse order of their calls, by the start of their first attempt; steps of one instant in the reverse of their
 * declared order. An attempt that no row tells of was killed with its process, so its step was called last.
 */
export function lastCalledFirst<S extends Pick<StepView, 'startedAt'>>(steps: S[]): S[] {
  const at = ({ startedAt }: S) => (startedAt === undefined ? Infinity : Date.parse(startedAt))
  return steps.toReversed().toSorted((a, b) => (at(a) === at(b) ? 0 : at(b) - at(a)))
}
