import { describe, expect, test } from 'vitest'

import { arrive, dataBehind, holdUp, serve, visit } from '../../test/support/core.ts'
import { published } from '../../test/support/published.ts'
import { createSessions } from '../sessions.ts'
import { MemorySessionStore } from '../stores/memory.ts'
import { SessionData } from '../stores/session-data.ts'
import { SessionStore } from '../stores/store.ts'
import { ManualClock } from '../testing/clock.ts'
import { Session } from './session.ts'

const refusal = (code: string): unknown => expect.objectContaining({ code })

describe('a session standing by itself', () => {
  test('works in memory, under an id of its own', () => {
    const clock = new ManualClock(5000)
    const session = new Session({ clock })
    session.set('a', 1)
    expect(session.id).toMatch(/^[\w-]{43}$/)
    expect(session.id).toBe(session.id)
    expect(session).toMatchObject({
      isNew: true,
      isModified: true,
      isExpired: false,
      isDestroyed: false,
      size: 1,
    })
    expect(session).toMatchObject({ createdAt: new Date(5000), expiresAt: null, userId: null })
    expect(new Session().id).not.toBe(session.id)
  })

  test.each(['', 'v1'])('is what its record says, of version %j', (version) => {
    const data = new SessionData({
      ...{ id: 'an-id', data: { a: 1 }, userId: 'ada', version },
      ...{ createdAt: 1000, updatedAt: 2000, touchedAt: 3000, expiresAt: 9000 },
    })
    const session = new Session({ data, clock: new ManualClock(8999) })
    expect(session).toMatchObject({
      id: 'an-id',
      userId: 'ada',
      isNew: version === '',
      isExpired: false,
      isModified: false,
    })
    expect([session.createdAt, session.updatedAt, session.expiresAt].map(Number)).toEqual([1000, 2000, 9000])
    expect([...session]).toEqual([['a', 1]])
  })

  test('is expired at the very millisecond of its deadline', async () => {
    const clock = new ManualClock(0)
    const session = new Session({ data: new SessionData({ createdAt: 0, expiresAt: 5000 }), clock })
    await clock.advance(4999)
    expect(session.isExpired).toBe(false)
    await clock.advance(1)
    expect(session.isExpired).toBe(true)
  })

  test('saves to the store it is given, also to an empty one', async () => {
    const store = new MemorySessionStore()
    const record = new SessionData({ id: 'an-id', data: { a: 1 }, createdAt: Date.now() - 5000 })
    const session = new Session({ data: record, store })
    expect(await session.save()).toBe('unchanged')
    session.set('b', 2)
    expect(await session.save()).toBe('saved')
    expect(await store.get('an-id')).toMatchObject({ data: { a: 1, b: 2 }, createdAt: record.createdAt })
    expect(await new Session({ data: (await store.get('an-id'))!, store }).save()).toBe('unchanged')
  })

  test.each([[undefined], [null]])(
    'without a store (%s) says at save what is missing, and keeps its changes',
    async (store) => {
      const session = new Session(store === undefined ? {} : { store })
      session.set('a', 1)
      await expect(session.save()).rejects.toMatchObject({
        code: 'ERR_SESSION_NO_STORE',
        message: expect.stringContaining('has no store'),
      })
      expect(session).toMatchObject({ isModified: true, size: 1 })
      await session.reload()
      await session.destroy()
      expect(session.isDestroyed).toBe(true)
    },
  )

  test("changes nothing of its record's data but through save", () => {
    const record = new SessionData({ data: { list: [1] } })
    const session = new Session<{ list: number[] }>({ data: record })
    session.get('list')!.push(2)
    expect(record.data).toEqual({ list: [1] })
  })
})

