import { createSecretKey, randomBytes } from 'node:crypto'
import { expect, test } from '@jest/globals'
import * as fc from 'fast-check'
import { canonical } from '../../src/saga/node/canonical.js'
import {
  afterAttempt,
  afterClaim,
  afterCompletion,
  afterParking,
  afterRecovery,
  afterReopening,
  afterRollback,
  afterVerification,
  dueCompensations,
  endedAttempts,
  isDoubtful,
  type After,
  type AttemptEnd,
  type Findings,
  type LogEntry,
} from '../../src/saga/node/projection.js'
import { afterDecision, afterOpening, afterTaking, refusalOf, repeatedDecision } from '../../src/saga/node/deciding.js'
import { declaredSteps, isEnded, isPastPivot, toView, type SagaRecord } from '../../src/saga/node/saga-record.js'
import { PayloadKeys } from '../../src/saga/node/payload-keys.js'
import { masked, redacted } from '../../src/saga/node/secrets.js'
import { isDue, planOf } from '../../src/saga/plan.js'
import type { Decision, Json, ParkOrder, StepKind } from '../../src/saga/types.js'
import { CompensationStack, pivotOf } from '../../src/saga/workflow/compensation-stack.js'

// Random histories of a saga's row. Each event is one that the store may be asked for in that state: attempts end whenever
// they please, those of the time before a decision or after the end too; whatever else happens, happens where it may.

const kindsOf = { c: 'compensatable', p: 'pivot', r: 'retriable' } as const
const patterns = ['c', 'cc', 'ccc', 'cccc', 'p', 'cp', 'ccp', 'pr', 'cpr', 'ccpr', 'cprr']
const error = { type: 'OutcomeUnknown', message: 'no answer' }
const keys = new PayloadKeys([], createSecretKey(randomBytes(32)))

type Event =
  | { kind: 'invoke'; step: number; end: 'applied' | 'rejected' | 'unknown'; behind: number }
  | { kind: 'compensate'; step: number; end: 'done' | 'empty' | 'failed'; behind: number; reached: boolean }
  | { kind: 'settle'; end: 'applied' | 'empty' | 'failed'; behind: number }
  | { kind: 'park'; step: number; at: Exclude<ParkOrder['at'], 'compensate'> }
  | { kind: 'decide'; decision: Omit<Decision, 'step'>; step: number }
  | { kind: 'claim'; failed: number; reached: number[] }
  | { kind: 'verify'; left: boolean[] }
  | { kind: 'complete' | 'close' | 'recover' | 'reopen' }

const step = fc.nat({ max: 3 })
const behind = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.nat({ max: 2 }))
const decision = fc.record(
  {
    action: fc.constantFrom<Decision['action'][]>('retry', 'resolve', 'skip'),
    reason: fc.constantFrom('seen to', 'because'),
    actor: fc.constantFrom('ada', 'grace'),
    input: fc.constant<Json>({ corrected: true }),
  },
  { requiredKeys: ['action', 'reason', 'actor'] },
)
const invoke = fc.record({
  kind: fc.constant('invoke' as const),
  step,
  end: fc.constantFrom('applied' as const, 'applied' as const, 'rejected' as const, 'unknown' as const),
  behind,
})
const compensate = fc.record({
  kind: fc.constant('compensate' as const),
  step,
  end: fc.constantFrom('done' as const, 'empty' as const, 'failed' as const),
  behind,
  reached: fc.boolean(),
})
const settle = fc.record({
  kind: fc.constant('settle' as const),
  end: fc.constantFrom('applied' as const, 'empty' as const, 'failed' as const),
  behind,
})
const park = fc.record({
  kind: fc.constant('park' as const),
  step,
  at: fc.constantFrom('invoke' as const, 'settle' as const, 'code' as const),
})
const decide = fc.record({ kind: fc.constant('decide' as const), decision, step })
const claim = fc.record({
  kind: fc.constant('claim' as const),
  failed: fc.nat({ max: 4 }),
  reached: fc.shuffledSubarray([0, 1, 2, 3]),
})
const verify = fc.record({
  kind: fc.constant('verify' as const),
  left: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
})
const plain = (kind: 'complete' | 'close' | 'recover' | 'reopen') => fc.record({ kind: fc.constant(kind) })

