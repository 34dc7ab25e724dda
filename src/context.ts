import { AsyncLocalStorage } from 'node:async_hooks'

import { Attendance } from './attendance.ts'
import { logError, SessionError } from './errors.ts'
import type { Key } from './session/session.ts'
import { Session, stateOf } from './session/session.ts'
import type { Sessions } from './sessions.ts'

/** What a {@link Context} is made of; any of it may be left out. */
export interface ContextOptions<T extends object, R> {
  /** The manager that opens and commits its sessions. */
  sessions?: Sessions<T> | undefined
  /** The request, or socket, that it carries. */
  request?: R | undefined
  /** The session, where it has been opened. */
  session?: Session<T> | undefined
  /** Told of what an {@link Context.onChange} listener throws. Default: `console.error` */
  onError?: ((error: unknown) => void) | undefined
}

/**
 * One request, or one socket, and its session: what a page or a callback is handed.
 *
 * @typeParam T the shape of the session's data
 * @typeParam R the kind of request
 */
export class Context<T extends object = Record<string, unknown>, R = unknown> {
  readonly #sessions: Sessions<T> | undefined
  readonly #request: R | undefined
  readonly #onError: (error: unknown) => void
  /** Of a callback: the context that it was made by, which does the following. */
  readonly #parent: Context<T, R> | null
  #session: Session<T> | undefined
  /** There once somebody asks how the session fares. */
  #attendance: Attendance<T> | null = null
  #isClosed = false

  constructor(options?: ContextOptions<T, R>)
  /** @internal */
  constructor(options: ContextOptions<T, R>, parent: Context<T, R>)
  constructor(options: ContextOptions<T, R> = {}, parent: Context<T, R> | null = null) {
    this.#sessions = options.sessions
    this.#request = options.request
    this.#session = options.session
    this.#onError = options.onError ?? logError
    this.#parent = parent
  }

  /** The context that the running code is below, in a page's handler or a callback; undefined outside of any. */
  static current<T extends object = Record<string, unknown>>(): Context<T> | undefined {
    return running.getStore() as Context<T> | undefined
  }

  get request(): R | undefined {
    return this.#request
  }

