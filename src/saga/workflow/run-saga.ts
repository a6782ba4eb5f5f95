import {
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  ContinueAsNew,
  DeterminismViolationError,
  TemporalFailure,
  continueAsNew,
  sleep,
  workflowInfo,
} from '@temporalio/workflow'
import { FailureType, applicationFailureOf, deadlineExceeded, sagaCompensated, toSagaError } from '../errors.js'
import { depthProblemOf } from '../exact-json.js'
import type {
  CompletionClaim,
  DecidedStep,
  Ending,
  Json,
  Nesting,
  Opening,
  RunSettings,
  StepDeclarations,
} from '../types.js'
import { Attention, SagaEnded } from './attention.js'
import { Caller, local, store } from './calls.js'
import type { SagaBody } from './define-saga.js'
import { rollBack } from './roll-back.js'
import type { Run } from './run.js'
import { SagaState } from './saga-state.js'
import { Stop } from './stop.js'
import { WayForward } from './way-forward.js'

export interface SagaDefinition<Steps extends StepDeclarations, Input, Result> {
  type: string
  steps: Steps
  body: SagaBody<Steps, Input, Result>
}

/**
 * One saga from its opening to its end: opens it by its row, runs its code, completes it, or compensates every declared
 * step in reverse. Returns the result of a completed saga. Throws `SagaCompensated` for a rolled back one, the
 * cancellation for a cancelled one once it is compensated, `InvalidInput` or `SagaIdTaken` where nothing ran.
 */
export async function runSaga<Steps extends StepDeclarations, Input, Result>(
  saga: SagaDefinition<Steps, Input, Result>,
  input: Input,
): Promise<Result> {
  const next = () => continueAsNew(input)
  const result = await withAttention(next, async (around) => {
    const { state, attention } = around
    const opening = await open(saga, input)
    state.see(opening.view, opening.go === 'ended' ? {} : opening.inputs)
    if (opening.go === 'ended') return opening.ending
    const run = makeRun(saga.steps, opening, around)
    await attention.show()
    if (opening.settings.version === 2) await local.handIn(opening)
    return follow(saga, run, opening, around)
  })
  return result as Result
}

/** Goes on as the opening says, to the saga's end. Throws SagaEnded. */
export function follow<Steps extends StepDeclarations, Input, Result>(
  saga: SagaDefinition<Steps, Input, Result>,
  run: Run,
  opening: Exclude<Opening, { go: 'ended' }>,
  on: Course,
): Promise<Ending> {
  if (opening.go === 'forward') return goForward(saga.body, run, opening, on)
  on.state.follow(saga.steps)
  return rollBack(run, { ...opening, reached: [], isDecided: opening.isClaimed, state: on.state })
}

/** What goes along with a run to its end. */
interface Course {
  state: SagaState
  /** Stopped by a cancel of the saga. */
  cancel: Stop
}

/** What a run works in. */
interface Around extends Course {
  attention: Attention
  /** Begins the saga anew, in a next run. */
  again: () => Promise<never>
}

/**
 * What every run of a saga has around it: who asks or decides is heard from its first moment on, nothing cancels it but
 * where it listens, and it closes as the saga has ended.
 */
export async function withAttention(
  next: () => Promise<never>,
  work: (around: Around) => Promise<Ending>,
): Promise<Json> {
  const sagaScope = CancellationScope.current()
  const cancel = new Stop()
  sagaScope.cancelRequested.catch(() => cancel.stop())
  const state = new SagaState()
  const again = async () => {
    await attention.end()
    return next()
  }
  const attention = new Attention(state, again)
  attention.listen()
  const ending = await CancellationScope.nonCancellable(async () => {
    try {
      return await work({ state, attention, again, cancel })
    } catch (error) {
      if (error instanceof SagaEnded) return error.ending
      throw toClosing(error)
    }
  })
  await CancellationScope.nonCancellable(() => attention.end())
  if (ending.fate === 'completed') return ending.result
  // Canceled in Temporal only where this very run was cancelled; that closing carries no details.
  const { error } = ending.cause
  if (error.type === FailureType.Cancelled && sagaScope.consideredCancelled) throw new CancelledFailure(error.message)
  throw sagaCompensated(workflowInfo().workflowId, ending)
}

