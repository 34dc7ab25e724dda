import { createClient } from 'redis'
import { expect } from 'vitest'

import { eventually } from './eventually.ts'

/** Where a server is, as in `redis://127.0.0.1:6379`. */
interface Located {
  readonly url: string
}

/** Has a master take no more writes, which then wait, and resolves when its replica has all that it has acknowledged. */
export async function quiesce(master: Located, replica: Located): Promise<void> {
  const [first, second] = await Promise.all(
    [master, replica].map(({ url }) =>
      createClient({ url })
        .on('error', () => {})
        .connect(),
    ),
  )
  const offset = async (client: typeof first, field: string): Promise<number> =>
    Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(await client!.info('replication'))![1])
  await first!.sendCommand(['CLIENT', 'PAUSE', '60000', 'WRITE'])
  const written = await offset(first, 'master_repl_offset')
  // Pings go on, and count.
  await eventually(async () =>
    expect(await offset(second, 'slave_repl_offset')).toBeGreaterThanOrEqual(written),
  )
  for (const client of [first!, second!]) client.destroy()
}
