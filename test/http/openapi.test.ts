import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { launchChromium, openPage } from '../helpers/browser.js'
import { ada, Sagas } from '../helpers/sagas.js'
import { readShared } from '../helpers/shared.js'
import { until } from '../helpers/until.js'

interface Operation {
  summary?: string
  tags?: string[]
  responses: Record<string, { headers?: object; content?: Record<string, { schema: object }> }>
}
interface Document {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object> }
}

const sagas = new Sagas(readShared().system)
const refusedC = { C: { mode: 'always', kind: 'reject' } } as const
let document: Document
let ajv: Ajv2020

beforeAll(async () => {
  document = (await (await sagas.request('/openapi.json')).json()) as Document
  ajv = new Ajv2020({ strict: false, allErrors: true })
  ;(addFormats as unknown as (ajv: Ajv2020) => void)(ajv)
  // What is not in the document must not be in an answer either.
  ajv.addSchema({ $id: 'api', ...closed({ components: document.components, paths: document.paths }) })
})

/** The same, but that no object has a property which is not named. */
function closed<T>(part: T): T {
  if (Array.isArray(part)) return part.map(closed) as T
  if (typeof part !== 'object' || part === null) return part
  const entries = Object.entries(part).map(([key, value]) => [key, closed(value)])
  const isObject = 'properties' in part && !('additionalProperties' in part)
  return Object.fromEntries([...entries, ...(isObject ? [['additionalProperties', false]] : [])])
}

const pointer = (...keys: string[]) => keys.map((key) => key.replaceAll('~', '~0').replaceAll('/', '~1')).join('/')

/** Checks an answer against what the document says of that route: its status, its media type, its body. */
async function expectDocumented(response: Response, method: string, path: string): Promise<unknown> {
  const status = String(response.status)
  const type = response.headers.get('content-type')?.split(';')[0] ?? ''
  const content = document.paths[path]?.[method]?.responses[status]?.content?.[type]
  expect({ path, method, status, type, isDocumented: content !== undefined }).toMatchObject({ isDocumented: true })
  const body: unknown = await response.json()
  const at = pointer('paths', path, method, 'responses', status, 'content', type, 'schema')
  const isRight = ajv.validate({ $ref: `api#/${encodeURI(at)}` }, body)
  expect(isRight ? [] : ajv.errors).toEqual([])
  return body
}

test('the document is valid OpenAPI 3.1', async () => {
  const validator = new Validator()
  const { valid, errors } = await validator.validate(structuredClone(document) as never)
  expect({ valid, errors }).toEqual({ valid: true, errors: undefined })
  expect(validator.version).toBe('3.1')
})

test('every operation says what it is for, what it answers with, and how it refuses', () => {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, ...operation })),
  )
  for (const { name, summary, tags, responses } of operations) {
    const statuses = Object.keys(responses)
    expect({ name, summary, tags, works: statuses.some((status) => status.startsWith('2')) }).toEqual({
      name,
      summary: expect.stringMatching(/./),
      tags: [expect.stringMatching(/./)],
      works: true,
    })
    expect(statuses).toEqual(expect.arrayContaining(['403', '500', '503']))
  }
})

test('what the routes share has a name', () => {
  expect(Object.keys(document.components.schemas)).toEqual(
    expect.arrayContaining(['Problem', 'Saga', 'SagaAccepted', 'SagaPlan', 'LogRow', 'Bulk', 'BulkAccepted']),
  )
})

