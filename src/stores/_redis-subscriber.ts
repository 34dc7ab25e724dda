import type { RedisClient } from './_redis-client.ts'
import { isNoPermission, withoutCommand } from './_redis-errors.ts'

/** A connection that hears what is published on channels. It reconnects, and subscribes anew, by itself. */
export interface RedisSubscriber {
  subscribe(channel: string): Promise<void>
  unsubscribe(channel: string): Promise<void>
  close(): void
}

/** What a subscriber tells. */
export interface Hearer {
  message(channel: string, text: string): void
  /** It is connected again: what was published meanwhile it has not heard. */
  reconnected(): void
  failed(error: unknown): void
}

/**
 * Opens a subscriber beside a client, as a connection that hears channels cannot do much else.
 * @returns null where the client has no way to: a pool of node-redis, say
 */
export function subscriberBeside(client: RedisClient, hearer: Hearer): RedisSubscriber | null {
  const { duplicate, isCluster } = client as {
    duplicate?: (options?: object) => unknown
    isCluster?: boolean
  }
  // node-redis's Cluster and Sentinel keep a connection for channels within them.
  if ('nodeClient' in client || 'getMasterNode' in client)
    return overNodeRedis(client as unknown as NodeRedis, hearer, CONNECTED, ignore)
  if (duplicate === undefined) return null
  if ('call' in client) {
    // A Cluster's takes other arguments, and catches what is refused.
    const args: [object?] = isCluster === true ? [] : [{ autoResubscribe: false }]
    return overIoredis(duplicate.apply(client, args) as Ioredis, hearer)
  }
  return 'subscribe' in client ? connectNodeRedis(duplicate.call(client) as NodeRedis, hearer) : null
}

/** Connects a client of node-redis that is there for nothing else. */
export function connectNodeRedis(client: NodeRedis, hearer: Hearer): RedisSubscriber {
  listen(client, hearer, () => client.ping())
  let connecting: Promise<unknown> | null = null
  const connected = (): Promise<unknown> => {
    if (connecting === null) {
      connecting = client.connect()
      // Who subscribes next tries again.
      connecting.catch(() => (connecting = null))
    }
    return connecting
  }
  return overNodeRedis(client, hearer, connected, () => drop(client))
}

/** Ends a connection. node-redis 6 forgets the socket of one that is just being made, so that one is awaited. */
function drop(client: NodeRedis): void {
  if (client.isReady) client.destroy()
  else if (client.isOpen) {
    const end = (): void => {
      if (client.isOpen) client.destroy()
    }
    client.on('ready', end)
    client.on('error', end)
  }
}

function overNodeRedis(
  client: NodeRedis,
  hearer: Hearer,
  connected: () => Promise<unknown>,
  close: () => void,
): RedisSubscriber {
  const hear = (text: string, channel: string): void => hearer.message(channel, text)
  return {
    async subscribe(channel) {
      await connected()
      await client.subscribe(channel, hear)
    },
    unsubscribe: (channel) => client.unsubscribe(channel, hear),
    close,
  }
}

/** Resubscribes by hand: where Redis refuses, ioredis's own `autoResubscribe` leaves an unhandled rejection, which ends the process. */
function overIoredis(client: Ioredis, hearer: Hearer): RedisSubscriber {
  const channels = new Set<string>()
  /** Whether Redis has refused some of them: the next that subscribes tries for all. */
  let isRefused = false
  const subscribe = async (some: string[]): Promise<void> => {
    try {
      await client.subscribe(some)
    } catch (error) {
      isRefused = isNoPermission(error)
      throw withoutCommand(error)
    }
  }
  const subscribeToAll = async (): Promise<void> => {
    if (channels.size > 0) await subscribe([...channels])
    isRefused = false
  }
  listen(client, hearer, () =>
    subscribeToAll().catch((error) => {
      if (isRefused) hearer.failed(error)
      throw error
    }),
  )
  client.on('message', (channel: string, text: string) => hearer.message(channel, text))
  return {
    async subscribe(channel) {
      channels.add(channel)
      try {
        if (!isRefused) return await subscribe([channel])
        await subscribeToAll()
        hearer.reconnected()
      } catch (error) {
        if (!isRefused) channels.delete(channel)
        throw error
      }
    },
    async unsubscribe(channel) {
      channels.delete(channel)
      await client.unsubscribe(channel)
    },
    close: () => client.disconnect(),
  }
}

/** @param heard resolves when a client that is connected again hears what it heard before */
function listen(client: Ioredis | NodeRedis, hearer: Hearer, heard: () => Promise<unknown>): void {
  // Without a listener, a lost connection would end the process.
  client.on('error', (error: unknown) => hearer.failed(error))
  let isFirst = true
  client.on('ready', () => {
    if (!isFirst) heard().then(() => hearer.reconnected(), ignore)
    isFirst = false
  })
}

interface Ioredis {
  on(event: string, listener: (...args: any[]) => void): unknown
  subscribe(channels: string[]): Promise<unknown>
  unsubscribe(channel: string): Promise<unknown>
  disconnect(): void
}

interface NodeRedis {
  readonly isOpen: boolean
  readonly isReady: boolean
  on(event: string, listener: (...args: any[]) => void): unknown
  ping(): Promise<unknown>
  connect(): Promise<unknown>
  subscribe(channel: string, listener: (text: string, channel: string) => void): Promise<void>
  unsubscribe(channel: string, listener: (text: string, channel: string) => void): Promise<void>
  destroy(): void
}

const CONNECTED = (): Promise<void> => Promise.resolve()
const ignore = (): void => {}
