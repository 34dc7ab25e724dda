import { createHash } from 'node:crypto'

import { SessionError } from '../errors.ts'
import { answer } from './_answer.ts'
import { OptionsReader } from './_options.ts'
import { readMark, readPayload, writeMark, writePayload } from './_payload.ts'
import type { RedisClient, RedisConnection } from './_redis-client.ts'
import { connectionOf, connectionTo } from './_redis-client.ts'
import type { Durability, RedisDurability } from './_redis-durability.ts'
import { durabilityOf } from './_redis-durability.ts'
import { withoutCommand } from './_redis-errors.ts'
import { RedisGreeting } from './_redis-greeting.ts'
import type { NearCache, RedisNearCache } from './_redis-near-cache.ts'
import { nearCacheOf } from './_redis-near-cache.ts'
import { RedisNotices } from './_redis-notices.ts'
import { ServerClock } from './_server-clock.ts'
import type { NoticeListener, Notices } from './notices.ts'
import type { SessionData } from './session-data.ts'
import { broken } from './session-data.ts'
import type { Glimpse, Mark, SessionStoreOptions } from './store.ts'
import { DEFAULT_TTL, deadlineOf, isMark, MARK_SECONDS, noneIfUnreadable, SessionStore } from './store.ts'
import type { UserIndex } from './user-index.ts'

export type { RedisClient } from './_redis-client.ts'
export type { RedisDurability } from './_redis-durability.ts'
export type { RedisNearCache } from './_redis-near-cache.ts'

/** Options of {@link RedisSessionStore}: a `client` or a `url`, one of them. */
export type RedisSessionStoreOptions = RedisSettings & (WithClient | WithUrl)

interface RedisSettings extends SessionStoreOptions {
  /** What every key begins with; the session's id follows, or `user:` and the id of a user. Default `'holdfast:session:'` */
  prefix?: string
  /** How long a record lives that `set` is given no `ttl` for, in seconds. Default 3600 */
  defaultTtl?: number
  /** Has replicas confirm each write before it counts. Default: none is asked, and a failover may undo what was acknowledged. */
  durability?: RedisDurability
  /**
   * Answers reads of sessions that were read before from this process's own memory, until Redis tells that they changed: no round trip. With a `url`, or
   * with a `client` made by `createClient({ RESP: 3, emitInvalidate: true })` of node-redis; `true` for the defaults. What this process ends is dead here
   * at once; what another ends as soon as the message arrives, or after `maxStale` where none does: docs/concurrency.md. No write is lost by it. Default false
   */
  nearCache?: boolean | RedisNearCache
}

interface WithClient {
  /** A client that you have connected, and will close. */
  client: RedisClient
  url?: undefined
}

interface WithUrl {
  /** Where Redis is, as in `redis://user:password@host:6379/0`. The store connects by itself, with the package `redis`. */
  url: string
  client?: undefined
}

/**
 * Keeps sessions in Redis or Valkey: a single server, Sentinel or Cluster. Every operation is one command about
 * one key, and one atomic step; with `nearCache` a read may be none, or two. Expiry is Redis's own, by its own clock;
 * and unless you give the store a `clock`, its time is Redis's too, asked for once a minute: application servers whose
 * clocks are wrong, or set while they run, sign nobody out for it.
 *
 * Notices are published by the scripts that write, on a channel of the name of the session's key, and heard by one more connection of each
 * process that follows sessions: within milliseconds, but not while that connection is lost. Nothing is published twice, or stored.
 *
 * Give Redis the `maxmemory-policy` `noeviction`: under any other, a full Redis signs visitors out. One that evicts any key is warned of.
 *
 * @example
 * const store = new RedisSessionStore({ url: 'redis://localhost:6379' })
 * await store.connect() // before the first visitor comes
 * @example
 * import { Redis } from 'ioredis'
 * const store = new RedisSessionStore({ client: new Redis() })
 */
export class RedisSessionStore extends SessionStore implements Notices, UserIndex {
  override readonly atomic: boolean = true
  readonly #connection: RedisConnection
  readonly #greeting: RedisGreeting
  readonly #notices: RedisNotices
  readonly #prefix: string
  readonly #defaultTtl: number
  readonly #durability: Durability | null
  readonly #near: NearCache | null

