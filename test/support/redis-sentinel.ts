import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import type { RedisServer } from './redis-server.ts'
import { startRedis } from './redis-server.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** What {@link startSentinel} calls the master. */
export const MASTER = 'main'

/**
 * Starts a real Redis Sentinel on 127.0.0.1 that decides alone.
 * @param port of the master that it watches
 * @param settings more lines of its file about that master, as in `{ 'down-after-milliseconds': 500 }`
 */
export async function startSentinel(
  port: number,
  settings: Readonly<Record<string, number>> = {},
): Promise<RedisServer> {
  const folder = await temporaryFolder()
  const config = join(folder.path, 'sentinel.conf')
  const lines = [
    `sentinel monitor ${MASTER} 127.0.0.1 ${port} 1`,
    ...Object.entries(settings).map(([name, value]) => `sentinel ${name} ${MASTER} ${value}`),
  ]
  await writeFile(config, `${lines.join('\n')}\n`)
  const server = await startRedis({ config, args: ['--sentinel'] })
  return {
    ...server,
    async stop() {
      await server.stop()
      folder.remove()
    },
  }
}
