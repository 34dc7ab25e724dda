import { EventEmitter } from 'node:events'

import type { HeaderLine } from '../answer.ts'
import type { Awaitable } from '../awaitable.ts'
import type { AnswerHeaders, FailureAnswer } from './_middleware.ts'
import { isUnavailable, putHeaders, UNAVAILABLE } from './_middleware.ts'

/** What makes a response an `http.ServerResponse`, as far as the types go; HTTP/2's compatibility responses are meant too. */
export interface NodeResponse {
  statusCode: number
  readonly headersSent: boolean
  getHeader(name: string): number | string | string[] | undefined
  setHeader(name: string, value: string | readonly string[]): unknown
  writeHead(status: number): unknown
  write(chunk: string): boolean
  end(chunk: string): unknown
  /** Whether it is through, or was broken off. HTTP/2's does not say. */
  readonly closed?: boolean
  once(event: 'close', listener: () => void): unknown
}

/** Who is asked before the first byte of an answer leaves. */
export interface HeaderHook {
  /** Whom it acts for. */
  readonly owner: object
  /** Called once, with the status that the answer will have. Gives the header lines to put beside the application's. */
  beforeHeaders(status: number): Awaitable<{ readonly headers: readonly HeaderLine[] }>
  /** Told why an answer was taken over or broken off, unless the store is to blame. */
  report(error: unknown): void
}

/**
 * Holds an answer back until a hook has spoken, which is called once, before any byte of the answer leaves. A hook that speaks at
 * once holds nothing up. While one is awaited, what the application writes stands in line, and the answer looks like one whose
 * headers have been sent, as the application believes they were; then the line moves on, in its order.
 *
 * When a hook fails, the answer is taken over: the application's headers are withdrawn, what it wrote and has yet to write comes to
 * nothing, and the client is told 503 if the store failed, else 500.
 *
 * Methods are patched for good. Others may have patched them since, so what stood there before is called, and never put back.
 */
export function holdResponse(response: NodeResponse, hook: HeaderHook): void {
  const res = response as HeldResponse
  if (res[HOLD] !== undefined) {
    res[HOLD].hooks.push(hook)
    return
  }
  res[HOLD] = new Hold(res, hook)
  res.writeHead = writeHead
  // HTTP/1 has an old name for it, by which it would go past us.
  if (res.writeHeader !== undefined) res.writeHeader = writeHead
  res.write = write
  res.end = end
  res.flushHeaders = flushHeaders
  if (res.on !== EventEmitter.prototype.on) res.on = on
}

/** Whether an answer is held, or was, for this owner. */
export function isHeldFor(response: NodeResponse, owner: object): boolean {
  return (response as HeldResponse)[HOLD]?.hooks.some((hook) => hook.owner === owner) ?? false
}

/** On the response itself, where shared functions find it: closures would cost every request. */
const HOLD = Symbol('holdfast.hold')

/**
 * - `open`: nothing has been answered yet
 * - `held`: hooks are awaited
 * - `released`: every call goes straight through
 * - `taken`: the answer is ours; every call comes to nothing
 */
type Phase = 'open' | 'held' | 'released' | 'taken'

/** One answer that is held, or was. */
class Hold {
  phase: Phase = 'open'
  readonly hooks: HeaderHook[]
  /** What was called while it was held. */
  readonly calls: Call[] = []
  /** Listeners for 'drain' that a middleware below us kept for a stream of its own, as those that compress do. */
  readonly diverted: Method[] = []
  /** The methods as they stood before us; the last three are patched only once the answer is held. */
  readonly writeHead: Method
  readonly write: Method
  readonly end: Method
  readonly flushHeaders: Method
  readonly on: Method
  setHeader: Method | undefined = undefined
  appendHeader: Method | undefined = undefined
  removeHeader: Method | undefined = undefined
  readonly #res: HeldResponse
  /** How many hooks have yet to speak. */
  #awaited = 0
  /** What the answer's head says, from when it is held. */
  #statusCode = 200
  #reason: string | undefined = undefined
  readonly #lines: HeaderLine[] = []
  readonly #failures: { readonly hook: HeaderHook; readonly error: unknown }[] = []