// In runs that belong together, or few stories would come to a second decision.
const scene = fc.oneof(
  fc.tuple(invoke, invoke),
  fc.tuple(compensate, compensate),
  fc.tuple(claim),
  fc.tuple(settle),
  fc.tuple(park, decide),
  fc.tuple(park, fc.oneof(invoke, compensate, settle), decide, fc.oneof(invoke, compensate, settle)),
  fc.tuple(park, decide, plain('recover'), decide),
  fc.tuple(plain('recover')),
  fc.tuple(verify, plain('close')),
  fc.tuple(plain('complete')),
  fc.tuple(plain('complete'), plain('reopen'), compensate, fc.oneof(plain('close'), verify)),
)
const story = fc.record({
  pattern: fc.constantFrom(...patterns),
  events: fc.array(scene, { maxLength: 16 }).map((scenes): Event[] => scenes.flat()),
})

/** A saga's row and its log, and what the store does with them, in memory. */
class Row {
  record: SagaRecord
  readonly log: LogEntry[] = []

  constructor(pattern: string) {
    this.record = {
      ...{ sagaId: 'one', type: 'randomSaga', fate: 'open', status: 'RUNNING', view: {}, input: {}, inputHash: '' },
      ...{ sealing: 0, secrets: null },
      ...{
        failures: null,
        firstRunId: 'first',
        carriedBy: null,
        bulkId: null,
        begunAt: null,
        openings: 1,
        claims: 0,
        cancel: null,
        stopping: null,
      },
      ...{ compensations: [], result: null, failedStep: null, error: null },
      ...{ startedAt: new Date(), endedAt: null, decidedAt: null, readAt: new Date() },
      ...{ parentId: null, parentStep: null, handedOverAt: null },
      steps: pattern.split('').map((kind, i) => ({
        ...{ step: `s${i}`, service: `service${i}`, status: 'pending', attempts: 0 },
        kind: kindsOf[kind as keyof typeof kindsOf],
      })),
    }
  }

  name(index: number): string {
    return this.record.steps[index % this.record.steps.length]?.step ?? ''
  }

  kind(name: string): StepKind {
    return declaredSteps(this.record)[name]?.kind ?? 'compensatable'
  }

  get stuck(): string[] {
    const { fate, steps, compensations } = this.record
    return (fate === 'open' ? steps : compensations).filter(({ status }) => status === 'stuck').map(({ step }) => step)
  }

