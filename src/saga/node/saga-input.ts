import type { InputProblem } from '../errors.js'
import { problemsOf } from '../exact-json.js'
import type { Failures } from '../failure.js'
import { bytesOf, MAX_JSON_BYTES } from '../result.js'
import type { Json } from '../types.js'
import type { SagaType } from './saga-type.js'

type Problems = { problems: InputProblem[] }

// Here no error leaves a function of a saga's type, whatever the input: it would be repeated with every opening.

/** The input that a saga's type makes of a request, or every problem it has. */
export function readInput(saga: SagaType, request: unknown): { input: unknown; failures?: Failures } | Problems {
  const read = told(saga, 'parse', () => {
    const parsed = saga.parse(request)
    if (!('problems' in parsed)) return parsed
    // Whatever else they are is found out here.
    return { problems: parsed.problems.map(({ path, message }) => ({ path, message })) }
  })
  if ('problems' in read) return read
  if ('problems' in read.value) return read.value
  const wrong = problemsOf(read.value.failures)
  return wrong.length > 0 ? { problems: wrong } : read.value
}

interface Described {
  input: Json
  label: string
  view: object
  secrets: string[]
}

/** An input that can be kept, and what the saga's row tells of it; or every problem that it has, or its type with it. */
export function describe(saga: SagaType, input: unknown): Described | Problems {
  const wrong = problemsOf(input)
  if (wrong.length > 0) return { problems: wrong }
  // The opening answers with it, and with what people see of it.
  const bytes = bytesOf(JSON.stringify(input))
  if (bytes > MAX_JSON_BYTES) {
    return { problems: [{ path: '', message: `has ${bytes} bytes as JSON; ${MAX_JSON_BYTES} is the most` }] }
  }
  const view = told(saga, 'view', () => saga.view(input))
  const label = told(saga, 'label', () => saga.label(input))
  const secrets = told(saga, 'secrets', () => saga.secrets(input))
  const problems = [
    ...('problems' in view ? view.problems : kept(saga, 'view', view.value, isObject(view.value))),
    ...('problems' in label ? label.problems : kept(saga, 'label', label.value, typeof label.value === 'string')),
    ...('problems' in secrets ? secrets.problems : kept(saga, 'secrets', [], areTexts(secrets.value))),
  ]
  if (problems.length > 0 || 'problems' in view || 'problems' in label || 'problems' in secrets) return { problems }
  return { input: input as Json, view: view.value, label: label.value, secrets: secrets.value }
}

type Told = 'parse' | 'view' | 'label' | 'secrets'

/** The error itself may quote the input, and what of it is secret is not known. */
function told<T>({ type }: SagaType, name: Told, call: () => T): { value: T } | Problems {
  try {
    return { value: call() }
  } catch (error) {
    const kind = error instanceof Error ? error.name : 'something that is no Error'
    return { problems: [{ path: '', message: `is not read: ${name} of ${type} threw ${kind}` }] }
  }
}

function kept({ type }: SagaType, name: Told, value: unknown, isOfKind: boolean): InputProblem[] {
  const [wrong] = problemsOf(value)
  const what = isOfKind ? wrong?.message : 'is not what it must be'
  return what ? [{ path: '', message: `is not read: what ${name} of ${type} returned ${what}` }] : []
}

const isObject = (value: unknown) => typeof value === 'object' && value !== null

const areTexts = (value: unknown) => Array.isArray(value) && value.every((one) => typeof one === 'string')