describe('reading and writing', () => {
  test('a missing key is undefined, or what was asked for instead; null is a value', () => {
    const session = new Session<Record<string, unknown>>()
    session.set('nothing', null)
    expect([session.get('a'), session.get('a', 5), session.get('nothing', 5)]).toEqual([undefined, 5, null])
    expect([session.has('nothing'), session.has('a')]).toEqual([true, false])
  })

  test('what is written inside a fallback is kept', async () => {
    const { sessions } = serve()
    const { cookie } = await visit(sessions, null, (session) => {
      session.get('cart', []).push('tea')
      session.get('cart', []).push('salt')
      expect(session.get('seen', { pages: 0 })).toEqual({ pages: 0 })
    })
    expect(await dataBehind(sessions, cookie)).toEqual({ cart: ['tea', 'salt'] })
  })

  test('delete says whether the key was there', () => {
    const session = new Session<Record<string, unknown>>()
    session.set('a', null)
    expect([session.delete('a'), session.delete('a')]).toEqual([true, false])
  })

  test('keys, values and entries are iterated like those of a Map', () => {
    const session = new Session<Record<string, unknown>>()
    session.set('a', 1).set('b', 2)
    expect([[...session.keys()], [...session.values()]]).toEqual([
      ['a', 'b'],
      [1, 2],
    ])
    expect(new Map(session)).toEqual(new Map(session.entries()))
    session.clear()
    expect([session.size, [...session]]).toEqual([0, []])
  })

  test('update gives back the new value, pull the old one', () => {
    const session = new Session<{ n: number }>()
    expect(session.update('n', (n = 0) => n + 1)).toBe(1)
    expect(session.update('n', (n = 0) => n + 1)).toBe(2)
    expect([session.pull('n'), session.pull('n')]).toEqual([2, undefined])
  })

  test.each<[string, (session: Session<Record<string, any>>) => unknown]>([
    ['set', (session) => session.set('b', 1)],
    ['assignment', (session) => (session.data.b = 1)],
    ['delete', (session) => session.delete('a')],
    ['clear', (session) => session.clear()],
    ['update', (session) => session.update('a', () => 2)],
    ['pull', (session) => session.pull('a')],
    ['flash', (session) => session.flash('b', 1)],
    ['setExpiry', (session) => session.setExpiry(5)],
  ])('each change moves updatedAt: %s', async (_, change) => {
    const { clock, sessions } = serve()
    const session = await sessions.open(await arrive(sessions, { a: 1 }))
    await clock.advance(5000)
    change(session)
    expect(session).toMatchObject({ isModified: true, updatedAt: new Date(clock.now()) })
    expect(session.updatedAt.getTime() - session.createdAt.getTime()).toBe(5000)
  })

  test.each<[string, (session: Session<Record<string, any>>) => unknown]>([
    ['delete of what is not there', (session) => session.delete('b')],
    ['setting the same value', (session) => session.set('a', 1)],
    ['assigning the same value', (session) => (session.data.a = 1)],
    ['undefined where there is nothing', (session) => session.set('b', undefined)],
    ['an update to the same', (session) => session.update('a', (a) => a)],
    ['pull of what is not there', (session) => session.pull('b')],
    ['reading', (session) => [...session, session.get('a'), session.size]],
  ])('what changes nothing leaves isModified and updatedAt alone: %s', async (_, act) => {
    const { clock, sessions } = serve()
    const session = await sessions.open(await arrive(sessions, { a: 1 }))
    await clock.advance(5000)
    act(session)
    expect(session).toMatchObject({ isModified: false, updatedAt: session.createdAt })
    expect(await session.save()).toBe('unchanged')
  })

  test('once saved, updatedAt is that of the record', async () => {
    const { clock, sessions } = serve()
    const session = await sessions.open(await arrive(sessions))
    session.data.a = 1
    await clock.advance(5000)
    await session.save()
    expect(session.updatedAt).toEqual(new Date(clock.now()))
  })

  test('touchedAt tells of activity, and of no other', async () => {
    const { clock, sessions } = serve()
    const cookie = await arrive(sessions)
    const begun = clock.now()
    await clock.advance(60_000)
    expect((await visit(sessions, cookie)).session.touchedAt).toEqual(new Date(begun))
    expect((await sessions.open(cookie)).touchedAt).toEqual(new Date(begun + 60_000))
    expect((await sessions.open(null)).touchedAt).toEqual(new Date(clock.now()))
  })

  test('clearing an empty session is no change', () => {
    const session = new Session()
    session.clear()
    expect(session.isModified).toBe(false)
  })

  // Not only at save, when the handler has succeeded.
  test('a value that no store can keep is refused at once, on every store', () => {
    const session = new Session<Record<string, unknown>>()
    const refused = expect.objectContaining({ code: 'ERR_SESSION_VALUE', path: 'cart.when' })
    expect(() => session.set('cart', { when: new Date() })).toThrow(refused)
    expect(() => session.flash('cart', { when: new Date() })).toThrow(refused)
    expect(() => session.update('cart', () => ({ when: new Date() }))).toThrow(refused)
    expect(session).toMatchObject({ isModified: false, size: 0 })
  })
})

