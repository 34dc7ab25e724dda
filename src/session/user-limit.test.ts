import { describe, expect, test } from 'vitest'

import type { Server } from '../../test/support/core.ts'
import { arrive, dataBehind, holdUp, serve, visit } from '../../test/support/core.ts'
import { published } from '../../test/support/published.ts'
import { SessionError } from '../errors.ts'
import { createSessions } from '../sessions.ts'
import { SessionStore } from '../stores/store.ts'

const REFUSE = { maxSessionsPerUser: { max: 2, whenTooMany: 'refuse' } } as const
const TOO_MANY = { code: 'ERR_SESSION_LIMIT_REACHED', status: 409 }

async function ids({ sessions }: Server): Promise<string[]> {
  return (await sessions.forUser('ada').list()).map(({ id }) => id)
}

/** Which of these Cookie headers still lead to a session. */
async function alive({ sessions }: Server, cookies: readonly (string | null)[]): Promise<number[]> {
  const found = await Promise.all(cookies.map((cookie) => dataBehind(sessions, cookie)))
  return found.flatMap((data, i) => (data === null ? [] : [i]))
}

/** Signs ada in one millisecond after the other. */
async function signInTimes({ sessions, clock }: Server, times: number): Promise<string[]> {
  const cookies: string[] = []
  for (let i = 0; i < times; i++) {
    await clock.advance(1)
    cookies.push(await arrive(sessions, { n: i }, 'ada'))
  }
  return cookies
}

describe('a number of sessions per user', () => {
  test('is kept by ending the oldest, as revoked', async () => {
    const server = serve({ maxSessionsPerUser: 2 })
    const events = published('holdfast:event')
    const bea = await arrive(server.sessions, { n: 0 }, 'bea')
    const cookies = await signInTimes(server, 4)
    expect(await alive(server, [...cookies, bea])).toEqual([2, 3, 4])
    expect(events.filter(({ kind }) => kind === 'revoked')).toHaveLength(2)
  })

  test('goes by who signed in first, however active since', async () => {
    const server = serve({ maxSessionsPerUser: 2 })
    const cookies = await signInTimes(server, 2)
    await server.clock.advance(600_000)
    await visit(server.sessions, cookies[0]!)
    cookies.push(...(await signInTimes(server, 1)))
    expect(await alive(server, cookies)).toEqual([1, 2])
  })

  test('counts a session that signs in again, or is given a new id, once', async () => {
    for (const options of [{ maxSessionsPerUser: 2 }, REFUSE]) {
      const server = serve(options)
      const { sessions, clock } = server
      const cookies = await signInTimes(server, 2)
      for (const act of ['signIn', 'rotate'] as const)
        for (const i of [0, 1]) {
          await clock.advance(1)
          const { cookie } = await visit(sessions, cookies[i]!, (s) =>
            act === 'signIn' ? s.signIn('ada') : s.rotate(),
          )
          cookies[i] = cookie!
        }
      expect(await alive(server, cookies)).toEqual([0, 1])
    }
  })

  test('counts neither what was signed out nor what ran out', async () => {
    const server = serve({ ...REFUSE, idleTimeout: 60 })
    const { sessions, clock } = server
    const [first] = await signInTimes(server, 2)
    await visit(sessions, first!, (session) => session.destroy())
    await signInTimes(server, 1)
    await clock.advance(70_000)
    await signInTimes(server, 2)
    expect(await ids(server)).toHaveLength(2)
  })

  test('is no business of those who do not sign in', async () => {
    const { sessions, asked } = serve({ maxSessionsPerUser: 1 })
    const cookie = await arrive(sessions)
    await arrive(sessions)
    await visit(sessions, cookie, (session) => session.rotate())
    expect(asked()).not.toContain('idsOfUser')
  })

  test('is kept when sessions sign in at the same moment', async () => {
    const server = serve({ maxSessionsPerUser: 2 })
    const cookies = await Promise.all(
      Array.from({ length: 20 }, (_, n) => arrive(server.other(), { n }, 'ada')),
    )
    expect(await alive(server, cookies)).toHaveLength(2)
  })

  test('is kept when one signs in while another is given a new id, at every step of that', async () => {
    for (const operation of ['noteUser', 'end', 'touch'] as const) {
      const server = serve({ maxSessionsPerUser: 2 })
      const { sessions, store } = server
      const cookies = await signInTimes(server, 2)
      const { reached, letGo } = holdUp(store, operation)
      const rotating = visit(sessions, cookies[1]!, (session) => session.rotate())
      await reached
      cookies.push(...(await signInTimes(server, 1)))
      letGo()
      cookies.push((await rotating).cookie!)
      expect([operation, await alive(server, cookies)]).toEqual([operation, [2, 3]])
    }
  })

  test('signs nobody in while the store cannot tell how many there are', async () => {
    for (const options of [{ maxSessionsPerUser: 2 }, REFUSE]) {
      const server = serve(options)
      const { sessions, store, clock } = server
      const cookie = await arrive(sessions)
      store.fail('idsOfUser')
      for (const from of [null, cookie])
        await expect(visit(sessions, from, (session) => session.signIn('ada'))).rejects.toMatchObject({
          code: 'ERR_SESSION_STORE',
        })
      store.heal()
      await clock.advance(10_000)
      // What was refused so leaves none behind that would count for long.
      if (options === REFUSE) expect(await ids(server)).toEqual([])
      await signInTimes(server, 2)
      expect((await ids(server)).length).toBe(2)
    }
  })

  test('needs a store that can count', () => {
    class Plain extends SessionStore {
      get = async (): Promise<null> => null
      set = async (): Promise<void> => {}
      delete = async (): Promise<boolean> => false
      exists = async (): Promise<boolean> => false
    }
    expect(() => createSessions({ store: new Plain(), maxSessionsPerUser: 2 })).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_OPTION', rule: 'max-sessions-per-user' }),
    )
  })
})

