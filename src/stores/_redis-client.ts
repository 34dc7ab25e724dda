import type { Clock } from '../clock.ts'
import { instantBy } from '../clock.ts'
import { SessionError } from '../errors.ts'
import { publish } from '../events.ts'
import type { Hearer, RedisSubscriber } from './_redis-subscriber.ts'
import { connectNodeRedis, subscriberBeside } from './_redis-subscriber.ts'
import type { Invalidated } from './_redis-tracking.ts'
import { track, TRACKING } from './_redis-tracking.ts'

/**
 * A client of Redis or Valkey, known by its shape: ioredis or iovalkey (single, Sentinel, Cluster), or
 * node-redis (single, pool, Sentinel, Cluster). It must read from masters, as all of them do unless told
 * otherwise: a replica may still hold a session that has ended.
 */
export type RedisClient = IoredisClient | NodeRedisClient | NodeRedisSentinel | NodeRedisCluster

interface IoredisClient {
  call(command: string, ...args: string[]): Promise<unknown>
  on?(event: 'close' | '-node', listener: () => void): unknown
  pipeline?(commands: string[][]): { exec(): Promise<[error: Error | null, reply: unknown][] | null> }
}

interface NodeRedisClient {
  readonly isReady?: boolean
  sendCommand(args: string[], options?: object): Promise<unknown>
  multi?(): Pipeline<[args: string[]]>
}

interface NodeRedisSentinel {
  readonly isReady?: boolean
  getMasterNode(): unknown
  sendCommand(isReadonly: boolean, args: string[], options?: object): Promise<unknown>
  multi?(): Pipeline<[isReadonly: boolean, args: string[]]>
}

interface NodeRedisCluster {
  readonly isReady?: boolean
  nodeClient(node: never): unknown
  sendCommand(firstKey: string, isReadonly: boolean, args: string[], options?: object): Promise<unknown>
  multi?(): Pipeline<[firstKey: string, isReadonly: boolean, args: string[]]>
}

/** node-redis's way to send commands together, on one connection, none of them again on another. */
interface Pipeline<A extends unknown[]> {
  addCommand(...args: A): unknown
  execAsPipeline(): Promise<readonly unknown[]>
}

/** Redis, whatever client leads there: a command about one key goes in, its reply comes out. */
export interface RedisConnection {
  /** Whether one command can speak of keys of one slot only. */
  readonly isCluster: boolean
  /** What the client itself puts before every key, and not before channels. */
  readonly keyPrefix: string
  /** How often the client has lost a connection; what was under way on it, it may send again on another, and tell nobody. */
  readonly losses: number
  /** Connects, where nothing has yet; a client that somebody else opened is left as it is. */
  open(): Promise<void>
  /**
   * Sends one command; text in its reply is strings.
   * @param key the one key that `args` speak of, by which a cluster finds the node
   */
  command(key: string, args: string[]): Promise<unknown>
  /** Opens a connection beside this one, to hear what is published; null where the client has no way to. The caller closes it. */
  subscriber(hearer: Hearer): Promise<RedisSubscriber | null>
  /**
   * Sends two commands, one right behind the other, on one connection. The second is never carried out on another than the first, and never
   * without it. Redirections of a cluster are errors here.
   * @returns both replies; rejects where one of them is an error
   */
  pair(key: string, first: string[], second: string[]): Promise<readonly unknown[]>
  /** Closes what was opened here. */
  close(): Promise<void>
}

/**
 * The connection behind a client that somebody else opened, and will close.
 * @param invalidated is told of what was read by it and has changed. Default: nobody is
 * @throws SessionError `ERR_SESSION_OPTION` when the client is of no known kind, or cannot tell that
 */
export function connectionOf(client: RedisClient, invalidated?: Invalidated): RedisConnection {
  const { isCluster, options } = client as { isCluster?: boolean; options?: { keyPrefix?: string | Buffer } }
  const command = commandOf(client)
  if (invalidated !== undefined) track(client, invalidated)
  let losses = 0
  const lose = (): void => void losses++
  // ioredis's single client, and one node of its Cluster. node-redis sends nothing twice but by Sentinel, which tells nobody: docs/concurrency.md.
  if (has(client, 'call')) for (const event of ['close', '-node'] as const) client.on?.(event, lose)
  return {
    isCluster: isCluster === true || has(client, 'nodeClient'),
    keyPrefix: options?.keyPrefix?.toString() ?? '',
    get losses() {
      return losses
    },
    open: () => Promise.resolve(),
    command,
    pair: pairOf(client),
    subscriber: async (hearer) => subscriberBeside(client, hearer),
    close: () => Promise.resolve(),
  }
}

