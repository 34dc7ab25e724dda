import { SessionError } from '../errors.ts'
import type { Data } from '../stores/session-data.ts'
import type { Contents } from './contents.ts'
import type { Session } from './session.ts'

/** The part of a Standard Schema (standardschema.dev, version 1) that is used here. */
export interface StandardSchema {
  readonly '~standard': {
    readonly version: 1
    readonly validate: (value: unknown) => ValidationResult | Promise<ValidationResult>
    readonly types?: { readonly input: unknown; readonly output: unknown } | undefined
  }
}

/** What a schema says of a value: what it made of it, or what is wrong with it. */
export type ValidationResult =
  | { readonly value: unknown; readonly issues?: undefined }
  | { readonly issues: readonly Issue[] }

interface Issue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What a schema's values are read as. */
export type OutputOf<S extends StandardSchema> = NonNullable<S['~standard']['types']>['output']

/** A view of a session through a schema, which is applied to all of its data on reading and before each assignment. */
export function createTypedView<S extends StandardSchema>(
  session: Session,
  contents: () => Contents,
  schema: S,
): OutputOf<S> {
  const validate = (data: Data): ValidationResult => {
    const result = schema['~standard'].validate(data)
    if (result instanceof Promise) {
      result.catch(ignore)
      throw new SessionError(
        'ERR_SESSION_SCHEMA',
        'typed takes a synchronous schema; validate asynchronously before you assign.',
      )
    }
    return result
  }

  const output = (): Data => {
    const data = contents().peek()
    const result = validate(data)
    return result.issues === undefined ? (result.value as Data) : data
  }

  const look = (key: string): unknown => {
    const result = validate(contents().peek())
    if (result.issues !== undefined) {
      const stored = contents().look(key)
      if (stored !== undefined) refuseIssues(result.issues, key)
      return stored
    }
    const value = property(result.value, key)
    return typeof value === 'object' && value !== null ? contents().lend(key, value) : value
  }

  return new Proxy<Record<string, unknown>>(Object.create(null) as Record<string, unknown>, {
    get(_, key) {
      if (typeof key !== 'string') return undefined
      const value = look(key)
      // A flash value counts as read.
      contents().get(key)
      return value
    },
    has: (_, key) => typeof key === 'string' && Object.hasOwn(output(), key),
    set(_, key, value) {
      if (typeof key !== 'string')
        throw new SessionError('ERR_SESSION_ARGUMENT', 'A symbol cannot be a key of a session. Use a string.')
      refuseIssues(validate({ ...contents().peek(), [key]: value }).issues, key)
      session.set(key, value)
      return true
    },
    deleteProperty(_, key) {
      if (typeof key !== 'string' || !session.has(key)) return true
      const { [key]: _removed, ...rest } = contents().peek()
      refuseIssues(validate(rest).issues, key)
      session.delete(key)
      return true
    },
    ownKeys: () => Object.keys(output()),
    getOwnPropertyDescriptor(_, key) {
      if (typeof key !== 'string' || !Object.hasOwn(output(), key)) return undefined
      return { value: look(key), writable: true, enumerable: true, configurable: true }
    },
    setPrototypeOf: () => false,
    preventExtensions: () => false,
  })
}

/** @throws SessionError `ERR_SESSION_SCHEMA` when some of the issues are with this key; those with others do not matter */
function refuseIssues(issues: readonly Issue[] | undefined, key: string): void {
  const own =
    issues?.filter(({ path }) => path === undefined || path.length === 0 || stepOf(path[0]!) === key) ?? []
  if (own.length === 0) return
  // Not in the schema's words, which may quote the value (ASVS 16.2.5).
  throw new SessionError(
    'ERR_SESSION_SCHEMA',
    `${key}: the schema does not take this value; the error's issues say why.`,
    { path: key, issues: own },
  )
}

function stepOf(step: PropertyKey | { readonly key: PropertyKey }): PropertyKey {
  return typeof step === 'object' ? step.key : step
}

function property(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined
}

const ignore = (): void => {}
