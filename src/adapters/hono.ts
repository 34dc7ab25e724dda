import type { Context as HonoContext, MiddlewareHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'

import type { ContextOptions } from '../context.ts'
import { attach, Context, contextOf, getSession as sessionOf, runIn } from '../context.ts'
import { SessionError } from '../errors.ts'
import type { SessionsOptions } from '../options.ts'
import type { Session } from '../session/session.ts'
import type { Sessions } from '../sessions.ts'
import { commitResponse, commitWithoutHeaders, unavailable } from './_commit-response.ts'
import { requestOf } from './_hono-request.ts'
import type { MiddlewareOptions } from './_middleware.ts'
import { isUnavailable, managerOf, UNAVAILABLE } from './_middleware.ts'

/** Options of {@link sessionMiddleware}. */
export interface HonoMiddlewareOptions<K extends string = 'session'> extends MiddlewareOptions<HonoContext> {
  /** The variable that holds the session. Default `'session'`: `c.var.session`. An application with two managers gives one another name. */
  as?: K
}

/** Hono's `Variables` with a session among them, for `new Hono<{ Variables: SessionVariables<AppSession> }>()`. */
export type SessionVariables<T extends object = Record<string, unknown>, K extends string = 'session'> = {
  [P in K]: Session<T>
}

/**
 * Sessions for Hono: `c.var.session` below it. Assigning another by `c.set('session', …)` is honoured: what the variable holds at
 * the end is what is committed.
 *
 * The session is committed when the handlers are done, also when one has thrown and `onError` answered, before the answer leaves. A store that
 * fails to give the session throws an `HTTPException` with status 503, for `onError`; one that fails to keep it makes the answer 503.
 *
 * @param sessions the manager that `createSessions` made, or its options
 * @example
 * const app = new Hono()
 *   .use(sessionMiddleware(createSessions<{ visits: number }>()))
 *   .get('/', (c) => c.text(`Visit ${c.var.session.update('visits', (n = 0) => n + 1)}`))
 */
export function sessionMiddleware<
  T extends object = Record<string, unknown>,
  const K extends string = 'session',
>(
  sessions: Sessions<T> | SessionsOptions = {},
  options: HonoMiddlewareOptions<K> = {},
): MiddlewareHandler<{ Variables: SessionVariables<T, K> }> {
  const manager = managerOf<T>(sessions)
  const { skip, as: key = 'session' } = options

  return async (c, next) => {
    if (skip?.(c) === true || isMounted(c, manager, key)) return next()
    let session: Session<T>
    try {
      const opened = manager.openNow(requestOf(c))
      session = opened instanceof Promise ? await opened : opened
    } catch (cause) {
      if (!isUnavailable(cause)) throw cause
      throw new HTTPException(503, { message: UNAVAILABLE.body, res: unavailable(), cause })
    }
    const context = new VariableContext({ sessions: manager, request: c.req.raw, session }, c, key)
    attach(c, manager, context)
    attach(c.req.raw, manager, context)
    try {
      await runIn(context, next)
    } catch (thrown) {
      // Hono answers every Error before this; what comes here leaves without our headers.
      await commitWithoutHeaders(manager, context, 500)
      throw thrown
    }
    const answered = c.res
    try {
      const response = await commitResponse(manager, context, answered)
      if (response !== answered) replaceAnswer(c, response)
    } catch (error) {
      // Or Hono would put the headers of the one before on the answer of onError.
      replaceAnswer(c, new Response())
      throw error
    }
  }
}

/**
 * The session of a request that {@link sessionMiddleware} has seen, for code without the typed `c.var.session`.
 * @param source Hono's context, the raw request, or a `Context`
 * @param sessions whose session, where an application has several managers. Default: of the middleware nearest to the handler
 * @throws SessionError `ERR_SESSION_NO_MIDDLEWARE` when no middleware has opened one
 */
export function getSession<T extends object = Record<string, unknown>>(
  source: HonoContext | Request | Context<T, any>,
  sessions?: Sessions<T>,
): Session<T> {
  return sessionOf(source, sessions)
}

/** A context whose session is Hono's variable, so that there is one place to read and to assign it. */
class VariableContext<T extends object> extends Context<T, Request> {
  readonly #c: HonoContext
  readonly #key: string

  constructor(options: ContextOptions<T, Request>, c: HonoContext, key: string) {
    super(options)
    this.#c = c
    this.#key = key
    c.set(key, options.session)
  }

  override get session(): Session<T> {
    return this.#c.get(this.#key) as Session<T>
  }

  override set session(session: Session<T>) {
    this.#c.set(this.#key, session)
  }
}

/** Whether these sessions are mounted further out already: a second session of the same request would overwrite the first. */
function isMounted<T extends object>(c: HonoContext, sessions: Sessions<T>, key: string): boolean {
  if (c.get(key) === undefined) return false
  try {
    contextOf(c, sessions)
    return true
  } catch (cause) {
    throw new SessionError(
      'ERR_SESSION_OPTION',
      `c.var.${key} is taken. Where two sessionMiddlewares of different sessions meet, give one another name: { as: '…' }.`,
      { rule: 'variable-taken', cause },
    )
  }
}

function replaceAnswer(c: HonoContext, response: Response): void {
  // Assigned over another, a response is given its headers too.
  c.res = undefined
  c.res = response
}
