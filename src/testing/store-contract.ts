import assert from 'node:assert/strict'

import { SessionError } from '../errors.ts'
import { hasNotices } from '../stores/notices.ts'
import type { SessionDataInit } from '../stores/session-data.ts'
import { SessionData } from '../stores/session-data.ts'
import type { Mark, SessionStore } from '../stores/store.ts'
import { isMark, MARK_SECONDS } from '../stores/store.ts'
import type { UserIndex } from '../stores/user-index.ts'
import { hasUserIndex } from '../stores/user-index.ts'
import { StoreModel, seeded, shuffle } from './_store-model.ts'

/** How the contract reaches the store under test. A harness serves one test, and its store begins empty. */
export interface StoreHarness {
  /**
   * Opens the store. Asked again within one test, it opens another instance on the same records;
   * of a store that lives in one process, it gives the same one.
   */
  open(): SessionStore | Promise<SessionStore>
  /** Moves the store's time forward by `ms` milliseconds; where it runs by itself, a second more is no harm. */
  advance(ms: number): Promise<void>
  /**
   * Puts `data` in the place of the stored JSON text of the record under `id`, behind the store's back.
   * Where there is no way to, leave it out: broken text then goes in through `set`.
   */
  plant?(id: string, data: Uint8Array): void | Promise<void>
  /** Closes what was opened, and removes what was written. */
  close(): void | Promise<void>
}

/** One thing that a store must do. */
export interface StoreTest {
  /** A sentence. */
  readonly name: string
  /**
   * Every store passes the tests of `'one process'`; a store that is `atomic` passes those of `'several processes'` too, and one that
   * can find the sessions of a user those of `'user index'`, one that tells notices those of `'notices'`.
   */
  readonly part: 'one process' | 'several processes' | 'user index' | 'notices'
  /** Rejects when the store does otherwise. */
  run(harness: StoreHarness): Promise<void>
}

/**
 * What every store must do, as data: hand each test to the test runner of your choice.
 *
 * @example
 * for (const { name, run } of storeContract)
 *   test(name, async () => {
 *     const harness = openHarness()
 *     try {
 *       await run(harness)
 *     } finally {
 *       await harness.close()
 *     }
 *   })
 */