describe('save', () => {
  test('writes only what was changed, clears the flag, and says which', async () => {
    const { sessions, asked } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    asked()
    expect(await session.save()).toBe('unchanged')
    session.data.list = [1]
    expect(await session.save()).toBe('saved')
    expect(session.isModified).toBe(false)
    session.data.list.push(2)
    expect([session.isModified, await session.save(), await session.save()]).toEqual([
      true,
      'saved',
      'unchanged',
    ])
    expect(asked()).toEqual(['replace', 'replace'])
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, list: [1, 2] })
  })

  test('leaves changes made while it runs pending, for the next', async () => {
    const { store, sessions, asked } = serve()
    const cookie = await arrive(sessions, { list: [] })
    const session = await sessions.open(cookie)
    session.data.a = 1
    const hold = holdUp(store, 'replace')
    const saving = session.save()
    await hold.reached
    session.data.b = 2
    session.data.list.push(3)
    hold.letGo()
    expect([await saving, session.isModified, session.get('b')]).toEqual(['saved', true, 2])
    expect(await dataBehind(sessions, cookie)).toEqual({ a: 1, list: [] })
    asked()
    expect(await session.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ a: 1, b: 2, list: [3] })
  })

  test('of two at once answers neither before its changes are in the store', async () => {
    const { store, sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    const hold = holdUp(store, 'replace')
    session.data.a = 1
    const first = session.save()
    session.data.b = 2
    const second = session.save()
    let answered = false
    void second.then(() => (answered = true))
    await hold.reached
    expect(answered).toBe(false)
    hold.letGo()
    expect(await Promise.all([first, second])).toEqual(['saved', 'saved'])
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, a: 1, b: 2 })
  })

  test('that fails keeps the changes, and a later one carries them', async () => {
    const { store, sessions } = serve()
    const cookie = await arrive(sessions, { list: [1] })
    const session = await sessions.open(cookie)
    session.data.list.push(2)
    session.update('n', (n = 0) => n + 1)
    store.fail('replace')
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE', operation: 'replace' })
    expect([session.isModified, session.data.list]).toEqual([true, [1, 2]])
    store.heal()
    session.data.list.push(3)
    expect(await session.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ list: [1, 2, 3], n: 1 })
  })

  test('finds the session ended meanwhile: gone, and its changes with it', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    session.data.a = 1
    const { id } = session
    await (await sessions.open(cookie)).destroy()
    const events = published('holdfast:event')
    expect(await session.save()).toBe('gone')
    expect(events).toEqual([{ kind: 'gone', id }])
    expect(session).toMatchObject({ isModified: false, size: 0, isDestroyed: false })
    session.data.b = 1
    expect(await session.save()).toBe('gone')
  })

  test('refuses a value put in by nested writing, with its path, and takes nothing', async () => {
    const { sessions, asked } = serve()
    const session = await sessions.open(await arrive(sessions, { cart: [{}] }))
    asked()
    session.data.a = 1
    session.data.cart[0].when = new Date()
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_VALUE', path: 'cart[0].when' })
    expect([asked(), session.isModified]).toEqual([[], true])
    session.data.cart[0].when = 1
    expect(await session.save()).toBe('saved')
  })

  test('refuses more than maxSessionBytes before anything is written', async () => {
    const { sessions, asked } = serve({ maxSessionBytes: 100 })
    const session = await sessions.open(await arrive(sessions))
    asked()
    session.data.big = 'x'.repeat(100)
    await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_TOO_LARGE', status: 500 })
    expect(asked()).toEqual([])
    delete session.data.big
    expect(await session.save()).toBe('saved')
  })
})

describe('after the answer has left', () => {
  test('an existing session still saves, and says once that only save will keep its changes', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const { session } = await visit(sessions, cookie)
    const events = published('holdfast:event')
    session.data.a = 1
    session.data.b = 2
    expect(events).toEqual([{ kind: 'late-change', id: session.id }])
    expect(await session.save()).toBe('saved')
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0, a: 1, b: 2 })
  })

  test('destroy works: the cookie stays, and leads nowhere', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const { session } = await visit(sessions, cookie)
    await session.destroy()
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })

  test('what needs a cookie is an error at the call, and leaves nothing behind', async () => {
    const { sessions, memory } = serve()
    const { session: fresh } = await visit(sessions, null)
    const { session: known } = await visit(sessions, await arrive(sessions))
    const refused = refusal('ERR_SESSION_HEADERS_SENT')
    expect(() => fresh.set('a', 1)).toThrow(refused)
    expect(() => (fresh.data.a = 1)).toThrow(refused)
    expect(() => fresh.signIn('ada')).toThrow(refused)
    expect(() => known.rotate()).toThrow(refused)
    expect(() => known.signIn('ada')).toThrow(refused)
    expect([fresh.isModified, known.isModified, memory.size]).toEqual([false, false, 1])
    expect(await fresh.save()).toBe('unchanged')
  })

  test('a rotation or a new session that the commit could not carry is not carried by save, without its cookie', async () => {
    const { store, sessions, clock } = serve()
    const cookie = await arrive(sessions)
    for (const [from, act] of [
      [cookie, (session: Session) => session.rotate()],
      [cookie, (session: Session) => session.signIn('ada')],
      [null, (session: Session) => session.set('a', 1)],
    ] as const) {
      store.fail('create')
      const session = await sessions.open(from)
      act(session as Session)
      await expect(sessions.commit(session)).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
      store.heal()
      await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_HEADERS_SENT' })
    }
    await clock.advance(10_000)
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0 })
  })
})

