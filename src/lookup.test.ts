import { describe, expect, test } from 'vitest'

import type { Anything, Server } from '../test/support/core.ts'
import { arrive, dataBehind, serve, setCookieOf, visit, withTime } from '../test/support/core.ts'
import { published } from '../test/support/published.ts'
import { Context } from './context.ts'
import type { SessionsOptions } from './options.ts'
import type { Session } from './session/session.ts'

/** A visitor with a session, and a store that has failed since. */
async function outage(options: SessionsOptions = {}): Promise<Server & { cookie: string }> {
  const server = serve({ onOutage: 'anonymous', ...options })
  const cookie = await arrive(server.sessions, { n: 1 }, 'ada')
  server.store.fail('load')
  return { ...server, cookie }
}

const outOfReach = { code: 'ERR_SESSION_STORE', status: 503, headers: { 'Retry-After': '1' } }

describe('a store that cannot be asked', () => {
  test('fails the request, unless told otherwise', async () => {
    const { sessions, cookie } = await outage({ onOutage: 'fail' })
    await expect(sessions.open(cookie)).rejects.toMatchObject(outOfReach)
  })

  test('gives an empty session where the application prefers that', async () => {
    const { sessions, cookie } = await outage()
    const session = await sessions.open(cookie)
    expect(session).toMatchObject({
      size: 0,
      userId: null,
      isNew: false,
      isDestroyed: false,
      isExpired: false,
    })
  })

  test('does so at the deadline, too', async () => {
    const { clock, store, sessions, cookie } = await outage()
    store.hang('load')
    const session = await withTime(clock, sessions.open(cookie))
    expect(session.size).toBe(0)
  })

  test('does so where one of two cookies cannot be looked up', async () => {
    const { store, sessions, cookie } = await outage()
    store.heal()
    const other = await arrive(sessions)
    let loads = 0
    store.before = (operation) => {
      if (operation === 'load' && ++loads === 2) throw new Error('the second one')
    }
    expect((await sessions.open(`${cookie}; ${other}`)).size).toBe(0)
  })

  test('is no matter for visitors without a cookie, nor does it let them believe that something was saved', async () => {
    const { sessions, store } = await outage()
    expect((await visit(sessions, null)).outcome).toBe('unchanged')
    store.fail('create')
    const saving = visit(sessions, null, (session) => session.set('a', 1))
    await expect(saving).rejects.toMatchObject({ code: 'ERR_SESSION_STORE' })
  })
})

describe('a session served in an outage', () => {
  test('takes changes, and saves none of them', async () => {
    const { store, sessions, cookie, asked } = await outage()
    asked()
    const { outcome, headers } = await visit(sessions, cookie, async (session) => {
      session.set('a', 1)
      session.update('n', (n = 0) => n + 1)
      expect({ ...session.data }).toEqual({ a: 1, n: 1 })
      expect(await session.save()).toBe('unchanged')
      expect(session.isModified).toBe(true)
    })
    expect(outcome).toBe('failed')
    expect(headers).toEqual([
      ['Vary', 'Cookie'],
      ['Cache-Control', 'no-store'],
    ])
    expect(asked()).toEqual(['load'])
    store.heal()
    expect(await dataBehind(sessions, cookie)).toEqual({ n: 1 })
  })

  test('leaves the cookie alone, also where it is always sent', async () => {
    for (const always of [false, true]) {
      const { sessions, cookie } = await outage({ cookie: { always } })
      expect(setCookieOf(await visit(sessions, cookie, (session) => session.set('a', 1)))).toBe(undefined)
    }
  })

  test('says why', async () => {
    const { sessions, cookie } = await outage()
    const decisions = published('holdfast:commit')
    await visit(sessions, cookie)
    expect(decisions).toEqual([
      {
        id: expect.any(String) as string,
        lookup: 'unavailable',
        outcome: 'failed',
        wrote: 'nothing',
        cookie: 'left',
        why: 'The store could not be asked, so the visitor was served without a session; an outage signs nobody out.',
      },
    ])
  })

  test.each<[string, (session: Session<Anything>) => unknown]>([
    ['destroy', (session) => session.destroy()],
    ['signIn', (session) => session.signIn('ada')],
    ['rotate', (session) => session.rotate()],
    ['reload', (session) => session.reload()],
  ])('does not let %s pass for done', async (_name, act) => {
    const { store, sessions, cookie } = await outage()
    const cause = { code: 'ERR_SESSION_STORE', operation: 'load' }
    const session = await sessions.open(cookie)
    await expect((async () => act(session))()).rejects.toMatchObject({ ...outOfReach, cause })
    expect((await sessions.commit(session)).outcome).toBe('failed')
    store.heal()
    expect((await sessions.open(cookie)).userId).toBe('ada')
  })

  test('is found again by callbacks, once the store is back', async () => {
    const { store, sessions, cookie } = await outage()
    const context = new Context({ sessions, session: await sessions.open(cookie) })
    const read = context.callback(({ session }) => session.get('n'))
    expect(await read()).toBe(undefined)
    store.heal()
    expect(await read()).toBe(1)
    expect(context.signal.aborted).toBe(false)
  })
})
