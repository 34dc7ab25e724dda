import { SessionError } from '../errors.ts'
import type { Data, SessionData } from '../stores/session-data.ts'
import { parseJson } from '../stores/parse-json.ts'
import { parseData } from '../stores/session-data.ts'
import { encodeValue } from './exact-json.ts'

/** One change made to a session since it was loaded, in a form that can be made again on a newer record. */
export type Operation =
  | { readonly kind: 'set'; readonly key: string; readonly text: string; readonly nested?: boolean }
  | { readonly kind: 'flash'; readonly key: string; readonly text: string }
  | { readonly kind: 'delete'; readonly key: string }
  /** Takes out the value that was read, and no newer one. */
  | { readonly kind: 'take'; readonly key: string; readonly text: string }
  | { readonly kind: 'clear' }
  | { readonly kind: 'update'; readonly key: string; readonly fn: (value: unknown) => unknown }
  | { readonly kind: 'expiry'; readonly expiresAt: number | null }
  /** What comes before it belongs to the session as it was before the sign-in; another user's goes. */
  | { readonly kind: 'sign-in'; readonly isAnother: boolean }

/** What operations change: the parts of a record that a handler can write. */
export interface Draft {
  data: Data
  flash: Set<string>
  expiresAt: number | null
}

/** The parts of a record that operations start from; `null` is a session that has none yet. */
export function draftOf(record: SessionData | null): Draft {
  if (record === null) return { data: {}, flash: new Set(), expiresAt: null }
  // From the text, not from `record.data`: somebody may hold that object and be changing it.
  const { json, flash, expiresAt } = record
  return { data: parseData(json), flash: flash.length === 0 ? new Set() : new Set(flash), expiresAt }
}

/**
 * Makes the changes again, in order, on a newer draft.
 * @throws SessionError `ERR_SESSION_VALUE`, or whatever an `update`'s function throws
 */
export function replay(operations: readonly Operation[], draft: Draft): void {
  for (const operation of operations) apply(operation, draft)
}

/** Whether making the changes twice leaves the same as making them once. */
export function isIdempotent(operations: readonly Operation[]): boolean {
  return operations.every((operation) => operation.kind !== 'update')
}

/** The changes that stand on their own after a sign-in, and hold nothing of the session before it. */
export function sinceSignIn(operations: readonly Operation[]): readonly Operation[] {
  const boundary = operations.findLastIndex((operation) => operation.kind === 'sign-in')
  const own = new Set<string>()
  return operations.slice(boundary + 1).filter((operation) => {
    if (operation.kind !== 'set' && operation.kind !== 'flash') return true
    // What was written inside an object comes with the whole of it, which may be from before.
    if (operation.kind === 'set' && operation.nested === true) return own.has(operation.key)
    own.add(operation.key)
    return true
  })
}

function apply(operation: Operation, draft: Draft): void {
  switch (operation.kind) {
    case 'set':
      put(draft.data, operation.key, parseJson(operation.text))
      if (operation.nested !== true) draft.flash.delete(operation.key)
      return
    case 'flash':
      put(draft.data, operation.key, parseJson(operation.text))
      draft.flash.add(operation.key)
      return
    case 'delete':
      remove(draft, operation.key)
      return
    case 'take':
      if (JSON.stringify(read(draft.data, operation.key)) === operation.text) remove(draft, operation.key)
      return
    case 'clear':
      draft.data = {}
      draft.flash.clear()
      return
    case 'update': {
      const text = encodeUpdated(operation.fn(read(draft.data, operation.key)), operation.key)
      put(draft.data, operation.key, parseJson(text))
      draft.flash.delete(operation.key)
      return
    }
    case 'expiry':
      draft.expiresAt = operation.expiresAt
      return
    case 'sign-in':
      if (operation.isAnother) Object.assign(draft, draftOf(null))
  }
}

/**
 * JSON text of what an `update`'s function returned. One that returns nothing has most likely changed its argument
 * and forgotten to return it; taking that for a deletion would lose the value.
 * @throws SessionError `ERR_SESSION_ARGUMENT` for no value or a promise, `ERR_SESSION_VALUE` for one JSON would change
 */
export function encodeUpdated(value: unknown, key: string): string {
  if (value === undefined)
    throw new SessionError(
      'ERR_SESSION_ARGUMENT',
      "update's function must return the new value; to remove a key, use delete.",
    )
  if (value instanceof Promise) {
    value.catch(ignore)
    throw new SessionError(
      'ERR_SESSION_ARGUMENT',
      'update takes a synchronous function: await first, then update.',
    )
  }
  return encodeValue(value, key)
}

function remove(draft: Draft, key: string): void {
  delete draft.data[key]
  draft.flash.delete(key)
}

/** The key's value; undefined where there is none, whatever objects inherit. */
export function read(data: Data, key: string): unknown {
  return Object.hasOwn(data, key) ? data[key] : undefined
}

/** Writes a key as data: plain assignment to `__proto__` would change the object's prototype instead. */
export function put(data: Data, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(data, key, { value, writable: true, enumerable: true, configurable: true })
  else data[key] = value
}

const ignore = (): void => {}