/** A plain Error that left the workflow would repeat its task for ever. As a failed run the sweep takes the saga up again. */
function toClosing(error: unknown): unknown {
  if (error instanceof ContinueAsNew) return error
  // A refusal itself closes the run, not the activity's wrapping of it.
  const failure = applicationFailureOf(error)
  if (failure || error instanceof TemporalFailure) return failure ?? error
  // Fails the workflow task and not the saga, which goes on with code that agrees with its history.
  if (error instanceof DeterminismViolationError) return error
  const { type, message } = toSagaError(error)
  return ApplicationFailure.create({ type, message, nonRetryable: true })
}

export function makeRun(
  steps: StepDeclarations,
  { settings, decided = [] }: { settings: RunSettings; decided?: DecidedStep[] },
  { state, attention, again }: Around,
): Run {
  const { workflowId: sagaId } = workflowInfo()
  const caller = new Caller(sagaId, settings, (changed) => state.change(changed))
  attention.follow(settings)
  for (const { step, decisions } of decided) attention.know(step, decisions)
  const known = new Map(decided.map((one) => [one.step, one]))
  return { sagaId, steps, store, caller, people: attention, sleep, alarm, again, decided: known }
}

function alarm(ms: number, ring: () => void): () => void {
  const clock = new CancellationScope()
  clock.run(() => sleep(ms)).then(ring, () => {})
  return () => clock.cancel()
}

function open(saga: { type: string; steps: StepDeclarations }, input: unknown): Promise<Opening> {
  const { firstExecutionRunId: firstRunId, memo } = workflowInfo()
  const nestedIn = memo?.['nestedIn'] as Nesting | undefined
  // Written as JSON it would overflow the stack, and take the worker along.
  const problem = depthProblemOf(input)
  const sent = problem ? { input: null, problem } : { input: (input ?? null) as Json }
  const order = { type: saga.type, steps: saga.steps, ...sent, firstRunId }
  return store.openSaga({ ...order, ...(nestedIn && { nestedIn }) })
}

async function goForward<Steps extends StepDeclarations, Input, Result>(
  body: SagaBody<Steps, Input, Result>,
  run: Run,
  opening: Opening & { go: 'forward' },
  { state, cancel }: Course,
): Promise<Ending> {
  const code = opening.decided.find(({ at }) => at === 'code')
  if (code) {
    const isResolved = code.isStuck
      ? (await run.people.wait({ step: code.step, at: 'code', error: null })).action === 'resolve'
      : code.isResolved
    if (isResolved) {
      const claim = await complete(run, null, state)
      // Past the point of no return nobody else can have claimed a rollback.
      if (claim.go === 'ended') return claim.ending
    }
  }

  const way = new WayForward(run, opening, Date.now() + opening.leftMs)
  state.follow(run.steps, way.stack)
  cancel.onStop(() => way.stop(cancelled))
  const inTime = run.alarm(opening.leftMs, () => way.stop(deadlineExceeded(opening.settings)))
  const following = way.follow(body, opening.input as Input)
  const { disagreement } = run.caller
  const end = await (disagreement ? Promise.race([following, disagreement]) : following)
  inTime()

  if (end.kind === 'bug') {
    // In a new run: the code is put right meanwhile, and need not agree with what this run has recorded.
    const decisions = run.people.known(end.step)
    const parking = await run.store.parkSaga({ step: end.step, at: 'code', error: end.error, decisions })
    return parking.go === 'ended' ? parking.ending : run.again()
  }
  let stopped = end.kind === 'stopped' ? end.cause : undefined
  if (end.kind === 'result') {
    const claim = await complete(run, end.result, state)
    if (claim.go === 'ended') return claim.ending
    stopped = claim.cause
  }
  const { settings } = opening
  return rollBack(run, {
    cause: stopped ?? cancelled,
    reached: way.stack.reached,
    isDecided: way.isPivotSettled,
    settings,
    state,
  })
}

async function complete({ store }: Run, result: Json, state: SagaState): Promise<CompletionClaim> {
  const claim = await store.completeSaga({ result })
  if (claim.go === 'ended') state.end(claim)
  return claim
}

const cancelled = { failedStep: null, error: { type: FailureType.Cancelled, message: 'cancelled' } }
