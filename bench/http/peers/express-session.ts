import session from 'express-session'
import { RedisStore } from 'connect-redis'

import type { Pair } from '../frameworks.ts'
import { onExpress } from '../frameworks.ts'
import type { Place } from '../stores.ts'
import { keyValue, nodeRedis } from '../stores.ts'
import type { AppSession } from '../work.ts'
import { onObject, SECRET, TTL } from '../work.ts'

/** Without `resave`, `saveUninitialized` and `rolling`, and where the store lets it without a touch at every request. */
export async function expressSession(place: Place, data: AppSession): Promise<Pair> {
  const middleware = session({
    secret: SECRET,
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: TTL * 1000 },
    ...(place.store !== 'memory' && { store: await callbackStore(place) }),
  })
  return onExpress(middleware, (req, work) =>
    onObject((req as unknown as { session: AppSession }).session, work, data),
  )
}

/** A store of express-session's kind, which @fastify/session takes too. */
export async function callbackStore(place: Place): Promise<session.Store> {
  if (place.store === 'redis')
    return new RedisStore({ client: await nodeRedis(place), ttl: TTL, disableTouch: true })
  const texts = await keyValue(place)
  return new (class extends session.Store {
    get(id: string, done: (error: unknown, session?: session.SessionData | null) => void): void {
      texts.get(id).then((text) => done(null, text === null ? null : JSON.parse(text)), done)
    }
    set(id: string, data: session.SessionData, done: (error?: unknown) => void = ignore): void {
      texts.set(id, JSON.stringify(data)).then(() => done(), done)
    }
    destroy(id: string, done: (error?: unknown) => void = ignore): void {
      texts.delete(id).then(() => done(), done)
    }
  })()
}

const ignore = (): void => {}
