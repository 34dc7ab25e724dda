import { describe, expect, test } from 'vitest'

import { arrive, dataBehind, serve, setCookieOf, visit } from '../../test/support/core.ts'
import { published } from '../../test/support/published.ts'

describe('ending a session by an old id of it', () => {
  test('ends what it was rotated into, however often, where the user stayed the same', async () => {
    const { sessions, memory } = serve()
    let cookie = await arrive(sessions, {}, 'ada')
    const first = await sessions.open(cookie)
    const second = await sessions.open(cookie)
    for (let i = 0; i < 3; i++)
      cookie = (await visit(sessions, cookie, (session) => session.rotate())).cookie!
    const last = (await sessions.open(cookie)).id
    const events = published('holdfast:event')
    await first.destroy()
    expect([memory.size, await dataBehind(sessions, cookie)]).toEqual([0, null])
    expect(events).toEqual([{ kind: 'destroyed', id: last }])
    // It is over; whoever comes second has ended nothing, and must not clear the cookie.
    await second.destroy()
    expect((await sessions.commit(first)).decision.cookie).toBe('cleared')
    expect((await sessions.commit(second)).decision.cookie).toBe('left')
  })

  test('also where the request found nothing but the mark', async () => {
    const { sessions, memory } = serve()
    const old = await arrive(sessions, {}, 'ada')
    await visit(sessions, old, (session) => session.rotate())
    const { outcome, decision } = await visit(sessions, old, (session) => session.destroy())
    expect([outcome, decision.lookup, decision.cookie, memory.size]).toEqual([
      'destroyed',
      'ended',
      'cleared',
      0,
    ])
  })

  test('also where a save has found that it went on elsewhere', async () => {
    const { sessions, memory } = serve()
    const old = await arrive(sessions, {}, 'ada')
    const session = await sessions.open(old)
    await visit(sessions, old, (other) => other.rotate())
    session.data.a = 1
    expect(await session.save()).toBe('gone')
    await session.destroy()
    expect(memory.size).toBe(0)
  })

  test('stops where the user changed', async () => {
    const { sessions } = serve()
    const anonymous = await arrive(sessions)
    const late = await sessions.open(anonymous)
    const { cookie: hers } = await visit(sessions, anonymous, (session) => session.signIn('ada'))
    const { cookie: rotated } = await visit(sessions, hers, (session) => session.rotate())
    await late.destroy()
    expect((await sessions.open(rotated)).userId).toBe('ada')
    expect((await sessions.commit(late)).decision).toMatchObject({ outcome: 'destroyed', cookie: 'left' })
  })
})

describe('ending a session that is not there any more', () => {
  test('ends nothing, and leaves the cookie to whoever did', async () => {
    const { sessions, memory } = serve()
    const { decision } = await visit(sessions, await arrive(sessions), async (session) => {
      await memory.delete(session.id)
      await session.destroy()
    })
    expect(decision).toMatchObject({ outcome: 'destroyed', cookie: 'left' })
  })

  test('twice at once ends it once, and clears the cookie', async () => {
    const { sessions, asked } = serve()
    const cookie = await arrive(sessions)
    asked()
    const { decision } = await visit(sessions, cookie, (session) =>
      Promise.all([session.destroy(), session.destroy()]),
    )
    expect([decision.cookie, asked()]).toEqual(['cleared', ['load', 'end']])
  })
})

describe('a reply to an end that never came', () => {
  test('is settled by the mark that is found there: this request has ended it', async () => {
    const { store, sessions } = serve()
    const cookie = await arrive(sessions)
    store.loseReply('end')
    const commit = await visit(sessions, cookie, (session) => session.destroy())
    expect([commit.outcome, setCookieOf(commit)]).toEqual(['destroyed', expect.stringContaining('Max-Age=0')])
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })

  test('or by there being nothing left at all', async () => {
    const { store, memory, sessions } = serve()
    const cookie = await arrive(sessions)
    store.loseReply('end')
    const { decision } = await visit(sessions, cookie, (session) => {
      store.before = (operation) => void (operation === 'load' && memory.clear())
      return session.destroy()
    })
    expect(decision.cookie).toBe('cleared')
  })

  test('leads to another try where the session is found alive', async () => {
    const { store, sessions, asked } = serve()
    const cookie = await arrive(sessions)
    const session = await sessions.open(cookie)
    store.fail('end')
    store.before = (operation) => void (operation === 'load' && store.heal())
    asked()
    await session.destroy()
    expect(asked()).toEqual(['end', 'load', 'end'])
    expect(await dataBehind(sessions, cookie)).toBe(null)
  })
})

test('a store that neither ends a session nor says that it has ended is reported, not asked for ever', async () => {
  const { store, sessions } = serve()
  const session = await sessions.open(await arrive(sessions))
  store.end = () => Promise.resolve(false)
  await expect(session.destroy()).rejects.toMatchObject({ code: 'ERR_SESSION_CONFLICT' })
  expect(session.isDestroyed).toBe(false)
})

test('so is one that says a new, random id is taken', async () => {
  const { store, sessions } = serve()
  store.create = () => Promise.resolve(false)
  const creating = visit(sessions, null, (session) => session.set('a', 1))
  await expect(creating).rejects.toMatchObject({ code: 'ERR_SESSION_CONFLICT' })
})

test('a session that could not be created is created by another try, also where the first was carried out after all', async () => {
  const { store, sessions, memory } = serve()
  const session = await sessions.open(null)
  session.data.a = 1
  expect(session.id).toMatch(/^[\w-]{43}$/)
  store.loseReply('create')
  store.fail('load')
  await expect(session.save()).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  expect(memory.size).toBe(1)
  store.heal()
  expect(await session.save()).toBe('saved')
  const commit = await sessions.commit(session)
  expect(setCookieOf(commit)).toBeDefined()
})

test('a creation whose reply was lost is settled by reading, and makes one record', async () => {
  const { store, sessions, memory, asked } = serve()
  store.loseReply('create')
  const { outcome, cookie } = await visit(sessions, null, (session) => session.set('a', 1))
  expect([outcome, memory.size, asked()]).toEqual(['saved', 1, ['create', 'load']])
  expect(await dataBehind(sessions, cookie)).toEqual({ a: 1 })
})