describe('an answer is as the document says', () => {
  const get = async (path: string, template = path.split('?')[0] ?? '') =>
    expectDocumented(await sagas.request(path), 'get', template)
  const post = async (path: string, body: unknown, template = path.split('?')[0] ?? '') =>
    expectDocumented(await sagas.post(path, body), 'post', template)

  test('for a saga that completes, that is undone, that waits for a person, and that is cancelled', async () => {
    const bodies = [
      { ...ada, failures: {} },
      { ...ada, failures: refusedC },
      { ...ada, failures: { ...refusedC, B: { mode: 'always', on: 'compensate' } } },
    ]
    const ended = await Promise.all(bodies.map((body) => post('/saga?wait=60', body)))
    expect(ended.map((saga) => (saga as { status: string }).status)).toEqual([
      'COMPLETED',
      'COMPENSATED',
      'NEEDS_ATTENTION',
    ])
    const [, , stuck] = ended as { sagaId: string }[]
    const id = stuck?.sagaId ?? ''
    await get(`/saga/${id}`, '/saga/{id}')
    await get(`/saga/${id}/plan`, '/saga/{id}/plan')
    await get(`/logs?saga=${id}`)
    await get(`/saga?q=${id}&step=B`)
    await get('/stuck')
    const decision = { step: 'B', action: 'skip', reason: 'seen to', actor: 'grace' }
    await post(`/saga/${id}/decision`, decision, '/saga/{id}/decision')
    await post(`/saga/${id}/decision`, { ...decision, step: 'C' }, '/saga/{id}/decision')

    const { sagaId } = (await post('/saga', { ...ada, failures: { C: { mode: 'first', n: 1, kind: 'hang' } } })) as {
      sagaId: string
    }
    await post(`/saga/${sagaId}/cancel`, { reason: 'changed my mind' }, '/saga/{id}/cancel')
    await sagas.ended(sagaId)
    await post(`/saga/${sagaId}/cancel`, { reason: 'changed my mind' }, '/saga/{id}/cancel')
  })

  test('for a decision on many', async () => {
    // On a step that no saga has.
    const body = { filter: { step: 'Z' }, action: 'retry', reason: 'seen to', actor: 'grace' }
    const { decisionsId } = (await post('/saga/decisions', body)) as { decisionsId: string }
    const progress = await get(`/saga/decisions/${decisionsId}`, '/saga/decisions/{id}')
    expect(progress).toMatchObject({ status: 'done', matching: 0 })
  })

  test('for a bulk', async () => {
    const saga = { ...ada, failures: refusedC }
    const { bulkId } = (await post('/saga/bulk?onInvalid=skip', { sagas: [saga, {}] })) as { bulkId: string }
    const whole = () =>
      get(`/saga/bulk/${bulkId}`, '/saga/bulk/{id}') as Promise<{ status: string; failures: object[] }>
    const bulk = await until('the bulk has ended', async () => {
      const found = await whole()
      return found.status === 'ENDED' && found
    })
    expect(bulk).toMatchObject({ compensated: 1, rejected: 1, failures: [{ step: 'C', count: 1 }] })
    expect(await get(`/saga?bulk=${bulkId}`)).toMatchObject({ sagas: [{ bulkId }] })
    await get('/saga/bulk?limit=1')
    await post(`/saga/bulk/${bulkId}/resume`, {}, '/saga/bulk/{id}/resume')
    const ndjson = { 'content-type': 'application/x-ndjson' }
    const lines = await sagas.request('/saga/bulk', { method: 'POST', headers: ndjson, body: '{}\n?' })
    expect(await expectDocumented(lines, 'post', '/saga/bulk')).toMatchObject({ status: 400 })
  })

  test('where the request is at fault', async () => {
    const unknown = randomUUID()
    const refused = [
      await post('/saga', { ...ada, username: 7 }),
      await post('/saga?wait=61', ada),
      await get('/logs?limit=0'),
      await get('/saga?cursor=x'),
      await get(`/saga/${unknown}`, '/saga/{id}'),
      await get(`/saga/${unknown}/plan`, '/saga/{id}/plan'),
      await get(`/saga/${unknown}/events`, '/saga/{id}/events'),
      await post(`/saga/${unknown}/cancel`, { reason: 'x' }, '/saga/{id}/cancel'),
      await post(`/saga/${unknown}/decision`, {}, '/saga/{id}/decision'),
      await post('/saga/decisions', { filter: {} }),
      await get(`/saga/decisions/${unknown}`, '/saga/decisions/{id}'),
      await post('/saga/bulk', { sagas: [] }),
      await get(`/saga/bulk/${unknown}`, '/saga/bulk/{id}'),
    ]
    expect(refused.map((problem) => (problem as { status: number }).status)).toEqual([
      ...[400, 400, 400, 400, 404, 404, 404, 404, 400, 400, 404, 400, 404],
    ])
  })

  test('of the failures in force, and of its health', async () => {
    expect(await get('/failures')).toHaveProperty('A')
    expect(await get('/health/live')).toEqual({ status: 'ok' })
    expect(await get('/health/ready')).toMatchObject({ status: 'ok' })
  })
})

describe('the reference page', () => {
  let browser: Awaited<ReturnType<typeof launchChromium>>
  beforeAll(async () => {
    browser = await launchChromium()
  })
  afterAll(() => browser?.close())

  test('shows every route, and asks nobody but this server', async () => {
    const { page, complaints } = await openPage(browser, `${sagas.where.api}/docs`)
    await page.getByText('Start a createUserSaga').waitFor()
    expect(await page.locator('.opblock').count()).toBe(
      Object.values(document.paths).flatMap((methods) => Object.keys(methods)).length,
    )
    await page.getByText('Start a createUserSaga').click()
    await page.getByText('The same key with the same body').waitFor()
    expect(complaints).toEqual([])
  })
})
