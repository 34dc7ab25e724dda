import { SessionError } from '../errors.ts'
import { MAX_DEPTH } from '../stores/session-data.ts'

/**
 * JSON text of a value that JSON gives back unchanged.
 * @param key the session's key the value is under, for the error's path
 * @throws SessionError `ERR_SESSION_VALUE`, with the path and what to store instead, for anything JSON would
 *   change or drop without a word: Date, Map, BigInt, function, NaN, a cycle, a class instance, a hole in an array
 */
export function encodeValue(value: unknown, key: string): string {
  const problem = findProblem(value, [])
  if (problem !== null) {
    const path = key + problem.path
    throw new SessionError(
      'ERR_SESSION_VALUE',
      `${path}: ${problem.what} would not come back from a store. ${problem.remedy}`,
      { path },
    )
  }
  return JSON.stringify(value)
}

interface Problem {
  path: string
  what: string
  remedy: string
}

/** Recursion is bounded by {@link MAX_DEPTH}. The path is put together on the way out, so a good value pays nothing for it. */
function findProblem(value: unknown, above: object[]): Problem | null {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return null
    case 'number':
      return Number.isFinite(value) ? null : problem(String(value), 'Store a finite number, or null.')
    case 'object':
      if (value === null) return null
      if (above.includes(value)) return problem('a cycle', 'Store an id that leads to the object instead.')
      if (above.length >= MAX_DEPTH - 1)
        return problem(`nesting deeper than ${MAX_DEPTH}`, 'Flatten the value.')
      return Array.isArray(value) ? inArray(value, above) : inObject(value, above)
    case 'bigint':
      return problem('a BigInt', 'Store value.toString().')
    case 'undefined':
      return problem('undefined', 'Store null.')
    default:
      return problem(`a ${typeof value}`, 'Store data only.')
  }
}

function inArray(array: readonly unknown[], above: object[]): Problem | null {
  if (!isPlain(array, 'Array')) return ofClass(array)
  // A key that is no index would be dropped; a hole would come back as null.
  if (Object.keys(array).length !== array.length || Object.getOwnPropertySymbols(array).length > 0)
    return problem('an array with holes or named properties', 'Fill the holes with null, or store an object.')
  above.push(array)
  for (let i = 0; i < array.length; i++) {
    const found = findProblem(array[i], above)
    if (found !== null) return within(`[${i}]`, found)
  }
  above.pop()
  return null
}

function inObject(object: object, above: object[]): Problem | null {
  if (!isPlain(object, 'Object')) return ofClass(object)
  if (Object.getOwnPropertySymbols(object).length > 0)
    return problem('a property named by a symbol', 'Name it by a string.')
  above.push(object)
  for (const key of Object.keys(object)) {
    const value = (object as Record<string, unknown>)[key]
    // A property that is undefined counts as absent, before and after.
    if (value === undefined) continue
    const found = findProblem(value, above)
    if (found !== null) return within(IDENTIFIER.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`, found)
  }
  above.pop()
  return null
}

/** Whether the value's prototype is the language's own, of this realm or another. */
function isPlain(value: object, name: 'Array' | 'Object'): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null
  if (prototype === null || prototype === Array.prototype || prototype === Object.prototype) return true
  const above = Object.getPrototypeOf(prototype) as object | null
  const root = name === 'Object' ? above === null : above !== null && Object.getPrototypeOf(above) === null
  return root && Object.hasOwn(prototype, 'constructor') && prototype.constructor.name === name
}

function ofClass(value: object): Problem {
  if (value instanceof Date) return problem('a Date', 'Store date.toISOString() or date.getTime().')
  if (value instanceof Map) return problem('a Map', 'Store Object.fromEntries(map).')
  if (value instanceof Set) return problem('a Set', 'Store [...set].')
  if (ArrayBuffer.isView(value)) return problem('binary data', 'Store it as a base64 string.')
  const name = (value.constructor as { name?: string } | undefined)?.name || 'class'
  return problem(`an instance of ${name}`, 'Store a plain object with its fields.')
}

const problem = (what: string, remedy: string): Problem => ({ path: '', what, remedy })

const within = (step: string, found: Problem): Problem => ({ ...found, path: step + found.path })

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/
