/** Revocation that misses a session, or reaches one too many (OWASP ASVS 5.0, 7.4.2, 7.4.3, 7.5.2): 100,000 deeds against a model. */
import { expect, test } from 'vitest'

import type { Session } from '../../src/index.ts'
import { createSessions } from '../../src/index.ts'
import { MARK_SECONDS } from '../../src/stores/store.ts'
import { seeded } from '../../src/testing/_store-model.ts'
import { ManualClock } from '../../src/testing/clock.ts'
import type { Anything } from '../support/core.ts'
import { visit } from '../support/core.ts'
import { HintedStore } from '../support/hinted-store.ts'

const DEEDS = 100_000
const SEED = Number(process.env['HOLDFAST_SECURITY_SEED'] ?? Date.now() & 0x7fffffff)

const USERS = ['ada', 'bea', 'cy'] as const
const IDLE = 600
const ABSOLUTE = 3600
const TOUCH = 60

/** A session as it should be; times in milliseconds. */
interface Modelled {
  readonly user: string
  readonly createdAt: number
  touchedAt: number
}

test(`what is listed, revoked and let in is what it should be, deed after deed (seed ${SEED})`, async () => {
  const random = seeded(SEED)
  const pick = <V>(items: readonly V[]): V => items[random(items.length)]!
  const clock = new ManualClock()
  const store = new HintedStore({ clock })
  const sessions = createSessions({
    store,
    clock,
    ...{ idleTimeout: IDLE, absoluteTimeout: ABSOLUTE, touchEvery: TOUCH },
  })
  /** What should live, by id. */
  const model = new Map<string, Modelled>()
  const browsers = Array.from({ length: 8 }, () => ({ cookie: null as string | null, id: '' }))
  /** What sessions went on under with their user unchanged, for as long as their marks stand. */
  const successors = new Map<string, { id: string; until: number }>()
  /** Ids of all times, as an attacker may have noted them. */
  const noted = ['']

  const isLive = ({ createdAt, touchedAt }: Modelled): boolean =>
    clock.now() < createdAt + ABSOLUTE * 1000 && clock.now() < touchedAt + (IDLE + TOUCH) * 1000
  const liveOf = (user: string): string[] =>
    [...model].filter(([, session]) => session.user === user && isLive(session)).map(([id]) => id)
  const live = (id: string): Modelled | null => {
    const session = model.get(id)
    return session !== undefined && isLive(session) ? session : null
  }
  /** What a session is called by now; null where it has ended. */
  const nowOf = (id: string): string | null => {
    if (live(id) !== null) return id
    const next = successors.get(id)
    return next !== undefined && clock.now() < next.until ? nowOf(next.id) : null
  }
  const use = async (
    browser: (typeof browsers)[number],
    deed?: (session: Session<Anything>) => unknown,
  ): Promise<void> => {
    const { cookie, session } = await visit(sessions, browser.cookie, deed)
    browser.cookie = cookie
    browser.id = session.id
    noted[random(100)] = session.id
  }
  /** Gives a browser's session a new id. */
  const move = async (
    browser: (typeof browsers)[number],
    deed: (session: Session<Anything>) => void,
    after: Modelled,
  ): Promise<void> => {
    const old = browser.id
    const isSameUser = live(old)?.user === after.user
    await use(browser, deed)
    model.delete(old)
    model.set(browser.id, after)
    if (isSameUser) successors.set(old, { id: browser.id, until: clock.now() + MARK_SECONDS * 1000 })
  }
  /** Revokes: all of these should end, and as many should be told of. */
  const revoke = async (ids: readonly string[], revoking: Promise<number>): Promise<void> => {
    expect(await revoking).toBe(ids.length)
    for (const id of ids) model.delete(id)
  }

  const deeds = [
    async () => {
      const browser = pick(browsers)
      const user = pick(USERS)
      const after = { user, createdAt: clock.now(), touchedAt: clock.now() }
      await move(browser, (session) => session.signIn(user), after)
    },
    async () => {
      const browser = pick(browsers)
      const before = live(browser.id)
      if (before === null) return
      await move(browser, (session) => session.rotate(), { ...before, touchedAt: clock.now() })
    },
    async () => {
      const browser = pick(browsers)
      model.delete(browser.id)
      await use(browser, (session) => session.destroy())
    },
    async () => {
      const browser = pick(browsers)
      const session = live(browser.id)
      if (session === null) return
      if (clock.now() - session.touchedAt >= TOUCH * 1000) session.touchedAt = clock.now()
      await use(browser)
    },
    () => clock.advance(random(300_000)),
    async () => {
      const id = pick(noted.filter((known) => known !== undefined))
      const user = pick(USERS)
      const now = nowOf(id)
      const isTheirs = now !== null && live(now)!.user === user
      expect(await sessions.forUser(user).revoke(id)).toBe(isTheirs)
      if (isTheirs) model.delete(now)
    },
    async () => {
      const { id } = pick(browsers)
      const user = live(id)?.user
      if (user === undefined) return
      const others = liveOf(user).filter((other) => other !== id)
      await revoke(others, sessions.forUser(user).revokeOthers(id))
    },
    async () => {
      const user = pick(USERS)
      await revoke(liveOf(user), sessions.forUser(user).revokeAll())
    },
  ]

  for (let n = 0; n < DEEDS; n++) {
    // The last two end much at once: seldom, so that there is something to end.
    await deeds[random(10) === 0 ? random(deeds.length) : random(5)]!()
    const user = pick(USERS)
    const listed = (await sessions.forUser(user).list()).map(({ id }) => id)
    expect(listed.toSorted()).toEqual(liveOf(user).toSorted())
    // No hint is left that leads nowhere; one to what has just run out may be.
    for (const id of await store.idsOfUser(user)) expect(model.get(id)?.user).toBe(user)
    const browser = pick(browsers)
    expect((await sessions.open(browser.cookie)).userId).toBe(live(browser.id)?.user ?? null)
  }
})
