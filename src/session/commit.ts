import type { Awaitable } from '../awaitable.ts'
import { chain, settle } from '../awaitable.ts'
import type { Clock } from '../clock.ts'
import { SessionError } from '../errors.ts'
import { publish } from '../events.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { Mark } from '../stores/store.ts'
import type { Operation } from './change-log.ts'
import { sinceSignIn } from './change-log.ts'
import type { Change } from './contents.ts'
import type { Lifetimes } from './expiry.ts'
import { isTouchDue } from './expiry.ts'
import type { Following } from './following.ts'
import { GroupCommit } from './group-commit.ts'
import type { Found, RecordsOptions } from './records.ts'
import { markOf, Records, successorUnder } from './records.ts'
import { composeUnder, rotate } from './rotation.ts'
import type { Identity, Rotation, SessionState } from './state.ts'
import { outOfReach } from './state.ts'
import { Touches } from './touches.ts'
import { UserLimit } from './user-limit.ts'
import { Users } from './users.ts'

/** How a save ended. */
export type SaveOutcome = 'saved' | 'unchanged' | 'gone'

/** How a save ended, and what it did in the store. */
export interface Carried {
  readonly outcome: SaveOutcome
  readonly wrote: 'nothing' | 'created' | 'replaced' | 'rotated'
}

export interface CommitterOptions extends RecordsOptions {
  /** Makes the identity of a new session. */
  readonly mint: () => Identity
}

/** Carries sessions' states into a store and back: one of these serves all sessions of a manager. */
export class Committer {
  readonly #records: Records
  readonly #groups: GroupCommit
  readonly #touches: Touches
  readonly #users: Users
  readonly #limit: UserLimit | null
  readonly #mint: () => Identity
  /** How many saves, touches and destroys are not over. */
  #underWay = 0
  /** What is told when none is any more; null while nobody waits for that. */
  #whenIdle: (() => void) | null = null

  constructor(options: CommitterOptions) {
    this.#records = new Records(options)
    this.#groups = new GroupCommit(this.#records)
    this.#touches = new Touches(options.lifetimes)
    this.#users = new Users(this.#records)
    const { perUser } = options
    this.#limit = perUser === null ? null : new UserLimit(this.#records, this.#users, perUser)
    this.#mint = options.mint
  }

  get clock(): Clock {
    return this.#records.clock
  }

  get lifetimes(): Lifetimes {
    return this.#records.lifetimes
  }

