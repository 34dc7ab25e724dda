import { describe, expect, test } from 'vitest'

import type { Session, SessionData } from '../../src/index.ts'
import { createSessions, SessionStore } from '../../src/index.ts'
import { ManualClock } from '../../src/testing/clock.ts'
import type { Anything } from '../support/core.ts'
import { arrive, dataBehind, serve, visit } from '../support/core.ts'

const HOUR = 3_600_000
const GRACE = 60_000
const DAY = 24 * HOUR

/** A store of the four methods alone, which forgets nothing: whatever ends a session there is the core's doing. */
class EverlastingStore extends SessionStore {
  readonly records = new Map<string, SessionData>()
  get = (id: string) => Promise.resolve(this.records.get(id) ?? null)
  set = (id: string, data: SessionData) => Promise.resolve(void this.records.set(id, data))
  delete = (id: string) => Promise.resolve(this.records.delete(id))
  exists = (id: string) => Promise.resolve(this.records.has(id))
}

const stores = {
  'a store that forgets': () => serve(),
  'a store that keeps everything': () => {
    const clock = new ManualClock()
    const store = new EverlastingStore({ clock })
    return { clock, store, sessions: createSessions<Anything>({ store, clock }) }
  },
}

/** How a session comes to its end, in milliseconds from its beginning. */
const ends: [
  reason: string,
  live: (server: Pick<ReturnType<typeof serve>, 'clock' | 'sessions'>) => Promise<string>,
  end: number,
][] = [
  ['idle', ({ sessions }) => arrive(sessions), HOUR + GRACE],
  [
    'idle, after a touch',
    async ({ clock, sessions }) => {
      const cookie = await arrive(sessions)
      await clock.advance(HOUR)
      await visit(sessions, cookie)
      return cookie
    },
    2 * HOUR + GRACE,
  ],
  [
    'absolute',
    async ({ clock, sessions }) => {
      const cookie = await arrive(sessions)
      for (let i = 0; i < 23; i++) {
        await clock.advance(HOUR)
        await visit(sessions, cookie)
      }
      await clock.advance(HOUR - GRACE)
      await visit(sessions, cookie)
      return cookie
    },
    DAY,
  ],
  [
    'a deadline of its own',
    async ({ sessions }) => (await visit(sessions, null, (session) => session.setExpiry(90))).cookie!,
    90_000,
  ],
]

const uses: [string, (session: Session<Anything>) => unknown][] = [
  ['read', (session) => session.get('n')],
  ['write', (session) => session.set('late', 1)],
  ['rotate', (session) => session.rotate()],
  ['prolong', (session) => session.setExpiry(DAY)],
]

// S22 (OWASP ASVS 5.0, 7.3.1 and 7.3.2; CVE-2024-35220)
describe.each(Object.entries(stores))('in %s', (_, start) => {
  describe.each(ends)('a session that ends by %s', (_reason, live, end) => {
    const arriveAt = async (offset: number) => {
      const server = start()
      const begun = server.clock.now()
      const cookie = await live(server)
      await server.clock.advance(begun + end + offset - server.clock.now())
      return { ...server, cookie }
    }

    test('is there until the last millisecond before', async () => {
      const { sessions, cookie } = await arriveAt(-1)
      expect(await dataBehind(sessions, cookie)).not.toBe(null)
    })

    test.each([0, 1])('is not found at its end (+%i ms), nor by anything brought back', async (late) => {
      const { sessions, cookie, clock } = await arriveAt(late)
      for (const [, use] of uses) {
        const { session, decision } = await visit(sessions, cookie, use)
        expect([decision.lookup === 'live', session.has('n')]).toEqual([false, false])
      }
      await clock.advance(1)
      expect(await dataBehind(sessions, cookie)).toBe(null)
    })

    test.each(uses)(
      'and that was opened a millisecond before is not extended by a %s at its end',
      async (_use, use) => {
        const { sessions, cookie, clock } = await arriveAt(-1)
        const session = await sessions.open(cookie)
        use(session)
        await clock.advance(1)
        const { decision } = await sessions.commit(session)
        expect([decision.wrote, decision.cookie]).toEqual(['nothing', 'left'])
        expect(await dataBehind(sessions, cookie)).toBe(null)
      },
    )
  })
})