export const storeContract: readonly StoreTest[] = [
  // get, set, delete, exists

  one('an id that nothing was written under is not there', async ({ store }) => {
    assert.equal(await store.get('a'), null)
    assert.equal(await store.load('a'), null)
    assert.equal(await store.exists('a'), false)
    assert.equal(await store.delete('a'), false)
    assert.equal(await store.replace('a', record('a', 2), 'v1', 60), false)
    assert.equal(await store.touch('a', 60), false)
    assert.equal(await store.end('a', destroyed), false)
    assert.equal(await store.load('a'), null)
  }),

  one('what was set is found, and once deleted it is not', async ({ store }) => {
    await store.set('a', record('a', 1, { data: { visits: 1 } }), 60)
    assert.deepEqual((await store.get('a'))?.data, { visits: 1 })
    assert.deepEqual(recordOf(await store.load('a')).data, { visits: 1 })
    assert.equal(await store.exists('a'), true)
    assert.equal(await store.delete('a'), true)
    assert.equal(await store.get('a'), null)
    assert.equal(await store.load('a'), null)
    assert.equal(await store.exists('a'), false)
    assert.equal(await store.delete('a'), false)
  }),

  one('set writes over whatever stood there, a mark included', async ({ store }) => {
    await store.set('a', record('a', 1, { data: { a: 1 } }), 60)
    await store.set('a', record('a', 2, { data: { b: 2 } }), 60)
    assert.deepEqual((await store.get('a'))?.data, { b: 2 })
    assert.equal((await store.get('a'))?.version, 'v2')
    await store.end('a', destroyed)
    await store.set('a', record('a', 3), 60)
    assert.equal((await store.get('a'))?.version, 'v3')
  }),

  one('set without a ttl keeps the record for an hour', async ({ store, advance }) => {
    await store.set('a', record('a', 1))
    await advance(3_500_000)
    assert.equal(await store.exists('a'), true)
    await advance(100_000)
    assert.equal(await store.exists('a'), false)
  }),

  one('a record made with nothing but an id and data can be set and found', async ({ store }) => {
    await store.set('a', new SessionData({ id: 'a', data: { name: 'Ada' } }), 60)
    assert.deepEqual((await store.get('a'))?.data, { name: 'Ada' })
  }),

  one('a session without data is a session', async ({ store }) => {
    await store.create('a', record('a', 1, { data: {} }), 60)
    assert.deepEqual((await store.get('a'))?.data, {})
    assert.equal(await store.exists('a'), true)
    assert.equal(await store.touch('a', 60), true)
    assert.equal(await store.replace('a', record('a', 2, { data: {} }), 'v1', 60), true)
  }),

  one('ids do not get in each other’s way', async ({ store }) => {
    await store.create('a', record('a', 1, { data: { mine: 'a' } }), 60)
    await store.create('b', record('b', 1, { data: { mine: 'b' } }), 60)
    await store.create('ab', record('ab', 1, { data: { mine: 'ab' } }), 60)
    await store.end('a', destroyed)
    assert.deepEqual((await store.get('b'))?.data, { mine: 'b' })
    assert.deepEqual((await store.get('ab'))?.data, { mine: 'ab' })
  }),

  // what a record keeps

  one('every field of a record comes back as it was written', async ({ store }) => {
    const fields = {
      data: { list: [1, 2.5, -0.125, 1e300], deep: { er: [null, true, false, ''] } },
      userId: 'user-7',
      createdAt: 1_700_000_000_001,
      updatedAt: 1_700_000_000_002,
      touchedAt: 1_700_000_000_003,
      expiresAt: 4_100_000_000_004,
      flash: ['notice', 'list'],
      device: 'Firefox on "Ünïx" 🦊 \uFFFD',
    }
    await store.set('set', record('set', 1, fields), 60)
    await store.create('created', record('created', 1, fields), 60)
    await store.create('replaced', record('replaced', 0), 60)
    await store.replace('replaced', record('replaced', 1, { ...fields, createdAt: 5 }), 'v0', 60)
    for (const id of ['set', 'created', 'replaced'])
      for (const found of [await store.get(id), recordOf(await store.load(id))])
        assert.deepEqual(fieldsOf(found), {
          ...fields,
          createdAt: id === 'replaced' ? 5 : fields.createdAt,
          touchedAt: id === 'replaced' ? (found?.touchedAt ?? 0) : fields.touchedAt,
          id,
          version: 'v1',
        })
  }),

  one('no user, an empty user and a user are three different things', async ({ store }) => {
    for (const userId of [null, '', 'null', 'Ünï 🦊 "quoted"']) {
      await store.set('a', record('a', 1, { userId }), 60)
      assert.equal((await store.get('a'))?.userId, userId)
    }
  }),

  one('a record comes back under the id it was asked for, not under one it brought', async ({ store }) => {
    await store.create('asked', record('brought', 1), 60)
    assert.equal((await store.get('asked'))?.id, 'asked')
    assert.equal(recordOf(await store.load('asked')).id, 'asked')
    assert.equal(await store.get('brought'), null)
  }),

  one('any text in the data comes back', async ({ store }) => {
    const data = {
      plain: 'a',
      umlauts: 'äöüß',
      emoji: '🦊👩‍👩‍👧',
      replacement: '\uFFFD',
      loneHigh: 'x\uD83Dy',
      loneLow: 'x\uDE00y',
      controls: '\0\u0001\b\t\n\v\f\r\u001b\u007f',
      separators: '\u2028\u2029\uFEFF\u00A0',
      quotes: `'"\`\\/`,
      'key \uFFFD \uD83D 🦊': 'as a key',
      '': 'under the empty key',
    }
    await store.create('a', record('a', 1, { data, flash: ['emoji', 'key \uD83D 🦊'] }), 60)
    const found = await store.get('a')
    assert.deepEqual(found?.data, data)
    assert.deepEqual(found?.flash, ['emoji', 'key \uD83D 🦊'])
  }),

  one('large data comes back', async ({ store }) => {
    const data = { text: 'ü'.repeat(100_000), list: Array.from({ length: 10_000 }, (_, i) => i) }
    await store.create('a', record('a', 1, { data }), 60)
    assert.deepEqual((await store.get('a'))?.data, data)
  }),

  one('keys of the data are nothing but data', async ({ store }) => {
    const before = Object.getOwnPropertyNames(Object.prototype)
    // fromEntries makes own properties of all of them, __proto__ too.
    const data = Object.fromEntries(ODD_KEYS.map((key, i) => [key, { polluted: i }])) as Record<
      string,
      unknown
    >
    await store.create('a', record('a', 1, { data }), 60)
    const found = (await store.get('a'))!.data
    assert.equal(JSON.stringify(found), JSON.stringify(data))
    assert.equal(Object.getPrototypeOf(found), Object.prototype)
    assert.deepEqual(Object.getOwnPropertyNames(Object.prototype), before)
    assert.equal('polluted' in {}, false)
  }),

  one('ids are nothing but ids', async ({ store }) => {
    for (const id of ODD_KEYS) assert.equal(await store.get(id), null, id)
    for (const id of ODD_KEYS)
      assert.equal(await store.create(id, record(id, 1, { data: { id } }), 60), true, id)
    for (const id of ODD_KEYS) assert.equal(await store.create(id, record(id, 2), 60), false, id)
    for (const id of ODD_KEYS) assert.deepEqual((await store.get(id))?.data, { id }, id)
    for (const id of ODD_KEYS) assert.equal(await store.end(id, destroyed), true, id)
    for (const id of ODD_KEYS) assert.deepEqual(await store.load(id), destroyed, id)
  }),

  one('what is handed in and what is handed out are copies', async ({ store }) => {
    const data = { list: [1] }
    const flash = ['list']
    await store.create('a', record('a', 1, { data, flash }), 60)
    data.list.push(2)
    flash.push('other')
    const first = (await store.get('a'))!
    assert.deepEqual(first.data, { list: [1] })
    assert.deepEqual(first.flash, ['list'])
    first.data['list'].push(3)
    Object.assign(first.data, { more: true })
    tryTo(() => (first.flash as string[]).push('other'))
    const second = recordOf(await store.load('a'))
    assert.deepEqual(second.data, { list: [1] })
    assert.deepEqual(second.flash, ['list'])

    const replacement = { list: ['a'] }
    await store.replace('a', record('a', 2, { data: replacement }), 'v1', 60)
    replacement.list.push('b')
    assert.deepEqual((await store.get('a'))?.data, { list: ['a'] })

    const mark = { ...destroyed }
    await store.end('a', mark)
    Object.assign(mark, { reason: 'revoked' })
    const found = await store.load('a')
    assert.deepEqual(found, destroyed)
    tryTo(() => Object.assign(found, { reason: 'revoked' }))
    assert.deepEqual(await store.load('a'), destroyed)
  }),

  one('a record that cannot be read is told of as such, and shows nothing', async ({ store, plant }) => {
    const fox = new TextEncoder().encode('{"a":"🦊"}')
    const payloads: [name: string, data: Uint8Array | string][] = [
      ['not JSON', 'nonsense'],
      ['empty', ''],
      ['null', 'null'],
      ['a list', '[]'],
      ['a string', '"text"'],
      ['a number', '42'],
      ['truncated', '{"a":{"b":1}'],
      ['two objects', '{}{}'],
      ['nested 20,000 deep', `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`],
      ['invalid UTF-8', plant === undefined ? '{"a":"\uFFFD"}' : fox.with(8, 0xff)],
    ]
    for (const [name, payload] of payloads) {
      const unreadable = (error: unknown): boolean => {
        assert.ok(error instanceof SessionError, `${name}: ${String(error)}`)
        assert.equal(error.code, 'ERR_SESSION_RECORD', name)
        return true
      }
      // Either the store looks at the text, or the record does when it is asked for its data.
      const attempts: (() => Promise<unknown>)[] = [
        async () => (await store.get('a'))?.data,
        async () => recordOf(await store.load('a')).data,
      ]
      if (plant !== undefined) {
        await store.set('a', record('a', 1), 60)
        await plant('a', typeof payload === 'string' ? new TextEncoder().encode(payload) : payload)
      } else {
        const set = await settle(store.set('a', new SessionData({ id: 'a', data: payload as string }), 60))
        if (set !== undefined) {
          unreadable(set)
          continue
        }
      }
      for (const attempt of attempts) await assert.rejects(attempt, unreadable, name)
    }
    // The id is not lost to it.
    await store.delete('a')
    await store.set('a', record('a', 2), 60)
    assert.equal((await store.get('a'))?.version, 'v2')
  }),

  // expiry

  one('a session is gone at the very instant of its expiry', async ({ store, advance }) => {
    await store.set('set', record('set', 1), 100)
    await store.create('created', record('created', 1), 100)
    await store.create('replaced', record('replaced', 1), 50)
    await store.replace('replaced', record('replaced', 2), 'v1', 100)
    // Some keep time by a server's clock, which goes on meanwhile.
    await advance(90_000)
    for (const id of ['set', 'created', 'replaced']) assert.equal(await store.exists(id), true, id)
    await advance(10_000)
    for (const id of ['set', 'created', 'replaced']) await assertGone(store, id)
  }),

  one('a ttl may be a fraction', async ({ store, advance }) => {
    await store.create('short', record('short', 1), 0.001)
    await store.create('long', record('long', 1), 70.5)
    await advance(1)
    await assertGone(store, 'short')
    await advance(59_999)
    assert.equal(await store.exists('long'), true)
    await advance(10_500)
    await assertGone(store, 'long')
  }),

  one('a ttl of zero or less means already expired', async ({ store }) => {
    for (const ttl of [0, -0, -0.5, -1, -1e9, Number.NEGATIVE_INFINITY]) {
      await store.set('set', record('set', 1), ttl)
      await assertGone(store, 'set')
      await store.set('over', record('over', 1), 60)
      await store.set('over', record('over', 2), ttl)
      await assertGone(store, 'over')
      assert.equal(await store.create('created', record('created', 1), ttl), true)
      await assertGone(store, 'created')
      assert.equal(await store.create('replaced', record('replaced', 1), 60), true)
      assert.equal(await store.replace('replaced', record('replaced', 2), 'v1', ttl), true)
      await assertGone(store, 'replaced')
    }
  }),

  one('an expired session is not replaced, touched, ended or deleted', async ({ store, advance }) => {
    await store.create('a', record('a', 1), 10)
    await advance(10_000)
    assert.equal(await store.replace('a', record('a', 2), 'v1', 60), false)
    assert.equal(await store.touch('a', 60), false)
    assert.equal(await store.touch('a', 60, 'v1'), false)
    assert.equal(await store.end('a', destroyed), false)
    assert.equal(await store.end('a', destroyed, 'v1'), false)
    assert.equal(await store.delete('a'), false)
    await assertGone(store, 'a')
  }),

  one('the id of an expired session is free again', async ({ store, advance }) => {
    await store.create('a', record('a', 1, { data: { old: true }, userId: 'u', flash: ['old'] }), 10)
    await advance(10_000)
    assert.equal(await store.create('a', record('a', 2), 10), true)
    const found = (await store.get('a'))!
    assert.equal(found.version, 'v2')
    assert.deepEqual(found.data, {})
    assert.equal(found.userId, null)
    assert.deepEqual(found.flash, [])
  }),

  one('a later write decides how long a session lives, shorter or longer', async ({ store, advance }) => {
    await store.create('shorter', record('shorter', 1), 100)
    await store.replace('shorter', record('shorter', 2), 'v1', 10)
    await store.create('longer', record('longer', 1), 10)
    await store.replace('longer', record('longer', 2), 'v1', 100)
    await advance(10_000)
    await assertGone(store, 'shorter')
    assert.equal(await store.exists('longer'), true)
  }),

  one('clearing the expired leaves the live ones and the marks', async ({ store, advance }) => {
    await store.create('expired', record('expired', 1), 10)
    await store.create('live', record('live', 1), 100)
    await store.create('ended', record('ended', 1), 100)
    await advance(10_000)
    await store.end('ended', destroyed)
    const removed = await store.clearExpired()
    assert.ok(Number.isInteger(removed) && removed >= 0, `it removed ${removed}`)
    await assertGone(store, 'expired')
    assert.equal(await store.exists('live'), true)
    assert.deepEqual(await store.load('ended'), destroyed)
    assert.equal(await store.clearExpired(), 0)
  }),

  // create

  one('create writes where nothing stands, and answers true', async ({ store }) => {
    assert.equal(await store.create('a', record('a', 1, { data: { a: 1 } }), 60), true)
    assert.deepEqual((await store.get('a'))?.data, { a: 1 })
  }),

  one('create answers false where a record stands, and leaves it alone', async ({ store, advance }) => {
    await store.create('a', record('a', 1, { data: { a: 1 } }), 10)
    assert.equal(await store.create('a', record('a', 2, { data: { b: 2 } }), 100), false)
    assert.equal(await store.create('a', record('a', 3), 0), false)
    assert.equal((await store.get('a'))?.version, 'v1')
    assert.deepEqual((await store.get('a'))?.data, { a: 1 })
    await advance(10_000)
    await assertGone(store, 'a')
  }),

  one('of a hundred that create the same id at once, one succeeds', async ({ store }) => {
    const answers = await Promise.all(times(100, (i) => store.create('a', record('a', i), 60)))
    assert.equal(countTrue(answers), 1)
    assert.equal((await store.get('a'))?.version, `v${answers.indexOf(true)}`)
  }),

  // replace

  one('replace writes over the version it expects', async ({ store }) => {
    await store.create('a', record('a', 1, { data: { a: 1 } }), 60)
    assert.equal(await store.replace('a', record('a', 2, { data: { b: 2 } }), 'v1', 60), true)
    const found = (await store.get('a'))!
    assert.equal(found.version, 'v2')
    assert.deepEqual(found.data, { b: 2 })
  }),

  one('replace leaves another version alone', async ({ store, advance }) => {
    await store.create('a', record('a', 1, { data: { a: 1 } }), 10)
    for (const expected of ['v0', 'V1', 'v', 'v1 ', 'v10', ''])
      assert.equal(await store.replace('a', record('a', 2), expected, 100), false, expected)
    assert.equal((await store.get('a'))?.version, 'v1')
    assert.deepEqual((await store.get('a'))?.data, { a: 1 })
    await advance(10_000)
    await assertGone(store, 'a')
  }),

  one('replace never creates: not where nothing was, and not after delete', async ({ store }) => {
    for (const expected of ['v1', ''])
      assert.equal(await store.replace('a', record('a', 1), expected, 60), false)
    await assertGone(store, 'a')
    await store.create('a', record('a', 1), 60)
    await store.delete('a')
    assert.equal(await store.replace('a', record('a', 2), 'v1', 60), false)
    await assertGone(store, 'a')
  }),

  one('of a hundred that replace the same version at once, one succeeds', async ({ store }) => {
    await store.create('a', record('a', 'first'), 60)
    const answers = await Promise.all(times(100, (i) => store.replace('a', record('a', i), 'vfirst', 60)))
    assert.equal(countTrue(answers), 1)
    assert.equal((await store.get('a'))?.version, `v${answers.indexOf(true)}`)
  }),

  one('replace never moves the last activity back', async ({ store }) => {
    await store.create('a', record('a', 1, { touchedAt: 1000 }), 60)
    await store.touch('a', 60)
    const { touchedAt } = (await store.get('a'))!
    assert.ok(touchedAt > 1000)
    await store.replace('a', record('a', 2, { touchedAt: 1000 }), 'v1', 60)
    assert.equal((await store.get('a'))?.touchedAt, touchedAt)
    await store.replace('a', record('a', 3, { touchedAt: touchedAt + 5000 }), 'v2', 60)
    assert.equal((await store.get('a'))?.touchedAt, touchedAt + 5000)
  }),

  // touch

  one('touch lets a session live on from now', async ({ store, advance }) => {
    await store.create('a', record('a', 1), 10)
    await advance(6000)
    assert.equal(await store.touch('a', 10), true)
    await advance(6000)
    assert.equal(await store.exists('a'), true)
    await advance(4000)
    await assertGone(store, 'a')
  }),

  one('touch never shortens a life', async ({ store, advance }) => {
    await store.create('a', record('a', 1), 100)
    for (const ttl of [5, 0.001, 0, -1, Number.NEGATIVE_INFINITY])
      assert.equal(await store.touch('a', ttl), true, `ttl ${ttl}`)
    await advance(90_000)
    assert.equal(await store.exists('a'), true)
    await advance(10_000)
    await assertGone(store, 'a')
  }),

  one('touch notes the time of the last activity, and only forward', async ({ store, advance }) => {
    await store.create('a', record('a', 1, { createdAt: 1000, updatedAt: 2000, touchedAt: 3000 }), 60)
    await store.touch('a', 60)
    const first = (await store.get('a'))!.touchedAt
    assert.ok(first > 3000)
    await advance(5000)
    await store.touch('a', 60)
    const second = (await store.get('a'))!.touchedAt
    assert.ok(second >= first)
    const ahead = second + 3_600_000
    await store.create('b', record('b', 1, { touchedAt: ahead }), 60)
    assert.equal(await store.touch('b', 60), true)
    assert.equal((await store.get('b'))?.touchedAt, ahead)
  }),

  one('touch writes neither data nor a version', async ({ store }) => {
    const fields = {
      data: { a: 1 },
      userId: 'u',
      createdAt: 1000,
      updatedAt: 2000,
      touchedAt: 3000,
      expiresAt: 4_100_000_000_000,
      flash: ['a'],
      device: 'd',
    }
    await store.create('a', record('a', 1, fields), 60)
    await store.touch('a', 60)
    const found = (await store.get('a'))!
    assert.deepEqual(fieldsOf(found), { ...fields, touchedAt: found.touchedAt, id: 'a', version: 'v1' })
    assert.equal(await store.replace('a', record('a', 2), 'v1', 60), true)
  }),

  one('touch leaves another version alone', async ({ store, advance }) => {
    await store.create('a', record('a', 1, { touchedAt: 1000 }), 10)
    assert.equal(await store.touch('a', 100, 'v0'), false)
    assert.equal((await store.get('a'))?.touchedAt, 1000)
    await advance(6000)
    assert.equal(await store.touch('a', 10, 'v1'), true)
    await advance(6000)
    assert.equal(await store.exists('a'), true)
    await advance(4000)
    await assertGone(store, 'a')
  }),

  // end, and the mark

  one('end turns a record into its mark', async ({ store }) => {
    for (const mark of MARKS) {
      const id = `${mark.reason}-${mark.sameUser}`
      await store.create(id, record(id, 1, { data: { secret: 1 }, userId: 'u' }), 60)
      assert.equal(await store.end(id, mark), true)
      assert.deepEqual(await store.load(id), mark)
    }
  }),

  one('get, exists and delete do not see a mark', async ({ store }) => {
    await store.create('a', record('a', 1), 60)
    await store.end('a', destroyed)
    assert.equal(await store.get('a'), null)
    assert.equal(await store.exists('a'), false)
    assert.equal(await store.delete('a'), false)
    assert.deepEqual(await store.load('a'), destroyed)
  }),

  one('create, replace and touch cannot bring an ended session back', async ({ store }) => {
    await store.create('a', record('a', 1), 60)
    await store.end('a', destroyed)
    assert.equal(await store.create('a', record('a', 2), 60), false)
    for (const expected of ['v1', 'v2', '']) {
      assert.equal(await store.replace('a', record('a', 2), expected, 60), false, expected)
      assert.equal(await store.touch('a', 60, expected), false, expected)
    }
    assert.equal(await store.touch('a', 60), false)
    assert.equal(await store.get('a'), null)
    assert.deepEqual(await store.load('a'), destroyed)
  }),

  one('a mark is never overwritten', async ({ store }) => {
    await store.create('a', record('a', 1), 60)
    assert.equal(await store.end('a', rotated), true)
    for (const expected of [undefined, 'v1', ''])
      assert.equal(await store.end('a', destroyed, ...(expected === undefined ? [] : [expected])), false)
    assert.deepEqual(await store.load('a'), rotated)
  }),

  one('end leaves another version alone', async ({ store }) => {
    await store.create('a', record('a', 1), 60)
    assert.equal(await store.end('a', destroyed, 'v0'), false)
    assert.equal(await store.end('a', destroyed, ''), false)
    assert.equal((await store.get('a'))?.version, 'v1')
    assert.equal(await store.end('a', destroyed, 'v1'), true)
    assert.deepEqual(await store.load('a'), destroyed)
  }),

  one('end leaves no mark where there was no record', async ({ store }) => {
    assert.equal(await store.end('a', destroyed), false)
    assert.equal(await store.load('a'), null)
    assert.equal(await store.create('a', record('a', 1), 60), true)
  }),

  one(
    'a mark stands for 30 seconds, however long the record had left, and then the id is free',
    async ({ store, advance }) => {
      await store.create('short', record('short', 1), 5)
      await store.create('long', record('long', 1), 1000)
      for (const id of ['short', 'long']) await store.end(id, destroyed)
      await advance(MARK_SECONDS * 1000 - 5000)
      for (const id of ['short', 'long']) assert.deepEqual(await store.load(id), destroyed)
      await advance(5000)
      for (const id of ['short', 'long']) {
        await assertGone(store, id)
        assert.equal(await store.replace(id, record(id, 2), 'v1', 60), false)
        assert.equal(await store.create(id, record(id, 2), 60), true)
        assert.equal((await store.get(id))?.version, 'v2')
      }
    },
  ),

  one(
    'of a hundred that end the same session at once, one succeeds, and the mark is its own',
    async ({ store }) => {
      await store.create('a', record('a', 1), 60)
      const marks = times(100, (i): Mark => ({ ...rotated, successor: `s${i}` }))
      const answers = await Promise.all(marks.map((mark) => store.end('a', mark)))
      assert.equal(countTrue(answers), 1)
      assert.deepEqual(await store.load('a'), marks[answers.indexOf(true)])
    },
  ),

  one('after a deletion the id is free, and there is no mark', async ({ store }) => {
    await store.create('a', record('a', 1), 60)
    await store.delete('a')
    assert.equal(await store.load('a'), null)
    assert.equal(await store.create('a', record('a', 2), 60), true)
  }),

  one('in no order of writes, touches and ends does a session come back', ({ store }) =>
    raceEnds([store], 150),
  ),

  one('five hundred operations at random do what a simple model does', async ({ store, advance }) => {
    const random = seeded(20_260_101)
    const model = new StoreModel()
    const ids = ['a', 'b', 'c']
    for (let step = 0; step < 500; step++) {
      const id = ids[random(ids.length)]!
      const ttl = [-1, 0, 10, 20, 40][random(5)]!
      const expected = random(4) === 0 ? 'v-other' : (model.versionOf(id) ?? 'v-none')
      const next = record(id, step, { data: { step } })
      const said = `step ${step}`
      switch (random(7)) {
        case 0:
          assert.equal(await store.create(id, next, ttl), model.create(id, next, ttl), `${said}: create`)
          break
        case 1:
        case 2:
          assert.equal(
            await store.replace(id, next, expected, ttl),
            model.replace(id, next, expected, ttl),
            `${said}: replace`,
          )
          break
        case 3:
          assert.equal(await store.touch(id, ttl, expected), model.touch(id, ttl, expected), `${said}: touch`)
          break
        case 4:
          if (random(3) > 0) break
          assert.equal(
            await store.end(id, rotated, expected),
            model.end(id, rotated, expected),
            `${said}: end`,
          )
          break
        case 5:
          if (random(3) > 0) break
          assert.equal(await store.delete(id), model.delete(id), `${said}: delete`)
          break
        case 6:
          await advance(5000)
          model.now += 5
          break
      }
      for (const each of ids) {
        const found = await store.load(each)
        const there = model.at(each)
        if (isMark(found)) assert.deepEqual(found, there, `${said}: load ${each}`)
        else
          assert.equal(
            found?.version,
            there && 'version' in there ? there.version : undefined,
            `${said}: load ${each}`,
          )
        assert.equal(await store.exists(each), found !== null && !isMark(found), `${said}: exists ${each}`)
      }
    }
  }),

  // peek

  one('looking at many finds of each what loading it finds, in their order', async ({ store, advance }) => {
    const fields = {
      createdAt: 1_700_000_000_001,
      touchedAt: 1_700_000_000_003,
      expiresAt: 4_100_000_000_004,
    }
    await store.create('live', record('live', 1, { ...fields, data: { text: 'line\nbreak' } }), 60)
    await store.create('ended', record('ended', 1), 60)
    await store.end('ended', rotated)
    await store.create('expired', record('expired', 1), 5)
    await advance(5000)
    const [missing, live, expired, ended, again] = await store.peek([
      'none',
      'live',
      'expired',
      'ended',
      'live',
    ])
    assert.deepEqual([missing, expired, ended], [null, null, rotated])
    assert.deepEqual(again, live)
    assert.ok(live != null && !isMark(live))
    const { version, createdAt, touchedAt, expiresAt } = live
    assert.deepEqual({ version, createdAt, touchedAt, expiresAt }, { ...fields, version: 'v1' })
    assert.deepEqual(await store.peek([]), [])
  }),

  one('looking at a thousand finds a thousand', async ({ store }) => {
    const ids = times(1000, (i) => `id-${i}`)
    await Promise.all(ids.map((id, i) => store.create(id, record(id, i), 60)))
    const found = await store.peek(ids)
    assert.deepEqual(
      found.map((one) => one !== null && !isMark(one) && one.version),
      times(1000, (i) => `v${i}`),
    )
  }),

  one('looking at many, one that cannot be read counts as none', async ({ store, plant }) => {
    await store.set('a', record('a', 1), 60)
    await store.set('b', record('b', 1), 60)
    // Whoever looks may see it by the data, or leave that to those who read it.
    if (plant !== undefined) await plant('a', new Uint8Array([0xff]))
    const [a, b] = await store.peek(['a', 'b'])
    assert.ok(a == null || !isMark(a))
    assert.ok(b != null && !isMark(b) && b.version === 'v1')
  }),

  // closing

  one('closing twice is closing once', async ({ store }) => {
    await store.create('a', record('a', 1), 60)
    await store.close()
    await store.close()
    await store[Symbol.asyncDispose]()
  }),

  // several processes

  several('what one process writes, another reads', async ({ first, second, advance }) => {
    await first.create('a', record('a', 1, { data: { a: 1 } }), 10)
    assert.deepEqual((await second.get('a'))?.data, { a: 1 })
    assert.equal(await second.create('a', record('a', 2), 60), false)
    assert.equal(await second.replace('a', record('a', 2, { data: { b: 2 } }), 'v1', 10), true)
    assert.deepEqual((await first.get('a'))?.data, { b: 2 })
    assert.equal(await first.replace('a', record('a', 3), 'v1', 10), false)
    await advance(6000)
    assert.equal(await first.touch('a', 10), true)
    assert.equal(await second.touch('a', 1), true)
    await advance(6000)
    assert.equal(await second.exists('a'), true)
    assert.equal(await second.delete('a'), true)
    assert.equal(await first.get('a'), null)
  }),

  several('what ended in one process has ended in the other', async ({ first, second, advance }) => {
    await first.create('a', record('a', 1), 60)
    assert.equal(await second.end('a', rotated), true)
    assert.deepEqual(await first.load('a'), rotated)
    assert.equal(await first.get('a'), null)
    assert.equal(await first.exists('a'), false)
    assert.equal(await first.delete('a'), false)
    assert.equal(await first.create('a', record('a', 2), 60), false)
    assert.equal(await first.replace('a', record('a', 2), 'v1', 60), false)
    assert.equal(await first.touch('a', 60), false)
    assert.equal(await first.end('a', destroyed), false)
    assert.deepEqual(await second.load('a'), rotated)
    await advance(MARK_SECONDS * 1000)
    assert.equal(await first.load('a'), null)
  }),

  several(
    'of a hundred in two processes that create the same id, one succeeds',
    async ({ first, second }) => {
      const answers = await Promise.all(
        times(100, (i) => (i % 2 === 0 ? first : second).create('a', record('a', i), 60)),
      )
      assert.equal(countTrue(answers), 1)
      assert.equal((await first.get('a'))?.version, `v${answers.indexOf(true)}`)
    },
  ),

  several(
    'of a hundred in two processes that replace one version, one succeeds',
    async ({ first, second }) => {
      await first.create('a', record('a', 'first'), 60)
      const answers = await Promise.all(
        times(100, (i) => (i % 2 === 0 ? first : second).replace('a', record('a', i), 'vfirst', 60)),
      )
      assert.equal(countTrue(answers), 1)
      assert.equal((await second.get('a'))?.version, `v${answers.indexOf(true)}`)
    },
  ),

  several(
    'of a write and an end of one version in two processes, one succeeds',
    async ({ first, second }) => {
      for (let round = 0; round < 50; round++) {
        const id = `a${round}`
        await first.create(id, record(id, 1), 60)
        const attempts = [
          () => first.replace(id, record(id, 2), 'v1', 60),
          () => second.end(id, rotated, 'v1'),
        ]
        if (round % 2 === 1) attempts.reverse()
        assert.equal(countTrue(await Promise.all(attempts.map((attempt) => attempt()))), 1)
      }
    },
  ),

  several(
    'increments in two processes, each tried until its version is written, all count',
    async ({ first, second }) => {
      await first.create('a', record('a', 'first', { data: { count: 0 } }), 60)
      await Promise.all(
        times(40, async (i) => {
          const store = i % 2 === 0 ? first : second
          for (let attempt = 0; ; attempt++) {
            const { version, data } = (await store.get('a'))!
            const next = record('a', `${i}.${attempt}`, { data: { count: (data['count'] as number) + 1 } })
            if (await store.replace('a', next, version, 60)) return
          }
        }),
      )
      assert.equal((await second.get('a'))?.data['count'], 40)
    },
  ),

  several(
    'in no order of writes, touches and ends in two processes does a session come back',
    ({ first, second }) => raceEnds([first, second], 150),
  ),

  several('closing one instance leaves the other and the records alone', async ({ first, second }) => {
    await first.create('a', record('a', 1), 60)
    if (first !== second) await second.close()
    assert.equal((await first.get('a'))?.version, 'v1')
  }),

  // the sessions of a user

  users('a user of whom nothing was noted has no sessions', async ({ first }) => {
    assert.deepEqual(await first.idsOfUser('ada'), [])
    await first.forgetUser('ada', ['a'])
    await first.forgetUser('ada', [])
    assert.deepEqual(await first.idsOfUser('ada'), [])
  }),

  users('every process finds what any of them noted, each user’s own', async ({ first, second }) => {
    await Promise.all(
      times(40, (i) => signIn(i % 2 === 0 ? first : second, i % 4 < 2 ? 'ada' : 'bea', `id-${i}`)),
    )
    for (const store of [first, second])
      for (const [userId, rest] of [
        ['ada', [0, 1]],
        ['bea', [2, 3]],
      ] as const)
        assert.deepEqual(
          [...(await store.idsOfUser(userId))].toSorted(),
          times(40, (i) => i)
            .filter((i) => rest.includes((i % 4) as never))
            .map((i) => `id-${i}`)
            .toSorted(),
        )
  }),

  users('a session stays found through writes and touches', async ({ first, second }) => {
    await signIn(first, 'ada', 'a')
    await second.replace('a', record('a', 2, { userId: 'ada' }), 'v1', 60)
    await second.touch('a', 120)
    assert.deepEqual(await first.idsOfUser('ada'), ['a'])
  }),

  users('as long as the longest time that it was noted for', async ({ first, advance }) => {
    await first.create('a', record('a', 1, { userId: 'ada' }), 5)
    await first.noteUser('ada', 'a', 3000)
    await first.noteUser('ada', 'a', 5)
    await first.touch('a', 2500)
    await signIn(first, 'ada', 'b', 10)
    await advance(2_000_000)
    assert.deepEqual(await first.idsOfUser('ada'), ['a'])
    await advance(2_000_000)
    assert.deepEqual(await first.idsOfUser('ada'), [])
  }),

  users(
    'what has ended and is forgotten is found no more, and nothing else is',
    async ({ first, second }) => {
      await signIn(first, 'ada', 'a')
      await signIn(first, 'ada', 'b')
      await first.end('a', destroyed)
      await second.forgetUser('ada', ['a', 'never-noted'])
      assert.deepEqual(await first.idsOfUser('ada'), ['b'])
      await second.delete('b')
      await first.forgetUser('ada', ['b'])
      assert.deepEqual(await second.idsOfUser('ada'), [])
    },
  ),

  users('a note brings nothing to life, and takes no id', async ({ first }) => {
    await first.noteUser('ada', 'a', 60)
    await assertGone(first, 'a')
    await signIn(first, 'ada', 'a')
    await first.end('a', destroyed)
    await first.noteUser('ada', 'a', 60)
    assert.deepEqual(await first.load('a'), destroyed)
    assert.equal(await first.get('a'), null)
  }),

  users('ids of users are nothing but ids', async ({ first }) => {
    for (const [i, userId] of ODD_KEYS.entries()) await signIn(first, userId, `id-${i}`)
    for (const [i, userId] of ODD_KEYS.entries())
      assert.deepEqual(await first.idsOfUser(userId), [`id-${i}`], userId)
    // Nor is what is kept of users a session.
    for (const userId of ODD_KEYS) assert.equal(await first.load(userId), null)
  }),

  users('a user may have a thousand sessions', async ({ first }) => {
    await Promise.all(times(1000, (i) => signIn(first, 'ada', `id-${i}`)))
    assert.equal(new Set(await first.idsOfUser('ada')).size, 1000)
  }),

  // notices

  notices(
    'a write is told of, and each kind of end, by whichever process',
    async ({ first, second, watch, told }) => {
      for (const [name, writer] of Object.entries({ first, second }))
        for (const [operation, write] of [
          ['replace', (id: string) => writer.replace(id, record(id, 2), 'v1', 60)],
          ['set', (id: string) => writer.set(id, record(id, 2), 60)],
          ['delete', (id: string) => writer.delete(id)],
          ['end', (id: string) => writer.end(id, destroyed)],
        ] as const) {
          const id = `${operation} by ${name}`
          await writer.create(id, record(id, 1), 60)
          const unwatch = await watch(first, id)
          await write(id)
          assert.ok(EXPECTED[operation].includes(await told()), id)
          unwatch()
        }
    },
  ),

  notices(
    'what was refused is not told of, nor a touch, nor what happens to others',
    async ({ first, watch, told }) => {
      await first.create('a', record('a', 1), 60)
      await first.create('b', record('b', 1), 60)
      await watch(first, 'a')
      assert.equal(await first.replace('a', record('a', 2), 'v0', 60), false)
      assert.equal(await first.end('a', destroyed, 'v0'), false)
      assert.equal(await first.touch('a', 60), true)
      assert.equal(await first.end('b', destroyed), true)
      assert.equal(await first.delete('none'), false)
      assert.equal(await first.replace('a', record('a', 3), 'v1', 60), true)
      assert.equal(await told(), 'v3')
    },
  ),

  notices(
    'who has stopped watching is told nothing, and who watches twice is told twice',
    async ({ first, watch, told }) => {
      await first.create('a', record('a', 1), 60)
      const unwatch = await watch(first, 'a')
      await watch(first, 'a')
      await watch(first, 'a')
      unwatch()
      unwatch()
      await first.replace('a', record('a', 2), 'v1', 60)
      assert.deepEqual([await told(), await told()], ['v2', 'v2'])
      await first.replace('a', record('a', 3), 'v2', 60)
      assert.deepEqual([await told(), await told()], ['v3', 'v3'])
    },
  ),

  notices('ids are nothing but ids to whoever watches them', async ({ first, watch, told }) => {
    // `told` may advance the clock by a second for each notice.
    for (const id of ODD_KEYS) {
      await first.create(id, record(id, 1), 3600)
      await watch(first, id)
    }
    for (const id of ODD_KEYS) {
      assert.equal(await first.replace(id, record(id, id), 'v1', 3600), true)
      assert.equal(await told(), `v${id}`)
    }
  }),
]

