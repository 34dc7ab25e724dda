import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * A port of 127.0.0.1 that nobody listened on a moment ago. Somebody may take it before you do; but not by chance, for a connection of
 * theirs: it is below those that systems hand out (RFC 6335, section 6: from 49152; Linux: from 32768), so that a server that starts again
 * has it again.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + randomInt(SHARE)
    if (given.has(port)) continue
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') continue
      throw error
    }
    given.add(port)
    server.close()
    await once(server, 'close')
    return port
  }
}

const given = new Set<number>()

/** Test files that run at the same time have a share each. */
const SHARE = (32_768 - 20_000) / 16
const FIRST = 20_000 + SHARE * (Number(process.env['VITEST_POOL_ID'] ?? 0) % 16)
