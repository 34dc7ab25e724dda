import type { NoticeListener } from '../stores/notices.ts'
import { hasNotices } from '../stores/notices.ts'
import type { SessionData } from '../stores/session-data.ts'
import type { Glimpse, Mark, SessionStoreOptions } from '../stores/store.ts'
import { SessionStore } from '../stores/store.ts'
import type { UserIndex } from '../stores/user-index.ts'
import { hasUserIndex } from '../stores/user-index.ts'

/** What can be asked of a store: the names of its methods. */
export type StoreOperation =
  | 'get'
  | 'set'
  | 'delete'
  | 'exists'
  | 'load'
  | 'create'
  | 'replace'
  | 'end'
  | 'touch'
  | 'noteUser'
  | 'idsOfUser'
  | 'forgetUser'
  | 'peek'
  | 'watch'
  | 'clearExpired'
  | 'close'

/**
 * A store that goes wrong on demand, in front of one that works. Each operation has one fault at a time.
 *
 * @example
 * const store = new FaultyStore(new MemorySessionStore())
 * store.loseReply('replace') // the write is applied, and the caller is told of an error
 * store.before = async (operation) => {
 *   if (operation === 'replace') await otherRequest
 * }
 */
export class FaultyStore extends SessionStore {
  override readonly atomic: boolean
  /** Where the inner store can find the sessions of a user, so can this one. */
  noteUser?: UserIndex['noteUser']
  idsOfUser?: UserIndex['idsOfUser']
  forgetUser?: UserIndex['forgetUser']
  /** Every call, in order, with its id; null for those that take none. */
  readonly calls: [operation: StoreOperation, id: string | null][] = []
  /** Runs before each operation, and holds it up until it is done: for steering which request comes first. */
  before: ((operation: StoreOperation, id: string | null) => Promise<void> | void) | undefined
  /** From when it is set on, the notices that the inner store tells of are lost. */
  losesNotices = false
  /** Watches the inner store, where that tells notices. */
  readonly watch?: (id: string, listener: NoticeListener) => Promise<() => void>
  readonly #inner: SessionStore
  readonly #faults = new Map<StoreOperation, Fault>()
  #healed: PromiseWithResolvers<void> = Promise.withResolvers()

  /** @param options the clock by which `lag` waits. Default: the inner store's */
  constructor(inner: SessionStore, options: SessionStoreOptions = {}) {
    super({ clock: inner.clock, ...options })
    this.#inner = inner
    this.atomic = inner.atomic
    if (hasUserIndex(inner)) {
      this.noteUser = (userId, id, ttl) => this.#pass('noteUser', id, () => inner.noteUser(userId, id, ttl))
      this.idsOfUser = (userId) => this.#pass('idsOfUser', null, () => inner.idsOfUser(userId))
      this.forgetUser = (userId, ids) => this.#pass('forgetUser', null, () => inner.forgetUser(userId, ids))
    }
    if (hasNotices(inner))
      this.watch = (id, listener) =>
        this.#pass('watch', id, () =>
          inner.watch(id, (version) => {
            if (!this.losesNotices) listener(version)
          }),
        )
  }

  /** From now on `operation` is not carried out, and rejects with `error`. */
  fail(operation: StoreOperation, error: Error = new Error(`${operation} was made to fail`)): void {
    this.#faults.set(operation, { kind: 'fail', error })
  }

  /** From now on `operation` is carried out, but rejects with `error`: the reply is lost. */
  loseReply(
    operation: StoreOperation,
    error: Error = new Error(`The reply to ${operation} was made to be lost`),
  ): void {
    this.#faults.set(operation, { kind: 'lose-reply', error })
  }

  /**
   * From now on `operation` does not answer. Once healed, what hung is carried out after all, as a
   * server does that was stopped and goes on.
   */
  hang(operation: StoreOperation): void {
    this.#faults.set(operation, { kind: 'hang' })
  }

  /** From now on `operation` waits `ms` milliseconds before it is carried out. */
  lag(operation: StoreOperation, ms: number): void {
    this.#faults.set(operation, { kind: 'lag', ms })
  }

  /** Ends every fault. `calls` and `before` stay. */
  heal(): void {
    this.#faults.clear()
    this.#healed.resolve()
    this.#healed = Promise.withResolvers()
  }

  get(id: string): Promise<SessionData | null> {
    return this.#pass('get', id, () => this.#inner.get(id))
  }

  set(id: string, data: SessionData, ttl?: number): Promise<void> {
    return this.#pass('set', id, () => this.#inner.set(id, data, ttl))
  }

  delete(id: string): Promise<boolean> {
    return this.#pass('delete', id, () => this.#inner.delete(id))
  }

  exists(id: string): Promise<boolean> {
    return this.#pass('exists', id, () => this.#inner.exists(id))
  }

  override load(id: string): Promise<SessionData | Mark | null> {
    return this.#pass('load', id, () => this.#inner.load(id))
  }

  override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    return this.#pass('create', id, () => this.#inner.create(id, data, ttl))
  }

  override replace(id: string, data: SessionData, expectedVersion: string, ttl: number): Promise<boolean> {
    return this.#pass('replace', id, () => this.#inner.replace(id, data, expectedVersion, ttl))
  }

  override end(id: string, mark: Mark, expectedVersion?: string): Promise<boolean> {
    return this.#pass('end', id, () => this.#inner.end(id, mark, expectedVersion))
  }

  override touch(id: string, ttl: number, expectedVersion?: string): Promise<boolean> {
    return this.#pass('touch', id, () => this.#inner.touch(id, ttl, expectedVersion))
  }

  override peek(ids: readonly string[]): Promise<(Glimpse | Mark | null)[]> {
    return this.#pass('peek', null, () => this.#inner.peek(ids))
  }

  override clearExpired(): Promise<number> {
    return this.#pass('clearExpired', null, () => this.#inner.clearExpired())
  }

  override close(): Promise<void> {
    return this.#pass('close', null, () => this.#inner.close())
  }

  async #pass<R>(operation: StoreOperation, id: string | null, carryOut: () => Promise<R>): Promise<R> {
    this.calls.push([operation, id])
    if (this.before !== undefined) await this.before(operation, id)
    const fault = this.#faults.get(operation)
    switch (fault?.kind) {
      case 'fail':
        throw fault.error
      case 'hang':
        await this.#healed.promise
        break
      case 'lag':
        await this.clock.sleep(fault.ms)
        break
      case 'lose-reply':
        await carryOut()
        throw fault.error
    }
    return carryOut()
  }
}

type Fault =
  | { readonly kind: 'fail' | 'lose-reply'; readonly error: Error }
  | { readonly kind: 'hang' }
  | { readonly kind: 'lag'; readonly ms: number }
