import type { Awaitable } from '../awaitable.ts'
import type { Clock } from '../clock.ts'
import { instantBy } from '../clock.ts'
import { SessionError } from '../errors.ts'
import { publish } from '../events.ts'
import { answerOf } from '../stores/_answer.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { Glimpse, Mark, SessionStore } from '../stores/store.ts'
import type { UserIndex } from '../stores/user-index.ts'
import { hasUserIndex } from '../stores/user-index.ts'
import type { WaitErrors } from './deadlines.ts'
import { Deadlines } from './deadlines.ts'

/**
 * A store as the core calls it: every call has a deadline, and every failure is a rejection with a {@link SessionError}
 * that names the operation. `until` is by {@link instantBy}. Where the store has its answer at hand, there is no promise to wait for.
 *
 * Clients queue commands while they are not connected, and a server that hangs is sent them all the same. So that these do not pile up for
 * as long as an outage lasts, a store that answers nothing is asked no more once {@link MAX_UNSETTLED} calls wait there, but by one call
 * a second, to see whether it is back.
 */
export class StoreCalls {
  readonly #store: SessionStore
  /** Null where the store cannot find the sessions of a user. */
  readonly #users: UserIndex | null
  readonly #clock: Clock
  readonly #deadlines: Deadlines
  #triedAt = -Infinity

  constructor(store: SessionStore, clock: Clock) {
    this.#store = store
    this.#users = hasUserIndex(store) ? store : null
    this.#clock = clock
    this.#deadlines = new Deadlines(clock, ERRORS)
  }

  /** Waits until the clock knows the time: before that, nothing must be dated. */
  async ready(until: number): Promise<void> {
    const ready = this.#clock.ready?.() ?? null
    if (ready !== null) await this.#call('connect', until, () => ready)
  }

  load(id: string, until: number): Awaitable<SessionData | Mark | null> {
    return this.#call('load', until, () => this.#store.load(id))
  }

  create(id: string, data: SessionData, ttl: number, until: number): Awaitable<boolean> {
    return this.#call('create', until, () => this.#store.create(id, data, ttl))
  }

  replace(
    id: string,
    data: SessionData,
    expectedVersion: string,
    ttl: number,
    until: number,
  ): Awaitable<boolean> {
    return this.#call('replace', until, () => this.#store.replace(id, data, expectedVersion, ttl))
  }

  end(id: string, mark: Mark, expectedVersion: string | undefined, until: number): Awaitable<boolean> {
    return this.#call('end', until, () => this.#store.end(id, mark, expectedVersion))
  }

  touch(id: string, ttl: number, expectedVersion: string, until: number): Awaitable<boolean> {
    return this.#call('touch', until, () => this.#store.touch(id, ttl, expectedVersion))
  }

  peek(ids: readonly string[], until: number): Awaitable<(Glimpse | Mark | null)[]> {
    return this.#call('peek', until, () => this.#store.peek(ids))
  }

  /** Whether the store can find the sessions of a user. */
  get hasUserIndex(): boolean {
    return this.#users !== null
  }

  /** Notes that a session is a user's, where the store keeps an index of that. */
  async noteUser(userId: string, id: string, ttl: number, until: number): Promise<void> {
    const users = this.#users
    if (users !== null) await this.#call('noteUser', until, () => users.noteUser(userId, id, ttl))
  }

  /** To be called only where {@link hasUserIndex} says so. */
  idsOfUser(userId: string, until: number): Awaitable<readonly string[]> {
    return this.#call('idsOfUser', until, () => this.#users!.idsOfUser(userId))
  }

  /** To be called only where {@link hasUserIndex} says so. */
  forgetUser(userId: string, ids: readonly string[], until: number): Awaitable<void> {
    return this.#call('forgetUser', until, () => this.#users!.forgetUser(userId, ids))
  }

  #call<R>(operation: string, until: number, step: () => Promise<R>): Awaitable<R> {
    try {
      const now = instantBy(this.#clock)
      if (now >= until) throw tooLate(operation)
      if (this.#isClogged(now)) throw clogged(operation)
      const work = step()
      const answer = answerOf(work)
      return answer === work ? this.#deadlines.within(work, until, operation) : answer
    } catch (error) {
      return Promise.reject(explain(operation, error))
    }
  }

  /** Whether calls only pile up at the store: many wait, and none has been answered for a while. Lets one through now and then. */
  #isClogged(now: number): boolean {
    const { unsettled, silentSince } = this.#deadlines
    if (unsettled < MAX_UNSETTLED || now - silentSince < SILENCE) return false
    if (now - this.#triedAt < TRY_EVERY) return true
    this.#triedAt = now
    return false
  }
}

/** How many calls may wait at a store that answers nothing. */
const MAX_UNSETTLED = 1000

/** Milliseconds without any answer: a store that is merely busy gives one in less. */
const SILENCE = 250

/** Milliseconds between two calls that try whether a store answers again. */
const TRY_EVERY = 1000

function tooLate(operation: string): SessionError {
  return new SessionError(
    'ERR_SESSION_TIMEOUT',
    `The session store did not answer ${operation} within storeTimeout. Is it reachable, and not overloaded?`,
    { operation },
  )
}

function clogged(operation: string): SessionError {
  return new SessionError(
    'ERR_SESSION_STORE',
    `The session store was not asked to ${operation}: ${MAX_UNSETTLED} calls wait for an answer already, and none comes. Is it reachable?`,
    { operation },
  )
}

const ERRORS: WaitErrors = { late: (operation) => explain(operation, tooLate(operation)), explain }

/** The error that a call rejects with; told of, unless it is the record's own fault. */
function explain(operation: string, error: unknown): SessionError {
  const explained = wrap(operation, error)
  if (explained.code !== 'ERR_SESSION_RECORD') publish({ kind: 'store-failure', operation, error: explained })
  return explained
}

function wrap(operation: string, error: unknown): SessionError {
  if (error instanceof SessionError) return error
  return new SessionError(
    'ERR_SESSION_STORE',
    `The session store failed at ${operation}; the cause says why.`,
    {
      operation,
      cause: error,
    },
  )
}