  constructor(res: HeldResponse, hook: HeaderHook) {
    this.#res = res
    this.hooks = [hook]
    this.writeHead = res.writeHead
    this.write = res.write
    this.end = res.end
    this.flushHeaders = res.flushHeaders
    this.on = res.on
  }

  /** Calls the hooks if the answer begins with this call. @returns the phase in which the call finds it then */
  enter(): Phase {
    if (this.phase === 'open') this.#begin(this.#res.statusCode)
    return this.phase
  }

  #begin(statusCode: number): void {
    for (const hook of this.hooks) {
      try {
        const given = hook.beforeHeaders(statusCode)
        if (given instanceof Promise) this.#await(hook, given)
        else this.#lines.push(...given.headers)
      } catch (error) {
        this.#failures.push({ hook, error })
      }
    }
    if (this.#awaited === 0) this.#goOn()
    else this.#seal()
  }

  /**
   * Sends the answer's head, our lines on it: no sooner, because whoever patched `writeHead` above us, and error handlers, may
   * yet set headers and withdraw them.
   */
  sendHead(): unknown {
    const res = this.#res
    putHeaders(this.#lines, new NodeHeaders(res))
    return this.writeHead.call(res, res.statusCode)
  }

  #await(hook: HeaderHook, given: Promise<{ readonly headers: readonly HeaderLine[] }>): void {
    this.#awaited++
    given.then(
      ({ headers }) => {
        this.#lines.push(...headers)
        this.#heard()
      },
      (error: unknown) => {
        this.#failures.push({ hook, error })
        this.#heard()
      },
    )
  }

  #heard(): void {
    if (--this.#awaited === 0) this.#unseal()
  }

  /** Lets the answer look as if its headers had been sent, until the hooks have spoken. */
  #seal(): void {
    const res = this.#res
    this.#statusCode = res.statusCode
    this.#reason = isHttp2(res) ? undefined : res.statusMessage
    this.phase = 'held'
    this.setHeader = res.setHeader
    this.appendHeader = res.appendHeader
    this.removeHeader = res.removeHeader
    res.setHeader = sealedSetHeader
    res.appendHeader = sealedAppendHeader
    res.removeHeader = sealedRemoveHeader
    // Not defineProperties, which takes twice as long.
    Object.defineProperty(res, 'headersSent', SEALED_PROPERTIES.headersSent)
    Object.defineProperty(res, 'writableEnded', SEALED_PROPERTIES.writableEnded)
  }

  #unseal(): void {
    const res = this.#res
    // What was set meanwhile came too late, as it would with Node's own.
    res.statusCode = this.#statusCode
    if (!isHttp2(res)) res.statusMessage = this.#reason
    try {
      this.#goOn()
    } catch (error) {
      // Something in line that Node refuses.
      this.#failures.push({ hook: this.hooks[0]!, error })
      this.#takeOver()
    }
  }

  #goOn(): void {
    this.phase = 'released'
    if (this.#failures.length === 0) this.#release()
    else this.#takeOver()
  }

  /** Lets what stands in line move on. */
  #release(): void {
    const res = this.#res
    let mayGoOn = false
    for (const { method, args } of this.calls.splice(0)) {
      const result: unknown = method === 'writeHead' ? this.sendHead() : this[method].apply(res, args)
      if (method === 'write') mayGoOn = result !== false
    }
    // We told the writer to wait. Where Node would not have, it is for us to tell them to go on.
    if (mayGoOn && !res.writableEnded) process.nextTick(drain, res)
  }

  /** Answers in the application's place; or breaks off, where part of its answer has left. */
  #takeOver(): void {
    const res = this.#res
    if (res.headersSent) {
      this.phase = 'taken'
      res.destroy()
    } else this.#answer(this.#failures.every(({ error }) => isUnavailable(error)) ? UNAVAILABLE : FAILED)

    const dropped = this.calls.splice(0)
    for (const { args } of dropped) drop(args)
    if (dropped.some(({ method }) => method === 'write')) process.nextTick(drain, res)
    for (const { hook, error } of this.#failures) if (!isUnavailable(error)) hook.report(error)
  }

  #answer({ status, headers, body }: FailureAnswer): void {
    const res = this.#res
    for (const name of res.getHeaderNames()) res.removeHeader(name)
    // Node takes the removal of a Date for the wish to have none.
    res.sendDate = true
    res.statusCode = status
    if (!isHttp2(res)) res.statusMessage = undefined
    for (const [name, value] of Object.entries(headers)) res.setHeader(name, value)
    res.setHeader('Content-Length', String(body.length))
    this.phase = 'taken'
    // With the lines of the hooks that did not fail: what they committed holds.
    this.sendHead()
    // Not end with the body: on HTTP/2 it would write it by way of ours.
    this.write.call(res, body)
    this.end.call(res)
  }
}

