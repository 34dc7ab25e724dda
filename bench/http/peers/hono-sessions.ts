import { MemoryStore, sessionMiddleware } from 'hono-sessions'

import type { Pair } from '../frameworks.ts'
import { onHono } from '../frameworks.ts'
import type { Place } from '../stores.ts'
import { keyValue } from '../stores.ts'
import type { AppSession, MapLike } from '../work.ts'
import { onMap, TTL } from '../work.ts'

/** Without encryption of its cookie, a random id, and without moving the expiry at every request. */
export async function honoSessions(place: Place, data: AppSession): Promise<Pair> {
  const middleware = sessionMiddleware({
    store: place.store === 'memory' ? new MemoryStore() : await textStore(place),
    expireAfterSeconds: TTL,
    autoExtendExpiration: false,
    cookieOptions: { path: '/', httpOnly: true, sameSite: 'Lax' },
  })
  return onHono(middleware, (c, work) => onMap(c.get('session') as MapLike, work, data))
}

async function textStore(place: Place) {
  const texts = await keyValue(place)
  const write = async (id: string, data: unknown): Promise<void> => {
    await texts.set(id, JSON.stringify(data))
  }
  return {
    getSessionById: async (id?: string) => JSON.parse((await texts.get(id ?? '')) ?? 'null'),
    createSession: write,
    persistSessionData: write,
    deleteSession: async (id: string) => void (await texts.delete(id)),
  }
}