  /** Brings the event about, if it can happen now; whether it did. */
  apply(one: Event): boolean {
    const { record } = this
    const { fate } = record
    switch (one.kind) {
      case 'invoke': {
        const name = this.name(one.step)
        const end: AttemptEnd['end'] =
          one.end === 'applied'
            ? { kind: 'applied', message: 'applied' }
            : { kind: 'failed', outcome: one.end, error: { ...error } }
        return this.attempt('invoke', name, end, { behind: one.behind, reached: true })
      }
      case 'compensate': {
        const name = this.name(one.step)
        // Nothing is compensated before its rollback is claimed, and a participant behind the pivot never.
        if (fate === 'open' || fate === 'completed' || this.kind(name) === 'retriable') return false
        return this.attempt('compensate', name, compensated(one.end), one)
      }
      case 'settle': {
        const pivot = pivotOf(declaredSteps(record))
        if (pivot === undefined) return false
        const end: AttemptEnd['end'] =
          one.end === 'applied' ? { kind: 'applied', message: 'applied' } : compensated(one.end)
        // A barrier does not unsay that it was applied.
        if (one.end === 'empty' && isPastPivot(record)) return false
        return this.attempt('settle', pivot, end, { ...one, reached: true })
      }
      case 'park':
        return this.park(one)
      case 'decide':
        return this.decide(this.decision(one))
      case 'claim': {
        if (fate !== 'open' || isPastPivot(record) || this.stuck.length > 0) return false
        const failedStep = one.failed < record.steps.length ? this.name(one.failed) : null
        return this.save(afterClaim(record, { cause: { failedStep, error }, reached: this.reached(one.reached) }))
      }
      case 'verify': {
        if (fate !== 'rollback' || this.due().some(({ reached }) => reached) || !isDoubtful(record)) return false
        const findings: Findings = new Map()
        for (const [i, { step, kind }] of record.steps.entries()) {
          const isVerified = record.compensations.some((known) => known.step === step && known.isVerified)
          if (kind !== 'retriable' && !isVerified) findings.set(step, { left: one.left[i] ? ['row 1'] : [] })
        }
        return this.save(afterVerification(record, findings))
      }
      case 'complete':
        if (fate !== 'open' || this.stuck.length > 0) return false
        return this.save(afterCompletion(record, { fine: true }))
      case 'close':
        if (fate !== 'rollback' || this.due().some(({ reached }) => reached)) return false
        return this.save(afterRollback(record))
      case 'reopen': {
        const isUndoable = record.steps.every(({ kind }) => kind === 'compensatable')
        return fate === 'completed' && isUndoable && this.save(afterReopening(record, { failedStep: null, error }))
      }
      case 'recover':
        if (isEnded(record)) return false
        return this.save({ changes: afterRecovery(record), entries: [] })
      default:
        return one satisfies never
    }
  }

  /** The steps of these indices as a run's stack has them, without doubles and without what the kinds rule out. */
  reached(indices: number[]): string[] {
    const names = [...new Set(indices.map((index) => this.name(index)))]
    return names.filter((name) => this.kind(name) !== 'retriable')
  }

  /** On something that is stuck, where anything is. */
  decision({ step, decision }: Event & { kind: 'decide' }): Decision {
    return { step: this.stuck[step % this.stuck.length] ?? this.name(step), ...decision }
  }

  due() {
    return dueCompensations(this.record.steps, this.record.compensations)
  }

  private attempt(
    op: 'invoke' | 'compensate' | 'settle',
    name: string,
    end: AttemptEnd['end'],
    { behind, reached }: { behind: number; reached: boolean },
  ): boolean {
    const { record } = this
    const numbers = [...record.steps, ...record.compensations].map((one) =>
      one.step === name ? (one.decision?.number ?? 0) : 0,
    )
    const decisions = Math.max(0, Math.max(...numbers) - behind)
    const order = { step: name, service: name, timeoutMs: 1, budget: 8, decisions }
    const attempt: AttemptEnd = {
      entryId: '00000000-0000-0000-0000-000000000000',
      order:
        op === 'invoke' ? { ...order, op, kind: this.kind(name), input: {} } : { ...order, op, reached, input: {} },
      startedAt: new Date(),
      endedAt: new Date(),
      ...(op === 'invoke' && { input: { of: name } }),
      end,
    }
    return this.save(afterAttempt(record, attempt))
  }

  private park({ step: index, at: asked }: Event & { kind: 'park' }): boolean {
    const { record } = this
    const isBack = record.fate === 'rollback'
    const due = this.due()
    const name = (isBack && due[index % due.length]?.step) || this.name(index)
    const at = isBack ? 'compensate' : asked
    const one = record.steps.find((known) => known.step === name)
    const kind = this.kind(name)
    const can: Record<ParkOrder['at'], boolean> = {
      compensate: due.some((known) => known.step === name),
      invoke: record.fate === 'open' && kind === 'retriable' && isPastPivot(record) && one?.status !== 'succeeded',
      settle: record.fate === 'open' && kind === 'pivot' && !isPastPivot(record),
      code: record.fate === 'open' && kind !== 'compensatable' && isPastPivot(record),
    }
    return can[at] && this.save(afterParking(record, { step: name, at, error, decisions: 0 }))
  }

  private decide(decision: Decision): boolean {
    const { record } = this
    if (repeatedDecision(record, decision, keys) || refusalOf(record, decision, keys) !== undefined) return false
    return this.save(afterDecision(record, decision, { keys, known: { kept: [], secrets: [] } }))
  }

