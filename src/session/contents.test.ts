import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { parseJson } from '../stores/parse-json.ts'
import type { Data } from '../stores/session-data.ts'
import { SessionData } from '../stores/session-data.ts'
import { draftOf, replay } from './change-log.ts'
import type { Change } from './contents.ts'
import { Contents } from './contents.ts'

const recordOf = (data: object, flash: readonly string[] = []): SessionData =>
  new SessionData({ data: JSON.stringify(data), flash, version: 'v' })

const contentsOf = (data: object, flash: readonly string[] = []): Contents =>
  new Contents(recordOf(data, flash))

/** What a store holds once a change has been made again on `record`. */
function carried(change: Change | null, record: SessionData = recordOf({})): SessionData {
  const draft = draftOf(record)
  replay(change?.operations ?? [], draft)
  return new SessionData({
    data: JSON.stringify(draft.data),
    flash: [...draft.flash],
    expiresAt: draft.expiresAt,
  })
}

/** A list that a test may push to. */
const list = (value: unknown): unknown[] => value as unknown[]

describe('writing inside a value is noticed and saved', () => {
  const data = { cart: [{ item: 'tea', tags: ['hot'] }], other: 1 }

  test.each<[string, (contents: Contents) => void]>([
    ['one that was read', (contents) => list(contents.get('cart')).push('milk')],
    ['one that was looked at', (contents) => list(contents.look('cart')).push('milk')],
    ['one that an update returned', (contents) => list(contents.update('cart', (c) => c).value).push('milk')],
    [
      "one that an update's function made anew",
      (contents) => list(contents.update('cart', (c) => JSON.parse(JSON.stringify(c))).value).push('milk'),
    ],
    [
      "one that an update's function changed before it failed",
      (contents) =>
        expect(() =>
          contents.update('cart', (c) => {
            list(c).push('milk')
            throw new Error('oops')
          }),
        ).toThrow('oops'),
    ],
    [
      'one that was set, also where that changed nothing',
      (contents) => {
        const cart = structuredClone(data.cart)
        contents.set('cart', cart)
        list(cart).push('milk')
      },
    ],
  ])('%s', (_, write) => {
    const contents = contentsOf(data)
    write(contents)
    expect(contents.isModified).toBe(true)
    const change = contents.seal()
    expect(JSON.parse(change!.json!)).toEqual({ cart: [data.cart[0], 'milk'], other: 1 })
    expect(carried(change, recordOf({ ...data, theirs: 2 })).data).toEqual({
      cart: [data.cart[0], 'milk'],
      other: 1,
      theirs: 2,
    })
  })

  test('one whose new text was then set as a whole', () => {
    const contents = contentsOf({ a: { n: 1 } })
    ;(contents.get('a') as { n: number }).n = 2
    contents.set('a', { n: 2 })
    expect(carried(contents.seal()).data).toEqual({ a: { n: 2 } })
  })

  test('and told from setting the whole value, which stands on its own', () => {
    const contents = contentsOf(data)
    list(contents.get('cart')).push('milk')
    contents.set('other', {})
    expect(contents.seal()!.operations.map((operation) => 'nested' in operation)).toEqual([false, true])
  })

  test('but not what was written there and taken back', () => {
    const contents = contentsOf(data)
    list(contents.get('cart')).push('milk')
    list(contents.get('cart')).pop()
    expect(contents.isModified).toBe(false)
    expect(contents.seal()).toBe(null)
  })

  test('nor inside an object that the session no longer holds', () => {
    const contents = contentsOf(data)
    const cart = list(contents.get('cart'))
    contents.set('cart', ['new'])
    cart.push('milk')
    expect(carried(contents.seal()).data).toEqual({ cart: ['new'] })
  })

  test('a value that cannot be saved is refused by its path, and nothing is taken', () => {
    const contents = contentsOf(data)
    contents.set('other', 2)
    const [first] = contents.get('cart') as { at?: unknown }[]
    first!.at = new Date()
    expect(contents.isModified).toBe(true)
    expect(() => contents.seal()).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_VALUE', path: 'cart[0].at' }),
    )
    first!.at = 'noon'
    expect(JSON.parse(contents.seal()!.json!)).toEqual({ cart: [{ ...data.cart[0], at: 'noon' }], other: 2 })
  })
})