function commandOf(client: RedisClient): RedisConnection['command'] {
  if (has(client, 'call')) return (_key, args) => client.call(...(args as [string, ...string[]]))
  if (has(client, 'nodeClient'))
    return (key, args) => client.sendCommand(key, FROM_REPLICA, args, optionsFor(client))
  if (has(client, 'getMasterNode'))
    return (_key, args) => client.sendCommand(FROM_REPLICA, args, optionsFor(client))
  if (has(client, 'sendCommand')) return (_key, args) => client.sendCommand(args, optionsFor(client))
  throw new SessionError(
    'ERR_SESSION_OPTION',
    'The client is of no kind that RedisSessionStore knows: hand it one of node-redis, ioredis or iovalkey.',
    { rule: 'redis-client' },
  )
}

function pairOf(client: RedisClient): RedisConnection['pair'] {
  if (has(client, 'call'))
    return async (_key, ...pair) => {
      // When the connection ends between the two answers, ioredis gives the second up; before both, it may send both again.
      const replies = await client.pipeline!(pair.map((args) => ['call', ...args])).exec()
      for (const [error] of replies!) if (error !== null) throw error
      return replies!.map(([, reply]) => reply)
    }
  if (has(client, 'nodeClient')) return (key, ...pair) => pipelined(client.multi!(), pair, key, FROM_REPLICA)
  if (has(client, 'getMasterNode')) return (_key, ...pair) => pipelined(client.multi!(), pair, FROM_REPLICA)
  return (_key, ...pair) => pipelined(client.multi!(), pair)
}

/** @param rest what each command is added with, before its words */
function pipelined<R extends unknown[]>(
  pipeline: Pipeline<[...R, args: string[]]>,
  commands: readonly string[][],
  ...rest: R
): Promise<readonly unknown[]> {
  for (const args of commands) pipeline.addCommand(...rest, args)
  return pipeline.execAsPipeline()
}

/** Whether a client has the method that tells its kind. */
function has<K extends string>(
  client: RedisClient,
  method: K,
): client is Extract<RedisClient, Record<K, unknown>> {
  return typeof (client as Partial<Record<K, unknown>>)[method] === 'function'
}

/** node-redis's `isReadonly`, which lets a command go to a replica. */
const FROM_REPLICA = false

/**
 * node-redis 6 gives each command an AbortSignal of 5 s, and drops it once the command is written: it guards
 * the queue of a client that is not connected, and nothing else. Where the client is connected, it is saved.
 */
function optionsFor(client: { readonly isReady?: boolean }): object {
  return client.isReady === false ? WAITING : READY
}

// The empty mapping sets aside one of the application's own, which might turn text into Buffers.
const WAITING = { typeMapping: {} }
const READY = { typeMapping: {}, timeout: 0 }

/**
 * A connection of the store's own: opened with node-redis at the first command, by one attempt that all commands
 * share; when it fails they fail, and the next command tries again. Once open, it reconnects by itself until closed.
 * The package is loaded at once: that takes a tenth of a second of CPU time, which nobody who waits for an answer should pay.
 * @param invalidated is told of what was read by it and has changed. Default: nobody is
 */
export function connectionTo(url: string, clock: Clock, invalidated?: Invalidated): RedisConnection {
  // Checked here, since the error of `new URL` would carry the url, and so the password.
  if (!URL.canParse(url) || !PROTOCOLS.includes(new URL(url).protocol))
    throw new SessionError(
      'ERR_SESSION_OPTION',
      'The url is none of Redis: it begins with redis:// or rediss://, or unix:// for a socket.',
      { rule: 'redis-url' },
    )
  // The first command will tell what is wrong, if anything is.
  loadDriver().catch(ignore)
  let opening: Promise<void> | undefined
  let open: OwnConnection | undefined
  let closing: Promise<void> | undefined
  /** When the first command was sent since some last answer; Infinity where none waits. */
  let silentSince = Infinity
  const isSilent = (): boolean => instantBy(clock) - silentSince > MAX_SILENCE

  const connect = async (): Promise<void> => {
    try {
      const next = await openClient(url, clock, invalidated)
      if (open !== undefined && !isSilent()) return next.drop()
      // Whoever waits at the old one would wait in vain: the server has answered on the new one.
      open?.drop()
      open = next
      silentSince = Infinity
    } finally {
      opening = undefined
    }
  }
  const heard = (): void => void (silentSince = Infinity)
  /** Sends at once, on the connection that is open: what every command but the first does. */
  const sendOn = <R>(connection: OwnConnection, send: (open: OwnConnection) => Promise<R>): Promise<R> => {
    if (silentSince === Infinity) silentSince = instantBy(clock)
    const reply = send(connection)
    reply.then(heard, heard)
    return reply
  }
  const use = <R>(send: (open: OwnConnection) => Promise<R>): Promise<R> => {
    if (closing !== undefined)
      return Promise.reject(
        new SessionError('ERR_SESSION_STORE', 'The store is closed: its close() was called.'),
      )
    if (open === undefined) return (opening ??= connect()).then(() => sendOn(open!, send))
    // A network that drops a connection may tell nobody, and TCP itself asks for a quarter of an hour: another one shows it.
    if (isSilent()) (opening ??= connect()).catch(ignore)
    return sendOn(open, send)
  }
  return {
    isCluster: false,
    keyPrefix: '',
    losses: 0,
    open: () => use(() => Promise.resolve()),
    command: (key, args) => use((open) => open.command(key, args)),
    pair: (key, first, second) => use((open) => open.pair(key, first, second)),
    subscriber: async (hearer) => connectNodeRedis(await createClient(url, () => true), hearer),
    close: () =>
      (closing ??= Promise.resolve(opening)
        .catch(ignore)
        .then(() => open?.close())),
  }
}

