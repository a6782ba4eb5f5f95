import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import { textFormats } from './text.js'
import type { InputProblem } from './saga/errors.js'

// Nothing is bent to fit: no coercion, no removal of unknown fields. `strictTypes` off: schemas with if/then name types once.
const options = {
  allErrors: true,
  strict: true,
  strictTypes: false,
  strictRequired: false,
  verbose: true,
  formats: textFormats,
} as const

/** For bodies and parameters. */
export const strict = new Ajv({ ...options })
/** For query strings, which have no types of their own; what is left out takes its default. */
export const coercing = new Ajv({ ...options, coerceTypes: true, useDefaults: true })

/** Compiles a schema into a check that answers with what is wrong, nothing where all is right. */
export function makeCheck(schema: object): (value: unknown) => InputProblem[] {
  const validate: ValidateFunction = strict.compile(schema)
  return (value) => (validate(value) ? [] : toProblems(validate.errors ?? []))
}

/** One problem a place, in words for people. */
export function toProblems(errors: ErrorObject[]): InputProblem[] {
  const problems = errors.filter(({ keyword }) => keyword !== 'if').map(toProblem)
  return problems.filter((one, i) => problems.findIndex(({ path }) => path === one.path) === i)
}

function toProblem({ keyword, instancePath, params, message = 'is not right', data }: ErrorObject): InputProblem {
  switch (keyword) {
    case 'required':
      return { path: `${instancePath}/${params['missingProperty']}`, message: 'is missing' }
    case 'additionalProperties':
      return { path: `${instancePath}/${escape(params['additionalProperty'])}`, message: 'is not a field of this' }
    case 'enum':
      return { path: instancePath, message: `must be one of ${params['allowedValues'].join(', ')}` }
    case 'const':
      return { path: instancePath, message: `must be ${params['allowedValue']} here` }
    case 'not':
      return { path: instancePath, message: 'has `n` without mode first, or `rate` without mode rate' }
    case 'false schema':
      return { path: instancePath, message: 'does not go with the other fields' }
    case 'minLength':
      return { path: instancePath, message: 'must not be empty' }
    case 'format':
      if (params['format'] === 'uuid') return { path: instancePath, message: 'must be a UUID' }
      return {
        path: instancePath,
        message:
          data === ''
            ? 'must not be empty'
            : 'must hold visible characters and no control characters or broken Unicode',
      }
    case 'pattern':
      return { path: instancePath, message: `does not have the form ${params['pattern']}` }
    case 'maxLength':
      return { path: instancePath, message: `must have at most ${params['limit']} characters` }
    default:
      return { path: instancePath, message }
  }
}

function escape(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1').slice(0, 100)
}