  private save({ changes, entries }: After): boolean {
    this.record = { ...this.record, ...changes }
    this.log.push(...entries)
    return true
  }
}

function compensated(end: 'done' | 'empty' | 'failed'): AttemptEnd['end'] {
  return end === 'failed'
    ? { kind: 'failed', outcome: 'unknown', error }
    : { kind: 'compensated', verdict: end, message: end }
}

interface Told {
  row: Row
  before: SagaRecord
  one: Event
  logged: LogEntry[]
  /** The decision, where the event was one. */
  decided: Decision | undefined
}

/** Tells a random story to `check`, event by event: the row before and after it. */
function everyEvent(check: (told: Told) => void): void {
  fc.assert(
    fc.property(story, ({ pattern, events }) => {
      const row = new Row(pattern)
      for (const one of events) {
        const before = row.record
        const known = row.log.length
        const decided = one.kind === 'decide' ? row.decision(one) : undefined
        if (row.apply(one)) check({ row, before, one, decided, logged: row.log.slice(known) })
      }
    }),
    { numRuns: 1_500 },
  )
}

const byStep = <T extends { step: string }>(list: T[]) => new Map(list.map((one) => [one.step, one]))

test('fate and status walk only along the edges that the contract names', () => {
  const fates: Record<string, string[]> = {
    open: ['rollback', 'completed'],
    rollback: ['rolledBack'],
    // A bulk's, by the word of a person.
    completed: ['rollback'],
  }
  const statuses: Record<string, string[]> = {
    RUNNING: ['COMPLETED', 'COMPENSATING', 'NEEDS_ATTENTION'],
    COMPENSATING: ['COMPENSATED', 'PARTIALLY_COMPENSATED', 'NEEDS_ATTENTION'],
    NEEDS_ATTENTION: ['COMPENSATING', 'RUNNING'],
    COMPLETED: ['COMPENSATING'],
  }
  everyEvent(({ row: { record }, before }) => {
    expect([before.fate, ...(fates[before.fate] ?? [])]).toContain(record.fate)
    expect([before.status, ...(statuses[before.status] ?? [])]).toContain(record.status)
    expect(isEnded(record)).toBe(['COMPLETED', 'COMPENSATED', 'PARTIALLY_COMPENSATED'].includes(record.status))
    expect(record.endedAt !== null).toBe(isEnded(record))
  })
})

test('a saga needs attention exactly as long as something is stuck', () => {
  everyEvent(({ row }) => expect(row.record.status === 'NEEDS_ATTENTION').toBe(row.stuck.length > 0))
})

test('attempts never get fewer, and the numbers in the log are 1, 2, 3 … for each service', () => {
  everyEvent(({ row, before, logged }) => {
    for (const part of ['steps', 'compensations'] as const) {
      const now = byStep<{ step: string; attempts: number }>(row.record[part])
      for (const { step, attempts } of before[part]) {
        expect(now.get(step)?.attempts).toBeGreaterThanOrEqual(attempts)
      }
    }
    for (const { service } of logged) {
      const numbers = row.log.filter((one) => one.service === service).flatMap(({ attempt }) => attempt ?? [])
      expect(numbers).toEqual(numbers.map((_, i) => i + 1))
    }
  })
})

test('a settled compensation stays as it is, unless its participant finds something left', () => {
  everyEvent(({ row, before, one }) => {
    const now = byStep(row.record.compensations)
    for (const compensation of before.compensations.filter((known) => !isDue(known))) {
      const after = now.get(compensation.step)
      if (one.kind === 'verify' && after?.status === 'stuck') {
        expect(after.error?.type).toBe('Residue')
        expect(['done', 'empty']).toContain(compensation.status)
        continue
      }
      const { status, error, actor, reason } = compensation
      expect(after).toMatchObject({ status, ...(error && { error }), ...(actor && { actor, reason }) })
    }
  })
})

