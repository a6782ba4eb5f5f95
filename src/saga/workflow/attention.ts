import {
  CancellationScope,
  allHandlersFinished,
  condition,
  defineQuery,
  defineUpdate,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow'
import { defineSearchAttributeKey } from '@temporalio/common'
import { applicationFailureOf, decisionRefused } from '../errors.js'
import type { Ending, ParkOrder, Plan, RecordedDecision, RunSettings, SagaView, ToldDecision } from '../types.js'
import { desk, store } from './calls.js'
import { checkDecision, trimmedDecision } from './check-decision.js'
import type { SagaState } from './saga-state.js'

/** The whole saga; the fields of its result stand beside the others. */
export const stateQuery = defineQuery<SagaView | null>('state')
/** What a rollback would do now. */
export const planQuery = defineQuery<Plan>('plan')
/** A person's word on what is stuck. Answers with the saga once the decision is in PostgreSQL. */
export const decideUpdate = defineUpdate<SagaView, [ToldDecision]>('decide')

const sagaStatus = defineSearchAttributeKey('SagaStatus', 'KEYWORD')

/** A waiting run begins anew behind so many events: some fifty decisions and more. */
const LONG_HISTORY = 500

/** The saga turned out to have ended: whoever works on it stops. */
export class SagaEnded extends Error {
  constructor(readonly ending: Ending) {
    super('The saga has ended')
  }
}

/** What a run is to do with what was stuck. */
type Word = Pick<RecordedDecision, 'action' | 'input'>

/** What a run has to do with people: it answers their questions, and where it can't go on it waits for their word. */
export class Attention {
  readonly #awaited = new Set<string>()
  /** Heard of, by step. */
  readonly #decisions = new Map<string, RecordedDecision>()
  /** Acted on, by step. */
  readonly #known = new Map<string, number>()
  /** The namespace has the search attribute, and this saga has used it, in this run or in one before. */
  #isShown = workflowInfo().typedSearchAttributes.get(sagaStatus) !== undefined
  /** Asks each time whether the namespace still has it. */
  #isAsking = false

  constructor(
    private readonly state: SagaState,
    /** Begins a run anew from the saga's row. */
    private readonly again: () => Promise<never>,
  ) {}

  /** Behaves as the run's opening says. */
  follow({ version }: Pick<RunSettings, 'version'>): void {
    this.#isAsking = version === 2
  }

  /** To be called before the run's first await, or a decision might find nobody. */
  listen(): void {
    setHandler(stateQuery, () => this.state.view ?? null)
    setHandler(planQuery, () => this.state.plan)
    setHandler(decideUpdate, (decision) => CancellationScope.nonCancellable(() => this.#take(decision)), {
      validator: (decision) => this.#check(decision),
    })
  }

  /** Decisions on a step that an earlier run has acted on, or that are in its row. */
  know(step: string, decisions: number): void {
    this.#known.set(step, decisions)
  }

  /** How many decisions on a step this run knows of. */
  known(step: string): number {
    return this.#known.get(step) ?? 0
  }

  /**
   * Parks the saga until a person has decided on what is stuck. Where the run's history has grown long meanwhile it goes on
   * in a new run, which the saga's row leads back here. Throws SagaEnded.
   */
  async wait(order: Omit<ParkOrder, 'decisions'>): Promise<Word> {
    const { step } = order
    // Before the row says so: somebody may read it there, and decide at once.
    this.#awaited.add(step)
    const decision = await CancellationScope.nonCancellable(async () => {
      const made = await this.#parked(order)
      // From here on it is in this run's history; until then the sweep repeats it.
      if (made) this.state.see((await store.takeDecision({ step, number: made.number })).view)
      return made
    })
    this.#awaited.delete(step)
    if (decision) this.know(step, decision.number)
    await this.show()
    return decision ?? { action: 'retry' }
  }

  async #parked(order: Omit<ParkOrder, 'decisions'>): Promise<RecordedDecision | undefined> {
    const { step } = order
    const parked = await store.parkSaga({ ...order, decisions: this.known(step) })
    this.state.see(parked.view)
    if (parked.go === 'ended') throw new SagaEnded(parked.ending)
    if (parked.go === 'again') return undefined
    if (parked.go === 'on') return parked.decision
    this.#isShown ||= parked.hasSagaStatus
    await this.show()
    const next = () => {
      const decision = this.#decisions.get(step)
      return decision && decision.number > this.known(step) ? decision : undefined
    }
    const isLong = () => {
      const { historyLength, continueAsNewSuggested } = workflowInfo()
      return historyLength >= LONG_HISTORY || continueAsNewSuggested
    }
    await condition(() => next() !== undefined || (isLong() && allHandlersFinished()))
    return next() ?? this.again()
  }

  /** Answers every decision that has reached this run. Awaited before it closes. */
  async end(): Promise<void> {
    await this.show()
    await condition(allHandlersFinished)
  }

  /** Synchronous, before the update is accepted: what is refused here leaves no trace. */
  #check(given: unknown): void {
    checkDecision(given)
    const decision = trimmedDecision(given)
    const { view } = this.state
    const known = this.#decisions.get(decision.step)
    const { action, actor, reason, number } = decision
    const isRepeated =
      number !== undefined || (known?.action === action && known.actor === actor && known.reason === reason)
    const isStuck = [...(view?.steps ?? []), ...(view?.compensations ?? [])].some(
      ({ step, status }) => step === decision.step && status === 'stuck',
    )
    // Until the run is open only the row knows what waits.
    if (view && !isStuck && !this.#awaited.has(decision.step) && !isRepeated) {
      throw decisionRefused(
        `Saga ${view.sagaId} is ${view.status} and does not wait for a decision on ${decision.step}.`,
      )
    }
  }

  async #take(given: ToldDecision): Promise<SagaView> {
    const decision = trimmedDecision(given)
    try {
      const recorded = await desk.recordDecision(decision)
      this.#decisions.set(decision.step, recorded.decision)
      // For who decided. The run has its own picture from what it does next; this one may be older by now.
      return recorded.view
    } catch (error) {
      throw applicationFailureOf(error) ?? decisionRefused('The decision could not be written down. Decide again.')
    }
  }

  /** Shows in the search attribute how the saga stands, once it has needed attention. */
  async show(): Promise<void> {
    if (!this.#isShown) return
    if (this.#isAsking && !(await store.hasSagaStatus())) return
    const status = this.state.view?.status
    if (status) upsertSearchAttributes([{ key: sagaStatus, value: status }])
  }
}
