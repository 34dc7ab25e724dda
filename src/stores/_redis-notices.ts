import { publish } from '../events.ts'
import type { RedisConnection } from './_redis-client.ts'
import { isNoPermission } from './_redis-errors.ts'
import type { RedisSubscriber } from './_redis-subscriber.ts'
import { Watchers } from './_watchers.ts'
import type { NoticeListener } from './notices.ts'

/**
 * What other processes do to sessions, as heard from Redis: a write publishes on a channel of the name of its key. One connection hears for
 * all that this process watches; it opens with the first watch and stays until the store closes. What was published while it was
 * interrupted is lost, so that everybody is told to look again once it is back.
 */
export class RedisNotices {
  readonly #connection: RedisConnection
  readonly #watchers = new Watchers()
  /** Subscriptions that are there or under way, by channel. */
  readonly #channels = new Map<string, Promise<void>>()
  #subscriber: Promise<RedisSubscriber | null> | null = null
  #isClosed = false
  readonly #told = new Set<string>()

  constructor(connection: RedisConnection) {
    this.#connection = connection
  }

  /**
   * @param key of the session
   * @returns stops telling
   * @throws what the client throws, where it cannot connect
   */
  async watch(key: string, listener: NoticeListener): Promise<() => void> {
    const channel = this.#connection.keyPrefix + key
    const unwatch = this.#watchers.add(channel, listener)
    try {
      await this.#subscribed(channel)
    } catch (error) {
      unwatch()
      this.#leave(channel)
      throw error
    }
    return () => {
      unwatch()
      this.#leave(channel)
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const opening = this.#subscriber
    this.#subscriber = null
    this.#channels.clear()
    const subscriber = await opening?.catch(ignore)
    subscriber?.close()
  }

  /** Tells once that Redis keeps this user from publishing. */
  publishRefused(): void {
    this.#tellOnce(
      'publish',
      'Redis does not let this user publish, so other processes learn of a sign-out only when they look again, within half a minute. ' +
        'Allow it the channels that begin as the keys do: ACL SETUSER … +publish &holdfast:session:*',
    )
  }

  #subscribed(channel: string): Promise<void> {
    const present = this.#channels.get(channel)
    if (present !== undefined) return present
    const subscribing = this.#subscribe(channel)
    this.#channels.set(channel, subscribing)
    subscribing.catch(() => {
      if (this.#channels.get(channel) === subscribing) this.#channels.delete(channel)
    })
    return subscribing
  }

  async #subscribe(channel: string): Promise<void> {
    const subscriber = await this.#open()
    if (subscriber === null) {
      this.#tellOnce(
        'subscribe',
        'The Redis client cannot be duplicated, so a sign-out elsewhere is found out only by looking again, within half a minute. ' +
          'Hand the store a client of node-redis or ioredis, rather than a pool of them, or a url.',
      )
      return
    }
    try {
      await subscriber.subscribe(channel)
    } catch (error) {
      if (!isNoPermission(error)) throw error
      this.#tellOnce(
        'subscribe',
        'Redis does not let this user subscribe, so a sign-out elsewhere is found out only by looking again, within half a minute. ' +
          'Allow it the channels that begin as the keys do: ACL SETUSER … +subscribe +unsubscribe &holdfast:session:*',
      )
    }
  }

  #open(): Promise<RedisSubscriber | null> {
    if (this.#subscriber !== null) return this.#subscriber
    const opening = this.#connection.subscriber({
      message: (channel, text) => this.#watchers.tell(channel, text === '' ? null : text),
      reconnected: () => this.#watchers.tellAll(),
      failed: (error) => {
        if (!this.#isClosed) publish({ kind: 'store-failure', operation: 'subscribe', error })
      },
    })
    this.#subscriber = opening
    // The next watch tries again.
    opening.catch(() => {
      if (this.#subscriber === opening) this.#subscriber = null
    })
    return opening
  }

  #leave(channel: string): void {
    if (this.#watchers.has(channel) || !this.#channels.delete(channel)) return
    this.#subscriber?.then((subscriber) => subscriber?.unsubscribe(channel)).catch(ignore)
  }

  #tellOnce(operation: 'publish' | 'subscribe', remedy: string): void {
    if (this.#told.has(operation)) return
    this.#told.add(operation)
    publish({ kind: 'no-notices', operation, remedy })
    console.warn(`holdfast: ${remedy}`)
  }
}

const ignore = (): void => {}
