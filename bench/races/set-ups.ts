/**
 * One small application, written for each library as its own documentation says, over one Redis. Where a library leaves a choice, it is the one
 * that its documentation recommends.
 *
 * - `/sign-in` begins a session of the user vera's, `/sign-out` ends it
 * - `/set/:key` sets a key, `/add` adds one to a counter, `/read` only reads; each waits at a gate first, with the session loaded
 * - `/data` answers with all there is, at once
 */
import { randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { RedisStore } from 'connect-redis'
import express from 'express'
import expressSession from 'express-session'
import createFastify from 'fastify'
import { createSessionStorage } from 'react-router'
import { createClient } from 'redis'

import { getSession, sessionMiddleware } from '../../src/adapters/express.ts'
import { createSessions } from '../../src/index.ts'
import { RedisSessionStore } from '../../src/stores/redis.ts'

/** Waits until the run lets the request go on. */
type Gate = () => Promise<void>

/** Serves the application on a free port. @returns the port */
type SetUp = (redisUrl: string, gate: Gate) => Promise<number>

const SECRET = 'a secret of the bench, and longer than 32 bytes'

async function holdfast(url: string, gate: Gate): Promise<number> {
  // Notes activity at every read, as express-session does, and not once a minute: the harder case.
  const sessions = createSessions<any>({
    store: new RedisSessionStore({ url }),
    secrets: SECRET,
    touchEvery: 0,
  })
  const app = express()
  app.use(sessionMiddleware(sessions))
  app.get('/sign-in', (req, res) => {
    getSession(req, sessions).signIn('vera')
    res.end()
  })
  app.get('/sign-out', async (req, res) => {
    await getSession(req, sessions).destroy()
    res.end()
  })
  app.get('/set/:key', async (req, res) => {
    const session = getSession(req, sessions)
    await gate()
    session.set(req.params.key, 1)
    res.end()
  })
  app.get('/add', async (req, res) => {
    const session = getSession(req, sessions)
    await gate()
    session.update('count', (n = 0) => n + 1)
    res.end()
  })
  app.get('/read', async (req, res) => {
    const { userId } = getSession(req, sessions)
    await gate()
    res.end(userId)
  })
  app.get('/data', (req, res) => {
    const session = getSession(req, sessions)
    res.json({ ...Object.fromEntries(session), user: session.userId })
  })
  return listen(app)
}

/** As in the README files of express-session 1.19 and connect-redis 10. */
async function expressWithConnectRedis(url: string, gate: Gate): Promise<number> {
  const client = await createClient({ url }).connect()
  const app = express()
  app.use(
    expressSession({
      store: new RedisStore({ client }),
      resave: false, // required: force lightweight session keep alive (touch)
      saveUninitialized: false, // recommended: only save session when data exists
      secret: SECRET,
    }),
  )
  app.get('/sign-in', (req: any, res, next) => {
    req.session.regenerate((error: unknown) => {
      if (error) return next(error)
      req.session.user = 'vera'
      res.end()
    })
  })
  app.get('/sign-out', (req: any, res, next) => {
    req.session.destroy((error: unknown) => (error ? next(error) : res.end()))
  })
  app.get('/set/:key', async (req: any, res) => {
    await gate()
    req.session[req.params.key] = 1
    res.end()
  })
  app.get('/add', async (req: any, res) => {
    await gate()
    req.session.count = (req.session.count ?? 0) + 1
    res.end()
  })
  app.get('/read', async (req: any, res) => {
    await gate()
    res.end(req.session.user)
  })
  app.get('/data', (req: any, res) => res.json(req.session))
  return listen(app)
}

/** As in the README of @fastify/session 11.1, with the store of express-session's that it says to be compatible with. */
async function fastifyWithConnectRedis(url: string, gate: Gate): Promise<number> {
  const client = await createClient({ url }).connect()
  const app = createFastify()
  app.register(fastifyCookie)
  app.register(fastifySession, {
    secret: SECRET,
    cookie: { secure: false }, // for unencrypted connections
    store: new RedisStore({ client }) as any,
  })
  app.get('/sign-in', async (request: any) => {
    await request.session.regenerate()
    request.session.set('user', 'vera')
    return ''
  })
  app.get('/sign-out', async ({ session }: any) => {
    await session.destroy()
    return ''
  })
  app.get('/set/:key', async ({ session, params }: any) => {
    await gate()
    session.set(params.key, 1)
    return ''
  })
  app.get('/add', async ({ session }: any) => {
    await gate()
    session.set('count', (session.get('count') ?? 0) + 1)
    return ''
  })
  app.get('/read', async ({ session }: any) => {
    await gate()
    return session.get('user')
  })
  app.get('/data', async ({ session }: any) => session)
  await app.listen({ host: '127.0.0.1', port: 0 })
  return (app.server.address() as AddressInfo).port
}

/**
 * As in "Creating custom session storage" of React Router 8.5's guide, which was Remix's. Its example has a database's `insert`, `select`,
 * `update` and `delete`; Redis' own `SET` writes whether there is a record or not, as the framework's memory and file storages do, and
 * `SET … XX` only where there is one.
 */
function reactRouter(update: object): SetUp {
  return async (url, gate) => {
    const client = await createClient({ url }).connect()
    const { getSession, commitSession, destroySession } = createSessionStorage<any>({
      cookie: { name: '__session', sameSite: 'lax', secrets: [SECRET] },
      async createData(data) {
        const id = randomUUID()
        await client.set(id, JSON.stringify(data))
        return id
      },
      async readData(id) {
        return JSON.parse((await client.get(id)) ?? 'null')
      },
      async updateData(id, data) {
        await client.set(id, JSON.stringify(data), update)
      },
      async deleteData(id) {
        await client.del(id)
      },
    })
    return listen(async (req, res) => {
      const [, page, key = ''] = req.url!.split('/')
      const session = await getSession(req.headers.cookie)
      switch (page) {
        case 'sign-in':
          session.set('user', 'vera')
          return res.setHeader('Set-Cookie', await commitSession(session)).end()
        case 'sign-out':
          return res.setHeader('Set-Cookie', await destroySession(session)).end()
        case 'set':
          await gate()
          session.set(key, 1)
          return res.setHeader('Set-Cookie', await commitSession(session)).end()
        case 'add':
          await gate()
          session.set('count', (session.get('count') ?? 0) + 1)
          return res.setHeader('Set-Cookie', await commitSession(session)).end()
        case 'read':
          await gate()
          return res.end(session.get('user'))
        case 'data':
          return res.end(JSON.stringify(session.data))
      }
    })
  }
}

export const SET_UPS: Readonly<Record<string, SetUp>> = {
  Holdfast: holdfast,
  'express-session + connect-redis': expressWithConnectRedis,
  '@fastify/session + connect-redis': fastifyWithConnectRedis,
  'React Router createSessionStorage, SET': reactRouter({}),
  'React Router createSessionStorage, SET XX': reactRouter({ condition: 'XX' }),
}

function listen(app: RequestListener): Promise<number> {
  const server = createServer(app)
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}
