import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { ClientRequest } from 'node:http'
import { Agent, get } from 'node:http'
import { join } from 'node:path'

import type { RedisServer } from '../../support/redis-server.ts'
import { startRedis } from '../../support/redis-server.ts'
import { temporaryFolder } from '../../support/temporary-folder.ts'
import type { MutantName } from './mutants.ts'
import type { AdapterName, Found, FromServer, Gating, Step, StoreName, ToServer } from './protocol.ts'
import { HEADERS } from './protocol.ts'

/** An answer as the client has it. */
export interface Answer {
  readonly status: number
  readonly cookies: readonly string[]
  readonly body: string
}

/** What the test hears from servers while a round runs. */
export type Listener = (message: FromServer, server: number) => void

/** The server processes of one store, and one clock for them all. */
export class Cluster {
  readonly store: StoreName
  readonly servers: readonly ServerProcess[]
  readonly redis: RedisServer | null
  /** Numbers of requests, never used twice. */
  requests = 0
  now: number = Date.now()
  readonly #release: () => Promise<void>

  /** Starts a store, and two server processes on it; the memory store has but one. */
  static async start(store: StoreName): Promise<Cluster> {
    const redis = store === 'redis' ? await startRedis() : null
    const folder = await temporaryFolder()
    const where = redis?.url ?? join(folder.path, 'sessions.sqlite')
    const count = store === 'memory' ? 1 : 2
    const servers = await Promise.all(
      Array.from({ length: count }, () => ServerProcess.start([store, where])),
    )
    return new Cluster(store, servers, redis, async () => {
      await redis?.stop()
      folder.remove()
    })
  }

  constructor(
    store: StoreName,
    servers: readonly ServerProcess[],
    redis: RedisServer | null,
    release: () => Promise<void>,
  ) {
    this.store = store
    this.servers = servers
    this.redis = redis
    this.#release = release
  }

  gate(gating: Gating, mutant: MutantName | null = null): void {
    for (const server of this.servers) server.send({ kind: 'gate', gating, mutant })
  }

  /** Resolves when nothing goes on in any server, and what was sent has arrived. */
  async settle(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.settle()))
  }

  /** Moves every server's clock. */
  advance(ms: number): void {
    this.now += ms
    for (const server of this.servers) server.send({ kind: 'time', now: this.now })
  }

  look(ids: readonly string[]): Promise<Readonly<Record<string, Found>>> {
    return this.servers[this.requests % this.servers.length]!.look(ids)
  }

  listen(listener: Listener | null): void {
    for (const [number, server] of this.servers.entries())
      server.listener = listener && ((message) => listener(message, number))
  }

  /** What went wrong in the processes themselves: ended ones, and whatever they wrote on standard error. */
  troubles(): string[] {
    return this.servers.flatMap((server) => server.trouble() ?? [])
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()))
    await this.#release()
  }
}

/** One server process; a promise that nobody handles ends it. */
export class ServerProcess {
  listener: ((message: FromServer) => void) | null = null
  readonly #child: ChildProcess
  #ports: Readonly<Record<AdapterName, number>> | null = null
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Infinity })
  readonly #unseen = new Set<number>()
  readonly #awaited: { kind: FromServer['kind']; resolve: (message: FromServer) => void }[] = []
  #said = ''
  #ended: string | null = null

  static async start(args: readonly string[]): Promise<ServerProcess> {
    const child = fork(new URL('./server.ts', import.meta.url), args, {
      execArgv: ['--unhandled-rejections=strict', '--disable-warning=ExperimentalWarning'],
      // Secure cookies on 127.0.0.1, as in production; quiet errors in Express.
      env: { ...process.env, NODE_ENV: 'test' },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    const server = new ServerProcess(child)
    const { ports } = await server.#next('ready')
    if (ports === undefined) throw new Error(server.trouble() ?? 'The server has no ports.')
    server.#ports = ports
    return server
  }

  constructor(child: ChildProcess) {
    this.#child = child
    child.stderr!.on('data', (chunk: Buffer) => (this.#said += chunk.toString()))
    child.on('message', (message: FromServer) => this.#hear(message))
    child.once('exit', (code, signal) => {
      this.#ended = `ended by ${signal ?? `code ${code}`}`
      for (const { resolve } of this.#awaited.splice(0)) resolve(ENDED)
      this.listener?.(ENDED)
    })
    process.once('exit', () => child.kill('SIGKILL'))
  }

  send(message: ToServer): void {
    if (this.#ended === null) this.#child.send(message)
  }

  async settle(): Promise<void> {
    if (this.#ended !== null) return
    this.send({ kind: 'settle', requests: [...this.#unseen] })
    await this.#next('settled')
  }

  async look(ids: readonly string[]): Promise<Readonly<Record<string, Found>>> {
    this.send({ kind: 'look', ids })
    return (await this.#next('looked')).found ?? {}
  }

  /** Sends a request; `hangUp` ends it before its answer, which then is null. */
  request(
    adapter: AdapterName,
    number: number,
    steps: readonly Step[],
    cookie: string | null,
  ): { answer: Promise<Answer | null>; hangUp: () => void } {
    this.#unseen.add(number)
    let sent: ClientRequest | undefined
    const answer = new Promise<Answer | null>((resolve) => {
      sent = get({
        agent: this.#agent,
        host: '127.0.0.1',
        port: this.#ports![adapter],
        headers: {
          [HEADERS.request]: String(number),
          [HEADERS.steps]: JSON.stringify(steps),
          ...(cookie !== null && { cookie }),
        },
      })
      sent.on('error', () => resolve(null))
      sent.on('response', (response) => {
        let body = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (body += chunk))
        response.on('error', () => resolve(null))
        response.on('end', () =>
          resolve({ status: response.statusCode!, cookies: response.headers['set-cookie'] ?? [], body }),
        )
      })
    })
    return { answer, hangUp: () => sent!.destroy() }
  }

  trouble(): string | null {
    if (this.#ended !== null) return `${this.#ended}: ${this.#said}`
    return this.#said === '' ? null : this.#said
  }

  async stop(): Promise<void> {
    this.#agent.destroy()
    if (this.#ended !== null) return
    this.#child.disconnect()
    await once(this.#child, 'exit')
  }

  #hear(message: FromServer): void {
    if (message.kind === 'seen') this.#unseen.delete(message.request)
    const index = this.#awaited.findIndex(({ kind }) => kind === message.kind)
    if (index !== -1) this.#awaited.splice(index, 1)[0]!.resolve(message)
    this.listener?.(message)
  }

  async #next<K extends FromServer['kind']>(kind: K): Promise<Extract<FromServer, { kind: K }>> {
    const message = await new Promise<FromServer>((resolve) => {
      if (this.#ended === null) this.#awaited.push({ kind, resolve })
      else resolve(ENDED)
    })
    return message as Extract<FromServer, { kind: K }>
  }
}

const ENDED: FromServer = { kind: 'ended' }
