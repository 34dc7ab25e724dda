import { Hono } from 'hono'
import { expectTypeOf } from 'vitest'

import type { Session } from '../session/session.ts'
import { createSessions } from '../sessions.ts'
import type { SessionVariables } from './hono.ts'
import { getSession, sessionMiddleware } from './hono.ts'

interface AppSession {
  visits?: number
}

interface AdminSession {
  role: 'editor' | 'owner'
}

const sessions = createSessions<AppSession>()
const admins = createSessions<AdminSession>({ cookie: { name: '__Host-admin' } })

// the variable has the manager's type, below the middleware
new Hono().use(sessionMiddleware(sessions)).get('/', (c) => {
  expectTypeOf(c.var.session).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(c.get('session')).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(c.var.session.get('visits')).toEqualTypeOf<number | undefined>()
  // @ts-expect-error: a session of another shape
  c.set('session', admins.open(null))
  // @ts-expect-error: no such variable
  void c.var.admin
  return c.body(null)
})

// also as a route's own middleware
new Hono().get('/', sessionMiddleware(sessions), (c) => {
  expectTypeOf(c.var.session).toEqualTypeOf<Session<AppSession>>()
  return c.body(null)
})

// two managers, two variables
new Hono()
  .use(sessionMiddleware(sessions))
  .use(sessionMiddleware(admins, { as: 'admin' }))
  .get('/', (c) => {
    expectTypeOf(c.var.session).toEqualTypeOf<Session<AppSession>>()
    expectTypeOf(c.var.admin).toEqualTypeOf<Session<AdminSession>>()
    return c.body(null)
  })

// options instead of a manager: the type is given, or it is any record
new Hono().use(sessionMiddleware<AppSession>({ idleTimeout: 60 })).get('/', (c) => {
  expectTypeOf(c.var.session).toEqualTypeOf<Session<AppSession>>()
  return c.body(null)
})
new Hono().use(sessionMiddleware()).get('/', (c) => {
  expectTypeOf(c.var.session).toEqualTypeOf<Session>()
  return c.body(null)
})
sessionMiddleware<AppSession, 'admin'>({}, { as: 'admin' })

// the variables can be declared where the application is made
const app = new Hono<{ Variables: SessionVariables<AppSession> & SessionVariables<AdminSession, 'admin'> }>()
app.use(sessionMiddleware(sessions))
app.get('/', (c) => {
  expectTypeOf(c.var.session).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(c.var.admin).toEqualTypeOf<Session<AdminSession>>()
  expectTypeOf(getSession(c, sessions)).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(getSession<AppSession>(c)).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(getSession<AppSession>(c.req.raw)).toEqualTypeOf<Session<AppSession>>()
  return c.body(null)
})

// nothing is declared for applications without the middleware
new Hono().get('/', (c) => {
  // @ts-expect-error: no such variable
  void c.var.session
  return c.body(null)
})

// @ts-expect-error: misspelt
sessionMiddleware(sessions, { name: 'admin' })