/** A test of one instance. */
function one(name: string, run: (at: OneInstance) => Promise<void>): StoreTest {
  return {
    name,
    part: 'one process',
    async run(harness) {
      const store = await harness.open()
      await run({
        store,
        advance: (ms) => harness.advance(ms),
        plant: harness.plant && ((id, data) => harness.plant!(id, data)),
      })
    },
  }
}

interface OneInstance {
  readonly store: SessionStore
  readonly advance: (ms: number) => Promise<void>
  readonly plant: ((id: string, data: Uint8Array) => void | Promise<void>) | undefined
}

/** A test of two instances on the same records, each standing for a process. */
function several(name: string, run: (at: TwoInstances) => Promise<void>): StoreTest {
  return {
    name,
    part: 'several processes',
    async run(harness) {
      const first = await harness.open()
      const second = await harness.open()
      await run({ first, second, advance: (ms) => harness.advance(ms) })
    },
  }
}

/** A test of notices, with two instances on the same records. */
function notices(name: string, run: (at: Watched) => Promise<void>): StoreTest {
  return {
    name,
    part: 'notices',
    async run(harness) {
      const first = await harness.open()
      const second = await harness.open()
      const queue: (string | null)[] = []
      let wake = (): void => {}
      const listener = (version: string | null): void => {
        queue.push(version)
        wake()
      }
      await run({
        first,
        second,
        watch(store, id) {
          assert.ok(hasNotices(store), 'it has no watch')
          return store.watch(id, listener)
        },
        async told() {
          // Some look once a second, by their own clock.
          if (queue.length === 0) await harness.advance(1000)
          if (queue.length === 0)
            await new Promise<void>((resolve, reject) => {
              const late = setTimeout(() => reject(new Error('No notice came within 15 s.')), 15_000)
              wake = () => {
                clearTimeout(late)
                resolve()
              }
            })
          return queue.shift()!
        },
      })
    },
  }
}