describe('destroy', () => {
  test('is final: reading gives nothing, writing throws, and nothing is written any more', async () => {
    const { sessions, asked } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    session.data.before = 1
    await session.destroy()
    expect(session).toMatchObject({ isDestroyed: true, isModified: false, size: 0, userId: null })
    expect([session.get('n'), session.get('n', 5), session.has('n'), [...session]]).toEqual([
      undefined,
      5,
      false,
      [],
    ])
    for (const write of [
      () => session.set('a', 1),
      () => (session.data.a = 1),
      () => session.delete('n'),
      () => session.clear(),
      () => session.update('n', () => 1),
      () => session.pull('n'),
      () => session.flash('n', 1),
      () => session.setExpiry(5),
      () => session.rotate(),
      () => session.signIn('ada'),
    ])
      expect(write).toThrow(refusal('ERR_SESSION_DESTROYED'))
    asked()
    expect(await session.save()).toBe('unchanged')
    await session.destroy()
    await session.reload()
    expect(asked()).toEqual([])
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })

  test('drops what is changed while it runs', async () => {
    const { store, sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    const hold = holdUp(store, 'end')
    const destroying = session.destroy()
    await hold.reached
    session.data.a = 1
    const saving = session.save()
    hold.letGo()
    await destroying
    expect([await saving, session.size]).toEqual(['unchanged', 0])
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })

  test('waits for a save under way, and ends what that created', async () => {
    const { store, memory, sessions } = serve()
    const session = await sessions.open(null)
    session.data.a = 1
    const hold = holdUp(store, 'create')
    const saving = session.save()
    await hold.reached
    const destroying = session.destroy()
    hold.letGo()
    expect(await saving).toBe('saved')
    await destroying
    expect(memory.size).toBe(0)
  })

  test('that the store does not confirm fails; the session stands as before, and another try is right', async () => {
    const { store, sessions, asked } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    session.data.a = 1
    store.fail('end')
    asked()
    await expect(session.destroy()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE', operation: 'end' })
    expect(asked()).toEqual(['end', 'load', 'end', 'load', 'end'])
    expect(session).toMatchObject({ isDestroyed: false, isModified: true, size: 2 })
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 0 })
    store.heal()
    await session.destroy()
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })

  test('of a session that was never saved leaves no trace anywhere', async () => {
    const { memory, sessions, asked } = serve()
    const session = await sessions.open(null)
    session.data.a = 1
    await session.destroy()
    expect([memory.size, asked()]).toEqual([0, []])
  })
})

describe('a lifetime of its own', () => {
  test.each([0, -1, Number.NaN, Infinity, '60' as never, undefined as never])(
    'of %s seconds is refused',
    (seconds) => {
      const session = new Session()
      expect(() => session.setExpiry(seconds)).toThrow(refusal('ERR_SESSION_ARGUMENT'))
      expect([session.isModified, session.expiresAt]).toEqual([false, null])
    },
  )

  test('is a change, and null takes it back', async () => {
    const { clock, sessions } = serve()
    const session = await sessions.open(await arrive(sessions))
    session.setExpiry(90)
    expect([session.isModified, session.expiresAt?.getTime()]).toEqual([true, clock.now() + 90_000])
    await session.save()
    session.setExpiry(null)
    expect([session.isModified, session.expiresAt?.getTime()]).toEqual([true, clock.now() + 3_660_000])
  })

  test('never goes past the absolute time-out, however long', async () => {
    const { clock, sessions } = serve()
    const cookie = await arrive(sessions)
    await visit(sessions, cookie, (session) => session.setExpiry(Number.MAX_VALUE))
    const session = await sessions.open(cookie)
    expect(session.expiresAt?.getTime()).toBe(clock.now() + 86_400_000)
    await clock.advance(86_400_000)
    expect([session.isExpired, await dataBehind(sessions, cookie)]).toEqual([true, null])
  })

  test('that is longer than any date is kept as one that every store can keep', () => {
    const session = new Session({ clock: new ManualClock(0) })
    session.setExpiry(Number.MAX_VALUE)
    expect(session.expiresAt).toEqual(new Date(8.64e15))
  })
})