/** Milliseconds without an answer after which it is tried whether the connection is to blame. */
const MAX_SILENCE = 1000

const PROTOCOLS: readonly string[] = ['redis:', 'rediss:', 'unix:']

interface OwnConnection extends Pick<RedisConnection, 'command' | 'pair' | 'close'> {
  /** Ends it at once; what waits for an answer fails. */
  drop(): void
}

/** @param isWanted whether a connection that was lost, or not to be had, is tried again */
async function createClient(
  url: string,
  isWanted: () => boolean,
  options: object = {},
): Promise<ReturnType<CreateClient>> {
  const { createClient } = await loadDriver()
  return createClient({
    ...options,
    url,
    // While the connection is lost a command fails at once, rather than being carried out when nobody waits for it.
    disableOfflineQueue: true,
    // Several processes that lost the same server do not come back all at once.
    socket: { reconnectStrategy: () => isWanted() && 200 + Math.random() * 200 },
  })
}

/** @throws SessionError `ERR_SESSION_NO_DRIVER` */
function loadDriver(): Promise<typeof import('redis')> {
  return import('redis').catch((cause: unknown) => {
    throw new SessionError(
      'ERR_SESSION_NO_DRIVER',
      'A RedisSessionStore with a url needs the package "redis": run `npm install redis`, or hand the store a client.',
      { cause },
    )
  })
}

type CreateClient = (typeof import('redis'))['createClient']

async function openClient(url: string, clock: Clock, invalidated?: Invalidated): Promise<OwnConnection> {
  let connected = false
  const client = await createClient(url, () => connected, invalidated && TRACKING)
  if (invalidated !== undefined) track(client, invalidated)
  // Without a listener, a lost connection would end the process.
  client.on('error', (error: unknown) => publish({ kind: 'store-failure', operation: 'connect', error }))
  const drop = (): void => client.destroy()
  await within(CONNECT_TIMEOUT, client.connect(), clock).catch((error: unknown) => {
    drop()
    throw error
  })
  connected = true
  const pair = pairOf(client)
  return {
    command: commandOf(client),
    // node-redis keeps a pipeline until it is connected again, whatever it is told of offline queues.
    pair: async (...args) => {
      if (client.isReady) return pair(...args)
      throw new SessionError(
        'ERR_SESSION_STORE',
        'The connection to Redis is lost; the store tries to restore it.',
      )
    },
    drop,
    async close() {
      // Waits for the replies under way, but a server that hangs must not hold up the end of the process.
      await within(CLOSE_TIMEOUT, client.close(), clock).catch(ignore)
      drop()
    },
  }
}

/** Milliseconds to connect in, greetings and all; and to answer what is under way at the end. */
const CONNECT_TIMEOUT = 5000
const CLOSE_TIMEOUT = 1000

/** Waits for work, and fails where it takes too long. */
async function within(ms: number, work: Promise<unknown>, clock: Clock): Promise<void> {
  const waiting = new AbortController()
  const late = clock.sleep(ms, waiting.signal).then(() => {
    throw new SessionError('ERR_SESSION_TIMEOUT', `Redis did not answer within ${ms} ms.`)
  })
  try {
    await Promise.race([work, late])
  } finally {
    waiting.abort()
  }
}

const ignore = (): void => {}