interface Watched extends Omit<TwoInstances, 'advance'> {
  /** @returns stops watching */
  readonly watch: (store: SessionStore, id: string) => Promise<() => void>
  /** What the next notice says. */
  readonly told: () => Promise<string | null>
}

/** What a notice may say: a store that does not know what happened says null. */
const EXPECTED: Readonly<Record<'replace' | 'set' | 'delete' | 'end', readonly (string | null)[]>> = {
  replace: ['v2', null],
  set: ['v2', null],
  delete: [null],
  end: [null],
}

interface TwoInstances {
  readonly first: SessionStore
  readonly second: SessionStore
  readonly advance: (ms: number) => Promise<void>
}

/** A test of two instances that can find the sessions of a user. */
function users(name: string, run: (at: TwoIndexes) => Promise<void>): StoreTest {
  return {
    name,
    part: 'user index',
    async run(harness) {
      const first = await harness.open()
      const second = await harness.open()
      assert.ok(
        hasUserIndex(first) && hasUserIndex(second),
        'the store has no noteUser, idsOfUser, forgetUser',
      )
      await run({ first, second, advance: (ms) => harness.advance(ms) })
    },
  }
}

interface TwoIndexes extends TwoInstances {
  readonly first: SessionStore & UserIndex
  readonly second: SessionStore & UserIndex
}

