import type { ServerResponse } from 'node:http'

import type { Clock } from '../clock.ts'
import { systemClock } from '../clock.ts'
import type { Context } from '../context.ts'
import { SessionError } from '../errors.ts'

/** One event, as an `EventSource` hears it. */
export interface ServerEvent {
  /** Its type, for `addEventListener`. Default: `message` */
  event?: string
  /** Text, or anything else as JSON. */
  data: unknown
  /** What the browser sends as Last-Event-ID when it connects again. */
  id?: string
}

/** Options of {@link eventStream}. */
export interface EventStreamOptions {
  /** Seconds between two comments that keep proxies from taking the stream for dead. Default: 15. */
  heartbeat?: number
  /** Where time comes from. Default: the machine's clock. */
  clock?: Clock
}

/** Sends events. False once the stream is over, or when the client reads so slowly that it was ended: it will connect again. */
export type SendEvent = (event: ServerEvent) => boolean

/**
 * Answers with a stream of server-sent events that ends with its session: the last event is `session-ended`, its data the reason. It ends
 * too, and lets go of the session, when the client goes away.
 *
 * A browser connects again after a while, with the cookie that it has then; to stop it, answer it with 204.
 *
 * @param context of the request, or what `Context.current()` gives
 * @param begin sends events, now and later. What it returns is called when the stream is over
 * @example
 * app.get('/events', (c) => eventStream(Context.current()!, (send) => {
 *   Context.current()!.onChange((keys) => send({ event: 'changed', data: keys }))
 * }))
 */
export function eventStream(
  context: Context<any, any>,
  begin: (send: SendEvent) => void | (() => void),
  options?: EventStreamOptions,
): Response
/**
 * The same on a `ServerResponse`: Express and `node:http`.
 * @example
 * app.get('/events', (req, res) => eventStream(Context.current()!, (send) => { … }, {}, res))
 */
export function eventStream(
  context: Context<any, any>,
  begin: (send: SendEvent) => void | (() => void),
  options: EventStreamOptions,
  response: ServerResponse,
): void
export function eventStream(
  context: Context<any, any>,
  begin: (send: SendEvent) => void | (() => void),
  options: EventStreamOptions = {},
  response?: ServerResponse,
): Response | void {
  if (response !== undefined) {
    const stream = new EventStream(context, options, {
      write(text) {
        // Not before `begin` has run: with the headers goes what it has written to the session.
        if (!response.headersSent) response.writeHead(200, HEADERS)
        response.write(text)
      },
      end: () => void response.end(),
      waiting: () => response.writableLength,
    })
    response.once('close', () => stream.release())
    stream.begin(begin)
    return
  }
  let stream: EventStream
  const encoder = new TextEncoder()
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        stream = new EventStream(context, options, {
          write: (text) => controller.enqueue(encoder.encode(text)),
          end: () => controller.close(),
          waiting: () => -(controller.desiredSize ?? 0),
        })
      },
      cancel: () => stream.release(),
    },
    { highWaterMark: 0, size: (chunk) => chunk.byteLength },
  )
  stream!.begin(begin)
  return new Response(body, { headers: HEADERS })
}

/** Where a stream's text goes. */
interface Sink {
  write(text: string): void
  end(): void
  /** How many bytes wait for the client to read them. */
  waiting(): number
}

class EventStream {
  readonly #context: Context<any, any>
  readonly #sink: Sink
  readonly #clock: Clock
  readonly #heartbeat: number
  readonly #over = new AbortController()
  #atEnd: (() => void) | null = null

  constructor(
    context: Context<any, any>,
    { heartbeat = 15, clock = systemClock }: EventStreamOptions,
    sink: Sink,
  ) {
    if (!(heartbeat > 0))
      throw new SessionError('ERR_SESSION_ARGUMENT', 'heartbeat must be a number of seconds above 0.')
    this.#context = context
    this.#sink = sink
    this.#clock = clock
    this.#heartbeat = heartbeat * 1000
  }

  begin(begin: (send: SendEvent) => void | (() => void)): void {
    const { signal } = this.#context
    this.#atEnd = begin((event) => this.#write(textOf(event))) ?? null
    // Proxies hand a body on only once there is some.
    this.#write(':\n\n')
    if (this.#over.signal.aborted) this.#atEnd?.()
    const end = (): void => {
      this.#write(textOf({ event: 'session-ended', data: (signal.reason as SessionError).reason! }))
      this.#end()
    }
    if (signal.aborted) return end()
    signal.addEventListener('abort', end, { once: true, signal: this.#over.signal })
    void this.#beat()
  }

  /** The client has gone away, or been told all. */
  release(): void {
    if (this.#over.signal.aborted) return
    this.#over.abort()
    this.#context.close()
    this.#atEnd?.()
  }

  #end(): void {
    if (this.#over.signal.aborted) return
    this.release()
    this.#sink.end()
  }

  #write(text: string): boolean {
    if (this.#over.signal.aborted) return false
    if (this.#sink.waiting() > MAX_WAITING) {
      this.#end()
      return false
    }
    this.#sink.write(text)
    return true
  }

  async #beat(): Promise<void> {
    try {
      for (;;) {
        await this.#clock.sleep(this.#heartbeat, this.#over.signal)
        this.#write(':\n\n')
      }
    } catch {
      // Only the end of the stream ends a sleep early.
    }
  }
}

const HEADERS = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  'Cache-Control': 'no-store',
  // nginx would wait for more.
  'X-Accel-Buffering': 'no',
}

/** Bytes that may wait for a client that does not read. */
const MAX_WAITING = 1024 * 1024

/** The event as it is sent; a line break within a field would begin another (HTML 9.2.6). */
function textOf({ event, data, id }: ServerEvent): string {
  const text = typeof data === 'string' ? data : (JSON.stringify(data) ?? 'null')
  const fields = [
    ...(id === undefined ? [] : [`id: ${oneLine(id)}`]),
    ...(event === undefined ? [] : [`event: ${oneLine(event)}`]),
    ...text.split(/\r\n|\r|\n/).map((line) => `data: ${line}`),
  ]
  return `${fields.join('\n')}\n\n`
}

function oneLine(text: string): string {
  return text.replaceAll(/[\r\n\0]/g, ' ')
}
