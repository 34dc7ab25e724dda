import type { ContextOptions } from '../context.ts'
import { attach, Context } from '../context.ts'
import type { NodeRequest, WebRequest } from '../cookie/connection.ts'
import { isUnavailable, logError, SessionError } from '../errors.ts'
import { publish } from '../events.ts'
import { stateOf } from '../session/session.ts'
import type { Sessions } from '../sessions.ts'
import type { FailureAnswer } from './_middleware.ts'
import { UNAVAILABLE } from './_middleware.ts'
import type { OriginCheck, OriginOptions } from './_origin.ts'
import { originCheck } from './_origin.ts'

/** Which sockets are let in, and how much each may ask. */
export interface SocketOptions extends OriginOptions {
  /** Refuses, with 401, whoever is not signed in. Default: false. */
  requireUser?: boolean
  /** How many callbacks of one socket may be under way at once; with one more it is closed, with {@link TOO_MANY_CALLBACKS}. Default: 100. */
  maxPending?: number
  /** Told of what handlers throw; the socket lives on. Default: `console.error` */
  onError?: (error: unknown) => void
}

/** The code that a socket is closed with when its session has ended; the reason is one of `EndReason`. */
export const SESSION_ENDED = 4401
/** The code that a socket is closed with when it has sent more than is handled. */
export const TOO_MANY_CALLBACKS = 4429

/** Closes a socket. */
export type CloseSocket = (code: number, reason: string) => void

/**
 * One socket and its session. {@link callback} wraps handlers of its messages, {@link onChange} tells of what others change; when the session
 * ends, the socket is closed with {@link SESSION_ENDED}, and no handler runs any more.
 *
 * What its `session` holds is what was read when the socket opened. To write, use `callback`.
 */
export class SocketContext<T extends object = Record<string, unknown>, R = unknown> extends Context<T, R> {
  readonly #maxPending: number
  readonly #onError: (error: unknown) => void
  #close: CloseSocket = () => {}
  #pending = 0

  /** @internal */
  constructor(options: ContextOptions<T, R>, maxPending: number) {
    super(options)
    this.#maxPending = maxPending
    this.#onError = options.onError!
  }

  /**
   * Wraps a handler of messages, as `Context` does it. What it throws is told to `onError` and saves nothing. A message that comes when the
   * session has ended does not reach it.
   */
  override callback<A extends unknown[], V>(
    handler: (context: Context<T, R>, ...args: A) => V | Promise<V>,
  ): (...args: A) => Promise<V> {
    const call = super.callback((context, ...args: A) => {
      this.signal.throwIfAborted()
      return handler(context, ...args)
    })
    return (...args) => {
      const called = this.#bounded(() => call(...args))
      // An emitter of events does not look at what its listeners return.
      called.catch((error: unknown) => {
        if (!isOver(error)) this.#onError(error)
      })
      return called
    }
  }

  /** The socket is open. @internal */
  begin(close: CloseSocket): void {
    this.#close = close
    const { signal } = this
    const end = (): void => close(SESSION_ENDED, (signal.reason as SessionError).reason!)
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  }

  async #bounded<V>(call: () => Promise<V>): Promise<V> {
    if (this.#pending === this.#maxPending) {
      this.#close(TOO_MANY_CALLBACKS, 'too many messages')
      throw new SessionError(
        'ERR_SESSION_TOO_MANY',
        `More than ${this.#maxPending} callbacks of one socket were under way, so it was closed. Handle messages faster, or raise maxPending.`,
      )
    }
    this.#pending++
    try {
      return await call()
    } finally {
      this.#pending--
    }
  }
}

/** Lets sockets in, or does not: what all adapters of sockets share. */
export class SocketGate<T extends object> {
  readonly #sessions: Sessions<T>
  readonly #isAllowed: OriginCheck
  readonly #requireUser: boolean
  readonly #maxPending: number
  readonly onError: (error: unknown) => void

  /** @throws SessionError `ERR_SESSION_OPTION` */
  constructor(sessions: Sessions<T>, options: SocketOptions) {
    const { requireUser = false, maxPending = 100, onError = logError } = options
    if (!Number.isSafeInteger(maxPending) || maxPending < 1)
      throw new SessionError('ERR_SESSION_OPTION', 'maxPending must be a whole number above 0.', {
        rule: 'socket-max-pending',
      })
    this.#sessions = sessions
    this.#isAllowed = originCheck(options)
    this.#requireUser = requireUser
    this.#maxPending = maxPending
    this.onError = onError
  }

  /** The answer to refuse a handshake with for its origin; null where that may open a socket. */
  refusalByOrigin(request: WebRequest | NodeRequest): FailureAnswer | null {
    return this.#isAllowed(request) ? null : refusal('origin')
  }

  /**
   * Opens the session of a socket that is about to be accepted. Nothing is followed yet: that is for `begin`.
   * @param request the handshake
   * @returns the answer to refuse it with, where it is not to be accepted
   */
  async open<R extends WebRequest | NodeRequest>(request: R): Promise<SocketContext<T, R> | FailureAnswer> {
    const refused = this.refusalByOrigin(request)
    return refused ?? this.#open(request)
  }

  async #open<R extends WebRequest | NodeRequest>(request: R): Promise<SocketContext<T, R> | FailureAnswer> {
    let session
    try {
      session = await this.#sessions.openNow(request)
    } catch (error) {
      if (!isUnavailable(error)) throw error
      return refusal('outage')
    }
    const state = stateOf(session)
    // A socket outlives an outage, and must not be nobody's for as long.
    if (state.standing.kind === 'outage') return refusal('outage')
    if (state.standing.kind === 'ended') return refusal('ended')
    if (this.#requireUser && session.userId === null) return refusal('anonymous')
    state.headersSent = true
    const options = { sessions: this.#sessions, request, session, onError: this.onError }
    const context = new SocketContext<T, R>(options, this.#maxPending)
    attach(request, this.#sessions, context)
    return context
  }
}

/** Whether an answer was given in the place of a context. */
export function isRefusal(opened: object): opened is FailureAnswer {
  return 'status' in opened
}

function refusal(reason: keyof typeof REFUSALS): FailureAnswer {
  publish({ kind: 'socket-refused', reason })
  return REFUSALS[reason]
}

const HEADERS = { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' }

const REFUSALS = {
  origin: { status: 403, headers: HEADERS, body: 'Forbidden: this origin may not open a socket here.' },
  ended: { status: 401, headers: HEADERS, body: 'Unauthorized: this session has ended.' },
  anonymous: { status: 401, headers: HEADERS, body: 'Unauthorized: sign in first.' },
  outage: UNAVAILABLE,
} satisfies Record<string, FailureAnswer>

/** Whether an error says no more than what the closing of the socket does. */
function isOver(error: unknown): boolean {
  return error instanceof SessionError && error.code === 'ERR_SESSION_ENDED'
}
