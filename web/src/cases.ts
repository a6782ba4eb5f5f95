import type { Kind } from './components/shape'
import { failing, noneFails, type Choices } from './failure-choices'
import { givenUpAfter, tries, upperFirst } from './policy-words'

/** A ready-made saga, and what it will show. */
export interface Case {
  id: string
  title: string
  /** In one sentence or two. */
  shows: string
  /** Undefined: what is set for everybody. */
  choices: Choices | undefined
  /** Of each step that is drawn: how its attempts end, and beneath them how its undo does. */
  forward: Record<string, Kind[]>
  back?: Record<string, Kind[]>
  /** What a person has to do meanwhile. */
  byHand?: { what: string; command: string }
}

export const cases: Case[] = [
  {
    id: 'TC-01',
    title: 'All goes well',
    shows: 'A, B and C take effect at the first attempt: one row each, nothing to undo.',
    choices: noneFails,
    forward: { A: ['good'], B: ['good'], C: ['good'] },
  },
  {
    id: 'TC-02',
    title: 'A is down',
    shows: `A is tried ${tries.invoke} times, in vain. B and C are never reached, and nothing remains.`,
    choices: failing({ A: { invoke: 'always-before' } }),
    forward: { A: ['bad'], B: ['pending'], C: ['pending'] },
    back: { A: ['empty'] },
  },
  {
    id: 'TC-03',
    title: 'B is down',
    shows: `A takes effect, B fails ${tries.invoke} times, and A is undone.`,
    choices: failing({ B: { invoke: 'always-before' } }),
    forward: { A: ['good'], B: ['bad'], C: ['pending'] },
    back: { A: ['undone'], B: ['empty'] },
  },
  {
    id: 'TC-04',
    title: 'C refuses',
    shows: 'A and B have taken effect when C says no. B is undone, then A.',
    choices: failing({ C: { invoke: 'refuses' } }),
    forward: { A: ['good'], B: ['good'], C: ['bad'] },
    back: { A: ['undone'], B: ['undone'], C: ['empty'] },
  },
  {
    id: 'TC-05',
    title: 'A fails before its commit',
    shows:
      'The failure of TC-02 again, for its log: each attempt says “before its transaction”, and A’s undo finds nothing to undo.',
    choices: failing({ A: { invoke: 'always-before' } }),
    forward: { A: ['bad'], B: ['pending'], C: ['pending'] },
    back: { A: ['empty'] },
  },
  {
    id: 'TC-06',
    title: 'B fails after its commit',
    shows: 'B’s row is there, but its answer never comes. B is undone as well, then A.',
    choices: failing({ B: { invoke: 'always-after' } }),
    forward: { A: ['good'], B: ['bad'], C: ['pending'] },
    back: { A: ['undone'], B: ['undone'] },
  },
  {
    id: 'TC-07',
    title: 'B hangs',
    shows: `${upperFirst(tries.invoke)} time-outs, some ${givenUpAfter.hanging}, then the way back. What B would commit late is refused.`,
    choices: failing({ B: { invoke: 'always-hangs' } }),
    forward: { A: ['good'], B: ['bad'], C: ['pending'] },
    back: { A: ['undone'], B: ['undone'] },
  },
  {
    id: 'TC-08',
    title: 'A fails once',
    shows: 'The second attempt works and the saga completes, with both attempts in its log.',
    choices: failing({ A: { invoke: 'once-before' } }),
    forward: { A: ['bad', 'good'], B: ['good'], C: ['good'] },
  },
  {
    id: 'TC-09',
    title: 'PostgreSQL is killed',
    shows:
      'This one needs your hand: B hangs for some seconds, and you kill PostgreSQL meanwhile. The saga still ends right: all of it, or nothing.',
    choices: failing({ B: { invoke: 'hangs-once' } }),
    forward: { A: ['good'], B: ['bad', 'good'], C: ['good'] },
    byHand: {
      what: 'While B hangs, run this where npm start was run. It starts PostgreSQL again by itself; without it only a time-out is seen.',
      command: `kill -9 $(node -p 'JSON.parse(fs.readFileSync(".data/run/postgres.json")).pid')`,
    },
  },
  {
    id: 'Decide',
    title: 'Gets stuck and waits for you',
    shows: `C refuses, and B’s undo fails ${tries.undo} times, some ${givenUpAfter.undo}. Then you decide what becomes of it.`,
    choices: failing({ B: { undo: 'until-decided' }, C: { invoke: 'refuses' } }),
    forward: { A: ['good'], B: ['good'], C: ['bad'] },
    back: { A: ['pending'], B: ['warning'], C: ['empty'] },
  },
  {
    id: 'Undo',
    title: 'An undo fails twice',
    shows: 'C refuses, and A’s undo has to be tried three times until nothing remains.',
    choices: failing({ A: { undo: 'twice' }, C: { invoke: 'refuses' } }),
    forward: { A: ['good'], B: ['good'], C: ['bad'] },
    back: { A: ['bad', 'bad', 'undone'], B: ['undone'], C: ['empty'] },
  },
  {
    id: 'Shared',
    title: 'As set for everybody',
    shows:
      'What the page Failures has in force holds, counted over all sagas. At first every second call of A and of B fails.',
    choices: undefined,
    forward: { A: ['bad', 'good'], B: ['bad', 'good'], C: ['good'] },
  },
]
