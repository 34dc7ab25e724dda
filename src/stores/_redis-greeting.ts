import type { Clock } from '../clock.ts'
import { instantBy } from '../clock.ts'
import { publish } from '../events.ts'
import type { RedisConnection } from './_redis-client.ts'
import { ServerClock } from './_server-clock.ts'

/**
 * What a store wants to hear from a Redis beside the sessions: at first contact what time it is and whether it evicts, and the time again once
 * a minute. Asked along with the commands that are sent anyway; only the first of these wait for the answer.
 */
export class RedisGreeting {
  readonly #connection: RedisConnection
  readonly #key: string
  readonly #clock: Clock
  #dueAt = -Infinity
  #isAnswered = false
  #asking: Promise<void> | null = null

  /**
   * @param key by which a cluster finds the one node whose time is everybody's
   * @param clock is set, where it is a {@link ServerClock}
   */
  constructor(connection: RedisConnection, key: string, clock: Clock) {
    this.#connection = connection
    this.#key = key
    this.#clock = clock
    if (clock instanceof ServerClock) clock.ready = () => this.exchange()
  }

  /** Asks, where that is due. @returns what to wait for before a command is sent; null where that is nothing */
  exchange(): Promise<void> | null {
    const now = instantBy(this.#clock)
    if (now >= this.#dueAt) {
      this.#dueAt = now + (this.#isAnswered ? EVERY : RETRY)
      this.#asking = this.#ask(now)
    }
    return this.#isAnswered ? null : this.#asking
  }

  /** Resolves when nobody waits any more, or has waited long. */
  async settle(): Promise<void> {
    if (this.#asking === null || this.#isAnswered) return
    const waiting = new AbortController()
    await Promise.race([this.#asking, this.#clock.sleep(RETRY, waiting.signal)])
    waiting.abort()
  }

  async #ask(now: number): Promise<void> {
    let reply
    try {
      reply = await this.#connection.command(this.#key, ['EVAL', GREETING, '1', this.#key])
    } catch {
      // The command that comes next will tell what is wrong, if anything is.
      return
    }
    const [seconds, microseconds, policy] = reply as [string, string, string]
    if (!this.#isAnswered && policy.startsWith('allkeys')) warnOfEviction(policy)
    this.#isAnswered = true
    this.#dueAt = now + EVERY
    if (!(this.#clock instanceof ServerClock)) this.#dueAt = Infinity
    else if (seconds !== '') this.#clock.set(Number(seconds) * 1000 + Number(microseconds) / 1000, now)
  }
}

/** Milliseconds between two looks at the clock, and until the first one is tried again. */
const EVERY = 60_000
const RETRY = 1000

/** The time, and the `maxmemory-policy`; empty where a user may not ask for them. */
const GREETING = `
local time = redis.pcall('TIME')
local memory = redis.pcall('INFO', 'memory')
local policy = type(memory) == 'string' and string.match(memory, 'maxmemory_policy:([%w-]+)')
return { time[1] or '', time[2] or '', policy or '' }`

function warnOfEviction(policy: string): void {
  const remedy =
    `Redis has the maxmemory-policy ${policy}: when it is full, it signs visitors out to make room. ` +
    'Set maxmemory-policy noeviction, or give sessions a Redis of their own.'
  publish({ kind: 'unfit-store', reason: 'evicts', remedy })
  console.warn(`holdfast: ${remedy}`)
}