describe('what changes nothing is no change', () => {
  test.each<[string, (contents: Contents) => unknown]>([
    ['reading', (contents) => [contents.get('a'), contents.keys(), contents.has('a'), contents.size]],
    ['setting what is there', (contents) => contents.set('a', { n: 1 })],
    ['setting the very object that is there', (contents) => contents.set('a', contents.get('a'))],
    ['deleting what is not there', (contents) => contents.delete('b')],
    ['setting to undefined what is not there', (contents) => contents.set('b', undefined)],
    ['flashing undefined', (contents) => contents.flash('b', undefined)],
    ['pulling what is not there', (contents) => contents.pull('b')],
    ['an update to the same', (contents) => contents.update('a', () => ({ n: 1 }))],
    ['lending a default that nobody writes to', (contents) => contents.lend('b', { n: 1 })],
  ])('%s', (_, act) => {
    const contents = contentsOf({ a: { n: 1 } })
    act(contents)
    expect(contents.isModified).toBe(false)
    expect(contents.seal()).toBe(null)
  })

  test('clearing an empty session', () => {
    const contents = new Contents(null)
    expect(contents.clear()).toBe(false)
    expect(contents.isModified).toBe(false)
  })

  test('but the same keys in another order are one, and so is keeping what was flashed', () => {
    const contents = contentsOf({ a: { x: 1, y: 2 }, f: 1 }, ['f'])
    expect(contents.set('a', { y: 2, x: 1 })).toBe(true)
    expect(contents.set('f', 1)).toBe(true)
    expect(carried(contents.seal()).flash).toEqual([])
  })
})

describe('setting a key to undefined removes it', () => {
  test('by set', () => {
    const contents = contentsOf({ a: 1 })
    expect(contents.set('a', undefined)).toBe(true)
    expect(contents.has('a')).toBe(false)
  })

  test('by flash', () => {
    const contents = contentsOf({ a: 1 })
    expect(contents.flash('a', undefined)).toBe(true)
    expect(carried(contents.seal(), recordOf({ a: 1 })).data).toEqual({})
  })
})

describe('pull', () => {
  test('takes the value out with what was written inside it, and no newer one of another request', () => {
    const contents = contentsOf({ jobs: [1] })
    list(contents.get('jobs')).push(2)
    expect(contents.pull('jobs')).toEqual([1, 2])
    expect(contents.has('jobs')).toBe(false)

    const plain = contentsOf({ token: 'old' })
    expect(plain.pull('token')).toBe('old')
    expect(carried(plain.seal(), recordOf({ token: 'newer' })).data).toEqual({ token: 'newer' })
  })
})

describe('a flash value', () => {
  const flashed = (): Contents => contentsOf({ notice: { text: 'saved' }, a: 1 }, ['notice'])

  test('stays while nobody reads it', () => {
    const contents = flashed()
    expect([contents.keys(), contents.has('notice'), contents.look('notice')]).toEqual([
      ['notice', 'a'],
      true,
      { text: 'saved' },
    ])
    expect(contents.isModified).toBe(false)
    contents.set('a', 2)
    expect(contents.seal()).toMatchObject({ json: '{"notice":{"text":"saved"},"a":2}', flash: ['notice'] })
  })

  test('is readable for the rest of the request that reads it, and goes with its commit', () => {
    const contents = flashed()
    contents.get('notice')
    expect(contents.get('notice')).toEqual({ text: 'saved' })
    const change = contents.seal()
    expect(change).toMatchObject({ json: '{"a":1}', flash: [] })
    expect(change!.operations).toHaveLength(1)
    expect(contents.has('notice')).toBe(false)
  })

  test('that another request has put there since stays', () => {
    const contents = flashed()
    contents.get('notice')
    const newer = recordOf({ notice: { text: 'newer' } }, ['notice'])
    expect(carried(contents.seal(), newer)).toMatchObject({
      data: { notice: { text: 'newer' } },
      flash: ['notice'],
    })
  })

  test('that is written to after it was read is wanted after all', () => {
    for (const write of [
      (contents: Contents) => Object.assign(contents.get('notice') as object, { text: 'again' }),
      (contents: Contents) => contents.set('notice', { text: 'again' }),
      (contents: Contents) => contents.update('notice', () => ({ text: 'again' })),
    ]) {
      const contents = flashed()
      contents.get('notice')
      write(contents)
      expect(contents.seal()).toMatchObject({ json: '{"notice":{"text":"again"},"a":1}', flash: [] })
    }
  })

  test('that is flashed again after it was read is kept for the next reader', () => {
    const contents = flashed()
    contents.get('notice')
    contents.flash('notice', 'again')
    expect(contents.seal()).toMatchObject({ json: '{"notice":"again","a":1}', flash: ['notice'] })
  })

  test('goes with the session that is cleared, or the key that is pulled', () => {
    for (const remove of [
      (contents: Contents) => contents.clear(),
      (contents: Contents) => [contents.pull('notice'), contents.delete('a')],
    ]) {
      const contents = flashed()
      contents.get('notice')
      remove(contents)
      expect(contents.seal()).toMatchObject({ json: '{}', flash: [] })
    }
  })
})

