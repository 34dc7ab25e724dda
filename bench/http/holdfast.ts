/** Holdfast on each framework it has an adapter for. */
import type { Sessions } from 'holdfast'
import { createSessions } from 'holdfast'
import * as express from 'holdfast/express'
import * as fetch from 'holdfast/fetch'
import * as hono from 'holdfast/hono'
import * as node from 'holdfast/node'
import { RedisSessionStore } from 'holdfast/redis'
import { SqliteSessionStore } from 'holdfast/sqlite'

import type { Pair } from './frameworks.ts'
import { answer, onExpress, onFetch, onHono, onNode, respond, workOf } from './frameworks.ts'
import type { Place } from './stores.ts'
import { ioredis } from './stores.ts'
import type { AppSession } from './work.ts'
import { onMap, SECRET } from './work.ts'

export async function onHoldfastNode(place: Place, data: AppSession): Promise<Pair> {
  const sessions = sessionsIn(place)
  const withSession = node.sessionMiddleware(sessions)
  return onNode((req, res, work) =>
    withSession(req, res, () => answer(res, onMap(node.getSession(req, sessions), work, data))),
  )
}

export async function onHoldfastExpress(place: Place, data: AppSession): Promise<Pair> {
  const sessions = sessionsIn(place)
  return onExpress(express.sessionMiddleware(sessions) as never, (req, work) =>
    onMap(express.getSession(req, sessions), work, data),
  )
}

export async function onHoldfastHono(place: Place, data: AppSession): Promise<Pair> {
  return onHono(hono.sessionMiddleware(sessionsIn(place)), (c, work) => onMap(c.get('session'), work, data))
}

export async function onHoldfastFetch(place: Place, data: AppSession): Promise<Pair> {
  return onFetch(
    fetch.sessionMiddleware(sessionsIn(place))((request, { session }) =>
      respond(onMap(session, workOf(request), data)),
    ),
  )
}

/** Defaults, but for what plain http and several sizes of store ask for. */
function sessionsIn(place: Place): Sessions<AppSession> {
  return createSessions<AppSession>({
    ...storeIn(place),
    secrets: SECRET,
    cookie: { name: 'session', secure: false },
  })
}

function storeIn(place: Place) {
  switch (place.store) {
    case 'redis':
      return { store: new RedisSessionStore({ url: place.redisUrl }) }
    case 'near':
      return { store: new RedisSessionStore({ url: place.redisUrl, nearCache: true }) }
    case 'ioredis':
      return { store: new RedisSessionStore({ client: ioredis(place) }) }
    case 'sqlite':
      return { store: new SqliteSessionStore({ path: `${place.folder}/holdfast.sqlite` }) }
    default:
      return {}
  }
}