/** Writes a user's record and notes it, as a sign-in does. */
async function signIn(
  store: SessionStore & UserIndex,
  userId: string,
  id: string,
  ttl: number = 3000,
): Promise<void> {
  assert.equal(await store.create(id, record(id, 1, { userId }), ttl), true)
  await store.noteUser(userId, id, ttl)
}

/** A record of version `v<number>`, of a moment long past. */
function record(id: string, version: number | string, init: SessionDataInit = {}): SessionData {
  return new SessionData({ createdAt: 1_000_000, ...init, id, version: `v${version}` })
}

function recordOf(found: SessionData | Mark | null): SessionData {
  assert.ok(found !== null, 'nothing was found')
  assert.ok(!isMark(found), 'a mark was found')
  return found
}

function fieldsOf(found: SessionData | null): unknown {
  assert.ok(found !== null, 'nothing was found')
  const { id, version, userId, createdAt, updatedAt, touchedAt, expiresAt, flash, device, data } = found
  return { id, version, userId, createdAt, updatedAt, touchedAt, expiresAt, flash: [...flash], device, data }
}

async function assertGone(store: SessionStore, id: string): Promise<void> {
  assert.equal(await store.get(id), null, `get ${id}`)
  assert.equal(await store.load(id), null, `load ${id}`)
  assert.equal(await store.exists(id), false, `exists ${id}`)
}

