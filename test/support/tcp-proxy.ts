import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect, createServer } from 'node:net'

/** A proxy that harms what passes through it. */
export interface TcpProxy {
  readonly port: number
  /** How many connections pass through it now. */
  readonly connections: number
  /** Replies come this much later, in milliseconds, from now on. */
  delay(ms: number): void
  /**
   * Cuts the next reply that the server sends in the middle: half of it passes, then the connection is reset.
   * Resolves when that has happened.
   */
  cut(): Promise<void>
  /** Nothing passes either way any more, and nobody is told: a black hole. Connections are still taken. */
  swallow(): void
  /** Everything passes again, what was swallowed too: as TCP sends again what got lost on the way. */
  pass(): void
  /** Everything passes again but what goes by connections made since it was swallowed: those wait for {@link pass}. */
  passOld(): void
  /**
   * Everything passes again but what goes by connections that were there before it was swallowed: as behind a firewall that has forgotten
   * them. Those begun since pass, as attempts to connect do that TCP repeats.
   */
  forget(): void
  /** Breaks all connections, and takes no new ones. */
  stop(): Promise<void>
}

/** Starts a proxy on a free port of 127.0.0.1, in front of a server on another. */
export async function startTcpProxy(target: number): Promise<TcpProxy> {
  const pairs = new Set<Pair>()
  let lag = 0
  let swallowing = false
  /** Connections made while everything is swallowed. */
  const held = new Set<Pair>()
  let cutting: (() => void) | null = null

  const server = createServer({ noDelay: true }, (client) => {
    const pair = { client, server: connect({ port: target, host: '127.0.0.1', noDelay: true }) }
    pairs.add(pair)
    if (swallowing) {
      pause(pair)
      held.add(pair)
    }
    pair.client.on('data', (bytes) => pair.server.write(bytes))
    pair.server.on('data', (bytes) => reply(pair, bytes))
    for (const [end, other] of [
      [pair.client, pair.server],
      [pair.server, pair.client],
    ] as const) {
      end.on('error', () => {})
      end.on('close', () => {
        pairs.delete(pair)
        // By a reset, as a server's death shows itself; a silent end would be a polite one.
        if (!other.destroyed) other.resetAndDestroy()
      })
    }
  })

  function reply(pair: Pair, bytes: Buffer): void {
    if (cutting !== null && bytes.length > 1) {
      const done = cutting
      cutting = null
      pair.server.destroy()
      // Once written, the half is on its way, and the reset behind it.
      pair.client.write(bytes.subarray(0, bytes.length >> 1), () => pair.client.resetAndDestroy())
      return done()
    }
    if (lag === 0) pair.client.write(bytes)
    else setTimeout(() => pair.client.writable && pair.client.write(bytes), lag)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as { port: number }).port,
    get connections() {
      return pairs.size
    },
    delay(ms) {
      lag = ms
    },
    cut: () =>
      new Promise((resolve) => {
        cutting = resolve
      }),
    swallow() {
      swallowing = true
      pairs.forEach(pause)
    },
    pass() {
      swallowing = false
      held.clear()
      pairs.forEach(resume)
    },
    passOld() {
      for (const pair of pairs) if (!held.has(pair)) resume(pair)
    },
    forget() {
      swallowing = false
      held.forEach(resume)
      held.clear()
    },
    async stop() {
      for (const { client, server } of pairs) {
        client.destroy()
        server.destroy()
      }
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

interface Pair {
  readonly client: Socket
  readonly server: Socket
}

function resume({ client, server }: Pair): void {
  client.resume()
  server.resume()
}

/** What has been read no further stays in the kernel, and so does the end of a connection. */
function pause({ client, server }: Pair): void {
  client.pause()
  server.pause()
}