/** The answer when a session could not be committed, and its store is not to blame. */
const FAILED: FailureAnswer = {
  status: 500,
  headers: { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' },
  body: 'Internal Server Error',
}

type Method = (...args: any[]) => any

/** A response, with all that is used and patched here. */
interface HeldResponse extends EventEmitter {
  [HOLD]?: Hold
  readonly headersSent: boolean
  readonly writableEnded: boolean
  statusCode: number
  statusMessage: string | undefined
  sendDate: boolean
  getHeader(name: string): number | string | readonly string[] | undefined
  getHeaderNames(): string[]
  setHeader: Method
  appendHeader: Method
  removeHeader: Method
  writeHead: Method
  writeHeader?: Method
  write: Method
  end: Method
  flushHeaders: Method
  on: Method
  destroy(): unknown
}

interface Call {
  readonly method: 'writeHead' | 'write' | 'end' | 'flushHeaders'
  readonly args: unknown[]
}

function writeHead(this: HeldResponse, ...args: unknown[]): unknown {
  const hold = unsealed(this, 'write')
  if (hold.phase === 'taken') return this
  const [status, reason] = args
  const headers = typeof reason === 'string' ? args[2] : (args[2] ?? reason)
  if (!isStatus(status) || isOdd(headers) || this.headersSent) return hold.writeHead.apply(this, args)
  this.statusCode = status
  if (typeof reason === 'string') this.statusMessage = reason
  // Passed on to Node, they would replace ours of the same name, Set-Cookie above all.
  takeHeaders(this, headers)
  switch (hold.enter()) {
    case 'held':
      hold.calls.push({ method: 'writeHead', args: [] })
      return this
    case 'taken':
      return this
    default:
      return hold.sendHead()
  }
}

function write(this: HeldResponse, ...args: unknown[]): unknown {
  return pass(this, 'write', args, false, true)
}

function end(this: HeldResponse, ...args: unknown[]): unknown {
  return pass(this, 'end', args, this, this)
}

function flushHeaders(this: HeldResponse): void {
  pass(this, 'flushHeaders', [], undefined, undefined)
}

/** Calls what stood below, now or when its turn comes; or drops the call. */
function pass(
  res: HeldResponse,
  method: 'write' | 'end' | 'flushHeaders',
  args: unknown[],
  whenHeld: unknown,
  whenTaken: unknown,
): unknown {
  const hold = res[HOLD]!
  const goesThrough = hold.phase === 'released' || (hold.phase !== 'taken' && isRefused(res, method, args[0]))
  if (goesThrough) return hold[method].apply(res, args)
  switch (hold.enter()) {
    case 'held':
      hold.calls.push({ method, args })
      return whenHeld
    case 'taken':
      drop(args)
      return whenTaken
    default:
      return hold[method].apply(res, args)
  }
}

/** Whether Node will throw at a call. It is to do so at once, where the mistake is, and before any hook is called. */
function isRefused(res: HeldResponse, method: string, chunk: unknown): boolean {
  if (!isStatus(res.statusCode)) return true
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) return false
  return method === 'write' || (Boolean(chunk) && typeof chunk !== 'function')
}

/** The range of Node. */
function isStatus(status: unknown): status is number {
  return (status as number) >= 100 && (status as number) <= 999
}

/** Comes to nothing, but for the callback. */
function drop(args: readonly unknown[]): void {
  const callback = args.findLast((arg) => typeof arg === 'function')
  if (callback !== undefined) process.nextTick(callback)
}

