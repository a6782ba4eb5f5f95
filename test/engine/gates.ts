import { setTimeout as sleep } from 'node:timers/promises'
import { ApplicationFailure } from '@temporalio/common'
import { expect } from '@jest/globals'
import { rejected } from '../../src/saga/errors.js'
import { canonical } from '../../src/saga/node/canonical.js'
import type { Json } from '../../src/saga/types.js'
import { effectService, type Engine } from '../helpers/engine.js'
import { until } from '../helpers/until.js'

/** What a saga's input asks of the participants; each is named as in "charge invoke". */
export interface Asked {
  /** Waits there, once, until the test opens the gate. */
  hold?: string
  /** Takes so long there, in ms. */
  slow?: { [place: string]: number }
  /** Fails there, in a way that can be retried; behind the gate. */
  fail?: string
  /** Refuses there for good: an invoke as a refusal, a compensation as a failure that is not tried again. */
  refuse?: string[]
}

interface Gate {
  reached: Promise<void>
  open(): void
}

/** Participants that do as their saga's input asks, and the gates at which they hold. */
export class Gated {
  readonly #gates = new Map<string, Gate & { reach(): void; opened: Promise<void> }>()
  /** "saga place" of refusals that are over. */
  readonly #mended = new Set<string>()

  /** The gate at which a saga holds. */
  at(sagaId: string): Gate {
    return this.#at(sagaId)
  }

  /** From now on what the saga's input asks to be refused there is done. */
  mend(sagaId: string, place: string): void {
    this.#mended.add(`${sagaId} ${place}`)
  }

  service(name: string) {
    return effectService(name, {
      invoke: ({ sagaId, input }) => this.#pass(sagaId, `${name} invoke`, input),
      compensate: ({ sagaId, input }) => this.#pass(sagaId, `${name} compensate`, input),
    })
  }

  async #pass(sagaId: string, place: string, input: Json): Promise<void> {
    const { hold, slow, fail, refuse = [] } = input as Asked
    if (hold === place) {
      const gate = this.#at(sagaId)
      gate.reach()
      await gate.opened
    }
    if (slow?.[place] !== undefined) await sleep(slow[place])
    if (fail === place) throw new Error(`${place} fails`)
    if (!refuse.includes(place) || this.#mended.has(`${sagaId} ${place}`)) return
    if (place.endsWith('invoke')) throw rejected(`${place} is refused`)
    throw ApplicationFailure.create({ message: `${place} is not possible`, type: 'Impossible', nonRetryable: true })
  }

  #at(sagaId: string) {
    let gate = this.#gates.get(sagaId)
    if (!gate) {
      let reach = () => {}
      let open = () => {}
      const reached = new Promise<void>((resolve) => (reach = resolve))
      const opened = new Promise<void>((resolve) => (open = resolve))
      gate = { reached, reach, opened, open }
      this.#gates.set(sagaId, gate)
    }
    return gate
  }
}

/** Waits until a saga needs a person; the steps it waits on. */
export async function parked({ sagas }: Engine, sagaId: string): Promise<string[]> {
  const { steps, compensations } = await until(`saga ${sagaId} needs attention`, async () => {
    const response = await sagas.request(`/saga/${sagaId}`)
    const saga = response.ok && ((await response.json()) as Awaited<ReturnType<typeof sagas.get>>)
    return saga && saga.status === 'NEEDS_ATTENTION' && saga
  })
  return [...steps, ...compensations].filter(({ status }) => status === 'stuck').map(({ step }) => step)
}

/** Decides by the API; the answer's status. */
export async function decide(
  { sagas }: Engine,
  sagaId: string,
  decision: { step: string; action: 'retry' | 'resolve' | 'skip'; input?: Json },
): Promise<number> {
  const body = { ...decision, reason: 'it is looked after', actor: 'grace' }
  return (await sagas.post(`/saga/${sagaId}/decision`, body)).status
}

/** Cancels by one of the doors; the API's answer, or 202. */
export async function cancel({ sagas, client }: Engine, sagaId: string, door: 'API' | 'CLI'): Promise<number> {
  if (door === 'API') return (await sagas.post(`/saga/${sagaId}/cancel`, { reason: 'changed my mind' })).status
  await client.workflow.getHandle(sagaId).cancel()
  return 202
}

/** A saga at rest: what its run answers is what its row says. */
export async function expectAgreement({ sagas, client }: Engine, sagaId: string): Promise<void> {
  const run = client.workflow.getHandle(sagaId)
  const read = async () => {
    const { links, ...saga } = await sagas.get(sagaId)
    const plan = await (await sagas.request(`/saga/${sagaId}/plan`)).json()
    return { api: { saga, plan }, run: { saga: await run.query('state'), plan: await run.query('plan') } }
  }
  // The row is first, and the run hears of it a moment later.
  const last = await until(
    'the run has caught up',
    async () => {
      const both = await read()
      return canonical(both.run) === canonical(both.api) && both
    },
    { timeoutMs: 3_000 },
  ).catch(read)
  expect(last.run).toEqual(last.api)
}
