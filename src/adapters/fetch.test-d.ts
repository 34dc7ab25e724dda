import { expectTypeOf } from 'vitest'

import type { Context } from '../context.ts'
import type { Session } from '../session/session.ts'
import { createSessions } from '../sessions.ts'
import { getSession, sessionMiddleware } from './fetch.ts'

interface AppSession {
  visits?: number
}

const sessions = createSessions<AppSession>()
const withSession = sessionMiddleware(sessions)

// the context has the manager's type, and the result takes a request alone
const plain = withSession((request, context) => {
  expectTypeOf(request).toEqualTypeOf<Request>()
  expectTypeOf(context).toEqualTypeOf<Context<AppSession, Request>>()
  expectTypeOf(context.session).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(getSession(context)).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(getSession(request, sessions)).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(getSession<AppSession>(request)).toEqualTypeOf<Session<AppSession>>()
  expectTypeOf(getSession(request)).toEqualTypeOf<Session>()
  // @ts-expect-error: no such key
  context.session.get('vists')
  return new Response()
})
expectTypeOf(plain).toEqualTypeOf<(request: Request) => Promise<Response>>()

// what the runtime passes after the request comes through with its types
const workers = withSession(
  async (_request, _context, env: { KEY: string }, _ctx: { waitUntil(): void }) => new Response(env.KEY),
)
expectTypeOf(workers).toEqualTypeOf<
  (request: Request, env: { KEY: string }, ctx: { waitUntil(): void }) => Promise<Response>
>()

// a framework's own kind of request stays what it is
interface NextRequest extends Request {
  readonly nextUrl: URL
}
const next = withSession(
  (request: NextRequest, { session }, { params }: { params: Promise<{ id: string }> }) => {
    void params
    return new Response(`${request.nextUrl.pathname} ${session.id}`)
  },
)
expectTypeOf(next).toEqualTypeOf<
  (request: NextRequest, route: { params: Promise<{ id: string }> }) => Promise<Response>
>()

// options instead of a manager: the type is given, or it is any record
sessionMiddleware<AppSession>({ idleTimeout: 60 })((_, { session }) => {
  expectTypeOf(session).toEqualTypeOf<Session<AppSession>>()
  return new Response()
})
sessionMiddleware()((_, { session }) => {
  expectTypeOf(session).toEqualTypeOf<Session>()
  return new Response()
})

sessionMiddleware(sessions, { skip: (request) => request.url.endsWith('.css') })
// @ts-expect-error: a handler answers with a Response
withSession(() => 'text')
