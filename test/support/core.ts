import type { Commit, Session, Sessions, SessionsOptions } from '../../src/index.ts'
import { createSessions, MemorySessionStore } from '../../src/index.ts'
import { stateOf } from '../../src/session/session.ts'
import { ManualClock } from '../../src/testing/clock.ts'
import type { StoreOperation } from '../../src/testing/faulty-store.ts'
import { FaultyStore } from '../../src/testing/faulty-store.ts'

/** The data of sessions in tests: anything. */
export type Anything = Record<string, any>

/** A server, as far as sessions go. */
export interface Server {
  readonly clock: ManualClock
  /** The store below, where nothing goes wrong. */
  readonly memory: MemorySessionStore
  readonly store: FaultyStore
  readonly sessions: Sessions<Anything>
  /** Another process on the same store, with a clock and faults of its own where these are given. */
  other(options?: SessionsOptions): Sessions<Anything>
  /** What was asked of the store since this was last called. */
  asked(): StoreOperation[]
}

/** Starts a server whose clock stands still, over a store that can be made to fail. */
export function serve(options: SessionsOptions = {}): Server {
  const clock = new ManualClock()
  const memory = new MemorySessionStore({ clock })
  const store = new FaultyStore(memory, { clock })
  const other = (more: SessionsOptions = {}): Sessions<Anything> =>
    createSessions<Anything>({ store, clock, ...options, ...more })
  const asked = (): StoreOperation[] => store.calls.splice(0).map(([operation]) => operation)
  return { clock, memory, store, sessions: other(), other, asked }
}

/** What came of a request: the commit, the session, and the Cookie header that the browser sends from then on. */
export interface Visit extends Commit {
  readonly session: Session<Anything>
  readonly cookie: string | null
}

/** One request of a browser: opens its session, lets a handler use it, and commits. */
export async function visit(
  sessions: Sessions<Anything>,
  cookie: string | null,
  handler?: (session: Session<Anything>) => unknown,
  status: number = 200,
): Promise<Visit> {
  const session = await sessions.open(cookie)
  await handler?.(session)
  const commit = await sessions.commit(session, { status })
  return { ...commit, session, cookie: cookieAfter(cookie, commit) }
}

/** The Cookie header of a browser that sent `before` and was answered with a commit's headers. */
export function cookieAfter(before: string | null, commit: Commit): string | null {
  const line = setCookieOf(commit)
  if (line === undefined) return before
  return line.includes('Max-Age=0') ? null : line.slice(0, line.indexOf(';'))
}

/** The Set-Cookie line of a commit; undefined where there is none. */
export function setCookieOf(commit: Commit): string | undefined {
  return commit.headers.find(([name]) => name === 'Set-Cookie')?.[1]
}

/** A visitor who has a session with this in it; the Cookie header that leads there. */
export async function arrive(
  sessions: Sessions<Anything>,
  data: Anything = { n: 0 },
  userId?: string,
): Promise<string> {
  const { cookie } = await visit(sessions, null, (session) => {
    if (userId !== undefined) session.signIn(userId)
    Object.assign(session.data, data)
  })
  return cookie!
}

/** What the session behind a Cookie header holds; null where there is none. */
export async function dataBehind(
  sessions: Sessions<Anything>,
  cookie: string | null,
): Promise<Anything | null> {
  const session = await sessions.open(cookie)
  return stateOf(session).standing.kind === 'live' ? { ...session.data } : null
}

/** Waits for work by a clock that stands still unless it is moved. */
export async function withTime<R>(clock: ManualClock, work: Promise<R>): Promise<R> {
  let isDone = false
  const settled = Promise.allSettled([work]).finally(() => (isDone = true))
  while (!isDone) await clock.advance(1)
  await settled
  return work
}

/** Holds the next call of a store's operation up, before it is carried out, until it is let go. */
export function holdUp(
  store: FaultyStore,
  operation: StoreOperation,
): { reached: Promise<void>; letGo(): void } {
  const reached = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  store.before = async (called) => {
    if (called !== operation) return
    store.before = undefined
    reached.resolve()
    await released.promise
  }
  return { reached: reached.promise, letGo: () => released.resolve() }
}
