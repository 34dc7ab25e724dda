import type { Commit, Form, Outcome } from './answer.ts'
import { answer, explainFailure } from './answer.ts'
import type { Awaitable } from './awaitable.ts'
import { chain, settle } from './awaitable.ts'
import type { Clock } from './clock.ts'
import type { CookieAttributes } from './cookie/attributes.ts'
import type { CookieSource } from './cookie/connection.ts'
import { cookieHeaderOf, takesSecureCookies } from './cookie/connection.ts'
import { readCookie } from './cookie/read.ts'
import { createTokenSource } from './cookie/token.ts'
import type { NoteDevice } from './device.ts'
import { describeDevice } from './device.ts'
import type { EndReason } from './errors.ts'
import { SessionError } from './errors.ts'
import { publish } from './events.ts'
import type { OnOutage } from './lookup.ts'
import { decodeAll, lookUp } from './lookup.ts'
import type { SessionsOptions } from './options.ts'
import { resolveOptions } from './options.ts'
import { Committer } from './session/commit.ts'
import type { Follower } from './session/follower.ts'
import type { Session } from './session/session.ts'
import { checkUserId, sessionOf, stateOf } from './session/session.ts'
import type { Identity, Lookup, Standing } from './session/state.ts'
import { SessionState } from './session/state.ts'
import type { SessionData } from './stores/session-data.ts'
import type { SessionStore } from './stores/store.ts'
import { UserSessions } from './user-sessions.ts'

/**
 * Makes the manager of an application's sessions. `createSessions()` alone works: sessions in memory, under a safe cookie.
 * @typeParam T the shape of the sessions' data
 * @throws SessionError `ERR_SESSION_OPTION` for an option that is wrong or contradicts another, with the rule's name
 */
export function createSessions<T extends object = Record<string, unknown>>(
  options: SessionsOptions = {},
): Sessions<T> {
  return new Sessions<T>(options)
}

/** Opens sessions from requests and commits them to answers. Everything an adapter needs is here. */
export class Sessions<T extends object = Record<string, unknown>> {
  /** The cookie's attributes, defaults filled in. */
  readonly cookie: CookieAttributes
  readonly #store: SessionStore
  readonly #clock: Clock
  readonly #form: Form
  readonly #committer: Committer
  readonly #trustProxy: boolean
  readonly #onOutage: OnOutage
  readonly #noteDevice: NoteDevice | null
  #hasWarned = false
  #closing: Promise<void> | null = null

  constructor(options: SessionsOptions = {}) {
    const { store, clock, lifetimes, limits, cookie, codec, ...rest } = resolveOptions(options)
    this.cookie = cookie
    this.#form = { cookie, codec, absolute: lifetimes.absolute, now: () => clock.now() }
    this.#store = store
    this.#clock = clock
    this.#trustProxy = rest.trustProxy
    this.#onOutage = rest.onOutage
    this.#noteDevice = rest.noteDevice
    this.#committer = new Committer({ store, clock, lifetimes, ...limits, mint: createTokenSource() })
  }

  /**
   * Opens the session that a request's cookie leads to, or a new one. Asks the store once, and not at all without a cookie,
   * or where a signature decides.
   * @throws SessionError when the store fails; nothing that a browser sends makes it throw
   */
  async open(source: CookieSource): Promise<Session<T>> {
    return this.openNow(source)
  }

  /**
   * Carries a session's changes into the store and decides on its cookie. To be called once the answer's status is known,
   * before its first byte leaves.
   * @param answer its HTTP status: 500 and more saves no data, and signs nobody in
   * @throws SessionError when the store fails; then answer 503, and leave the visitor's cookie alone
   */
  async commit(session: Session<T>, answer: { status?: number } = {}): Promise<Commit> {
    return this.commitNow(session, answer.status ?? 200)
  }

