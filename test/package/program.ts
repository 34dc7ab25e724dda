/** A program as a user would write it, compiled against the packed package in strict mode. It uses every entry. */
import { createServer } from 'node:http'
import type { DatabaseSync } from 'node:sqlite'

import { upgradeWebSocket } from '@hono/node-server'
import { Hono } from 'hono'
import {
  Context,
  createSessions,
  isMark,
  MemorySessionStore,
  SessionData,
  SessionError,
  SessionStore,
} from 'holdfast'
import type { Clock, Decision, Mark, Session, SessionEvent, SessionsOptions } from 'holdfast'
import * as crossws from 'holdfast/crossws'
import * as express from 'holdfast/express'
import * as fetching from 'holdfast/fetch'
import * as hono from 'holdfast/hono'
import * as honoWs from 'holdfast/hono-ws'
import * as node from 'holdfast/node'
import { RedisSessionStore } from 'holdfast/redis'
import * as socketIo from 'holdfast/socket.io'
import { SqliteSessionStore } from 'holdfast/sqlite'
import { eventStream } from 'holdfast/sse'
import { adapterContract, FaultyStore, ManualClock, storeContract } from 'holdfast/testing'
import * as ws from 'holdfast/ws'
import type { Redis } from 'ioredis'
import type { createClient } from 'redis'
import type { Server, Socket } from 'socket.io'
import { WebSocketServer } from 'ws'
import * as z from 'zod'

interface AppSession {
  visits?: number
  cart?: { sku: string; quantity: number }[]
  theme?: 'dark' | 'light'
}

declare const nodeRedis: ReturnType<typeof createClient>
declare const ioredis: Redis
declare const database: DatabaseSync

const options: SessionsOptions = {
  store: new MemorySessionStore({ maxSessions: 10 }),
  idleTimeout: 60,
  cookie: { sameSite: 'strict' },
}
export const sessions = createSessions<AppSession>(options)
export const stores: SessionStore[] = [
  new RedisSessionStore({ url: 'redis://localhost' }),
  new RedisSessionStore({ client: nodeRedis, prefix: 'app:' }),
  new RedisSessionStore({ client: ioredis }),
  new SqliteSessionStore({ path: ':memory:' }),
  new SqliteSessionStore({ database }),
  new FaultyStore(new MemorySessionStore({ clock: new ManualClock() })),
]

export async function use(session: Session<AppSession>): Promise<Decision> {
  const visits: number = session.get('visits', 0)
  const theme: 'dark' | 'light' | undefined = session.get('theme')
  session.set('visits', visits + 1).set('theme', theme ?? 'dark')
  session.data.cart = [{ sku: 'tea', quantity: 1 }]
  session.get('cart')?.push({ sku: 'salt', quantity: 2 })
  const updated: number = session.update('visits', (n = 0) => n + 1)
  for (const [key, value] of session) void [key satisfies keyof AppSession, value]
  const view = session.typed(z.object({ visits: z.number().default(0), limit: z.number().default(10) }))
  const limit: number = view.limit
  session.setExpiry(limit + updated)
  // @ts-expect-error: no such key
  session.get('nothing')
  // @ts-expect-error: not a theme
  session.set('theme', 'blue')
  const outcome: 'saved' | 'unchanged' | 'gone' = await session.save()
  void outcome
  const { headers, decision } = await sessions.commit(session, { status: 200 })
  for (const [name, value] of headers) void [name satisfies 'Set-Cookie' | 'Vary' | 'Cache-Control', value]
  return decision
}

class OwnStore extends SessionStore {
  readonly #records = new Map<string, string>()
  get(id: string): Promise<SessionData | null> {
    const text = this.#records.get(id)
    return Promise.resolve(text === undefined ? null : SessionData.fromJSON(JSON.parse(text)))
  }
  set(id: string, data: SessionData): Promise<void> {
    this.#records.set(id, JSON.stringify(data))
    return Promise.resolve()
  }
  delete(id: string): Promise<boolean> {
    return Promise.resolve(this.#records.delete(id))
  }
  exists(id: string): Promise<boolean> {
    return Promise.resolve(this.#records.has(id))
  }
}

// @ts-expect-error: the contract itself is no store
new SessionStore()

export async function load(store: OwnStore, id: string): Promise<Mark | SessionData | null> {
  const found = await store.load(id)
  return isMark(found) ? found : found
}

export const app = new Hono()
  .use(hono.sessionMiddleware(sessions))
  .get('/', (c) =>
    c.json({ visits: c.var.session.get('visits', 0), size: hono.getSession<AppSession>(c, sessions).size }),
  )

export const handler: (request: Request) => Promise<Response> = fetching.sessionMiddleware(sessions)((
  _request,
  ctx,
) => {
  ctx.session.data.theme = 'light'
  return new Response(ctx.session.id)
})

const withSession = node.sessionMiddleware(sessions, { skip: (req) => req.url === '/favicon.ico' })
createServer((req, res) => {
  void withSession(req, res, () => res.end(node.getSession(req, sessions).get('theme')))
})

export const connect = express.sessionMiddleware<AppSession>({ idleTimeout: 60 })

export const later = Context.current<AppSession>()?.callback((ctx, reason: string) =>
  ctx.session.set('theme', reason === 'night' ? 'dark' : 'light'),
)

const sockets = new WebSocketServer({ noServer: true })
createServer().on(
  'upgrade',
  ws.acceptSockets(
    sessions,
    sockets,
    (ctx, socket) => {
      const theme: 'dark' | 'light' | undefined = ctx.session.get('theme')
      socket.on(
        'message',
        ctx.callback(({ session }, data: Buffer) => void session.set('visits', data.length)),
      )
      // @ts-expect-error: keys are those of the sessions
      ctx.onChange((keys) => keys.includes('nothing'))
      ctx.onChange(
        (keys, session) => keys.includes('theme') && socket.send(session.get('theme', theme ?? 'dark')),
      )
    },
    { origins: ['https://example.com'], requireUser: true, maxPending: 10 },
  ),
)

declare const io: Server
socketIo.acceptSockets(sessions, io, (ctx, socket: Socket) => {
  socket.on(
    'visit',
    ctx.callback(({ session }) => session.update('visits', (n = 0) => n + 1)),
  )
  const { signal } = socketIo.getContext(socket, sessions)
  void signal.aborted
})

export const live = new Hono().get(
  '/live',
  honoWs.acceptSockets(sessions, upgradeWebSocket, (ctx, socket) => ({
    onMessage: ctx.callback(({ session }, { data }) =>
      socket.send(`${data as string} ${session.get('visits', 0)}`),
    ),
  })),
)

export const hooks = crossws.acceptSockets(sessions, {
  message: ({ session }) => session.set('theme', 'dark'),
})

export const events: Response = eventStream(Context.current<AppSession>()!, (send) => {
  send({ event: 'hello', data: { a: 1 } })
})

export const clock: Clock = new ManualClock()
export const contracts: number = storeContract.length + adapterContract.length

export function explain(error: unknown, event: SessionEvent): string {
  return error instanceof SessionError ? `${error.code} ${error.status}` : event.kind
}