  /** @throws SessionError `ERR_SESSION_NO_USER_INDEX` where the store cannot find the sessions of a user */
  get users(): Users {
    if (this.#records.calls.hasUserIndex) return this.#users
    throw new SessionError(
      'ERR_SESSION_NO_USER_INDEX',
      'This store cannot find the sessions of a user. MemorySessionStore, SqliteSessionStore and RedisSessionStore can, as can any store that implements UserIndex.',
    )
  }

  /** A new session's id and token. */
  mint(): Identity {
    return this.#mint()
  }

  /** What stays open on sessions of this manager. */
  get following(): Following {
    return this.#records.following
  }

  /** Looks an id up: the one round trip of a read. */
  find(id: string): Awaitable<Found> {
    return this.#records.find(id, this.#records.until())
  }

  /**
   * Carries a session's changes, and the rotation or sign-in it asked for, into the store. On failure all that stays pending.
   * @param always creates a record even for a new session with nothing in it
   */
  save(state: SessionState, always = false): Awaitable<Carried> {
    const saving = state.inTurn(() => {
      const change = state.contents.seal()
      const { rotation } = state
      return settle(
        () => this.#carry(state, change, rotation, always),
        (carried) => {
          // Whatever came of it; one asked for meanwhile is still to come.
          if (state.rotation === rotation) state.rotation = null
          return carried
        },
        (error) => {
          // Who is refused stays who they were, or the commit would try it once more.
          if (isRefusal(error)) state.discard()
          else if (change !== null) state.contents.restore(change)
          // Something may have been written under it, to which no cookie will lead.
          if (state.standing.kind === 'new') state.identity = null
          throw error
        },
      )
    })
    return this.#noted(saving)
  }

  /** Whether activity has gone unnoted for long enough to be worth a look at {@link touch}. */
  isTouchDue({ standing }: SessionState): boolean {
    return standing.kind === 'live' && isTouchDue(standing.record, this.lifetimes, this.clock.now())
  }

  /** Notes activity where that is due. A store that refuses is reported; the answer does not suffer. */
  touch({ standing }: SessionState): Awaitable<boolean> {
    if (standing.kind !== 'live') return false
    const { record } = standing
    const now = this.clock.now()
    if (this.#records.expiryReason(record) !== null || !this.#touches.claim(record, now)) return false
    const { idle, absolute, touchEvery } = this.lifetimes
    const ttl = Math.min(idle + touchEvery, record.createdAt + absolute - now) / 1000
    const until = this.#records.until()
    return settle(
      () => {
        const touched = this.#records.calls.touch(record.id, ttl, record.version, until)
        if (record.userId === null) return this.#noted(touched)
        // Again, so that it is right where `absoluteTimeout` was raised since, or a failover of the store has lost it.
        const noted = this.#records.noteUser(record, until)
        return this.#noted(Promise.all([touched, noted]).then(([isTouched]) => isTouched))
      },
      (touched) => touched,
      () => {
        this.#touches.release(record)
        return false
      },
    )
  }

  /**
   * Ends a session for good, and what it was rotated into under the same user.
   * @throws SessionError when the store did not confirm it; then the session stands as before
   */
  destroy(state: SessionState): Awaitable<void> {
    const ending = state.inTurn(async () => {
      const { standing } = state
      if (standing.kind === 'destroyed') return
      if (standing.kind === 'outage') throw outOfReach('destroy', standing.error)
      const until = this.#records.until()
      let byThis = false
      if (standing.kind === 'live') {
        const { id } = standing.record
        byThis = await this.#groups.alone(id, () => this.#records.end(id, 'destroyed', until))
      } else if (standing.kind === 'ended' && standing.mark !== null) {
        const successor = successorUnder(standing.mark)
        byThis = successor !== null && (await this.#records.end(successor, 'destroyed', until))
      }
      state.goDestroyed(byThis)
    })
    return this.#noted(ending)
  }

  /** Resolves when all that is under way has come to its end; or when the time has passed in which it should have. */
  async drain(): Promise<void> {
    const waiting = new AbortController()
    const patience = this.clock.sleep(DRAIN_TIMEOUTS * this.#records.limits.storeTimeout, waiting.signal)
    await Promise.race([this.#idle(), patience])
    waiting.abort()
  }

  async #idle(): Promise<void> {
    // What ends may be followed at once by what waited for it.
    while (this.#underWay > 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#whenIdle = resolve
      await promise
    }
  }

  #noted<R>(work: Awaitable<R>): Awaitable<R> {
    if (!(work instanceof Promise)) return work
    // A count, as a Set would keep requests alive: see Deadlines.
    this.#underWay++
    const end = (): void => {
      if (--this.#underWay === 0) this.#whenIdle?.()
    }
    work.then(end, end)
    return work
  }

  /** Reads the record anew, dropping changes not yet saved. */
  reload(state: SessionState): Awaitable<void> {
    return state.inTurn(async () => {
      const { standing } = state
      if (standing.kind === 'outage') throw outOfReach('reload', standing.error)
      if (standing.kind !== 'live') return
      const found = await this.find(standing.record.id)
      state.discard()
      if (found.kind !== 'live') return state.goEnded(markOf(found))
      state.goLive(found.record)
      state.contents.reset(found.record)
    })
  }

  #carry(
    state: SessionState,
    change: Change | null,
    rotation: Rotation | null,
    always: boolean,
  ): Awaitable<Carried> {
    const { standing } = state
    const operations = change?.operations ?? []
    switch (standing.kind) {
      case 'destroyed':
      case 'outage':
        return UNCHANGED
      case 'ended':
        return this.#carryEnded(state, operations, rotation, standing.mark)
      case 'new':
        // Of a new session nobody can have fixed the id: there is nothing to rotate.
        if (change === null && rotation?.kind !== 'sign-in' && !always) return UNCHANGED
        return this.#create(state, operations, rotation)
      case 'live': {
        const { record } = standing
        if (change === null && rotation === null) return UNCHANGED
        return rotation === null
          ? this.#replace(state, change!, record)
          : this.#rotate(state, change, rotation, record)
      }
    }
  }

  /** What was done in a session that has ended is dropped; who signed in there gets a new one, with nothing of the old. */
  #carryEnded(
    state: SessionState,
    operations: readonly Operation[],
    rotation: Rotation | null,
    mark: Mark | null,
  ): Awaitable<Carried> {
    if (state.standing.kind === 'live') publish({ kind: 'gone', id: state.standing.record.id })
    state.goEnded(mark)
    return rotation?.kind === 'sign-in' ? this.#create(state, sinceSignIn(operations), rotation) : GONE
  }

  async #create(
    state: SessionState,
    operations: readonly Operation[],
    rotation: Rotation | null,
  ): Promise<Carried> {
    // Whoever starts afresh on an ended session must not go on under its id.
    const identity = (state.standing.kind === 'new' ? state.identity : null) ?? this.#mint()
    const until = this.#records.until()
    await this.#records.calls.ready(until)
    // A session standing by itself may start from a record that was never written.
    const record = composeUnder(this.#records, identity.id, state.contents.record, operations, rotation)
    const created = await (rotation?.kind === 'sign-in' && this.#limit !== null
      ? this.#limit.create(record, until)
      : this.#records.create(record, until))
    if (created === null) return this.#carryEnded(state, [], null, null)
    await this.#trim(created)
    publish({ kind: 'created', id: record.id })
    state.goOn(identity, created, rotation, 'created')
    return { outcome: 'saved', wrote: 'created' }
  }

  #replace(state: SessionState, change: Change, base: SessionData): Awaitable<Carried> {
    return chain(this.#groups.write(base, change), (outcome) => {
      if (outcome.kind === 'gone') return this.#carryEnded(state, [], null, outcome.mark)
      if (!outcome.merged) state.follower?.noteOwn(base, outcome.record)
      this.#records.following.wrote(outcome.record)
      state.goLive(outcome.record)
      if (outcome.merged) state.contents.rebase(outcome.record)
      else state.contents.advance(outcome.record)
      if (change.operations.some((operation) => operation.kind === 'expiry')) state.cookieDue ??= 'lifetime'
      return REPLACED
    })
  }

  async #rotate(
    state: SessionState,
    change: Change | null,
    rotation: Rotation,
    base: SessionData,
  ): Promise<Carried> {
    const until = this.#records.until()
    const found = await this.#records.present(base, until)
    if (found.kind !== 'live')
      return this.#carryEnded(state, change?.operations ?? [], rotation, markOf(found))
    const identity = this.#mint()
    const outcome = await this.#groups.alone(base.id, () =>
      rotate(this.#records, base, identity.id, change, rotation, this.#limit, until),
    )
    if (outcome.kind === 'gone') return this.#carryEnded(state, [], null, outcome.mark)
    await this.#trim(outcome.record)
    if (outcome.fresh) state.contents.leave()
    state.goOn(identity, outcome.record, rotation, 'rotated')
    return { outcome: 'saved', wrote: 'rotated' }
  }

  async #trim({ userId }: SessionData): Promise<void> {
    if (userId !== null) await this.#limit?.trim(userId)
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof SessionError && error.code === 'ERR_SESSION_LIMIT_REACHED'
}

/** How many `storeTimeout`s a commit may take: one for a save before it, one of its own, one to start a new session where the old has ended. */
const DRAIN_TIMEOUTS = 3

const GONE: Carried = { outcome: 'gone', wrote: 'nothing' }
const REPLACED: Carried = { outcome: 'saved', wrote: 'replaced' }
const UNCHANGED: Carried = { outcome: 'unchanged', wrote: 'nothing' }