  /**
   * Makes the store; a `url` is connected to by {@link connect}, or at the first operation.
   * @throws SessionError `ERR_SESSION_OPTION` when there is no client and no url, when there are both, or when it is none of Redis
   */
  constructor(options: RedisSessionStoreOptions) {
    const reader = new OptionsReader('redis', options, OPTIONS)
    super({ clock: new ServerClock(), ...options })
    const { client = null, url = null, prefix = 'holdfast:session:' } = options
    if ((client === null) === (url === null))
      throw new SessionError(
        'ERR_SESSION_OPTION',
        'A RedisSessionStore takes either a client or a url: hand it one, and not both.',
        { rule: 'redis-url-or-client' },
      )
    if (typeof prefix !== 'string') throw reader.refusal('prefix', 'must be a string')
    const { durability, nearCache = false } = options
    const near =
      nearCache === false
        ? null
        : nearCacheOf(
            nearCache,
            prefix,
            () => this.#send(prefix, ['CLIENT', 'TRACKINGINFO'], asItIs),
            this.clock,
          )
    const invalidated = near === null ? undefined : (key: string | null) => near.invalidated(key)
    this.#near = near
    this.#connection =
      url === null ? connectionOf(client!, invalidated) : connectionTo(url, this.clock, invalidated)
    this.#greeting = new RedisGreeting(this.#connection, prefix, this.clock)
    this.#notices = new RedisNotices(this.#connection)
    this.#prefix = prefix
    this.#defaultTtl = reader.seconds('defaultTtl', DEFAULT_TTL)
    this.#durability =
      durability === undefined
        ? null
        : durabilityOf(
            durability,
            () => (url === null ? this.#connection : connectionTo(url, this.clock)),
            this.clock,
          )
  }

  /**
   * Connects to the `url` now, so that the first visitor need not wait for it. A `client` is yours to connect.
   * @throws what the package `redis` throws where Redis cannot be reached, or refuses the user
   * @throws SessionError `ERR_SESSION_TIMEOUT` where it does not answer within 5 seconds; `ERR_SESSION_NO_DRIVER` without that package;
   *   `ERR_SESSION_STORE` when the store is closed
   */
  async connect(): Promise<void> {
    await Promise.all([this.#connection.open(), this.#durability?.connection.open()])
    void this.#greeting.exchange()
    await this.#greeting.settle()
  }

  async get(id: string): Promise<SessionData | null> {
    const found = await this.load(id)
    return isMark(found) ? null : found
  }

  async set(id: string, data: SessionData, ttl: number = this.#defaultTtl): Promise<void> {
    await this.#run(SET, id, fieldsOf(data, ttl))
  }

  delete(id: string): Promise<boolean> {
    return this.#run(DELETE, id, [])
  }

  exists(id: string): Promise<boolean> {
    const key = this.#prefix + id
    return this.#send(key, ['HEXISTS', key, 'v'], isOne)
  }

  override load(id: string): Promise<SessionData | Mark | null> {
    if (this.#near === null || this.#durability?.isInDoubt(this.#prefix + id)) return this.#load(id)
    const record = this.#near.get(id)
    return record === null ? this.#load(id) : answer(() => record)
  }

  override create(id: string, data: SessionData, ttl: number): Promise<boolean> {
    return this.#run(CREATE, id, fieldsOf(data, ttl))
  }

  override replace(id: string, data: SessionData, expectedVersion: string, ttl: number): Promise<boolean> {
    return this.#run(REPLACE, id, [...fieldsOf(data, ttl), expectedVersion])
  }

  override end(id: string, mark: Mark, expectedVersion?: string): Promise<boolean> {
    return this.#run(END, id, [milliseconds(MARK_SECONDS), writeMark(mark), ...given(expectedVersion)])
  }

  override touch(id: string, ttl: number, expectedVersion?: string): Promise<boolean> {
    return this.#run(TOUCH, id, [milliseconds(ttl), String(this.clock.now()), ...given(expectedVersion)])
  }

  /** The ids of a user's sessions are a sorted set of their own, each with the time when it need no longer be looked at. */
  async noteUser(userId: string, id: string, ttl: number): Promise<void> {
    const now = this.clock.now()
    const args = [String(now), String(deadlineOf(ttl, now)), id]
    await this.#eval(NOTE_USER, [this.#keyOfUser(userId)], args, asItIs)
  }

  idsOfUser(userId: string): Promise<readonly string[]> {
    const key = this.#keyOfUser(userId)
    const command = ['ZRANGEBYSCORE', key, `(${this.clock.now()}`, '+inf']
    return this.#send(key, command, (reply) => reply as string[])
  }

  async forgetUser(userId: string, ids: readonly string[]): Promise<void> {
    const key = this.#keyOfUser(userId)
    if (ids.length > 0) await this.#send(key, ['ZREM', key, ...ids], asItIs)
  }

  override async peek(ids: readonly string[]): Promise<(Glimpse | Mark | null)[]> {
    const keys = ids.map((id) => this.#prefix + id)
    // The keys of one script must be in one slot of a cluster, and a long script holds up everybody.
    const size = this.#connection.isCluster ? 1 : PEEK_KEYS
    const starts = Array.from({ length: Math.ceil(keys.length / size) }, (_, i) => i * size)
    const replies = await Promise.all(
      starts.map((start) =>
        this.#eval(PEEK, keys.slice(start, start + size), [], (reply) => reply as unknown[]),
      ),
    )
    return replies.flat().map((fields, i) => glimpseOf(ids[i]!, fields))
  }

  watch(id: string, listener: NoticeListener): Promise<() => void> {
    // Heard by another connection than invalidations are: whoever looks again at once must not find what was.
    const forgetful: NoticeListener = (version) => {
      this.#near?.drop(id)
      listener(version)
    }
    return this.#notices.watch(this.#prefix + id, this.#near === null ? listener : forgetful)
  }

  /** Closes the connections that it opened; a client that was handed in stays open. */
  override async close(): Promise<void> {
    await this.#notices.close()
    // A command that waits for the greeting was asked for before.
    await this.#greeting.settle()
    await Promise.all([this.#connection.close(), this.#durability?.connection.close()])
  }

  /** Under the one prefix, so that whoever may use the sessions' keys may use these. */
  #keyOfUser(userId: string): string {
    return `${this.#prefix}user:${userId}`
  }

  #load(id: string): Promise<SessionData | Mark | null> {
    const key = this.#prefix + id
    const found = this.#read(id, key)
    const durability = this.#durability
    return durability === null ? found : this.#confirmed(found, id, key, durability)
  }

  /** What was found, once replicas have what somebody may be told by it: that a write was made, or a session ended. */
  async #confirmed(
    reading: Promise<SessionData | Mark | null>,
    id: string,
    key: string,
    durability: Durability,
  ): Promise<SessionData | Mark | null> {
    const found = await reading
    if (found === null || !(isMark(found) || durability.isInDoubt(key))) return found
    if (!(await this.#run(CONFIRM, id, []))) return null
    durability.resolve(key)
    return found
  }

  #read(id: string, key: string): Promise<SessionData | Mark | null> {
    const read = ['HMGET', key, 'v', 't', 'd', 'm']
    if (this.#near === null) return this.#send(key, read, (fields) => readFields(id, fields))
    return this.#near.read(id, () =>
      this.#ask(
        () => this.#connection.pair(key, read, ['PTTL', key]),
        ([fields, left]) => {
          // -1 is for no end; -2 for no key, of which nothing is kept.
          return [readFields(id, fields), Number(left) === -1 ? Infinity : Number(left)]
        },
      ),
    )
  }

  #run(script: Script, id: string, args: readonly string[]): Promise<boolean> {
    return this.#near === null
      ? this.#write(script, id, args)
      : this.#near.write(id, () => this.#write(script, id, args))
  }

  #write(script: Script, id: string, args: readonly string[]): Promise<boolean> {
    const durability = this.#durability
    const writes = durability?.connection ?? this.#connection
    const { losses } = writes
    const judge = (result: unknown): boolean => {
      const reply = Number(result)
      if (reply === UNPUBLISHED) this.#notices.publishRefused()
      // Refused may be the second attempt, because the first one, whose reply was lost, was made.
      if (reply === 0 && writes.losses !== losses) throw sentAgain()
      return reply > 0
    }
    return this.#eval(script, [this.#prefix + id], args, judge, durability)
  }

  #eval<R>(
    script: Script,
    keys: readonly string[],
    args: readonly string[],
    read: (reply: unknown) => R,
    durability: Durability | null = null,
  ): Promise<R> {
    const [key] = keys
    const command = ['EVALSHA', script.sha, String(keys.length), ...keys, ...args]
    const inFull = (error: unknown): Promise<R> => {
      // A server that has just started, taken over, or flushed its scripts does not know this one: it is told in full.
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw explain(error)
      return this.#send(key!, ['EVAL', script.source, ...command.slice(2)], read, durability)
    }
    return this.#send(key!, command, read, durability, inFull)
  }

  #send<R>(
    key: string,
    args: string[],
    read: (reply: unknown) => R,
    durability: Durability | null = null,
    failed?: (error: unknown) => Promise<R>,
  ): Promise<R> {
    const command = (): Promise<unknown> =>
      durability === null ? this.#connection.command(key, args) : durability.write(key, args)
    return this.#ask(command, read, failed)
  }