describe('reload', () => {
  test('reads what others have written, and drops what was not saved', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    await visit(sessions, cookie, ({ data }) => (data.theirs = 1))
    session.data.mine = 1
    session.setExpiry(5)
    session.rotate()
    await session.reload()
    expect([{ ...session.data }, session.isModified]).toEqual([{ n: 0, theirs: 1 }, false])
    expect(await session.save()).toBe('unchanged')
  })

  test('drops a sign-in, so that nothing of one user gets into the session of another', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions, { cart: ['hers'] }, 'ada')
    const { session } = await visit(sessions, cookie, async (opened) => {
      opened.signIn('bob')
      await opened.reload()
      opened.data.cart.push('more')
    })
    expect([session.userId, session.data.cart]).toEqual(['ada', ['hers', 'more']])
  })

  test('finds a session that has ended empty', async () => {
    const { sessions } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    await (await sessions.open(cookie)).destroy()
    await session.reload()
    expect([session.size, await session.save()]).toEqual([0, 'gone'])
  })

  test('that fails changes nothing', async () => {
    const { store, sessions } = serve()
    const session = await sessions.open(await arrive(sessions))
    session.data.a = 1
    store.fail('load')
    await expect(session.reload()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
    expect({ ...session.data }).toEqual({ n: 0, a: 1 })
  })
})

describe('signing in', () => {
  test.each([[''], [7 as never], [null as never]])('takes a user id, not %j', (userId) => {
    const session = new Session()
    expect(() => session.signIn(userId)).toThrow(refusal('ERR_SESSION_ARGUMENT'))
    expect(session.isModified).toBe(false)
  })

  test('is seen at once, and is a change', () => {
    const session = new Session()
    session.signIn('ada')
    expect(session).toMatchObject({ userId: 'ada', isModified: true })
  })

  test('goes before rotating, in whichever order they are asked for', async () => {
    const { sessions } = serve()
    for (const order of [['rotate', 'signIn'] as const, ['signIn', 'rotate'] as const]) {
      const { session } = await visit(sessions, await arrive(sessions), (opened) => {
        for (const step of order) opened[step]('ada')
      })
      expect(session.userId).toBe('ada')
    }
  })

  test('as another user starts empty, at once', async () => {
    const { sessions } = serve()
    const session = await sessions.open(await arrive(sessions, { secret: 1 }, 'ada'))
    session.data.more = 1
    session.signIn('bob')
    expect([session.userId, session.size]).toEqual(['bob', 0])
  })

  test('again as the same user keeps everything', async () => {
    const { sessions } = serve()
    const session = await sessions.open(await arrive(sessions, { a: 1 }, 'ada'))
    session.data.b = 2
    session.signIn('ada')
    expect({ ...session.data }).toEqual({ a: 1, b: 2 })
  })
})

test("a session's id is the one that was looked up, whatever id its payload brings along", async () => {
  const { memory } = serve()
  const other = new SessionData({ id: 'somebody-else', data: { whose: 'theirs' }, version: 'v1' })
  await memory.set(other.id, other)
  class Trusting extends SessionStore {
    get = async (id: string) =>
      new SessionData({
        id: other.id,
        data: { whose: 'mine' },
        version: (await memory.get(id))?.version ?? 'v0',
      })
    set = (id: string, data: SessionData, ttl?: number) => memory.set(id, data, ttl)
    delete = (id: string) => memory.delete(id)
    exists = (id: string) => memory.exists(id)
  }
  const sessions = createSessions<Record<string, unknown>>({ store: new Trusting() })
  const token = 'A'.repeat(43)
  const session = await sessions.open(`${sessions.cookie.name}=${token}`)
  expect(session.id).not.toBe(other.id)
  expect(session.get('whose')).toBe('mine')
  session.set('whose', 'changed')
  expect(await session.save()).toBe('saved')
  expect((await memory.get(session.id))?.data).toEqual({ whose: 'changed' })
  expect((await memory.get(other.id))?.data).toEqual({ whose: 'theirs' })
})