  /**
   * The session. What stands here at the end of the request is what is committed. A context with no request
   * behind it has an empty session of its own.
   * @throws SessionError `ERR_SESSION_NO_MIDDLEWARE` when there is a request whose session nobody has opened
   */
  get session(): Session<T> {
    if (this.#session !== undefined) return this.#session
    if (this.#request !== undefined)
      throw new SessionError(
        'ERR_SESSION_NO_MIDDLEWARE',
        "This context's session has not been opened: await sessions.open(request) and pass it on, or let a middleware do it.",
      )
    return (this.session = new Session<T>())
  }

  set session(session: Session<T>) {
    this.#session = session
    if (this.#attendance?.isFollowing === true) this.#attendance.follow(session)
  }

  /**
   * Aborts when the session ends, here or anywhere: signed out in another tab, revoked from another process, run out. Its reason is a
   * `SessionError` with the code `ERR_SESSION_ENDED`, whose `reason` says why. Whoever asks for it has the session followed, until
   * {@link close}; middleware calls that when the answer has been sent, and socket adapters when the socket closes. Ask before the answer
   * is given: afterwards it aborts only by what is done to the session through this context.
   */
  get signal(): AbortSignal {
    return this.#followed().signal
  }

  /**
   * Tells of changes that others make to the session from now on, in this process or another: the top-level keys that changed, and the
   * session as it is then. What this context's own callbacks change is not told of. Changes close upon each other may be told as one.
   * @returns stops telling
   */
  onChange(listener: (keys: readonly Key<T>[], session: Session<T>) => unknown): () => void {
    const root = this.#parent ?? this
    return this.#followed().onChange(
      root.session,
      (keys, session) => void root.#call(() => listener(keys, session)),
    )
  }

  /** Whether the session is being followed, so that {@link close} is called for. */
  get isFollowing(): boolean {
    return this.#attendance?.isFollowing === true
  }

  /** Called when following begins, for whoever has to see to it that it ends. @internal */
  begun(): void {}

  /** Stops following the session: the signal stays as it is, listeners are told nothing any more. */
  close(): void {
    this.#isClosed = true
    this.#attendance?.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /**
   * Wraps an event handler, for a timer, a queue job or a socket's message. Each call gets a context of its own, with the session freshly
   * read from the store, and commits it when the handler is done: later pages see what it wrote, and it sees what they wrote. A handler that
   * throws saves nothing, and the error goes to its caller. No cookie can be set from there, so a session that was never saved, and
   * `rotate` and `signIn`, throw `ERR_SESSION_HEADERS_SENT`.
   */
  callback<A extends unknown[], V>(
    handler: (context: Context<T, R>, ...args: A) => V | Promise<V>,
  ): (...args: A) => Promise<V> {
    return async (...args) => {
      const sessions = this.#sessions
      if (sessions === undefined) return runIn(this, () => handler(this, ...args))
      const session = await sessions.reopen(this.session)
      const root = this.#parent ?? this
      const context = new Context<T, R>({ sessions, request: this.#request, session }, root)
      const attendance = root.#attend()
      attendance.endWith(session)
      stateOf(session).follower = attendance.follower
      const value = await runIn(context, () => handler(context, ...args))
      const { session: last } = context
      if (!last.isNew) {
        const committing = sessions.commit(last)
        attendance.follower?.noteCommit(committing)
        await committing
      } else if (last.isModified)
        throw new SessionError(
          'ERR_SESSION_HEADERS_SENT',
          'A new session cannot be saved from a callback: no answer follows that could carry its cookie.',
        )
      return value
    }
  }

  #attend(): Attendance<T> {
    return (this.#attendance ??= new Attendance(this.#sessions))
  }

  /** Of a callback's context, its parent's: that is what stays open. */
  #followed(): Attendance<T> {
    const root = this.#parent ?? this
    const attendance = root.#attend()
    const hasSession = root.#session !== undefined || root.#request === undefined
    if (!attendance.isFollowing && hasSession && !root.#isClosed) {
      attendance.follow(root.session)
      root.begun()
    }
    return attendance
  }

  async #call(run: () => unknown): Promise<void> {
    try {
      await runIn(this, run)
    } catch (error) {
      this.#onError(error)
    }
  }
}

/** Runs a function, and all that it calls and awaits, below a context. */
export function runIn<V>(context: Context<never, never> | Context<any, any>, run: () => V): V {
  return running.run(context as Context, run)
}

const running = new AsyncLocalStorage<Context>()

/** Hangs a context on the request that it carries, for {@link getSession}. */
export function attach<T extends object>(
  request: object,
  sessions: Sessions<T>,
  context: Context<T, any>,
): void {
  const holder = request as Holder
  holder[CONTEXTS] = { sessions, context, outer: holder[CONTEXTS] }
}

/** The context hung on a request: the one of `sessions`, or the innermost; undefined where there is none. */
export function findContext<T extends object>(
  request: object,
  sessions?: Sessions<T>,
): Context<T, any> | undefined {
  for (let hung = (request as Holder)[CONTEXTS]; hung !== undefined; hung = hung.outer)
    if (sessions === undefined || hung.sessions === sessions) return hung.context
  return undefined
}

/** {@link findContext}, where there has to be one. */
export function contextOf<T extends object>(request: object, sessions?: Sessions<T>): Context<T, any> {
  const context = findContext(request, sessions)
  if (context !== undefined) return context
  throw new SessionError(
    'ERR_SESSION_NO_MIDDLEWARE',
    sessions === undefined
      ? 'This request has no session: put sessionMiddleware(…) before the handler that asks for it.'
      : 'This request has no session of these sessions: put their sessionMiddleware(…) before the handler that asks for it.',
  )
}

/**
 * The session of a request, or of a context.
 * @param source the request that a `sessionMiddleware` has seen, or a `Context`
 * @param sessions whose session, where an application has several managers. Default: of the middleware nearest to the handler
 * @throws SessionError `ERR_SESSION_NO_MIDDLEWARE` when no middleware has opened one
 */
export function getSession<T extends object = Record<string, unknown>>(
  source: object,
  sessions?: Sessions<T>,
): Session<T> {
  return source instanceof Context ? source.session : contextOf(source, sessions).session
}

/** Contexts by request, as a property: it goes with the request, and a WeakMap costs every request more. */
const CONTEXTS = Symbol('holdfast.contexts')

interface Hung {
  readonly sessions: Sessions<any>
  readonly context: Context<any, any>
  readonly outer: Hung | undefined
}

interface Holder {
  [CONTEXTS]?: Hung | undefined
}
