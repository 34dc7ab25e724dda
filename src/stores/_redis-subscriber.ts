import type { RedisClient } from './_redis-client.ts'

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
    if (isCluster === true) return overIoredis(duplicate.call(client) as Ioredis, hearer, true)
    return overIoredis(duplicate.call(client, { autoResubscribe: false }) as Ioredis, hearer)
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

/**
 * Not by ioredis's own means does it subscribe anew: where Redis refuses that, they leave a rejection behind that ends the process.
 * @param moves whether it subscribes anew all the same, as its Cluster does with every node that it moves to, and safely
 */
function overIoredis(client: Ioredis, hearer: Hearer, moves = false): RedisSubscriber {
  const channels = new Set<string>()
  /** Whether Redis has refused to subscribe anew: the next one tries for all. */
  let isRefused = false
  const subscribe = async (some: Iterable<string>): Promise<void> => void (await client.subscribe(...some))
  const subscribeAnew = async (): Promise<void> => {
    if (channels.size === 0) return
    isRefused = true
    await subscribe(channels)
    isRefused = false
  }
  // A Cluster is ready before it has subscribed anew; a reply to what is sent after that tells that it has.
  listen(client, hearer, moves ? () => client.ping() : subscribeAnew)
  client.on('message', (channel: string, text: string) => hearer.message(channel, text))
  return {
    async subscribe(channel) {
      channels.add(channel)
      try {
        if (!isRefused) return await subscribe([channel])
        await subscribeAnew()
        hearer.reconnected()
      } catch (error) {
        channels.delete(channel)
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
  const failed = (error: unknown): void => hearer.failed(error)
  // Without a listener, a lost connection would end the process.
  client.on('error', failed)
  let isFirst = true
  client.on('ready', () => {
    if (!isFirst) heard().then(() => hearer.reconnected(), failed)
    isFirst = false
  })
}

interface Ioredis {
  on(event: string, listener: (...args: any[]) => void): unknown
  ping(): Promise<unknown>
  subscribe(...channels: string[]): Promise<unknown>
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