describe('a value that a schema made is stored once it is written to', () => {
  test('in place of none, where it stands on its own', () => {
    const contents = contentsOf({})
    const prefs = contents.lend('prefs', { theme: 'light' }) as { theme: string }
    expect(contents.lend('prefs', { theme: 'light' })).toBe(prefs)
    prefs.theme = 'dark'
    expect(contents.get('prefs')).toBe(prefs)
    prefs.theme = 'black'
    const change = contents.seal()
    expect(carried(change).data).toEqual({ prefs: { theme: 'black' } })
    expect(change!.operations[0]).toMatchObject({ nested: false })
  })

  test('once, whenever it is asked about in between', () => {
    const contents = contentsOf({})
    const prefs = contents.lend('prefs', { theme: 'light' }) as { theme: string }
    prefs.theme = 'dark'
    expect([contents.has('prefs'), contents.size]).toEqual([true, 1])
    expect(contents.seal()!.operations).toHaveLength(1)
    prefs.theme = 'black'
    expect(carried(contents.seal()).data).toEqual({ prefs: { theme: 'black' } })
  })

  test('or from what is stored', () => {
    const contents = contentsOf({ prefs: { lang: 'de' } })
    const made = contents.lend('prefs', { lang: 'de', theme: 'light' }) as { theme: string }
    expect(contents.get('prefs')).toEqual({ lang: 'de' })
    expect(contents.lend('prefs', { lang: 'de', theme: 'light' })).toBe(made)
    made.theme = 'dark'
    expect(carried(contents.seal()).data).toEqual({ prefs: { lang: 'de', theme: 'dark' } })
  })

  test('unless the key is given something else', () => {
    const contents = contentsOf({})
    const prefs = contents.lend('prefs', { theme: 'light' }) as { theme: string }
    contents.set('prefs', 'none')
    prefs.theme = 'dark'
    expect(carried(contents.seal()).data).toEqual({ prefs: 'none' })
  })

  test.each<[string, (contents: Contents) => unknown]>([
    ['deleted', (contents) => contents.delete('prefs')],
    ['cleared away', (contents) => contents.clear()],
    ['dropped with all that was not saved', (contents) => contents.reset(recordOf({}))],
  ])('or is %s', (_, remove) => {
    const contents = contentsOf({ prefs: {} })
    const prefs = contents.lend('prefs', { theme: 'light' }) as { theme: string }
    remove(contents)
    prefs.theme = 'dark'
    expect(carried(contents.seal()).data).toEqual({})
  })

  test('and is seen by who asks whether there is anything to save', () => {
    const contents = contentsOf({})
    const prefs = contents.lend('prefs', { theme: 'light' }) as { theme: string }
    prefs.theme = 'dark'
    expect([contents.isModified, contents.peek()]).toEqual([true, { prefs: { theme: 'dark' } }])
  })

  test("and is the session's own where the schema changed nothing", () => {
    const contents = contentsOf({ prefs: { lang: 'de' } })
    expect(contents.lend('prefs', { lang: 'de' })).toBe(contents.get('prefs'))
  })

  test('but stays what the schema made of it where that is no data', () => {
    const contents = contentsOf({ at: '1970-01-01T00:00:00.000Z' })
    expect(contents.lend('at', new Date(0))).toBeInstanceOf(Date)
    expect(contents.seal()).toBe(null)
  })

  test('and is refused, like any other, when it cannot be saved', () => {
    const contents = contentsOf({})
    const prefs = contents.lend('prefs', { since: null }) as { since: unknown }
    prefs.since = new Date()
    expect(contents.isModified).toBe(true)
    expect(() => contents.seal()).toThrow(expect.objectContaining({ path: 'prefs.since' }))
  })
})