  /**
   * The sessions of a user, on all devices: to list them, and to end one, all others, or all.
   * @throws SessionError `ERR_SESSION_NO_USER_INDEX` on a store that cannot find them
   */
  forUser(userId: string): UserSessions {
    checkUserId('forUser', userId)
    return new UserSessions(userId, this.#committer.users, this.#committer.lifetimes)
  }

  /**
   * {@link open}, without a promise where nothing has to be waited for.
   * @internal
   */
  openNow(source: CookieSource): Awaitable<Session<T>> {
    const values = readCookie(cookieHeaderOf(source), this.cookie.name)
    if (values.length === 0) return this.#session({ kind: 'new' }, null, 'none', source)
    const candidates = decodeAll(this.#form.codec, values)
    if (typeof candidates === 'string') return this.#session({ kind: 'new' }, null, candidates, source)
    return chain(lookUp(this.#committer, candidates, this.#onOutage), ({ lookup, standing, credentials }) =>
      this.#session(standing, credentials, lookup, source),
    )
  }

  /**
   * {@link commit}, without a promise where nothing has to be waited for.
   * @internal
   */
  commitNow(session: Session<T>, status: number, hasDropped: boolean = false): Awaitable<Commit> {
    const state = stateOf(session)
    if (state.committer === null) state.takeIn(this.#committer)
    else if (state.committer !== this.#committer)
      throw new SessionError(
        'ERR_SESSION_ARGUMENT',
        'This session belongs to another store or manager: commit it there, or copy what it holds into a new Session().',
      )
    state.headersSent = true
    // A save under way may yet fail, and give its changes back.
    if (state.isBusy) return state.idle().then(() => this.commitNow(session, status, hasDropped))
    const dropped = (status >= 500 && state.discardOnError()) || hasDropped
    if (this.#isIdle(state)) return answer(state, this.#form, restingOutcome(state, dropped), 'nothing')
    return this.#carry(state, dropped)
  }

  /**
   * {@link commit} where somebody else makes the answer, and no cookie can be set: what needs one is dropped, or a rotation would leave the visitor
   * with a cookie to what is no longer there.
   * @internal
   */
  commitWithoutHeaders(session: Session<T>, status: number): Awaitable<Commit> {
    const state = stateOf(session)
    state.headersSent = true
    const dropped = state.discardUncarriable()
    if (state.standing.kind === 'new')
      return answer(state, this.#form, restingOutcome(state, dropped), 'nothing')
    return this.commitNow(session, status, dropped)
  }

  /**
   * Reads a session from the store anew, for a callback that runs apart from the answer: no cookie can be set.
   * @internal
   */
  async reopen(session: Session<T>): Promise<Session<T>> {
    const { standing, identity, lookup } = stateOf(session)
    const isKnown = (standing.kind === 'live' || standing.kind === 'outage') && identity !== null
    const look = isKnown
      ? await lookUp(this.#committer, [identity], this.#onOutage)
      : { lookup, standing, credentials: identity }
    // What was there before and is no longer has ended, also where its mark has gone by now.
    const hasVanished = standing.kind === 'live' && isKnown && look.standing.kind === 'new'
    const now: Standing = hasVanished ? { kind: 'ended', mark: null } : look.standing
    const state = new SessionState(now, look.credentials, this.#committer)
    state.lookup = look.lookup
    state.headersSent = true
    return sessionOf(state, this.#clock)
  }

  /**
   * Follows a session until it ends or the follower is stopped. Null for one that is in no store.
   * @internal
   */
  follow(session: Session<T>, end: (reason: EndReason) => void): Follower | null {
    const { standing, committer } = stateOf(session)
    if (standing.kind !== 'live' || committer === null) return null
    return committer.following.follow(standing.record, end)
  }

  /**
   * A session as it was just read, for whoever is told of a change.
   * @internal
   */
  sessionAt(record: SessionData): Session<T> {
    const state = new SessionState({ kind: 'live', record }, { id: record.id, token: null }, this.#committer)
    state.headersSent = true
    return sessionOf(state, this.#clock)
  }

  /** How many sessions something stays open on in this process: a socket, a stream, or a request that asked for its signal. */
  get followed(): number {
    return this.#committer.following.size
  }

  /**
   * Waits for the commits under way, each of which has its deadline, and closes the store. Stop the server first, so that no more begin:
   * `server.close(() => sessions.close())`; then nothing of Holdfast keeps the process alive. A client that the store was handed stays open.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#committer.drain().then(() => {
      this.#committer.following.close()
      return this.#store.close()
    }))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #session(
    standing: Standing,
    credentials: Identity | null,
    lookup: Lookup,
    source: CookieSource,
  ): Session<T> {
    const state = new SessionState(standing, credentials, this.#committer)
    state.lookup = lookup
    if (this.cookie.secure) state.isCookieBlocked = () => !takesSecureCookies(source, this.#trustProxy)
    const note = this.#noteDevice
    if (note !== null) state.device = () => describeDevice(source, note, this.#trustProxy)
    return sessionOf(state, this.#clock)
  }

  /** Whether there is nothing to do for this session but to say so. */
  #isIdle(state: SessionState): boolean {
    const { kind } = state.standing
    if (kind === 'destroyed' || kind === 'outage') return true
    if (state.rotation !== null || !state.contents.isPristine) return false
    return kind === 'new' ? !this.cookie.always : kind === 'ended' || !this.#committer.isTouchDue(state)
  }

  #carry(state: SessionState, dropped: boolean): Awaitable<Commit> {
    const committer = state.committer!
    if (this.#isWithheld(state)) {
      this.#warnWithheld()
      state.discard()
      return answer(state, this.#form, 'withheld', 'nothing')
    }
    return settle(
      () => committer.save(state, this.cookie.always),
      ({ outcome, wrote }) => {
        if (outcome !== 'unchanged') return answer(state, this.#form, outcome, wrote)
        return chain(committer.touch(state), (touched) =>
          answer(state, this.#form, restingOutcome(state, dropped), touched ? 'touched' : 'nothing'),
        )
      },
      (error) => {
        explainFailure(state, error)
        throw error
      },
    )
  }

  /** Whether what is to be saved calls for a cookie that the browser would not take. */
  #isWithheld(state: SessionState): boolean {
    const { standing, rotation, contents } = state
    if (state.isCookieBlocked?.() !== true) return false
    if (standing.kind === 'new')
      return rotation?.kind === 'sign-in' || this.cookie.always || contents.isModified
    return rotation !== null && standing.kind !== 'destroyed'
  }

  #warnWithheld(): void {
    publish({ kind: 'withheld', remedy: WITHHELD })
    if (this.#hasWarned) return
    this.#hasWarned = true
    console.warn(`holdfast: ${WITHHELD}`)
  }
}

const WITHHELD =
  'A Secure cookie cannot be set over plain http, so the session was not saved. Serve https; behind a proxy that ends TLS, ' +
  'have it send X-Forwarded-Proto and set trustProxy: true; on a development machine set NODE_ENV=development.'

/** How a commit that carried nothing ended. */
function restingOutcome(state: SessionState, dropped: boolean): Outcome {
  const { kind } = state.standing
  if (kind === 'destroyed') return 'destroyed'
  if (kind === 'ended') return 'gone'
  if (kind === 'outage') return 'failed'
  return dropped ? 'discarded' : 'unchanged'
}