/**
 * Sends writes, touches and an end of one session all at once, in random order and through random instances,
 * `rounds` times: once the end has answered, nothing finds the session, and each answer fits the others.
 */
async function raceEnds(stores: readonly SessionStore[], rounds: number): Promise<void> {
  const random = seeded(rounds)
  for (let round = 0; round < rounds; round++) {
    const id = `race-${round}`
    const any = (): SessionStore => stores[random(stores.length)]!
    await any().create(id, record(id, 1), 60)
    let hasEnded = false
    const attempts: (() => Promise<unknown>)[] = [
      () => any().replace(id, record(id, 2), 'v1', 60),
      () => any().replace(id, record(id, 3), 'v2', 60),
      () => any().touch(id, 60),
      () => any().touch(id, 60, 'v1'),
      () => any().create(id, record(id, 4), 60),
      async () => {
        assert.equal(await any().end(id, destroyed), true)
        hasEnded = true
        assert.deepEqual(await any().load(id), destroyed)
      },
      async () => {
        const hadEnded = hasEnded
        const found = await any().load(id)
        assert.ok(found !== null)
        if (hadEnded) assert.deepEqual(found, destroyed)
      },
    ]
    await Promise.all(shuffle(attempts, random).map((attempt) => attempt()))
    for (const store of stores) {
      assert.deepEqual(await store.load(id), destroyed)
      assert.equal(await store.get(id), null)
    }
  }
}