  /**
   * Sends a command as soon as Redis has been greeted. By as few promises as will do: every request waits on these.
   * @param read makes an answer of the reply
   * @param failed goes on from the error of a reply. Default: rejects with what {@link explain} makes of it
   */
  #ask<R, A>(
    command: () => Promise<R>,
    read: (reply: R) => A,
    failed: (error: unknown) => A | Promise<A> = fail,
  ): Promise<A> {
    const send = (): Promise<A> => command().then(read, failed)
    const greeting = this.#greeting.exchange()
    return greeting === null ? send() : greeting.then(send)
  }
}

const OPTIONS = ['client', 'url', 'prefix', 'defaultTtl', 'durability', 'nearCache', 'clock']

/** A Lua script: Redis runs it as one step, and knows it by the hash of its text. */
interface Script {
  readonly source: string
  readonly sha: string
}

function script(source: string): Script {
  return { source, sha: createHash('sha1').update(source).digest('hex') }
}

/*
 * KEYS[1] is the one hash of a session. A record has the fields `v` version, `t` touchedAt, `d` payload;
 * a mark, under the same key, has `m` alone. Numbers stay the text they came as: Lua's are doubles, and would be rounded.
 *
 * No script writes a key of ours that it has removed, or emptied, before: where the key's slot is being moved to another node of a Cluster, a key
 * that is not there is the other node's, and the script would stop half-way.
 */

