import type { Request, RequestHandler } from 'express'
import express from 'express'
import { expectTypeOf } from 'vitest'

import { createSessions } from '../sessions.ts'
import type { Session } from '../session/session.ts'
import { getSession, sessionMiddleware } from './express.ts'

interface AppSession {
  visits?: number
}

const sessions = createSessions<AppSession>()

// It is what Express takes, wherever Express takes it.
const app = express()
  .use(sessionMiddleware())
  .use(sessionMiddleware(sessions))
  .use('/admin', sessionMiddleware(sessions), express.json())
expectTypeOf(sessionMiddleware(sessions)).toExtend<RequestHandler>()

// The session has the type that is asked for, or that of its manager.
app.get('/users/:id', sessionMiddleware<AppSession>({ idleTimeout: 60 }), (req, res) => {
  expectTypeOf(req.params.id).toEqualTypeOf<string>()
  expectTypeOf(getSession(req)).toEqualTypeOf<Session>()
  expectTypeOf(getSession<AppSession>(req)).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(getSession(req, sessions)).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(getSession<AppSession>(req).get('visits')).toEqualTypeOf<number | undefined>()
  // @ts-expect-error there is no such key
  getSession<AppSession>(req).get('visit')
  res.end()
})

// Options see as much of the request as they ask for.
sessionMiddleware(sessions, { skip: ({ path, method }) => path.startsWith('/assets/') && method === 'GET' })
sessionMiddleware(sessions, { skip: (req: Request) => req.secure })
sessionMiddleware(sessions, { onError: (error, { originalUrl }) => console.warn(originalUrl, error) })
// @ts-expect-error there is no such option
sessionMiddleware(sessions, { skipp: () => true })
// @ts-expect-error nor such a one here
sessionMiddleware({ idleTimeOut: 60 })
