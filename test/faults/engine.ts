import { freePort } from '../support/free-port.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { startRedis } from '../support/redis-server.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import type { TemporaryFolder } from '../support/temporary-folder.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

/** A Redis to be harmed, behind a proxy to be harmed. What it has acknowledged it still has after a restart. */
export class Engine {
  readonly proxy: TcpProxy
  readonly #port: number
  readonly #folder: TemporaryFolder
  #redis: RedisServer | null = null

  private constructor(port: number, folder: TemporaryFolder, proxy: TcpProxy) {
    this.#port = port
    this.#folder = folder
    this.proxy = proxy
  }

  /** Makes one that is not there yet. */
  static async absent(): Promise<Engine> {
    const [port, folder] = await Promise.all([freePort(), temporaryFolder()])
    return new Engine(port, folder, await startTcpProxy(port))
  }

  static async start(): Promise<Engine> {
    const engine = await Engine.absent()
    await engine.start()
    return engine
  }

  /** Where clients go: the proxy. */
  get port(): number {
    return this.proxy.port
  }

  /** Starts it, again or at last. */
  async start(): Promise<void> {
    // Every write is with the system before it is answered, which outlives the process; that it be on disk would have a busy disk decide.
    const args = ['--dir', this.#folder.path, '--appendonly', 'yes', '--appendfsync', 'no']
    this.#redis = await startRedis({ port: this.#port, args })
  }

  /** Says something to it, past the proxy. @returns the first line of its reply @throws Error where it does not agree */
  async tell(command: string): Promise<string> {
    const reply = await this.#redis!.tell(command)
    if (reply.startsWith('-')) throw new Error(`${command}: ${reply}`)
    return reply
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#redis!.kill(signal)
  }

  /** Ends it by SIGKILL. */
  async kill(): Promise<void> {
    await this.#redis?.stop()
    this.#redis = null
  }

  async stop(): Promise<void> {
    await this.proxy.stop()
    await this.kill()
    this.#folder.remove()
  }
}
