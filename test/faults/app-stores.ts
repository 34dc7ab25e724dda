import { MemorySessionStore } from '../../src/index.ts'
import type { RedisDurability } from '../../src/stores/redis.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'
import type { SessionStore } from '../../src/stores/store.ts'

/** What leads to the store: Redis by the store's own connection, or by a client that it is handed; or this process's memory. */
export type ClientName = 'url' | 'node-redis' | 'ioredis' | 'memory'

/** The store under test, and what is the application's to do about it. */
export interface OpenStore {
  readonly store: SessionStore
  /** Commands that a client handed in has taken and not settled. */
  unsettled(): number
  /** Closes a client that was handed in, as its owner would. */
  disconnect(): void
}

/** Opens a store on the Redis at a port of 127.0.0.1, with the settings that clients have by themselves. */
export async function openStore(
  name: ClientName,
  port: number,
  durability?: RedisDurability,
): Promise<OpenStore> {
  const settings = durability && { durability }
  const url = `redis://127.0.0.1:${port}`
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

  switch (name) {
    case 'memory':
      return owned(new MemorySessionStore({ maxSessions: 4_000_000, maxTotalBytes: 2 ** 32 }))
    case 'url':
      return owned(new RedisSessionStore({ url, ...settings }))
    case 'node-redis': {
      const { createClient } = await import('redis')
      const client = createClient({ url })
      client.on('error', () => {})
      // Where the server is not there yet, it goes on trying.
      client.connect().catch(() => {})
      client.sendCommand = counted(client.sendCommand.bind(client)) as typeof client.sendCommand
      return owned(new RedisSessionStore({ client, ...settings }), () => client.destroy())
    }
    case 'ioredis': {
      const { Redis } = await import('ioredis')
      const client = new Redis(port, '127.0.0.1')
      client.on('error', () => {})
      client.call = counted(
        client.call.bind(client) as (command: string) => Promise<unknown>,
      ) as typeof client.call
      return owned(new RedisSessionStore({ client, ...settings }), () => client.disconnect())
    }
  }
}
