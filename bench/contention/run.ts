/**
 * What `update` does when many write one key at once, in one process and in several: how many round trips an acknowledged update takes, how long it
 * waits, and whether any is refused. Prints a table, and writes it to results.md.
 *
 *     node bench/contention/run.ts [--time 2000]
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { createSessions } from '../../src/index.ts'
import { startRedis } from '../../test/support/redis-server.ts'
import { temporaryFolder } from '../../test/support/temporary-folder.ts'
import { percentile } from '../report/stats.ts'
import type { Order, Report } from './worker.ts'
import { openStore } from './worker.ts'

const { values } = parseArgs({ options: { time: { type: 'string', default: '2000' } } })
const TIME = Number(values.time)
const WRITERS = [2, 8, 32, 128, 256]
const PROCESSES = [1, 2, 4]

/** Carries an order out in so many processes at once. */
async function inProcesses(count: number, order: Order): Promise<Report[]> {
  const children = Array.from({ length: count }, () => fork(join(import.meta.dirname, 'worker.ts')))
  for (const child of children) child.send(order)
  await Promise.all(children.map((child) => once(child, 'message')))
  for (const child of children) child.send('go')
  return Promise.all(
    children.map(async (child) => {
      const [report] = (await once(child, 'message')) as [Report]
      child.disconnect()
      return report
    }),
  )
}

/** @returns a row of the table */
async function measure(name: string, place: string, writers: number, processes: number): Promise<string[]> {
  const store = openStore(place)
  const sessions = createSessions<{ count?: number }>({ store, storeTimeout: 5 })
  const session = await sessions.open(null)
  session.set('count', 0)
  const { headers } = await sessions.commit(session, { status: 200 })
  const cookie = headers.find(([name]) => name === 'Set-Cookie')![1].split(';', 1)[0]!

  const order = { place, cookie, writers: writers / processes, time: TIME }
  const reports = await inProcesses(processes, order)
  const latencies = Float64Array.from(reports.flatMap((report) => report.latencies)).sort()
  const errors = reports.flatMap((report) => Object.entries(report.errors))
  const count = (await sessions.open(cookie)).get('count')!
  await sessions.close()

  const acknowledged = latencies.length
  const roundTrips = reports.reduce((sum, report) => sum + report.roundTrips, 0)
  const refused = errors.reduce((sum, [, times]) => sum + times, 0)
  // One whose outcome is not known may have been made.
  if (count < acknowledged || count > acknowledged + refused)
    throw new Error(`${acknowledged} were acknowledged, ${refused} were not, and the count is ${count}.`)
  return [
    name,
    `${processes}`,
    `${writers}`,
    `${Math.round((acknowledged / TIME) * 1000)}`,
    (roundTrips / acknowledged).toFixed(2),
    ...[0.5, 0.99, 1].map((share) => percentile(latencies, share).toFixed(1)),
    `${refused}`,
  ]
}

const HEAD = [
  'store',
  'processes',
  'writers',
  'updates/s',
  'round trips per update',
  'p50 ms',
  'p99 ms',
  'worst ms',
  'refused',
]
const rows: string[][] = []
const redis = await startRedis()
const folder = await temporaryFolder()
for (const [name, place] of [
  ['Redis', redis.url],
  ['SQLite', join(folder.path, 'sessions.db')],
] as const)
  for (const processes of PROCESSES)
    for (const writers of WRITERS.filter((count) => count >= processes)) {
      rows.push(await measure(name, place, writers, processes))
      console.log(rows.at(-1)!.join('\t'))
    }
await redis.stop()
folder.remove()

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
const rule = HEAD.map((_, column) => (column === 0 ? '---' : '---:'))
writeFileSync(join(import.meta.dirname, 'results.md'), `${[HEAD, rule, ...rows].map(line).join('\n')}\n`)