describe('a commit', () => {
  test('takes the changes made so far; those made meanwhile are for the next', () => {
    const contents = contentsOf({})
    contents.set('a', 1)
    const first = contents.seal()
    contents.set('b', 2)
    contents.advance(recordOf({ a: 1 }))
    expect(carried(first).data).toEqual({ a: 1 })
    const second = contents.seal()
    expect(second!.operations).toHaveLength(1)
    expect(second!.json).toBe('{"a":1,"b":2}')
    expect(contents.seal()).toBe(null)
  })

  test('that fails gives its changes back, before those made meanwhile', () => {
    const contents = contentsOf({ a: 0 })
    contents.set('a', 1)
    const first = contents.seal()!
    contents.set('a', 2)
    contents.restore(first)
    expect(contents.isModified).toBe(true)
    expect(carried(contents.seal(), recordOf({ a: 0, theirs: 1 })).data).toEqual({ a: 2, theirs: 1 })
  })

  test('that fails never gives back less than it took, nor text that its changes are not in', () => {
    const contents = contentsOf({ a: 0 })
    contents.set('a', 1)
    const failed = contents.seal()!
    contents.reset(recordOf({ a: 0 }))
    contents.signIn(false)
    contents.restore(failed)
    const change = contents.seal()!
    expect([change.json, carried(change, recordOf({ a: 0 })).data]).toEqual([null, { a: 1 }])
  })

  test('whose outcome nobody knows is remembered as such until one succeeds', () => {
    const contents = contentsOf({})
    contents.set('a', 1)
    const lost = contents.seal()!
    expect(lost.unconfirmed).toBe(undefined)
    lost.unconfirmed = 'no reply'
    contents.restore(lost)
    expect(contents.seal()!.unconfirmed).toBe('no reply')
    contents.advance(recordOf({ a: 1 }))
    contents.set('a', 2)
    expect(contents.seal()!.unconfirmed).toBe(undefined)
  })
})

test('what is dropped is dropped: changes, reads of flash values, and doubts about them', () => {
  const record = recordOf({ a: 1, f: 1, list: [] }, ['f'])
  const contents = new Contents(record)
  contents.set('a', 2)
  list(contents.get('list')).push(1)
  const failed = contents.seal()!
  failed.unconfirmed = 'no reply'
  contents.restore(failed)
  contents.get('f')
  contents.reset(record)
  expect([contents.isPristine, contents.isModified, contents.seal()]).toEqual([true, false, null])
  contents.set('b', 1)
  expect(contents.seal()).toMatchObject({
    json: '{"a":1,"f":1,"list":[],"b":1}',
    flash: ['f'],
    unconfirmed: undefined,
  })
})