test('an attempt that ends when all is settled leaves a row that says so, and changes nothing but the count', () => {
  everyEvent(({ row, before, one, logged }) => {
    if (!isEnded(before) || one.kind === 'reopen') return
    expect(['invoke', 'compensate', 'settle']).toContain(one.kind)
    const without = (record: SagaRecord) => ({
      ...record,
      steps: record.steps.map(({ attempts, ...rest }) => rest),
      compensations: record.compensations.map(({ attempts, ...rest }) => rest),
    })
    const known = new Set(before.compensations.map(({ step }) => step))
    const { compensations } = row.record
    expect(without({ ...row.record, compensations: compensations.filter(({ step }) => known.has(step)) })).toEqual(
      without(before),
    )
    for (const { message } of logged) expect(message).toContain('changes nothing')
  })
})

test('what is due is what no run has reached, reverse as declared, then what was reached, as it was claimed', () => {
  everyEvent(({ row: { record }, before, one }) => {
    if (record.fate !== 'rollback') return
    const due = dueCompensations(record.steps, record.compensations)
    const kinds = declaredSteps(record)
    const known = record.compensations.map(({ step }) => step)
    const untouched = record.steps.map(({ step }) => step).filter((step) => !known.includes(step))
    const unsettled = record.compensations.filter(
      ({ step, status }) => isDue({ status }) && (kinds[step]?.kind === 'compensatable' || status === 'stuck'),
    )
    expect(due.map(({ step, reached }) => `${step} ${reached}`)).toEqual([
      ...untouched
        .filter((step) => kinds[step]?.kind === 'compensatable')
        .toReversed()
        .map((step) => `${step} false`),
      ...unsettled.map(({ step }) => `${step} true`),
    ])
    if (one.kind !== 'claim') return
    // As the run has reached them, newest first; before them what a lost run has.
    const reached = one.reached.map((index) => `s${index % record.steps.length}`)
    const order = known.filter((step) => reached.includes(step))
    expect(order).toEqual([...new Set(reached)].filter((step) => kinds[step]?.kind !== 'retriable'))
    const lost = known.filter((step) => !reached.includes(step))
    expect(known).toEqual([...lost, ...order])
    expect(lost).toEqual(lost.toSorted().toReversed())
    for (const { step, attempts, kind } of before.steps) {
      if (attempts > 0 && kind !== 'retriable') expect(known).toContain(step)
    }
  })
})

test('a decision is taken exactly where its step is stuck and the action is allowed; of two different ones one passes', () => {
  everyEvent(({ row, before, decided }) => {
    for (const { step } of before.steps) {
      for (const action of ['retry', 'resolve', 'skip'] as const) {
        const on = { step, action, reason: 'another', actor: 'somebody' }
        const records = before.fate === 'open' ? before.steps : before.compensations
        const stuck = isEnded(before)
          ? undefined
          : records.find((known) => known.step === step && known.status === 'stuck')
        const isAllowed =
          before.fate === 'rollback' ||
          action === 'retry' ||
          (action === 'resolve' && before.steps.find((known) => known.step === step)?.stuckAt !== 'settle')
        expect(refusalOf(before, on, keys) === undefined).toBe(stuck !== undefined && isAllowed)
      }
    }
    if (!decided) return
    expect(repeatedDecision(row.record, decided, keys)).toMatchObject({ ...decided, number: expect.any(Number) })
    const other: Decision = { ...decided, reason: 'something else' }
    expect(repeatedDecision(row.record, other, keys)).toBeUndefined()
    expect(refusalOf(row.record, other, keys)).toContain('does not wait for a decision')
  })
})

test('a step has all its attempts again once a person has said so, or the saga was taken up again', () => {
  everyEvent(({ row: { record }, before, one, decided }) => {
    if (one.kind === 'recover') {
      for (const { step } of record.steps) {
        for (const op of ['invoke', 'compensate', 'settle'] as const)
          expect(endedAttempts(record, { step, op })).toBe(0)
      }
    }
    if (!decided) return
    const { step } = decided
    const stuckAt = before.steps.find((known) => known.step === step)?.stuckAt
    const op = before.fate === 'rollback' ? 'compensate' : stuckAt === 'settle' ? 'settle' : 'invoke'
    expect(endedAttempts(record, { step, op })).toBe(0)
  })
})

