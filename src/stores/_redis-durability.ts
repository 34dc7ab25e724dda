import type { Clock } from '../clock.ts'
import { instantBy } from '../clock.ts'
import { SessionError } from '../errors.ts'
import { LONGEST_TIMER, OptionsReader } from './_options.ts'
import type { RedisClient, RedisConnection } from './_redis-client.ts'
import { connectionOf } from './_redis-client.ts'
import { MARK_SECONDS } from './store.ts'

/**
 * How many replicas must have a write before it counts (Redis's `WAIT`). Too few in time, and the operation fails with
 * `ERR_SESSION_NOT_REPLICATED`, status 503: nothing is claimed, the visitor's cookie is left as it is. A mark counts, too, only once replicas have it.
 *
 * It costs each write the way to the replica and back. Where a replica may be missing for long, give Redis `min-replicas-to-write`
 * as well: it then refuses at once, instead of after `timeout`.
 */
export interface RedisDurability {
  /** How many. To survive the failover to any of them, as many as there are; with Sentinel, most of them. */
  replicas: number
  /** How long they may take, in seconds; below `storeTimeout`. Default 0.5 */
  timeout?: number
  /**
   * A second client, for the writes: WAIT holds up what comes behind it on its connection, and reads should not stand there.
   * Default: of a `url`, a second connection; of a `client`, that one.
   */
  client?: RedisClient
}

/**
 * @param connect makes the connection for the writes, where they have no client of their own
 * @throws SessionError `ERR_SESSION_OPTION`
 */
export function durabilityOf(
  options: RedisDurability,
  connect: () => RedisConnection,
  clock: Clock,
): Durability {
  const reader = new OptionsReader('redis-durability', options as object, ['replicas', 'timeout', 'client'])
  const replicas = reader.count('replicas', 0)
  // WAIT takes whole milliseconds, and 0 for no end.
  const timeout = Math.max(1, Math.round(1000 * reader.seconds('timeout', 0.5, LONGEST_TIMER)))
  const connection = options.client === undefined ? connect() : connectionOf(options.client)
  return new Durability(connection, replicas, timeout, clock)
}

/**
 * Has replicas confirm what is written. Behind each write, on the same connection, goes a WAIT: it answers when so many replicas have
 * all that came before it there, or how many had when its time was up.
 */
export class Durability {
  /** The writes' own. */
  readonly connection: RedisConnection
  readonly #replicas: number
  readonly #wait: string[]
  readonly #clock: Clock
  /** Keys of writes that were lost, refused or not confirmed, and when: a read of one may find what replicas do not have yet. */
  readonly #doubts = new Map<string, number>()

  /** @param timeout milliseconds for the replicas */
  constructor(connection: RedisConnection, replicas: number, timeout: number, clock: Clock) {
    this.connection = connection
    this.#replicas = replicas
    this.#wait = ['WAIT', String(replicas), String(timeout)]
    this.#clock = clock
  }

  /**
   * Sends a write about one key.
   * @returns the reply to it; where that is not 0, it was made, and the replicas have it
   * @throws SessionError `ERR_SESSION_NOT_REPLICATED` when too few have it in time
   */
  async write(key: string, args: string[]): Promise<number> {
    let replies
    try {
      replies = await this.connection.pair(key, args, this.#wait)
    } catch (error) {
      this.#doubt(key)
      throw error
    }
    const [reply, confirmed] = replies.map(Number) as [number, number]
    const isWritten = reply !== 0
    const isConfirmed = confirmed >= this.#replicas
    // A refusal may answer a write that the client sent again after reconnecting, and that was made the first time.
    if (!isWritten || !isConfirmed) this.#doubt(key)
    if (!isWritten || isConfirmed) return reply
    throw new SessionError(
      'ERR_SESSION_NOT_REPLICATED',
      `Redis has made the change, but ${confirmed} of ${this.#replicas} replicas confirmed it in time: a failover may undo it. Are the replicas up, and not far behind?`,
    )
  }

  /** Whether what is read under a key counts only once replicas have it. */
  isInDoubt(key: string): boolean {
    return this.#doubts.has(key)
  }

  /** The doubt about a key is resolved: its replicas have what was read. */
  resolve(key: string): void {
    this.#doubts.delete(key)
  }

  #doubt(key: string): void {
    const now = instantBy(this.#clock)
    // The oldest come first. A commit is over long before a mark is, and nobody claims a write by reading after that.
    for (const [old, since] of this.#doubts) {
      if (now - since < MARK_SECONDS * 1000) break
      this.#doubts.delete(old)
    }
    this.#doubts.delete(key)
    this.#doubts.set(key, now)
  }
}
