/**
 * Where the time of one set-up goes: the functions of its server that take most, by V8's sampling; or, without HTTP, those of the core.
 *
 *     node bench/profile.ts holdfast/node memory write
 *     node bench/profile.ts core memory write
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { startRedis } from '../test/support/redis-server.ts'
import { keepToCore, LOADING_CORE } from './cores.ts'
import type { StoreName } from './http/stores.ts'
import type { Case } from './http/subject.ts'
import { Subject } from './http/subject.ts'
import { appData } from './http/work.ts'
import { holdfastSteps } from './parts/core.ts'
import { table } from './report/markdown.ts'

interface Profile {
  readonly nodes: readonly {
    id: number
    callFrame: { functionName: string; url: string; lineNumber: number }
  }[]
  readonly samples?: readonly number[] | undefined
  readonly timeDeltas?: readonly number[] | undefined
}

/** Waiting, and the profiler itself. */
const NOT_WORK: ReadonlySet<string> = new Set(['((idle))', '((root))', 'post node:inspector:115'])

const [setup = 'holdfast/node', store = 'memory', what = 'read', requests = '60000'] = process.argv.slice(2)
const count = Number(requests)
keepToCore(process.pid, LOADING_CORE)
const profile = setup === 'core' ? await profileCore() : await profileServer()
const times = timesOf(profile)
const total = [...times.values()].reduce((sum, time) => sum + time, 0)
const rows = [...times]
  .toSorted(([, a], [, b]) => b - a)
  .slice(0, 40)
  .map(([place, time]) => [place, (time / count).toFixed(2), `${((100 * time) / total).toFixed(1)} %`])
console.log(
  `${setup}, ${store}, ${what}: ${(total / count).toFixed(1)} µs\n\n${table(['function', 'µs a request', 'share'], rows)}`,
)

/** Signing 1,000 visitors in is part of it, and makes no difference. */
async function profileServer(): Promise<Profile> {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-profile-'))
  const redis = store.endsWith('redis') ? await startRedis() : null
  const subject = await Subject.start({
    setup,
    store: store as StoreName,
    redisUrl: redis?.url ?? '',
    bytes: 1024,
    sessions: 1000,
    connections: 32,
    execArgv: ['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${folder}`],
  })
  await subject.ask(what as Case, count)
  await subject.stop()
  await redis?.stop()
  const [file] = readdirSync(folder)
  const profile = JSON.parse(readFileSync(join(folder, file!), 'utf8')) as Profile
  rmSync(folder, { recursive: true, force: true })
  return profile
}

async function profileCore(): Promise<Profile> {
  const steps = await holdfastSteps({ sessions: 1000, data: appData(1024) })
  const step = steps[what as keyof typeof steps]
  const inspector = new Session()
  inspector.connect()
  await inspector.post('Profiler.enable')
  await inspector.post('Profiler.setSamplingInterval', { interval: 200 })
  for (let i = 0; i < count / 4; i++) await step()
  await inspector.post('Profiler.start')
  for (let i = 0; i < count; i++) await step()
  return (await inspector.post('Profiler.stop')).profile
}

/** The busy time of each function, by name and place: microseconds. */
function timesOf({ nodes, samples = [], timeDeltas = [] }: Profile): ReadonlyMap<string, number> {
  const places = new Map(
    nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const file = url.replace(/^.*\/(?=dist\/|node_modules\/|bench\/)/, '')
      return [
        id,
        file === '' ? `(${functionName})` : `${functionName || 'anonymous'} ${file}:${lineNumber + 1}`,
      ]
    }),
  )
  const times = new Map<string, number>()
  samples.forEach((id, i) => {
    const place = places.get(id)!
    if (!NOT_WORK.has(place)) times.set(place, (times.get(place) ?? 0) + timeDeltas[i]!)
  })
  return times
}