/** Writes the record ARGV[2..4], to live for ARGV[1] milliseconds; to live for none is to be gone. */
const WRITE = `
if ARGV[1] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'v', ARGV[2], 't', ARGV[3], 'd', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end`

/** What a script that wrote, and could not publish it, answers. */
const UNPUBLISHED = 2

/**
 * Ends a script: publishes the version that was written, or an empty text, on the channel of the key's name. Not being let to is no reason to
 * fail a write that is done already.
 */
function tell(text: string): string {
  return `
if type(redis.pcall('PUBLISH', KEYS[1], ${text})) == 'table' then return ${UNPUBLISHED} end
return 1`
}

/** Writes whatever stood there: a mark, or another kind of value. */
const SET = script(`
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end${WRITE}
if ARGV[1] ~= '0' then redis.call('HDEL', KEYS[1], 'm') end${tell('ARGV[2]')}`)

/** Takes a free key only: neither a record nor a mark stands there. */
const CREATE = script(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end${WRITE}
return 1`)

/**
 * Writes over the version ARGV[5] only; a missing one is no version, so that nothing is ever created.
 * The writer may have read the record before the last touch: the later touchedAt stays.
 */
const REPLACE = script(`
local version, touchedAt = unpack(redis.call('HMGET', KEYS[1], 'v', 't'))
if version ~= ARGV[5] then return 0 end
if (tonumber(touchedAt) or 0) > tonumber(ARGV[3]) then ARGV[3] = touchedAt end${WRITE}${tell('ARGV[2]')}`)

/**
 * Puts the mark ARGV[2], for ARGV[1] milliseconds, in the place of the record (of version ARGV[3], where it is given).
 * HDEL comes first: Redis lets a script that has begun to write finish even when memory is full, so that a sign-out then still works.
 */
const END = script(`
local version = redis.call('HGET', KEYS[1], 'v')
if not version or (ARGV[3] and ARGV[3] ~= version) then return 0 end
redis.call('HDEL', KEYS[1], 't', 'd')
redis.call('HSET', KEYS[1], 'm', ARGV[2])
redis.call('HDEL', KEYS[1], 'v')
redis.call('PEXPIRE', KEYS[1], ARGV[1])${tell("''")}`)

/**
 * Moves the time to live to ARGV[1] milliseconds and touchedAt to ARGV[2], each only forward
 * (of version ARGV[3], where it is given). A record with no end stays so: it has the longest life there is.
 */
const TOUCH = script(`
local version, touchedAt = unpack(redis.call('HMGET', KEYS[1], 'v', 't'))
touchedAt = tonumber(touchedAt)
if not version or not touchedAt or (ARGV[3] and ARGV[3] ~= version) then return 0 end
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
if touchedAt < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], 't', ARGV[2]) end
return 1`)

/** Removes whatever is not a mark; a record that cannot be read, too. */
const DELETE = script(`
if redis.call('HEXISTS', KEYS[1], 'm') == 1 or redis.call('DEL', KEYS[1]) == 0 then return 0 end${tell("''")}`)

/** Reads what stands under many keys, of the payload its first line alone. */
const PEEK = script(`
local found = {}
for i, key in ipairs(KEYS) do
  local fields = redis.pcall('HMGET', key, 'v', 't', 'd', 'm')
  if fields.err then fields = { false, false, false, false }
  elseif fields[3] then fields[3] = string.match(fields[3], '^[^\\n]*') end
  found[i] = fields
