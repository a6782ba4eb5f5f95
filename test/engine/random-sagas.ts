import { compensatable, defineSaga, pivot, retriable } from '../../src/saga/workflow/define-saga.js'
import type { StepDeclarations } from '../../src/saga/types.js'
import type { effectService } from '../helpers/engine.js'

export { recoverSaga } from '../../src/saga/workflow/recover-saga.js'

/** What a random saga is told to do. */
export interface RandomInput {
  /** The steps in the order of their calls; those of one group are called at once. */
  groups: string[][]
  /** By step: how many undos, or calls behind the pivot, end in a failure that nobody tries again. */
  fatal: Record<string, number>
}

type Effect = ReturnType<typeof effectService>

const c = (name: string) => compensatable<Effect>(name)
const p = (name: string) => pivot<Effect>(name)
const r = (name: string) => retriable<Effect>(name)

/** One saga type for each legal order of kinds with at most four steps: c compensatable, p pivot, r retriable. */
export const c1 = random('c1', { s1: c('s1') })
export const c2 = random('c2', { s1: c('s1'), s2: c('s2') })
export const c3 = random('c3', { s1: c('s1'), s2: c('s2'), s3: c('s3') })
export const c4 = random('c4', { s1: c('s1'), s2: c('s2'), s3: c('s3'), s4: c('s4') })
export const p1 = random('p1', { s1: p('s1') })
export const cp = random('cp', { s1: c('s1'), s2: p('s2') })
export const ccp = random('ccp', { s1: c('s1'), s2: c('s2'), s3: p('s3') })
export const cccp = random('cccp', { s1: c('s1'), s2: c('s2'), s3: c('s3'), s4: p('s4') })
export const pr = random('pr', { s1: p('s1'), s2: r('s2') })
export const prr = random('prr', { s1: p('s1'), s2: r('s2'), s3: r('s3') })
export const prrr = random('prrr', { s1: p('s1'), s2: r('s2'), s3: r('s3'), s4: r('s4') })
export const cpr = random('cpr', { s1: c('s1'), s2: p('s2'), s3: r('s3') })
export const cprr = random('cprr', { s1: c('s1'), s2: p('s2'), s3: r('s3'), s4: r('s4') })
export const ccpr = random('ccpr', { s1: c('s1'), s2: c('s2'), s3: p('s3'), s4: r('s4') })

function random(type: string, steps: StepDeclarations) {
  return defineSaga(type, steps, async (step, input: RandomInput) => {
    const calls = step as Record<string, (input: RandomInput) => Promise<unknown>>
    const call = async (name: string) => calls[name]?.(input)
    for (const group of input.groups) await Promise.all(group.map(call))
    return { done: input.groups.flat().length }
  })
}
