import type { Awaitable } from '../awaitable.ts'
import type { EndReason } from '../errors.ts'
import { SessionError } from '../errors.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { Mark } from '../stores/store.ts'
import type { Committer } from './commit.ts'
import { Contents } from './contents.ts'
import type { Follower } from './follower.ts'
import { reasonOf } from './following.ts'

/** What a session goes by: the id in the store and, where a cookie leads to it, the token in that cookie. */
export interface Identity {
  readonly id: string
  readonly token: string | null
}

/**
 * Where a session stands.
 * - `new`: no record yet
 * - `live`: read from the store, or written there
 * - `ended`: ended elsewhere; it reads empty and saves nothing
 * - `destroyed`: ended here
 * - `outage`: the store could not be asked; it reads empty and saves nothing
 */
export type Standing =
  | { readonly kind: 'new' }
  | { readonly kind: 'live'; readonly record: SessionData }
  | { readonly kind: 'ended'; readonly mark: Mark | null }
  | { readonly kind: 'destroyed'; readonly byThis: boolean }
  | { readonly kind: 'outage'; readonly error: SessionError }

/**
 * What became of a request's cookie.
 * - `none`: the request had no cookie of the name
 * - `live`: it leads to a session
 * - `ended`: its session was ended or rotated in the last 30 s
 * - `expired`, `missing`, `unreadable`: its session has run out, is not in the store, or cannot be read
 * - `malformed`, `forged`: it is not of the form this server gives out, or not signed by it
 * - `ambiguous`: there were several, and they lead to different live sessions
 * - `unavailable`: the store could not be asked, and `onOutage` is `'anonymous'`
 */
export type Lookup =
  | 'none'
  | 'live'
  | 'ended'
  | 'expired'
  | 'missing'
  | 'unreadable'
  | 'malformed'
  | 'forged'
  | 'ambiguous'
  | 'unavailable'

/** A rotation asked for: of the id alone, or to sign a user in. */
export type Rotation =
  | { readonly kind: 'rotate' }
  | { readonly kind: 'sign-in'; readonly userId: string; readonly device: string | null }

/** All there is to one session during one request; `Session` is its public face, and {@link Committer} carries it into a store. */
export class SessionState {
  standing: Standing
  identity: Identity | null
  readonly contents: Contents
  /** What commits this session; null while it has no store behind it. */
  committer: Committer | null
  rotation: Rotation | null = null
  /** Epoch milliseconds; null until asked for or changed. */
  bornAt: number | null = null
  updatedAt: number | null = null
  /** Whether a handler has read or written it, so that the answer may depend on it. */
  isUsed = false
  /** Whether the answer's headers are sealed: no cookie can be set any more. */
  headersSent = false
  /** Whether something was changed after that, and told of. */
  isLate = false
  /** Why the browser must be sent the cookie that leads here; null while it has it. */
  cookieDue: 'created' | 'rotated' | 'lifetime' | null = null
  /** Called when the session has ended, here or elsewhere. */
  onEnd: ((reason: EndReason) => void) | null = null
  /** Called when the session goes on under an id of its own: it was created, or rotated. */
  onMove: (() => void) | null = null
  /** What follows it on behalf of whoever makes these changes, and is told of other people's only. */
  follower: Follower | null = null
  /** Whether the cookie cannot be set over this connection; null where that cannot be. */
  isCookieBlocked: (() => boolean) | null = null
  /** What a user is to know this visitor's session by, once signed in; null where nobody asks for it. */
  device: (() => string | null) | null = null
  /** What the request's cookie came to, for the record. */
  lookup: Lookup = 'none'
  #turn: Promise<unknown> | null = null

  constructor(standing: Standing, identity: Identity | null, committer: Committer | null) {
    this.standing = standing
    this.identity = identity
    this.committer = committer
    this.contents = new Contents(standing.kind === 'live' ? standing.record : null)
  }

  /** The session is in the store as `record`, from here on. */
  goLive(record: SessionData): void {
    this.standing = { kind: 'live', record }
    this.updatedAt = null
  }

  /** Puts a session that stood by itself under `committer`, as a new one with all it has. */
  takeIn(committer: Committer): void {
    this.contents.startOver()
    this.committer = committer
    this.identity = null
    if (this.standing.kind === 'live') this.standing = { kind: 'new' }
  }

  /** Drops the changes, and the sign-in, of a request whose answer is an error; a rotation holds. @returns whether anything was dropped */
  discardOnError(): boolean {
    const { rotation, standing } = this
    const dropped = rotation?.kind === 'sign-in' || this.contents.isModified
    this.discard()
    if (rotation !== null && standing.kind === 'live') this.rotation = { kind: 'rotate' }
    return dropped
  }

  /** Drops what cannot do without a cookie: all that is in a new session, and all that comes with a rotation. @returns whether that was anything */
  discardUncarriable(): boolean {
    const { rotation, standing } = this
    if (rotation === null && standing.kind !== 'new') return false
    const dropped = rotation !== null || this.contents.isModified
    this.discard()
    return dropped
  }

  /** Drops all that has not been saved. */
  discard(): void {
    this.rotation = null
    this.contents.reset(this.standing.kind === 'live' ? this.standing.record : null)
  }

  /** The session goes on as `record` under an identity of its own, and its browser is to be told. */
  goOn(
    identity: Identity,
    record: SessionData,
    rotation: Rotation | null,
    reason: 'created' | 'rotated',
  ): void {
    this.identity = identity
    // One asked for meanwhile is still to come.
    if (this.rotation === rotation) this.rotation = null
    this.cookieDue = reason
    this.goLive(record)
    this.contents.rebase(record)
    this.onMove?.()
  }

  /** The session turned out to have ended elsewhere. Its changes go with it, but not a sign-in, and what was done since. */
  goEnded(mark: Mark | null): void {
    this.standing = { kind: 'ended', mark }
    if (this.rotation?.kind === 'sign-in') this.contents.leave()
    else this.discard()
    this.onEnd?.(reasonOf(mark))
  }

  /** The session is over: this request destroyed it, or found that it had been. */
  goDestroyed(byThis: boolean): void {
    this.standing = { kind: 'destroyed', byThis }
    this.discard()
    this.onEnd?.('destroyed')
  }

  /** Whether a step is under way that talks to the store. */
  get isBusy(): boolean {
    return this.#turn !== null
  }

  /** Resolves when no step is under way any more. */
  async idle(): Promise<void> {
    while (this.#turn !== null) await this.#turn
  }

  /** Runs a step that talks to the store after those before it: of two saves at once, the second must not answer first. */
  inTurn<R>(step: () => Awaitable<R>): Awaitable<R> {
    const turn = this.#turn === null ? step() : this.#turn.then(step, step)
    if (!(turn instanceof Promise)) return turn
    const end = (): void => {
      if (this.#turn === settled) this.#turn = null
    }
    const settled = turn.then(end, end)
    this.#turn = settled
    return turn
  }
}

/**
 * For what must not be taken for done while the store is out of reach.
 * @param action as in `'destroy'`
 * @param cause why the store could not be asked
 */
export function outOfReach(action: string, cause: SessionError): SessionError {
  return new SessionError(
    'ERR_SESSION_STORE',
    `Cannot ${action} the session: its store could not be asked when the request came. Answer 503, and let the visitor try again.`,
    { operation: 'load', cause },
  )
}