test('decidedAt is there exactly as long as a decision is that no run has acted on', () => {
  everyEvent(({ row: { record } }) => {
    const isOpen = [...record.steps, ...record.compensations].some(({ decision }) => decision && !decision.isTaken)
    expect(record.decidedAt !== null).toBe(isOpen)
  })
})

test('a decision is taken once a run has heard of it, or opened behind it', () => {
  everyEvent(({ row: { record } }) => {
    for (const one of [...record.steps, ...record.compensations]) {
      if (!one.decision) continue
      const { steps, compensations } = {
        ...record,
        ...afterTaking(record, { step: one.step, number: one.decision.number }),
      }
      const same = [...steps, ...compensations].filter(({ step, decision }) => step === one.step && decision)
      expect(same.every(({ decision }) => decision?.isTaken)).toBe(true)
    }
    const opened = { ...record, ...afterOpening(record) }
    expect(opened.decidedAt).toBeNull()
  })
})

test('a rollback leaves no decision on the way forward open', () => {
  const row = new Row('p')
  const pivot = { step: 's0', reason: 'seen to', actor: 'ada' }
  row.apply({ kind: 'park', step: 0, at: 'settle' })
  row.apply({ kind: 'decide', step: 0, decision: { ...pivot, action: 'retry' } })
  row.apply({ kind: 'claim', failed: 0, reached: [0] })
  expect(row.record).toMatchObject({ fate: 'rollback', decidedAt: null, steps: [{ decision: { isTaken: true } }] })
})

test('a saga that is taken up again has nothing stuck, and every word that people have said', () => {
  everyEvent(({ row, before, one }) => {
    if (one.kind !== 'recover') return
    expect(row.stuck).toEqual([])
    const words = ({ steps, compensations }: SagaRecord) =>
      [...steps, ...compensations].map(({ step, decision, ...known }) => {
        const { isTaken, ...said } = decision ?? { isTaken: true }
        const { actor, reason } = known as { actor?: string; reason?: string }
        return { step, said, actor, reason, byHand: ['resolved', 'skipped'].includes(known.status) && known.status }
      })
    expect(words(row.record)).toEqual(words(before))
  })
})

test('the plan is what a rollback compensates of the steps that were reached, in its order', () => {
  everyEvent(({ row: { record } }) => {
    const declared = declaredSteps(record)
    const plan = (reached?: string[]) => planOf(toView(record), declared, {}, reached).steps.map(({ step }) => step)
    const isToBeUndone = ({ step, reached }: { step: string; reached: boolean }) =>
      reached && declared[step]?.kind === 'compensatable'
    if (record.fate === 'rollback') {
      const due = dueCompensations(record.steps, record.compensations).filter(isToBeUndone)
      expect(plan()).toEqual(due.map(({ step }) => step))
    } else if (isPastPivot(record) || isEnded(record)) {
      expect(plan()).toEqual([])
    } else {
      for (const reached of [[], record.steps.slice(0, 2).map(({ step }) => step)]) {
        const { changes } = afterClaim(record, { cause: { failedStep: null, error }, reached })
        const due = dueCompensations(changes.steps ?? [], changes.compensations ?? []).filter(isToBeUndone)
        expect(plan(reached)).toEqual(due.map(({ step }) => step))
      }
    }
  })
})

test('people are never shown what the row knows for itself', () => {
  const shown = ['step', 'status', 'attempts', 'error']
  const allowed = {
    steps: [...shown, 'service', 'outcome', 'startedAt', 'endedAt'],
    compensations: [...shown, 'actor', 'reason'],
  }
  everyEvent(({ row: { record } }) => {
    const view = toView(record)
    for (const one of view.steps) expect(allowed.steps).toEqual(expect.arrayContaining(Object.keys(one)))
    for (const one of view.compensations)
      expect(allowed.compensations).toEqual(expect.arrayContaining(Object.keys(one)))
    const fields = [
      'sagaId',
      'status',
      'input',
      'failedStep',
      'error',
      'startedAt',
      'endedAt',
      'steps',
      'compensations',
    ]
    expect([...fields, 'fine']).toEqual(expect.arrayContaining(Object.keys(view)))
  })
})

