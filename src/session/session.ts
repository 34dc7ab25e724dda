import type { Clock } from '../clock.ts'
import { systemClock } from '../clock.ts'
import { SessionError } from '../errors.ts'
import { publish } from '../events.ts'
import { SessionData } from '../stores/session-data.ts'
import type { SessionStore } from '../stores/store.ts'
import type { SaveOutcome } from './commit.ts'
import { Committer } from './commit.ts'
import type { Contents } from './contents.ts'
import { createDataView } from './data-view.ts'
import { endOf, expiryReason, isPositive, resolveLifetimes } from './expiry.ts'
import { resolveLimits } from './limits.ts'
import { outOfReach, SessionState } from './state.ts'
import type { OutputOf, StandardSchema } from './typed.ts'
import { createTypedView } from './typed.ts'

/** The state behind a session's public face, for those that open and commit it. */
export let stateOf: <T extends object>(session: Session<T>) => SessionState
/** The public face of a state. */
export let sessionOf: <T extends object>(state: SessionState, clock: Clock) => Session<T>

/** What a session standing by itself is made of; inside a server, `sessions.open` makes sessions. */
export interface SessionOptions {
  /** The record to start from. Default: none, a new session. */
  data?: SessionData | null
  /** Where `save` writes. Without one, the session works in memory and `save` says what is missing. */
  store?: SessionStore | null
  /** Default: the store's clock, or the machine's. */
  clock?: Clock
}

/**
 * One visitor's state, read and written like a typed dictionary. Changes are logged, and carried into the store by the
 * commit that ends the request, or by {@link save}: over the record they were made on, or, if others have
 * written meanwhile, made again over theirs.
 *
 * It does no I/O but in `save`, `destroy` and `reload`. After `destroy` it reads empty, and writing throws.
 *
 * @typeParam T the shape of the session's data
 */
export class Session<T extends object = Record<string, unknown>> {
  readonly #state: SessionState
  readonly #clock: Clock
  #view: T | null = null

  static {
    stateOf = (session) => session.#state
    sessionOf = (state, clock) => new Session({ clock }, state)
  }

  constructor(options?: SessionOptions)
  /** @internal */
  constructor(options: SessionOptions, state: SessionState)
  constructor(options: SessionOptions = {}, state?: SessionState) {
    this.#clock = options.clock ?? options.store?.clock ?? systemClock
    this.#state = state ?? standingAlone(options, this.#clock)
  }

