import { attach, Context, findContext, getSession as sessionOf, runIn } from '../context.ts'
import type { SessionsOptions } from '../options.ts'
import type { Session } from '../session/session.ts'
import { stateOf } from '../session/session.ts'
import type { Sessions } from '../sessions.ts'
import { commitResponse, commitWithoutHeaders, unavailable } from './_commit-response.ts'
import type { MiddlewareOptions } from './_middleware.ts'
import { isUnavailable, managerOf } from './_middleware.ts'

/** Answers a request, as Bun, Deno, Workers and the route handlers of Next.js, SvelteKit and the like call it. */
export type FetchHandler<R extends Request, A extends unknown[]> = (
  request: R,
  ...rest: A
) => Promise<Response>

/** Gives sessions to the handler it is put around. */
export type FetchMiddleware<T extends object> = <R extends Request = Request, A extends unknown[] = []>(
  handler: (request: R, context: Context<T, R>, ...rest: A) => Response | Promise<Response>,
) => FetchHandler<R, A>

/**
 * Sessions for handlers of the Web's own kind, `Request` to `Response`. The handler gets the {@link Context} as its second argument; what the
 * runtime passes after the request, such as Workers' `env`, follows it.
 *
 * The session is committed when the handler is done, before the response is handed on, and a `Response` that is thrown counts as one returned.
 * A store that fails answers 503. An error that leaves the handler saves nothing, and is thrown on as it is; a `destroy` before it holds. No cookie
 * can go with such an error, so a `rotate` or `signIn` before it is dropped, and the visitor goes on as they were, unless `save` has carried
 * it out already: to rotate with an error answer, return a response with its status.
 *
 * @param sessions the manager that `createSessions` made, or its options
 * @example
 * const withSession = sessionMiddleware(createSessions<{ visits: number }>())
 *
 * export default {
 *   fetch: withSession((request, { session }) =>
 *     new Response(`Visit ${session.update('visits', (n = 0) => n + 1)}`)),
 * }
 */
export function sessionMiddleware<T extends object = Record<string, unknown>>(
  sessions: Sessions<T> | SessionsOptions = {},
  options: MiddlewareOptions<Request> = {},
): FetchMiddleware<T> {
  const manager = managerOf<T>(sessions)
  const { skip } = options

  return (handler) =>
    async (request, ...rest) => {
      const outer = openContextOf(request, manager)
      // Mounted further out already, it is that session which counts: a second one would send a second cookie of the name.
      if (outer !== null) return runIn(outer, () => handler(request, outer, ...rest))
      if (skip?.(request) === true) {
        const context = new Context({ sessions: manager, request })
        return runIn(context, () => handler(request, context, ...rest))
      }
      let session: Session<T>
      try {
        const opened = manager.openNow(request)
        session = opened instanceof Promise ? await opened : opened
      } catch (error) {
        if (isUnavailable(error)) return unavailable()
        throw error
      }
      const context = new Context({ sessions: manager, request, session })
      attach(request, manager, context)
      let response: Response
      try {
        response = await runIn(context, () => handler(request, context, ...rest))
      } catch (thrown) {
        if (thrown instanceof Response) throw await commitResponse(manager, context, thrown)
        await commitWithoutHeaders(manager, context, 500)
        throw thrown
      }
      return commitResponse(manager, context, response)
    }
}

/**
 * The session of a request that {@link sessionMiddleware} has seen, for code that is not handed the context.
 * @param source the request, or the context
 * @param sessions whose session, where an application has several managers. Default: of the middleware nearest to the handler
 * @throws SessionError `ERR_SESSION_NO_MIDDLEWARE` when no middleware has opened one
 */
export function getSession<T extends object = Record<string, unknown>>(
  source: Request | Context<T, any>,
  sessions?: Sessions<T>,
): Session<T> {
  return sessionOf(source, sessions)
}

/** The context of these sessions that a middleware further out has hung on a request, and not committed yet. */
function openContextOf<T extends object, R extends Request>(
  request: R,
  sessions: Sessions<T>,
): Context<T, R> | null {
  const context = findContext(request, sessions)
  return context === undefined || stateOf(context.session).headersSent ? null : context
}