test('a stack gives each registered step once, newest first, and refuses what the kinds rule out', () => {
  const call = fc.record({ step: fc.nat({ max: 3 }), applied: fc.boolean() })
  fc.assert(
    fc.property(fc.constantFrom(...patterns), fc.array(call, { maxLength: 8 }), (pattern, calls) => {
      const declared = declaredSteps(new Row(pattern).record)
      const stack = new CompensationStack(declared)
      const reached: string[] = []
      let pivotApplied = false
      for (const { step, applied } of calls) {
        const name = `s${step % pattern.length}`
        const kind = declared[name]?.kind
        const pivot = pivotOf(declared) ?? ''
        const isRuledOut =
          reached.includes(name) ||
          (kind === 'compensatable' && reached.includes(pivot)) ||
          (kind === 'retriable' && !pivotApplied)
        if (isRuledOut) {
          expect(() => stack.register(name)).toThrow(name)
        } else {
          stack.register(name)
          expect([...stack.underWay]).toEqual([name])
          stack.ended(name, { applied })
          reached.unshift(name)
          pivotApplied ||= kind === 'pivot' && applied
        }
        expect(stack.reached).toEqual(reached)
      }
      stack.close()
      expect(() => stack.register('s0')).toThrow('had ended already')
    }),
    { numRuns: 2_000 },
  )
})

test('two values have the same canonical text exactly if they are the same JSON', () => {
  const small = fc.jsonValue({ maxDepth: 3, stringUnit: fc.constantFrom('a', 'b', '"', ',', '\u{1f600}') })
  fc.assert(
    fc.property(small, small, (one, other) => {
      const isSame = (() => {
        try {
          expect(JSON.parse(JSON.stringify(one))).toEqual(JSON.parse(JSON.stringify(other)))
          return true
        } catch {
          return false
        }
      })()
      expect(canonical(one) === canonical(other)).toBe(isSame)
      expect(canonical(shuffled(one))).toBe(canonical(one))
      expect(JSON.parse(canonical(one))).toEqual(JSON.parse(JSON.stringify(one)))
    }),
    { numRuns: 3_000 },
  )
})

/** The same JSON with the keys of its objects the other way round. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([key, one]) => [key, shuffled(one)]),
  )
}

test('no secret of more than three characters is left in a masked value, and no text that is a secret as a whole', () => {
  const unit = fc.constantFrom('1', '2', 'a')
  const secrets = fc.array(fc.string({ unit, minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(secrets, fc.jsonValue({ maxDepth: 3, stringUnit: unit }), (secrets, value) => {
      const texts: string[] = []
      const collect = (one: unknown): void => {
        if (typeof one === 'string') texts.push(one)
        else if (Array.isArray(one)) one.forEach(collect)
        else if (typeof one === 'object' && one !== null) {
          texts.push(...Object.keys(one).filter((key) => key.length > 3))
          Object.values(one).forEach(collect)
        }
      }
      collect(masked(value as Json, secrets))
      for (const secret of secrets) {
        expect(texts).not.toContain(secret)
        if (secret.length > 3) expect(texts.filter((text) => text.includes(secret))).toEqual([])
      }
    }),
    { numRuns: 3_000 },
  )
})

test('a text is redacted of every secret, also of one that stands in another', () => {
  const unit = fc.constantFrom('1', '2')
  const secrets = fc.array(fc.string({ unit, minLength: 4, maxLength: 8 }), { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(secrets, fc.nat(2), (secrets, index) => {
      const secret = secrets[index % secrets.length] ?? ''
      expect(redacted(`<${secret}>`, secrets)).toMatch(/^<\*+>$/)
    }),
  )
})