describe("going on from a record with others' changes in it", () => {
  test('shows them, and keeps the objects that the handler holds the live ones', () => {
    const contents = contentsOf({ cart: [1], n: 1 })
    const cart = list(contents.get('cart'))
    cart.push(2)
    contents.seal()
    contents.rebase(recordOf({ cart: [1, 2], n: 2, theirs: true }))
    expect([contents.get('n'), contents.get('theirs'), contents.get('cart')]).toEqual([2, true, cart])
    cart.push(3)
    expect(carried(contents.seal(), recordOf({ cart: [1, 2], n: 9 })).data).toEqual({ cart: [1, 2, 3], n: 9 })
  })

  test('never writes what it holds over what another has put there since', () => {
    const contents = contentsOf({ cart: [1] })
    contents.get('cart')
    contents.set('a', 1)
    contents.seal()
    const theirs = recordOf({ cart: ['theirs'], a: 1 })
    contents.rebase(theirs)
    contents.set('b', 2)
    const change = contents.seal()!
    expect(change.json).toBe(null)
    expect(carried(change, theirs).data).toEqual({ cart: ['theirs'], a: 1, b: 2 })
  })

  test('keeps changes made meanwhile in sight', () => {
    const contents = contentsOf({ a: 1, b: 1, f: 1 }, ['f'])
    contents.set('c', 1)
    contents.seal()
    contents.delete('a')
    contents.set('b', 2)
    contents.setExpiry(7)
    contents.get('f')
    contents.rebase(recordOf({ a: 1, b: 1, c: 1, f: 1, theirs: 1 }, ['f']))
    expect(contents.peek()).toEqual({ b: 2, c: 1, f: 1, theirs: 1 })
    expect(contents.expiresAt).toBe(7)
    expect(contents.seal()).toMatchObject({ expiresAt: 7, flash: [] })
  })

  test('takes over their deadline, also after it was cleared', () => {
    const contents = contentsOf({ a: 1 })
    contents.set('b', 1)
    contents.seal()
    contents.clear()
    contents.set('c', 1)
    contents.rebase(new SessionData({ data: '{"a":1,"b":1,"theirs":1}', flash: ['theirs'], expiresAt: 9 }))
    expect(contents.peek()).toEqual({ c: 1 })
    expect(contents.seal()).toMatchObject({ expiresAt: 9, flash: [] })
  })

  test('is exact again once nothing is held', () => {
    const contents = contentsOf({})
    contents.set('a', 1)
    contents.seal()
    contents.rebase(recordOf({ a: 1, theirs: 1 }))
    contents.set('b', 1)
    expect(contents.seal()!.json).toBe('{"a":1,"theirs":1,"b":1}')
  })
})

describe('signing in', () => {
  test('draws a line in the log', () => {
    const contents = contentsOf({ cart: [1] })
    list(contents.get('cart')).push(2)
    contents.signIn(false)
    contents.set('a', 1)
    expect(contents.seal()!.operations.map(({ kind }) => kind)).toEqual(['set', 'sign-in', 'set'])
  })

  test('as another starts empty, whatever a failed commit gives back', () => {
    const contents = contentsOf({ theirs: 1 })
    contents.update('secret', () => 1)
    contents.setExpiry(7)
    const failed = contents.seal()!
    contents.signIn(true)
    expect(contents.keys()).toEqual([])
    contents.set('mine', 1)
    failed.unconfirmed = 'no reply'
    contents.restore(failed)
    const change = contents.seal()
    expect(carried(change, recordOf({ theirs: 1 }))).toMatchObject({ data: { mine: 1 }, expiresAt: null })
    expect(change!.unconfirmed).toBe(undefined)
  })

  test('as another stays empty when the save that was under way brings the record of the one before', () => {
    const contents = contentsOf({ theirs: 1 })
    contents.set('theirs', 2)
    contents.seal()
    contents.signIn(true)
    contents.set('mine', 1)
    contents.rebase(recordOf({ theirs: 2 }))
    expect(contents.peek()).toEqual({ mine: 1 })
  })

  test('leaves the old session behind with all of it, should that turn out to have ended', () => {
    const contents = contentsOf({ cart: [1] })
    contents.set('before', 1)
    contents.signIn(false)
    list(contents.get('cart')).push(2)
    contents.set('since', 1)
    contents.leave()
    expect(contents.peek()).toEqual({ since: 1 })
    expect(carried(contents.seal()).data).toEqual({ since: 1 })
  })
})

test('a session that stood by itself starts over with all it has as changes', () => {
  const contents = contentsOf({ a: 1, f: 1, read: 1, list: [1] }, ['f', 'read'])
  list(contents.get('list')).push(2)
  contents.get('read')
  contents.setExpiry(5)
  contents.startOver()
  expect(contents.record).toBe(null)
  expect(carried(contents.seal())).toMatchObject({
    data: { a: 1, f: 1, list: [1, 2] },
    flash: ['f'],
    expiresAt: 5,
  })
})

test('a session whose objects were never handed out has nothing to look at again', () => {
  const contents = contentsOf({ a: 1, b: null, c: 'x', o: {} })
  for (const key of ['a', 'b', 'c', 'd']) contents.get(key)
  expect(contents.isPristine).toBe(true)
  contents.get('o')
  expect(contents.isPristine).toBe(false)
})

