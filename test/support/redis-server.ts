import type { ChildProcess } from 'node:child_process'
import { connect } from 'node:net'

import { endChild, startChild } from './child.ts'
import { freePort } from './free-port.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** A redis-server of a test's own. */
export interface RedisServer {
  readonly port: number
  /** `redis://127.0.0.1:<port>` */
  readonly url: string
  readonly pid: number
  /** Sends one command of plain words, as in `CONFIG SET maxmemory 1`, and resolves to the first line of the reply. */
  tell(command: string): Promise<string>
  /** Removes every key. */
  flushAll(): Promise<void>
  /** Sends the process a signal, and waits for nothing. */
  kill(signal: NodeJS.Signals): void
  /** Ends the process, even one that SIGSTOP froze, and removes its folder. */
  stop(): Promise<void>
}

/** How {@link startRedis} starts a server. */
export interface RedisServerOptions {
  /** Where to listen. Default: a free port. */
  port?: number
  /** A file of settings, which the server may write to; a Sentinel needs one. Default: none, and nothing is kept on disk. */
  config?: string
  /** More of the server's own options, as in `['--maxmemory', '1']`. */
  args?: readonly string[]
}

/**
 * Starts a real redis-server on 127.0.0.1, which keeps nothing on disk, and waits until it answers.
 * It ends with the test process at the latest.
 */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(options.port ?? (await freePort()), options)
    } catch (error) {
      // A free port may be taken by the time the server gets there.
      const taken = error instanceof Error && error.message.includes('Address already in use')
      if (!taken || options.port !== undefined || attempt === 5) throw error
    }
  }
}

async function start(port: number, { config, args = [] }: RedisServerOptions): Promise<RedisServer> {
  const folder = await temporaryFolder()
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder.path]
  if (config === undefined) settings.push('--save', '', '--appendonly', 'no')
  else settings.unshift(config)
  const child = startChild('redis-server', [...settings, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const stop = async (): Promise<void> => {
    await endChild(child)
    folder.remove()
  }
  const tell = (command: string): Promise<string> => sendLine(port, command)
  try {
    await ready(child)
    const reply = await tell('PING')
    if (reply !== '+PONG') throw new Error(`redis-server answered PING with ${reply}`)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    pid: child.pid!,
    tell,
    flushAll: async () => void (await tell('FLUSHALL')),
    kill: (signal) => void child.kill(signal),
    stop,
  }
}

/** Resolves when the server says that it takes connections; rejects with its words when it ends instead. */
function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = ''
    const listen = (chunk: Buffer): void => {
      said += chunk.toString()
      // A Sentinel says it in other words.
      if (/Ready to accept connections|Sentinel ID is/.test(said)) resolve()
    }
    child.stdout!.on('data', listen)
    child.stderr!.on('data', listen)
    child.once('error', (cause: NodeJS.ErrnoException) =>
      reject(cause.code === 'ENOENT' ? missing(cause) : cause),
    )
    // Not before all that it said has been read.
    child.once('close', (code) =>
      // 127: found by setpriv, or by a shell, to be no program.
      reject(code === 127 ? missing(said) : new Error(`redis-server ended at once:\n${said}`)),
    )
  })
}

function missing(cause: unknown): Error {
  return new Error('redis-server is not installed: apt-get install redis-server util-linux (Debian)', {
    cause,
  })
}

function sendLine(port: number, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${line}\r\n`))
    let reply = ''
    socket.setEncoding('utf8')
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('redis-server closed the connection without an answer')))
    socket.on('data', (chunk: string) => {
      reply += chunk
      if (!reply.includes('\r\n')) return
      resolve(reply.slice(0, reply.indexOf('\r\n')))
      socket.destroy()
    })
  })
}