const destroyed: Mark = { kind: 'mark', reason: 'destroyed', successor: null, sameUser: false }
const rotated: Mark = { kind: 'mark', reason: 'rotated', successor: 'the-next-id', sameUser: true }
const MARKS: readonly Mark[] = [
  destroyed,
  rotated,
  { ...rotated, sameUser: false },
  { ...destroyed, reason: 'revoked' },
  { ...destroyed, reason: 'withdrawn' },
]

/** Names that mean something to JavaScript, to a session, or to a backend. */
const ODD_KEYS: readonly string[] = [
  ...['__proto__', 'constructor', 'prototype', 'toString', 'toJSON', 'valueOf', 'hasOwnProperty', 'then'],
  ...['__defineGetter__', '__lookupSetter__', 'isPrototypeOf', 'length', 'name', 'size', 'null', 'undefined'],
  ...['id', 'data', 'version', 'userId', 'expiresAt', 'kind', 'save', 'destroy', 'get', 'set', 'delete'],
  ...['0', '-1', '1e3', 'NaN', 'true', ' ', 'a b', 'tab\there', 'line\nbreak', 'ünï', '🦊', 'e\u0301', 'é'],
  ...['a:b', 'a/b', '../a', 'a\\b', '*', 'a?', '[a-z]', '{slot}', '%', '_', "'; DROP TABLE x; --", '"', '$1'],
  ...['Case', 'case', 'x'.repeat(200)],
]

function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index))
}

function countTrue(answers: readonly boolean[]): number {
  return answers.filter(Boolean).length
}

/** The reason of a rejection; undefined when there is none. */
async function settle(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
    return undefined
  } catch (error) {
    return error
  }
}

/** Does what may be forbidden: a frozen copy is as good as one of the caller's own. */
function tryTo(action: () => unknown): void {
  try {
    action()
  } catch {
    // Frozen.
  }
}