test('a record that is never opened is never parsed', () => {
  const contents = new Contents(new SessionData({ data: '{broken' }))
  expect([contents.isPristine, contents.isModified, contents.seal()]).toEqual([true, false, null])
  expect(() => contents.open()).toThrow(expect.objectContaining({ code: 'ERR_SESSION_RECORD' }))
})

test('unless there is something that no store can keep: then it keeps all it has', () => {
  const contents = contentsOf({ a: 1, list: [] })
  list(contents.get('list')).push(1n)
  expect(() => contents.startOver()).toThrow(expect.objectContaining({ path: 'list[0]' }))
  expect(contents.peek()).toEqual({ a: 1, list: [1n] })
})

/** Writes at some place in a value, at any depth. */
function scribble(value: object, { path, act, what }: Scribble): void {
  let at: Record<string, unknown> | unknown[] = value as Data
  for (const step of path) {
    const children = Object.values(at).filter((child) => typeof child === 'object' && child !== null)
    if (children.length === 0) break
    at = children[step % children.length] as Data
  }
  const key = Object.keys(at)[act % (Object.keys(at).length + 1)]
  if (Array.isArray(at)) at.splice(act % (at.length + 1), act % 2, ...(act % 3 === 0 ? [] : [what]))
  else if (act % 3 === 0 && key !== undefined) delete at[key]
  else if (key !== '__proto__') at[key ?? 'new'] = what
}

interface Scribble {
  readonly path: readonly number[]
  readonly act: number
  readonly what: unknown
}

// S30
test('whatever is changed, at any depth, in whatever object was handed out, is saved; and nothing else is', () => {
  const small = fc.nat(5)
  const json = fc.jsonValue({ maxDepth: 4, noUnicodeString: false } as fc.JsonSharedConstraints)
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constantFrom('get', 'update', 'set', 'held'),
        key: small,
        path: fc.array(small, { maxLength: 4 }),
        act: fc.nat(11),
        what: json,
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('save', 'conflict', 'failure') }) },
  )
  fc.assert(
    fc.property(
      fc.array(json, { minLength: 1, maxLength: 4 }),
      fc.array(step, { maxLength: 12 }),
      (values, steps) => {
        const data: Data = Object.fromEntries(values.map((value, i) => [`k${i}`, { inner: value }]))
        let stored = recordOf({ ...data, theirs: 0 })
        const expected = stored.data
        const contents = new Contents(stored)
        const held = new Map<string, object>()

        const save = (conflicts: boolean): void => {
          const change = contents.seal()
          if (conflicts) {
            expected.theirs = (expected.theirs as number) + 1
            stored = recordOf({ ...(parseJson(stored.json) as Data), theirs: expected.theirs })
          }
          if (change?.json == null || conflicts) {
            stored = carried(change, stored)
            contents.rebase(stored)
          } else {
            const replayed = carried(change, stored)
            stored = recordOf(parseJson(change.json) as Data)
            expect(replayed.data).toEqual(stored.data)
            contents.advance(stored)
          }
          expect(parseJson(stored.json)).toEqual(parseJson(JSON.stringify(expected)))
        }

        for (const one of steps) {
          if (!('key' in one)) {
            if (one.kind === 'failure') {
              const change = contents.seal()
              if (change !== null) contents.restore(change)
            } else save(one.kind === 'conflict')
            continue
          }
          const key = `k${one.key % values.length}`
          if (one.kind === 'set') {
            contents.set(key, { inner: structuredClone(one.what) })
            expected[key] = { inner: structuredClone(one.what) }
            held.delete(key)
          }
          const live =
            one.kind === 'held'
              ? (held.get(key) ?? (contents.get(key) as object))
              : one.kind === 'update'
                ? (contents.update(key, (value) => value).value as object)
                : (contents.get(key) as object)
          held.set(key, live)
          scribble(live, one)
          scribble(expected[key] as object, { ...one, what: structuredClone(one.what) })
        }
        const before = stored.json
        const isSame = JSON.stringify(parseJson(before)) === JSON.stringify(expected)
        expect(contents.isModified || isSame).toBe(true)
        save(false)
        expect(contents.isModified).toBe(false)
        expect(contents.seal()).toBe(null)
      },
    ),
    { numRuns: 600 },
  )
})