/** Keeps the listeners for 'drain' that the `on` below us did not let through to the response. */
function on(this: HeldResponse, event: unknown, listener: Method): unknown {
  const { phase, diverted, on } = this[HOLD]!
  const result: unknown = on.call(this, event, listener)
  if (event === 'drain' && (phase === 'open' || phase === 'held')) diverted.push(listener)
  return result
}

/** Tells those who were told to wait to go on. */
function drain(res: HeldResponse): void {
  const present = res.rawListeners('drain')
  res.emit('drain')
  for (const listener of res[HOLD]!.diverted.splice(0)) if (!present.includes(listener)) listener.call(res)
}

function sealedSetHeader(this: HeldResponse, ...args: unknown[]): unknown {
  return unsealed(this, 'set').setHeader!.apply(this, args)
}

function sealedAppendHeader(this: HeldResponse, ...args: unknown[]): unknown {
  return unsealed(this, 'append').appendHeader!.apply(this, args)
}

function sealedRemoveHeader(this: HeldResponse, ...args: unknown[]): unknown {
  return unsealed(this, 'remove').removeHeader!.apply(this, args)
}

/** @throws Error while the answer is held: Node's own, as it would be had the headers been sent */
function unsealed(res: HeldResponse, action: string): Hold {
  const hold = res[HOLD]!
  if (hold.phase === 'held')
    throw Object.assign(new Error(`Cannot ${action} headers after they are sent to the client`), {
      code: 'ERR_HTTP_HEADERS_SENT',
    })
  return hold
}

const SEALED_PROPERTIES = {
  headersSent: {
    configurable: true,
    get(this: HeldResponse): unknown {
      return this[HOLD]!.phase === 'held' || inherited(this, 'headersSent')
    },
  },
  writableEnded: {
    configurable: true,
    get(this: HeldResponse): unknown {
      return this[HOLD]!.calls.some(({ method }) => method === 'end') || inherited(this, 'writableEnded')
    },
  },
}

function inherited(res: HeldResponse, name: string): unknown {
  return Reflect.get(Object.getPrototypeOf(res) as object, name, res)
}

function isHttp2(res: HeldResponse): boolean {
  return 'stream' in res
}

/** Sets the headers given to `writeHead`, as Node does: each replaces what was set of its name; in an array a name may stand several times. */
function takeHeaders(res: HeldResponse, headers: unknown): void {
  if (Array.isArray(headers)) {
    const pairs = pairsOf(headers)
    for (const [name] of pairs) res.removeHeader(name)
    for (const [name, value] of pairs) append(res, name, value)
  } else if (headers) for (const [name, value] of Object.entries(headers)) res.setHeader(name, value)
}

function pairsOf(headers: readonly any[]): readonly [name: string, value: unknown][] {
  if (Array.isArray(headers[0])) return headers
  return headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]]] : []))
}

/** Whether headers are a list of names and values with one of them missing. */
function isOdd(headers: unknown): boolean {
  return Array.isArray(headers) && headers.length % 2 === 1 && !Array.isArray(headers[0])
}

/**
 * Adds a header line. Node's `appendHeader` would write into the array of the lines before, which is the application's own:
 * one visitor's cookie would go out to all, were that a constant of its.
 */
function append(res: HeldResponse, name: string, value: unknown): void {
  const present = res.getHeader(name)
  res.setHeader(name, present === undefined ? value : [present, value].flat())
}

class NodeHeaders implements AnswerHeaders {
  readonly #res: HeldResponse

  constructor(res: HeldResponse) {
    this.#res = res
  }

  get(name: string): string | undefined {
    const value = this.#res.getHeader(name)
    return Array.isArray(value) ? value.join(', ') : value?.toString()
  }

  set(name: string, value: string): void {
    this.#res.setHeader(name, value)
  }

  /** Not twice: a head that was refused, for a bad reason phrase say, may have left it there. */
  append(name: string, value: string): void {
    if (![this.#res.getHeader(name)].flat().includes(value)) append(this.#res, name, value)
  }
}
