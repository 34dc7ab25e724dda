import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import { startChild } from './child.ts'

/** The demo, running as a process of its own. */
export interface DemoServer {
  /** Where it says it is, as in `http://localhost:41234`. */
  readonly url: string
  readonly port: string
  /** What it has written to stderr so far. */
  readonly complaints: string
  /** Ends it, and resolves to its exit code; null when the signal killed it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

/** A demo that ended before it listened. */
export class DemoFailed extends Error {
  readonly exitCode: number | null
  readonly complaints: string

  constructor(exitCode: number | null, complaints: string) {
    super(`The demo ended with ${exitCode} before it listened (is dist/ built?):\n${complaints}`)
    this.exitCode = exitCode
    this.complaints = complaints
  }
}

/**
 * Starts the demo on a free port and waits until it says where. It runs on what `npm run build` has put in dist/.
 * @param env on top of PATH; NODE_ENV is `development`, as under `npm start`, and STORE_TIMEOUT 10, the most there is, unless it says otherwise
 */
export async function startDemo(env: NodeJS.ProcessEnv = {}): Promise<DemoServer> {
  const { PATH } = process.env
  const program = fileURLToPath(new URL('../../demo/server.ts', import.meta.url))
  const child = startChild(process.execPath, [program], {
    env: { PATH, PORT: '0', NODE_ENV: 'development', STORE_TIMEOUT: '10', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit') as Promise<[number | null]>
  let complaints = ''
  child.stderr!.on('data', (chunk: Buffer) => (complaints += chunk.toString()))

  const url = await Promise.race([addressOf(child), exited.then(() => null)])
  if (url === null) {
    if (!child.stderr!.closed) await once(child.stderr!, 'close')
    throw new DemoFailed(child.exitCode, complaints)
  }
  return {
    url,
    port: new URL(url).port,
    get complaints() {
      return complaints
    },
    async stop(signal = 'SIGTERM') {
      child.kill(signal)
      const [code] = await exited
      return code
    },
  }
}

/** The address that the demo prints once it listens. */
function addressOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    let said = ''
    child.stdout!.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      const address = /http:\/\/\S+/.exec(said)
      if (address !== null) resolve(address[0])
    })
  })
}
