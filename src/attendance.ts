import type { EndReason } from './errors.ts'
import { SessionError } from './errors.ts'
import type { Follower } from './session/follower.ts'
import { reasonOf } from './session/following.ts'
import type { Key, Session } from './session/session.ts'
import { stateOf } from './session/session.ts'
import type { Sessions } from './sessions.ts'

/** Told of a change that others made: its top-level keys, and the session as it is now. */
export type ChangeListener<T extends object> = (keys: readonly Key<T>[], session: Session<T>) => void

/**
 * How one context's session fares: whether it has ended, why, and what others change in it. Follows it once somebody asks, and goes along
 * where the request itself gives it a new id.
 */
export class Attendance<T extends object> {
  readonly #sessions: Sessions<T> | undefined
  readonly #ending = new AbortController()
  readonly #listeners = new Set<ChangeListener<T>>()
  #isFollowing = false
  #follower: Follower | null = null

  constructor(sessions: Sessions<T> | undefined) {
    this.#sessions = sessions
  }

  /** Aborts when the session has ended. */
  get signal(): AbortSignal {
    return this.#ending.signal
  }

  /** Whether the session is followed, until {@link close}. */
  get isFollowing(): boolean {
    return this.#isFollowing
  }

  /** What is told of others' changes; null while that is nobody. */
  get follower(): Follower | null {
    return this.#follower
  }

  /** Follows a session, from now to its end or {@link close}, in the place of the one before. */
  follow(session: Session<T>): void {
    this.#isFollowing = true
    this.endWith(session)
    stateOf(session).onMove = () => this.#pursue(session)
    this.#pursue(session)
  }

  /** Ends with a session, should whoever uses it find that it has ended. */
  endWith(session: Session<T>): void {
    const state = stateOf(session)
    const { standing, onEnd } = state
    if (standing.kind === 'destroyed') this.#end('destroyed')
    else if (standing.kind === 'ended') this.#end(reasonOf(standing.mark))
    else
      state.onEnd = (reason) => {
        onEnd?.(reason)
        this.#end(reason)
      }
  }

  /** @returns stops telling */
  onChange(session: Session<T>, listener: ChangeListener<T>): () => void {
    // One of its own, should a listener be handed in twice.
    const own: ChangeListener<T> = (keys, changed) => listener(keys, changed)
    this.#listeners.add(own)
    this.#listen(session)
    return () => void this.#listeners.delete(own)
  }

  close(): void {
    this.#isFollowing = false
    this.#listeners.clear()
    this.#stop()
  }

  #pursue(session: Session<T>): void {
    this.#stop()
    if (!this.#isFollowing || this.signal.aborted) return
    const end = (reason: EndReason): void => void this.#endUnlessMoved(session, reason)
    this.#follower = this.#sessions?.follow(session, end) ?? null
    if (this.#listeners.size > 0) this.#listen(session)
  }

  #listen(session: Session<T>): void {
    const { standing } = stateOf(session)
    if (this.#follower === null || this.#follower.wantsChanges || standing.kind !== 'live') return
    this.#follower.listen((keys, record) => {
      for (const listener of this.#listeners)
        listener(keys as readonly Key<T>[], this.#sessions!.sessionAt(record))
    }, standing.record)
  }

  /** A rotation of the request's own ends the old id before the new one is known here. */
  async #endUnlessMoved(session: Session<T>, reason: EndReason): Promise<void> {
    const follower = this.#follower
    if (reason === 'rotated') await stateOf(session).idle()
    if (this.#follower === follower) this.#end(reason)
  }

  #end(reason: EndReason): void {
    this.#stop()
    this.#ending.abort(
      new SessionError('ERR_SESSION_ENDED', `The session has ended: ${WHY[reason]}.`, { reason }),
    )
  }

  #stop(): void {
    this.#follower?.stop()
    this.#follower = null
  }
}

const WHY = {
  destroyed: 'it was signed out',
  revoked: 'it was revoked',
  rotated: 'it goes on under a newer cookie',
  expired: 'its time ran out',
  gone: 'it is not in the store any more',
} satisfies Record<EndReason, string>
