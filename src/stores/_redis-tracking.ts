import { SessionError } from '../errors.ts'
import type { RedisClient } from './_redis-client.ts'

/** Hears the key of what was read and has changed since; null where everything may have. */
export type Invalidated = (key: string | null) => void

/** What a client of node-redis is made with to have Redis track what it reads, and to tell of the invalidations, which come by RESP3 alone. */
export const TRACKING = { RESP: 3, emitInvalidate: true } as const

/**
 * Tells what Redis says of the keys read by a client, by whoever they were changed: clients, expiry, eviction. A connection that is lost, or is a new
 * one, may have missed some.
 * @throws SessionError `ERR_SESSION_OPTION` when the client cannot tell
 */
export function track(client: RedisClient, invalidated: Invalidated): void {
  const { options, on } = client as Partial<Tracked>
  if (on === undefined || options?.emitInvalidate !== true)
    throw new SessionError(
      'ERR_SESSION_OPTION',
      'The nearCache needs invalidations by RESP3, of a single server: hand the store a url, or a client that was made by ' +
        'createClient({ RESP: 3, emitInvalidate: true }) of node-redis; ioredis, pools, Sentinel and Cluster have none.',
      { rule: 'redis-near-cache-client' },
    )
  const all = (): void => invalidated(null)
  on.call(client, 'invalidate', (key) => invalidated(key?.toString() ?? null))
  for (const event of ['error', 'terminated', 'end', 'ready']) on.call(client, event, all)
}

/** Whether the answer to `CLIENT TRACKINGINFO` says that Redis tracks what its connection reads. */
export function isTracking(reply: unknown): boolean {
  // In RESP2 it is no object. Beside other flags, as `optin`, not every read would be tracked.
  const { flags } = reply as { flags?: unknown }
  return Array.isArray(flags) && flags.join() === 'on'
}

interface Tracked {
  readonly options: { readonly emitInvalidate?: boolean }
  on(event: string, listener: (key: string | Buffer | null) => void): unknown
}