end
return found`)

/** How many keys one {@link PEEK} reads: about a quarter of a millisecond's work. */
const PEEK_KEYS = 250

/**
 * Notes in a user's sorted set, KEYS[1], that the session ARGV[3] may live until ARGV[2], if it was not noted for longer before. What need no
 * longer be looked at, by the present ARGV[1], leaves; and the set as a whole when its last session does. ZREM, of what is in no set, begins to write:
 * so that it is carried through when memory is full, as a touch is.
 */
const NOTE_USER = script(`
redis.call('ZREM', KEYS[1], '')
local noted = redis.call('ZSCORE', KEYS[1], ARGV[3])
if not noted or tonumber(noted) < tonumber(ARGV[2]) then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3]) end
local left = ARGV[2] - ARGV[1]
if redis.call('PTTL', KEYS[1]) < left then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left)) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return 1`)

/** Writes again what stands there, which changes nothing, but which replicas are sent, and WAIT waits for. */
const CONFIRM = script(`
for _, field in ipairs({ 'v', 'm' }) do
  local value = redis.call('HGET', KEYS[1], field)
  if value then
    redis.call('HSET', KEYS[1], field, value)
    return 1
  end
end
return 0`)

/** What {@link WRITE} takes. */
function fieldsOf(record: SessionData, ttl: number): [string, string, string, string] {
  return [milliseconds(ttl), record.version, String(record.touchedAt), writePayload(record)]
}

/** Seconds as the milliseconds that Redis takes; `'0'` for what has expired already. */
function milliseconds(seconds: number): string {
  return String(deadlineOf(seconds, 0))
}

function given(version: string | undefined): string[] {
  return version === undefined ? [] : [version]
}

/** Some clients can be set to give numbers as strings. */
function isOne(reply: unknown): boolean {
  return Number(reply) === 1
}

/** @throws SessionError `ERR_SESSION_RECORD` when the fields are those of neither a record nor a mark */
function readFields(id: string, reply: unknown): SessionData | Mark | null {
  const [version, touchedAt, payload, mark] = reply as (string | null)[]
  if (typeof mark === 'string') return readMark(mark)
  if (version === null && touchedAt === null && payload === null) return null
  if (typeof version !== 'string' || typeof touchedAt !== 'string' || typeof payload !== 'string')
    throw broken('a field is missing')
  return readPayload(id, version, NUMBER.test(touchedAt) ? Number(touchedAt) : NaN, payload)
}

/** What {@link PEEK} found of one session: a record without its data, as far as there is one that can be read. */
function glimpseOf(id: string, reply: unknown): Glimpse | Mark | null {
  const [version, touchedAt, line, mark] = reply as (string | null)[]
  try {
    return readFields(id, [version, touchedAt, typeof line === 'string' ? `${line}\n{}` : null, mark])
  } catch (error) {
    return noneIfUnreadable(error)
  }
}

const NUMBER = /^-?\d+(\.\d+)?$/

function sentAgain(): SessionError {
  return new SessionError(
    'ERR_SESSION_STORE',
    'The connection to Redis was lost, and the client sent a write again; it was refused, or had been made the first time.',
  )
}

const asItIs = (reply: unknown): unknown => reply

const fail = (error: unknown): never => {
  throw explain(error)
}

/** What an error of Redis becomes on its way out. */
function explain(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  withoutCommand(error)
  return error.message.includes('WRONGTYPE') ? broken('another kind of value stands under its key') : error
}