describe('where a sign-in beyond it is refused', () => {
  test('the handler is told, and everything stays as it was', async () => {
    const server = serve(REFUSE)
    const { sessions, memory } = server
    const cookies = await signInTimes(server, 2)
    for (const before of [null, await arrive(sessions, { cart: ['tea'] })]) {
      const { size } = memory
      let refusal: unknown
      const { outcome, cookie, session } = await visit(sessions, before, async (session) => {
        session.set('name', 'Ada')
        session.signIn('ada')
        session.set('role', 'admin')
        refusal = await session.save().catch((error: unknown) => error)
        session.set('notice', 'signed in elsewhere')
      })
      expect(refusal).toBeInstanceOf(SessionError)
      expect(refusal).toMatchObject(TOO_MANY)
      expect([outcome, session.userId]).toEqual(['saved', null])
      expect(await dataBehind(sessions, cookie)).toEqual({
        ...(before !== null && { cart: ['tea'] }),
        notice: 'signed in elsewhere',
      })
      expect(memory.size).toBe(before === null ? size + 1 : size)
    }
    expect(await alive(server, cookies)).toEqual([0, 1])
  })

  test('a commit that was not prepared for it fails, once', async () => {
    const server = serve(REFUSE)
    const { sessions } = server
    await signInTimes(server, 2)
    const session = await sessions.open(null)
    session.signIn('ada')
    await expect(sessions.commit(session)).rejects.toMatchObject(TOO_MANY)
    expect(await sessions.commit(session)).toMatchObject({ outcome: 'unchanged' })
    expect(await ids(server)).toHaveLength(2)
  })

  test('it succeeds once another has gone', async () => {
    const server = serve(REFUSE)
    const { sessions } = server
    const [first] = await signInTimes(server, 2)
    await sessions.forUser('ada').revoke((await sessions.open(first!)).id)
    await signInTimes(server, 1)
    expect(await ids(server)).toHaveLength(2)
  })

  test('too many at the same moment never get in, at whichever step they meet', async () => {
    for (const operation of ['create', 'noteUser', 'idsOfUser', 'end', 'touch'] as const) {
      const server = serve(REFUSE)
      const { sessions, store } = server
      const cookies: (string | null)[] = await signInTimes(server, 1)
      const anonymous = [await arrive(sessions), null]
      const signIn = async (from: string | null): Promise<void> => {
        const signing = visit(sessions, from, (session) => session.signIn('ada'))
        cookies.push(
          await signing.then(
            ({ cookie }) => cookie,
            () => null,
          ),
        )
      }
      const { reached, letGo } = holdUp(store, operation)
      const first = signIn(anonymous[0]!)
      await reached
      await signIn(anonymous[1]!)
      letGo()
      await first
      expect((await alive(server, cookies)).length).toBeLessThanOrEqual(2)
    }
  })

  test('a sign-in in place of a session that goes on under another id meanwhile is one more', async () => {
    const server = serve(REFUSE)
    const { sessions, store } = server
    const cookies: string[] = await signInTimes(server, 2)
    const { reached, letGo } = holdUp(store, 'end')
    const again = visit(sessions, cookies[0]!, (session) => session.signIn('ada'))
    const refused = expect(again).rejects.toMatchObject(TOO_MANY)
    await reached
    const { cookie } = await visit(server.other(), cookies[0]!, (session) => session.rotate())
    letGo()
    await refused
    expect(await alive(server, [...cookies, cookie])).toEqual([1, 2])
    expect(await ids(server)).toHaveLength(2)
  })

  test('a sign-in whose user is revoked meanwhile is gone', async () => {
    const server = serve(REFUSE)
    const { sessions, store } = server
    const { reached, letGo } = holdUp(store, 'touch')
    const signing = visit(sessions, null, (session) => session.signIn('ada'))
    await reached
    expect(await sessions.forUser('ada').revokeAll()).toBe(1)
    letGo()
    const { outcome, cookie } = await signing
    expect([outcome, cookie, await ids(server)]).toEqual(['gone', null, []])
  })
})
