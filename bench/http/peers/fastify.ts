import cookie from '@fastify/cookie'
import secureSession from '@fastify/secure-session'
import session from '@fastify/session'
import mgcrea from '@mgcrea/fastify-session'
import { RedisStore } from '@mgcrea/fastify-session-redis-store'
import type { FastifyRequest } from 'fastify'

import type { Pair } from '../frameworks.ts'
import { onFastify } from '../frameworks.ts'
import type { Place } from '../stores.ts'
import { ioredis } from '../stores.ts'
import type { AppSession, MapLike } from '../work.ts'
import { onMap, onObject, SECRET, TTL } from '../work.ts'
import { callbackStore } from './express-session.ts'

/** Its memory store keeps the very objects, with no copy between one request and another: cheaper, and not isolated. */
export async function fastifySession(place: Place, data: AppSession): Promise<Pair> {
  const store = place.store === 'memory' ? {} : { store: await callbackStore(place) }
  const options = {
    secret: SECRET,
    cookie: { secure: false, maxAge: TTL * 1000 },
    rolling: false,
    saveUninitialized: false,
    ...store,
  }
  const register = (app: any): Promise<unknown> => app.register(cookie).register(session, options)
  return onFastify(register, (req, work) => onObject(sessionOf(req) as AppSession, work, data))
}

/** Touches its store at every read; that cannot be turned off. */
export async function mgcreaSession(place: Place, data: AppSession): Promise<Pair> {
  const store =
    place.store === 'memory' ? {} : { store: new RedisStore({ client: ioredis(place), ttl: TTL }) }
  const options = {
    secret: SECRET,
    cookie: { secure: false, maxAge: TTL },
    saveUninitialized: false,
    ...store,
  }
  const register = (app: any): Promise<unknown> => app.register(cookie).register(mgcrea, options)
  return onFastify(register, (req, work) => onMap(sessionOf(req) as MapLike, work, data))
}

/** The data in the cookie, sealed by libsodium. */
export async function fastifySecureSession(_place: Place, data: AppSession): Promise<Pair> {
  const options = { key: Buffer.alloc(32, SECRET), cookie: { secure: false, path: '/', maxAge: TTL } }
  const register = (app: any): Promise<unknown> => app.register(secureSession, options)
  return onFastify(register, (req, work) => onMap(sessionOf(req) as MapLike, work, data))
}

function sessionOf(request: FastifyRequest): unknown {
  return (request as unknown as { session: unknown }).session
}
