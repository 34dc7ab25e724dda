import type { IncomingMessage } from 'node:http'

import type { SessionsOptions } from '../options.ts'
import type { Sessions } from '../sessions.ts'
import type { NodeMiddleware, NodeMiddlewareOptions } from './node.ts'
import { sessionMiddleware as nodeMiddleware } from './node.ts'

export { getSession } from '../context.ts'

/** The part of Express' request that `skip` will want. */
export interface ExpressRequest extends IncomingMessage {
  readonly method: string
  readonly path: string
  readonly originalUrl: string
}

/** Options of {@link sessionMiddleware}. */
export type ExpressMiddlewareOptions<R extends IncomingMessage = ExpressRequest> = NodeMiddlewareOptions<R>

/**
 * Sessions for Express 5, and 4. Handlers below get theirs by {@link getSession}, or as `Context.current()`.
 *
 * The answer is held until the session is committed: before its first byte, with the status it has then, an error handler's included. A store
 * that cannot give the session makes an error for the error handlers, whose `status` is 503; one that cannot keep it makes the answer 503.
 *
 * An error thrown after the answer was ended, as in `res.json(x); throw e`, comes too late to be answered: where the answer is still held, Express breaks
 * the connection off, and the visitor is told nothing.
 *
 * @param sessions the manager that `createSessions` made, or its options
 * @example
 * const app = express()
 *   .use(sessionMiddleware(createSessions<{ visits: number }>()))
 *   .get('/', (req, res) => {
 *     res.send(`Visit ${getSession<{ visits: number }>(req).update('visits', (n = 0) => n + 1)}`)
 *   })
 */
export function sessionMiddleware<
  T extends object = Record<string, unknown>,
  R extends IncomingMessage = ExpressRequest,
>(
  sessions: Sessions<T> | SessionsOptions = {},
  options: ExpressMiddlewareOptions<R> = {},
): NodeMiddleware<R> {
  return nodeMiddleware<T, R>(sessions, options)
}
