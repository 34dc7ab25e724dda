import type { HeaderLine } from '../answer.ts'
import type { Context } from '../context.ts'
import { runIn } from '../context.ts'
import type { Sessions } from '../sessions.ts'
import { isUnavailable, putHeaders, UNAVAILABLE } from './_middleware.ts'

/**
 * Commits a context's session with the status of its response, and puts its headers there. The body passes through unread.
 * @returns the answer to give: the response, or a copy of it; another one, 503, when the store fails
 * @throws SessionError for what only the application can mend, a value that is too large say
 */
export async function commitResponse<T extends object>(
  sessions: Sessions<T>,
  context: Context<T, any>,
  response: Response,
): Promise<Response> {
  const { session } = context
  if (isSealed(response)) {
    // The network error of Response.error() has the status 0.
    await commitWithoutHeaders(sessions, context, response.status || 500)
    return response
  }
  try {
    const committed = runIn(context, () => sessions.commitNow(session, response.status))
    const { headers } = committed instanceof Promise ? await committed : committed
    return followedUntilSent(context, withHeaders(response, headers))
  } catch (error) {
    context.close()
    // Nobody will read it now; what feeds it must not wait for that.
    response.body?.cancel(error).catch(ignore)
    if (isUnavailable(error)) return unavailable()
    throw error
  }
}

/**
 * Commits a context's session whose answer somebody else makes, as when an error leaves the handler.
 * @param status of that answer
 */
export async function commitWithoutHeaders<T extends object>(
  sessions: Sessions<T>,
  context: Context<T, any>,
  status: number,
): Promise<void> {
  context.close()
  await runIn(context, () => sessions.commitWithoutHeaders(context.session, status))
}

/** The response to a request whose session the store could not give, or keep. */
export function unavailable(): Response {
  const { status, headers, body } = UNAVAILABLE
  return new Response(body, { status, headers })
}

/** Whoever streams may have asked for the session to be followed; nobody shall once the answer is through. */
function followedUntilSent(context: Context<any, any>, response: Response): Response {
  // Some servers make a response's stream, too, only when they are asked for it.
  const body = context.isFollowing ? response.body : null
  if (body === null) {
    context.close()
    return response
  }
  const reader = body.getReader()
  const passed = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (!done) return controller.enqueue(value)
          controller.close()
          context.close()
        } catch (error) {
          context.close()
          throw error
        }
      },
      cancel(reason) {
        context.close()
        return reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
  return new Response(passed, response)
}

function withHeaders(response: Response, lines: readonly HeaderLine[]): Response {
  // Some servers make a response's headers only when they are asked for.
  if (lines.length === 0) return response
  // One response may answer many requests, if it has no body say; a cookie put on it would go to every visitor after this one.
  const isPersonal = lines.some(([name]) => name === 'Set-Cookie')
  if (isPersonal && response.status >= 200) return copyWith(response, lines)
  try {
    putHeaders(lines, response.headers)
    return response
  } catch {
    // Those of Response.redirect() and of fetched responses are immutable (Fetch 5.1).
    return copyWith(response, lines)
  }
}

function copyWith(response: Response, lines: readonly HeaderLine[]): Response {
  const copy = new Response(response.body, response)
  putHeaders(lines, copy.headers)
  return copy
}

/** Whether no header can be put on a response, nor on a copy: only 200 to 599 can be copied (Fetch 6.4), not a runtime's own WebSocket handshake. */
function isSealed(response: Response): boolean {
  if (response.status >= 200) return false
  try {
    response.headers.delete('holdfast')
    return false
  } catch {
    return true
  }
}

const ignore = (): void => {}
