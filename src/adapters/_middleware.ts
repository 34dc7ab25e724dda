import type { HeaderLine } from '../answer.ts'
import { RETRY } from '../errors.ts'
import type { SessionsOptions } from '../options.ts'
import { createSessions, Sessions } from '../sessions.ts'

export { isUnavailable } from '../errors.ts'

/** What every `sessionMiddleware` takes beside its sessions. */
export interface MiddlewareOptions<R> {
  /** Requests that need no session, static files say. Nothing is read or set for them, and asking for their session throws. */
  skip?: (request: R) => boolean
}

/** The manager itself, or one made from options. */
export function managerOf<T extends object>(
  sessions: Sessions<T> | SessionsOptions | undefined,
): Sessions<T> {
  return sessions instanceof Sessions ? sessions : createSessions<T>(sessions)
}

/** Where an answer's headers are read and written, whatever they are kept in. */
export interface AnswerHeaders {
  get(name: string): string | null | undefined
  set(name: string, value: string): void
  append(name: string, value: string): void
}

/** Puts a commit's header lines on an answer, beside the application's own. */
export function putHeaders(lines: readonly HeaderLine[], headers: AnswerHeaders): void {
  for (const [name, value] of lines) {
    if (name === 'Set-Cookie') headers.append(name, value)
    else {
      const present = headers.get(name) ?? ''
      if (name === 'Vary') {
        if (!varies(present, value)) headers.set(name, present === '' ? value : `${present}, ${value}`)
      } else if (!NO_STORE.test(present)) headers.set(name, value)
    }
  }
}

/** Whether a Vary header names a field already, or all of them (RFC 9110 12.5.5). */
function varies(present: string, field: string): boolean {
  if (present === '') return false
  return present
    .split(',')
    .some((item) => item.trim() === '*' || item.trim().toLowerCase() === field.toLowerCase())
}

/** An application's Cache-Control that keeps the answer out of every cache is left as it is. */
const NO_STORE = /(?:^|[\s,])no-store(?:$|[\s,;])/i

/** The answer to a request whose session the store could not give, or keep. */
export const UNAVAILABLE: FailureAnswer = {
  status: 503,
  headers: { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store', ...RETRY },
  body: 'Service Unavailable',
}

/** An answer given in the application's place. */
export interface FailureAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}