  /** `base64url(SHA-256(token))`, 43 characters: the store's key. Safe to log and to show; it opens nothing. */
  get id(): string {
    const { standing, identity } = this.#use()
    return standing.kind === 'live' ? standing.record.id : (identity ?? this.#mint()).id
  }

  get createdAt(): Date {
    const { standing, bornAt } = this.#use()
    return new Date(standing.kind === 'live' ? standing.record.createdAt : (bornAt ?? this.#born()))
  }

  /** When its data was last changed, by this request or another. */
  get updatedAt(): Date {
    const { standing, updatedAt } = this.#use()
    if (updatedAt !== null) return new Date(updatedAt)
    const record = standing.kind === 'live' ? standing.record : this.#state.contents.record
    return record === null ? this.createdAt : new Date(record.updatedAt)
  }

  /** When it was last active, to within `touchEvery`. */
  get touchedAt(): Date {
    const { standing } = this.#use()
    return standing.kind === 'live' ? new Date(standing.record.touchedAt) : this.createdAt
  }

  /** When it ends unless something happens before; null while it has no record and no deadline of its own. */
  get expiresAt(): Date | null {
    const { expiresAt } = this.#contents()
    const { standing, committer } = this.#state
    if (standing.kind !== 'live' || committer === null) return expiresAt === null ? null : new Date(expiresAt)
    const { createdAt, touchedAt } = standing.record
    return new Date(endOf(new SessionData({ id: '', createdAt, touchedAt, expiresAt }), committer.lifetimes))
  }

  /** Who is signed in; null for an anonymous visitor. After `signIn`, the user it names. */
  get userId(): string | null {
    const { standing, rotation } = this.#use()
    if (rotation?.kind === 'sign-in') return rotation.userId
    return standing.kind === 'live' ? standing.record.userId : (this.#state.contents.record?.userId ?? null)
  }

  /** Whether it has no record in a store yet. */
  get isNew(): boolean {
    return this.#use().standing.kind === 'new'
  }

  /** Whether there are changes not yet saved, also inside values. */
  get isModified(): boolean {
    const state = this.#use()
    return state.standing.kind !== 'destroyed' && (state.rotation !== null || state.contents.isModified)
  }

  /** Whether its time has run out. */
  get isExpired(): boolean {
    const { standing, committer } = this.#use()
    const now = this.#clock.now()
    if (standing.kind === 'live' && committer !== null)
      return expiryReason(standing.record, committer.lifetimes, now) !== null
    const { expiresAt } = this.#contents()
    return expiresAt !== null && now >= expiresAt
  }

  /**
   * Whether it is over: destroyed here, or found ended elsewhere, as by a sign-out or sign-in in another tab. It reads empty then, and
   * what is written to it is not saved, a `signIn` excepted.
   */
  get isEnded(): boolean {
    const { kind } = this.#use().standing
    return kind === 'ended' || kind === 'destroyed'
  }

  /** Whether this request destroyed it. */
  get isDestroyed(): boolean {
    return this.#use().standing.kind === 'destroyed'
  }

  /** How many keys it has. */
  get size(): number {
    return this.#contents().size
  }

  /** The same session as an object: `session.data.visits = 1`, `'cart' in session.data`, `delete session.data.cart`. */
  get data(): T {
    return (this.#view ??= createDataView(this as unknown as Session, () => this.#contents()) as T)
  }

  /**
   * The key's value, or `fallback` where there is none. Writing inside the value is noticed and saved, inside a fallback too:
   * `session.get('cart', []).push(item)`.
   */
  get<K extends Key<T>>(key: K): Value<T, K> | undefined
  get<K extends Key<T>>(key: K, fallback: Value<T, K>): Value<T, K>
  get(key: string, fallback?: unknown): unknown {
    const contents = this.#contents()
    const value = contents.get(key)
    if (value !== undefined) return value
    return typeof fallback === 'object' && fallback !== null ? contents.lend(key, fallback) : fallback
  }

  /**
   * Sets a key. Setting what it already holds is not a change; an undefined value counts as absent.
   * @throws SessionError `ERR_SESSION_VALUE` for a value that JSON would change, with its path;
   *   `ERR_SESSION_DESTROYED` after `destroy`
   */
  set<K extends Key<T>>(key: K, value: T[K]): this {
    this.#changed(this.#writable().set(key, value))
    return this
  }

  has(key: Key<T>): boolean {
    return this.#contents().has(key)
  }

  /** Removes a key. @returns whether it was there */
  delete(key: Key<T>): boolean {
    return this.#changed(this.#writable().delete(key))
  }

  /** Removes all keys. */
  clear(): void {
    this.#changed(this.#writable().clear())
  }

  *keys(): IterableIterator<Key<T>> {
    yield* this.#contents().keys() as Key<T>[]
  }

  *values(): IterableIterator<Value<T, Key<T>>> {
    for (const key of this.keys()) yield this.get(key)!
  }

  *entries(): IterableIterator<[Key<T>, Value<T, Key<T>>]> {
    for (const key of this.keys()) yield [key, this.get(key)!]
  }

  [Symbol.iterator](): IterableIterator<[Key<T>, Value<T, Key<T>>]> {
    return this.entries()
  }

  /**
   * Changes a value by a function of the present one, and loses no other request's change to it: should another have
   * written first, the function is called again on what that one wrote.
   * @param fn pure and synchronous; returns the new value
   * @returns the new value, as of now
   */
  update<K extends Key<T>>(key: K, fn: (value: Value<T, K> | undefined) => Value<T, K>): Value<T, K> {
    const { value, changed } = this.#writable().update(key, fn as (value: unknown) => unknown)
    this.#changed(changed)
    return value as Value<T, K>
  }

  /** Takes a value out: reads it and removes the key. */
  pull<K extends Key<T>>(key: K): Value<T, K> | undefined {
    const contents = this.#writable()
    const found = contents.has(key)
    const value = contents.pull(key)
    this.#changed(found)
    return value as Value<T, K> | undefined
  }

  /** Sets a value that is kept until a request has read it, for a message after a redirect. */
  flash<K extends Key<T>>(key: K, value: Value<T, K>): void {
    this.#changed(this.#writable().flash(key, value))
  }

  /**
   * A view of the session through a schema: its defaults fill in, and an assignment it refuses throws. What is stored is what was
   * assigned, or made by the schema and then written into; the schema is applied on reading. Issues with other keys do not stand in the way of an assignment.
   * @param schema any synchronous Standard Schema (Zod, Valibot, ArkType, …) of an object
   * @throws SessionError `ERR_SESSION_SCHEMA` at a bad assignment, with the issues, or for an asynchronous schema
   */
  typed<S extends StandardSchema>(schema: S): OutputOf<S> {
    return createTypedView(this as unknown as Session, () => this.#contents(), schema)
  }

  /**
   * Gives this session a lifetime of its own: it ends so many seconds from now, active or not, and never after the absolute
   * timeout; store and cookie follow. The cookie is sent anew for it, so a late answer may overwrite a newer cookie.
   * @param seconds null goes back to the idle timeout
   * @throws SessionError `ERR_SESSION_ARGUMENT` unless positive or null
   */
  setExpiry(seconds: number | null): void {
    if (seconds !== null && !isPositive(seconds))
      throw new SessionError(
        'ERR_SESSION_ARGUMENT',
        'setExpiry takes a positive number of seconds, or null. To end a session, destroy it.',
      )
    const expiresAt = seconds === null ? null : Math.min(this.#clock.now() + seconds * 1000, LAST_INSTANT)
    this.#writable().setExpiry(expiresAt)
    this.#changed(true)
  }

  /** Gives the session a new token and id at commit, its data kept: after a change of what it may do (OWASP ASVS 5.0, 7.2.4). */
  rotate(): void {
    this.#needCookie('rotate')
    // Read, so that a record that cannot be is found out here.
    this.#contents()
    this.#state.rotation ??= { kind: 'rotate' }
  }

  /**
   * Signs a user in at commit, under a new token and id, so that nobody who planted or saw the old ones is signed in with them
   * (session fixation; OWASP ASVS 5.0, 7.2.4). An anonymous visitor's data comes along; another user's does not.
   * Signing out is {@link destroy}.
   *
   * Where `maxSessionsPerUser` may refuse, `await session.save()` right after it, and catch `ERR_SESSION_LIMIT_REACHED`: the session is then what
   * it was before the request, its unsaved changes dropped.
   */
  signIn(userId: string): void {
    checkUserId('signIn', userId)
    this.#needCookie('signIn')
    const contents = this.#contents()
    const before = this.userId
    contents.signIn(before !== null && before !== userId)
    this.#state.rotation = { kind: 'sign-in', userId, device: this.#state.device?.() ?? null }
  }

  /**
   * Carries the changes made so far into the store now, rather than at the end of the request. Changes made while it runs are
   * saved by the next one.
   * @returns `'saved'`, `'unchanged'`, or `'gone'` when the session has ended meanwhile: then its changes are dropped
   * @throws SessionError when the store fails; the changes stay pending
   */
  async save(): Promise<SaveOutcome> {
    const state = this.#use()
    if (state.standing.kind === 'destroyed' || state.standing.kind === 'outage') return 'unchanged'
    if (state.committer === null)
      throw new SessionError(
        'ERR_SESSION_NO_STORE',
        'This session has no store: open it through createSessions(), or pass new Session({ store }).',
      )
    if (state.rotation !== null || (state.standing.kind === 'new' && state.contents.isModified)) {
      this.#needCookie('save')
      // A record whose cookie cannot be set would never be found again.
      if (state.isCookieBlocked?.() === true) return 'unchanged'
    }
    return (await state.committer.save(state)).outcome
  }

  /**
   * Ends the session in the store, at once and for good, and answers only when the store has confirmed it (OWASP ASVS 5.0, 7.4.1).
   * The commit then clears the cookie and nothing else.
   * @throws SessionError when the store fails; the session then stands as before, and trying again is right
   */
  async destroy(): Promise<void> {
    const state = this.#use()
    if (state.standing.kind === 'destroyed') return
    if (state.committer !== null) {
      await state.committer.destroy(state)
      return
    }
    state.goDestroyed(false)
  }

  /** Reads the session from the store anew; what was not yet saved is dropped, a rotation or sign-in included. */
  async reload(): Promise<void> {
    const state = this.#use()
    if (state.committer !== null) await state.committer.reload(state)
  }

  #use(): SessionState {
    this.#state.isUsed = true
    return this.#state
  }

  /** The contents, readable. */
  #contents(): Contents {
    const state = this.#use()
    try {
      state.contents.open()
    } catch (error) {
      // A record that cannot be read is a session not found: what is saved next starts a fresh one.
      if (!(error instanceof SessionError) || state.standing.kind !== 'live') throw error
      publish({ kind: 'rejected', reason: 'unreadable', id: state.standing.record.id })
      state.standing = { kind: 'new' }
      state.identity = null
      state.contents.reset(null)
    }
    return state.contents
  }

  #writable(): Contents {
    const state = this.#use()
    if (state.standing.kind === 'destroyed')
      throw new SessionError(
        'ERR_SESSION_DESTROYED',
        'The session was destroyed: nothing can be written to it. To sign somebody in, do it on the next request.',
      )
    const contents = this.#contents()
    if (state.headersSent && state.standing.kind === 'new') this.#needCookie('write to')
    return contents
  }

  #changed(changed: boolean): boolean {
    if (!changed) return false
    const state = this.#state
    state.updatedAt = this.#clock.now()
    if (state.headersSent && !state.isLate) {
      state.isLate = true
      publish({ kind: 'late-change', id: this.id })
    }
    return true
  }

  /** @throws SessionError when the cookie that `what` calls for can no longer be sent */
  #needCookie(what: string): void {
    const state = this.#use()
    if (state.standing.kind === 'destroyed')
      throw new SessionError('ERR_SESSION_DESTROYED', `Cannot ${what} a destroyed session.`)
    if (state.standing.kind === 'outage') throw outOfReach(what, state.standing.error)
    if (state.headersSent)
      throw new SessionError(
        'ERR_SESSION_HEADERS_SENT',
        `Cannot ${what} a session that needs a cookie: the answer's headers have been sent. Do it before the first byte of the answer.`,
      )
  }

  #mint(): { id: string } {
    const { committer } = this.#state
    return (this.#state.identity ??= committer === null ? aloneIdentity() : committer.mint())
  }

  #born(): number {
    return (this.#state.bornAt ??= this.#state.contents.record?.createdAt ?? this.#clock.now())
  }
}

/** @throws SessionError `ERR_SESSION_ARGUMENT` for what is no user's id */
export function checkUserId(action: string, userId: string): void {
  // A lone surrogate would not come back from a store.
  if (typeof userId !== 'string' || userId === '' || !userId.isWellFormed())
    throw new SessionError('ERR_SESSION_ARGUMENT', `${action} takes a user id, a string that is not empty.`)
}

/** The last instant that a Date can hold, in epoch milliseconds. */
const LAST_INSTANT = 8.64e15

/** The keys of a session of shape T. */
export type Key<T> = keyof T & string

/** What a session of shape T holds under a key, where it holds anything. */
export type Value<T, K extends keyof T> = Exclude<T[K], undefined>

function standingAlone(options: SessionOptions, clock: Clock): SessionState {
  const record = options.data ?? null
  const store = options.store ?? null
  const committer =
    store === null
      ? null
      : new Committer({
          store,
          clock,
          lifetimes: resolveLifetimes({}),
          ...resolveLimits({}),
          mint: aloneIdentity,
        })
  if (record === null) return new SessionState({ kind: 'new' }, null, committer)
  const state = new SessionState({ kind: 'live', record }, { id: record.id, token: null }, committer)
  // A record with no version was never written: saving it creates it.
  if (record.version === '') state.standing = { kind: 'new' }
  return state
}

/** An id that no cookie leads to. */
function aloneIdentity(): { id: string; token: null } {
  return { id: new SessionData().id, token: null }
}
