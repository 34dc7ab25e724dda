import { describe, expect, test } from 'vitest'

import { SessionData } from '../stores/session-data.ts'
import type { Draft, Operation } from './change-log.ts'
import { draftOf, encodeUpdated, isIdempotent, put, read, replay, sinceSignIn } from './change-log.ts'

const set = (key: string, value: unknown, nested = false): Operation => ({
  kind: 'set',
  key,
  text: JSON.stringify(value),
  nested,
})
const flash = (key: string, value: unknown): Operation => ({
  kind: 'flash',
  key,
  text: JSON.stringify(value),
})
const take = (key: string, value: unknown): Operation => ({ kind: 'take', key, text: JSON.stringify(value) })
const update = (key: string, fn: (value: any) => unknown): Operation => ({ kind: 'update', key, fn })
const SIGN_IN: Operation = { kind: 'sign-in', isAnother: false }

/** What is left of `data` after the operations. */
function after(
  operations: Operation[],
  data: Record<string, unknown> = {},
  flashed: readonly string[] = [],
): Draft {
  const draft = draftOf(new SessionData({ data: JSON.stringify(data), flash: flashed, expiresAt: 5 }))
  replay(operations, draft)
  return draft
}

describe('made again on a newer record', () => {
  test('each operation changes its own key, in order, and leaves the others alone', () => {
    const operations = [
      set('a', 1),
      set('b', 2),
      { kind: 'delete', key: 'a' } as const,
      update('n', (n) => n + 1),
    ]
    expect(after(operations, { a: 0, n: 41, other: 'theirs' }).data).toEqual({ b: 2, n: 42, other: 'theirs' })
  })

  test('an update is a function of what stands there now', () => {
    expect(after([update('n', (n = 0) => n + 1), update('n', (n) => n * 2)], { n: 20 }).data).toEqual({
      n: 42,
    })
    expect(after([update('n', (n = 0) => n + 1)]).data).toEqual({ n: 1 })
  })

  test('clear removes what others put there too', () => {
    const { data, flash: flashed } = after([{ kind: 'clear' }, set('a', 1)], { theirs: 1, f: 2 }, ['f'])
    expect([data, [...flashed]]).toEqual([{ a: 1 }, []])
  })

  test('signing in as another leaves nothing of the one before, and as the same all of it', () => {
    const expiry: Operation = { kind: 'expiry', expiresAt: 7 }
    expect(
      after([expiry, set('a', 1), { kind: 'sign-in', isAnother: true }, set('b', 1)], { c: 1 }, ['c']),
    ).toEqual({
      data: { b: 1 },
      flash: new Set(),
      expiresAt: null,
    })
    expect(after([expiry, SIGN_IN], { c: 1 }, ['c'])).toEqual({
      data: { c: 1 },
      flash: new Set(['c']),
      expiresAt: 7,
    })
  })

  test('taking a value out leaves a newer one where it is', () => {
    expect(after([take('token', 'mine')], { token: 'mine' }).data).toEqual({})
    expect(after([take('token', 'mine')], { token: 'newer' }).data).toEqual({ token: 'newer' })
    expect(after([take('token', 'mine')]).data).toEqual({})
  })

  test('a value that is set or updated is kept for good, one that is flashed only until it is read', () => {
    const flashed = (...operations: Operation[]): string[] => [...after(operations, { f: 1 }, ['f']).flash]
    expect(flashed()).toEqual(['f'])
    expect(flashed(set('f', 2))).toEqual([])
    expect(flashed(update('f', (f) => f))).toEqual([])
    expect(flashed({ kind: 'delete', key: 'f' })).toEqual([])
    expect(flashed(set('f', 2, true))).toEqual(['f'])
    expect(flashed(flash('g', 1))).toEqual(['f', 'g'])
  })

  test('the lifetime changes only by an operation of its own', () => {
    expect(after([set('a', 1), { kind: 'clear' }, SIGN_IN]).expiresAt).toBe(5)
    expect(after([{ kind: 'expiry', expiresAt: null }]).expiresAt).toBe(null)
  })

  test('they start from the text of the record, whoever holds and changes its data', () => {
    const record = new SessionData({ data: { list: [1] } })
    const draft = draftOf(record)
    ;(record.data.list as number[]).push(2)
    expect(draft.data).toEqual({ list: [1] })
  })
})

test('only with updates does it matter whether changes are made once or twice', () => {
  const harmless = [
    set('a', 1),
    flash('b', 1),
    take('c', 1),
    { kind: 'delete', key: 'd' } as const,
    { kind: 'clear' } as const,
  ]
  expect(isIdempotent(harmless)).toBe(true)
  expect(isIdempotent([...harmless, update('n', (n) => n + 1)])).toBe(false)
})

describe('what stands on its own after a sign-in', () => {
  test('is what came after the last one, whole values and no parts of older ones', () => {
    const operations = [
      set('before', 1),
      SIGN_IN,
      set('first', 1),
      SIGN_IN,
      set('cart', [1], true),
      flash('hello', 1),
    ]
    expect(sinceSignIn(operations)).toEqual([flash('hello', 1)])
  })

  test('includes what was written inside a value that was itself set since', () => {
    const operations = [
      SIGN_IN,
      set('old', [1, 2], true),
      set('cart', []),
      set('cart', [1], true),
      set('old', [3], true),
    ]
    expect(sinceSignIn(operations)).toEqual([set('cart', []), set('cart', [1], true)])
  })
})

describe("what an update's function returns", () => {
  test('is refused when it is nothing, which is more likely forgotten than meant', () => {
    expect(() => encodeUpdated(undefined, 'n')).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_ARGUMENT' }),
    )
  })

  test('is refused when it is a promise, whose failure then bothers nobody', async () => {
    expect(() => encodeUpdated(Promise.reject(new Error('unheard')), 'n')).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_ARGUMENT' }),
    )
    // An unhandled rejection would end the test run.
    await new Promise(setImmediate)
  })

  test('is refused when JSON would change it', () => {
    expect(() => encodeUpdated({ at: new Date() }, 'n')).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_VALUE', path: 'n.at' }),
    )
  })
})

test('a key named __proto__ is written and read like any other', () => {
  const data: Record<string, unknown> = {}
  put(data, '__proto__', { polluted: true })
  expect(Object.getPrototypeOf(data)).toBe(Object.prototype)
  expect(read(data, '__proto__')).toEqual({ polluted: true })
  expect(read(data, 'polluted')).toBe(undefined)
  expect(read({}, '__proto__')).toBe(undefined)
})
