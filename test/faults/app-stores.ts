import { MemorySessionStore } from '../../src/index.ts'
import type { RedisClient, RedisDurability } from '../../src/stores/redis.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import type { SessionStore } from '../../src/stores/store.ts'
import { MASTER } from '../support/redis-sentinel.ts'

/** What leads to the store: Redis by the store's own connection, or by a client that it is handed; or this process's memory. */
export type ClientName =
  | 'url'
  | 'node-redis'
  | 'node-redis cluster'
  | 'node-redis sentinel'
  | 'ioredis'
  | 'ioredis cluster'
  | 'ioredis sentinel'
  | 'memory'

/** What leads from each of two servers to the store. */
export type Clients = readonly [ClientName, ClientName]

/** The store under test, and what is the application's to do about it. */
export interface OpenStore {
  readonly store: SessionStore
  /** Commands that a client handed in has taken and not settled. */
  unsettled(): number
  /** Closes a client that was handed in, as its owner would. */
  disconnect(): void
}

/**
 * Opens a store on a Redis of 127.0.0.1, with the settings that clients have by themselves, or that docs/concurrency.md asks for.
 * @param ports the server's; of a Cluster its nodes', of Sentinel the Sentinels'
 */
export async function openStore(
  name: ClientName,
  ports: readonly number[],
  durability?: RedisDurability,
): Promise<OpenStore> {
  const settings = durability && { durability }
  const url = urlOf(ports[0]!)
  const addresses = ports.map((port) => ({ host: '127.0.0.1', port }))
  let unsettled = 0
  /** Counts the commands under way. */
  const counted =
    <A extends unknown[], R>(send: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> => {
      const reply = send(...args)
      const settle = (): void => void unsettled--
      unsettled++
      reply.then(settle, settle)
      return reply
    }
  const owned = (store: SessionStore, disconnect: () => void = () => {}): OpenStore => ({
    store,
    unsettled: () => unsettled,
    disconnect,
  })

  /** A client of node-redis. */
  const ofNodeRedis = (client: NodeRedis): OpenStore => {
    client.on('error', () => {})
    client.sendCommand = counted(client.sendCommand.bind(client))
    return owned(new RedisSessionStore({ client, ...settings }), () => void client.destroy())
  }
  /** A client of ioredis. */
  const ofIoredis = (client: Ioredis): OpenStore => {
    client.on('error', () => {})
    client.call = counted(client.call.bind(client))
    return owned(new RedisSessionStore({ client, ...settings }), () => client.disconnect())
  }

  switch (name) {
    case 'memory':
      return owned(new MemorySessionStore({ maxSessions: 4_000_000, maxTotalBytes: 2 ** 32 }))
    case 'url':
      return owned(new RedisSessionStore({ url, ...settings }))
    case 'node-redis': {
      const { createClient } = await import('redis')
      const client = createClient({ url })
      // Where the server is not there yet, it goes on trying.
      client.connect().catch(() => {})
      return ofNodeRedis(client as NodeRedis)
    }
    case 'node-redis cluster': {
      const { createCluster } = await import('redis')
      const client = createCluster({
        rootNodes: ports.map((port) => ({ url: urlOf(port) })),
        topologyRefreshOnReconnectionAttemptStrategy: 500,
      })
      return ofNodeRedis(await connected(client as NodeRedis))
    }
    case 'node-redis sentinel': {
      const { createSentinel } = await import('redis')
      const client = createSentinel({ name: MASTER, sentinelRootNodes: addresses, maxCommandRediscovers: 0 })
      return ofNodeRedis(await connected(client as NodeRedis))
    }
    case 'ioredis':
      return ofIoredis(new (await import('ioredis')).Redis(ports[0]!, '127.0.0.1') as Ioredis)
    case 'ioredis cluster':
      return ofIoredis(new (await import('ioredis')).Cluster(addresses) as Ioredis)
    case 'ioredis sentinel':
      return ofIoredis(new (await import('ioredis')).Redis({ name: MASTER, sentinels: addresses }) as Ioredis)
  }
}

/** Without a connection, node-redis' Cluster and Sentinel refuse everything. */
async function connected(client: NodeRedis): Promise<NodeRedis> {
  client.on('error', () => {})
  await client.connect()
  return client
}

function urlOf(port: number): string {
  return `redis://127.0.0.1:${port}`
}

type NodeRedis = RedisClient & {
  on(event: 'error', listener: () => void): unknown
  connect(): Promise<unknown>
  destroy(): unknown
  sendCommand(...args: any[]): Promise<unknown>
}

type Ioredis = RedisClient & {
  on(event: 'error', listener: () => void): unknown
  disconnect(): void
  call(...args: any[]): Promise<unknown>
}
