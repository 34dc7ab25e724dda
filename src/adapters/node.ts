import type { IncomingMessage } from 'node:http'
import type { Http2ServerRequest } from 'node:http2'

import type { Commit } from '../answer.ts'
import type { Awaitable } from '../awaitable.ts'
import type { ContextOptions } from '../context.ts'
import { attach, Context, runIn } from '../context.ts'
import type { NodeRequest } from '../cookie/connection.ts'
import { logError } from '../errors.ts'
import type { SessionsOptions } from '../options.ts'
import type { Session } from '../session/session.ts'
import { stateOf } from '../session/session.ts'
import type { Sessions } from '../sessions.ts'
import type { HeaderHook, NodeResponse } from './_hold-response.ts'
import { holdResponse, isHeldFor } from './_hold-response.ts'
import type { MiddlewareOptions } from './_middleware.ts'
import { managerOf } from './_middleware.ts'

export { getSession } from '../context.ts'
export type { NodeResponse } from './_hold-response.ts'

/** Options of {@link sessionMiddleware}. */
export interface NodeMiddlewareOptions<
  R = IncomingMessage | Http2ServerRequest,
> extends MiddlewareOptions<R> {
  /** Told of a session that could not be committed, a value that JSON cannot hold say, where the visitor is told 500. Default: `console.error`. */
  onError?: (error: unknown, request: R) => void
}

/** Connect's kind of middleware. */
export type NodeMiddleware<R = IncomingMessage | Http2ServerRequest> = (
  request: R,
  response: NodeResponse,
  next: (error?: unknown) => void,
) => void | Promise<void>

/**
 * Sessions for `node:http`, its HTTP/2 sibling, and whatever takes `(req, res, next)`. Handlers below get theirs by
 * {@link getSession}, or as `Context.current()`.
 *
 * The answer is held until the session is committed: before its first byte, with the status it has then. A store that cannot give the
 * session calls `next` with the error, whose `status` is 503; one that cannot keep it answers 503 in the handler's place.
 *
 * Without a cookie, `next` is called at once; otherwise when the store has answered. What `next` returns is handed on.
 *
 * @param sessions the manager that `createSessions` made, or its options
 * @example
 * const withSession = sessionMiddleware(createSessions<{ visits: number }>())
 *
 * createServer((req, res) =>
 *   withSession(req, res, (error) => {
 *     if (error) return res.writeHead(503).end()
 *     res.end(`Visit ${getSession<{ visits: number }>(req).update('visits', (n = 0) => n + 1)}`)
 *   }))
 */
export function sessionMiddleware<
  T extends object = Record<string, unknown>,
  R extends NodeRequest = IncomingMessage | Http2ServerRequest,
>(sessions: Sessions<T> | SessionsOptions = {}, options: NodeMiddlewareOptions<R> = {}): NodeMiddleware<R> {
  const manager = managerOf<T>(sessions)
  const { skip, onError = logError } = options

  function enter(session: Session<T>, request: R, response: NodeResponse, next: () => void): void {
    const context = new ResponseContext({ sessions: manager, request, session }, response)
    attach(request, manager, context)
    if (response.headersSent) stateOf(session).headersSent = true
    else holdResponse(response, new SessionHook(manager, context, request, onError))
    return runIn(context, next)
  }

  return (request, response, next) => {
    // Mounted further out already, it is that session which counts: a second one would send a second cookie of the name.
    if (skip?.(request) === true || isHeldFor(response, manager)) return next()
    const opened = manager.openNow(request)
    if (!(opened instanceof Promise)) return enter(opened, request, response, next)
    const entered = (session: Session<T>): void => uncaught(enter, session, request, response, next)
    const failed = (error: unknown): void => uncaught(next, error)
    return opened.then(entered, failed)
  }
}

/** A context whose session is followed, where somebody asks for that, until the response is through or broken off. */
class ResponseContext<T extends object, R> extends Context<T, R> {
  readonly #response: NodeResponse

  constructor(options: ContextOptions<T, R>, response: NodeResponse) {
    super(options)
    this.#response = response
  }

  override begun(): void {
    if (this.#response.closed === true) this.close()
    else this.#response.once('close', () => this.close())
  }
}

/** Commits a request's session, the one that its context holds by then. */
class SessionHook<T extends object, R> implements HeaderHook {
  readonly owner: Sessions<T>
  readonly #context: Context<T, R>
  readonly #request: R
  readonly #onError: (error: unknown, request: R) => void

  constructor(
    sessions: Sessions<T>,
    context: Context<T, R>,
    request: R,
    onError: (error: unknown, request: R) => void,
  ) {
    this.owner = sessions
    this.#context = context
    this.#request = request
    this.#onError = onError
  }

  beforeHeaders(status: number): Awaitable<Commit> {
    return this.owner.commitNow(this.#context.session, status)
  }

  report(error: unknown): void {
    process.nextTick(this.#onError, error, this.#request)
  }
}

/**
 * What `next` throws is nobody's to catch here, as with any callback that is called late. As a rejection, Express would answer it by
 * calling `next` again.
 */
function uncaught<A extends unknown[]>(call: (...args: A) => void, ...args: A): void {
  try {
    return call(...args)
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}
